"""The formula that the engines of flash attention compute, written out so that autograd sees it.

It keeps the whole matrix of scores, so its memory grows as the square of the length. What tiles
cannot do is done here: second derivatives, forward-mode derivatives, and the transforms of
torch.func (vmap, jvp, hessian, ...).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from llmlib.flash_attention.scores import Scores, product
from llmlib.precision import widened


def differentiable_attention(
    q: Tensor, k: Tensor, v: Tensor, slopes: Tensor | None, scores: Scores
) -> tuple[Tensor, Tensor]:
    """Output and log-sum-exp of (batch, heads, seq_q, d), ..., differentiable as often as wanted.

    Args:
        slopes: ALiBi's, (batch, heads), or None.
        scores: scale, cap and mask.
    """
    blind, kv_heads = scores.mask.n_blind, k.shape[1]
    rows = widened(q[:, :, blind:]).unflatten(1, (kv_heads, -1)) * scores.scale
    s = (rows @ widened(k)[:, :, None].transpose(-1, -2)).flatten(1, 2)
    if scores.softcap is not None:
        s = scores.softcap * (s / scores.softcap).tanh()
    if slopes is not None:
        s = s - scores.distance(s, blind, 0) * slopes[..., None, None]
    n_rows, n_columns = s.shape[-2:]
    pattern = scores.mask.pattern(n_rows, n_columns, scores.mask.position(blind), s)
    s = s.masked_fill(pattern != 0, -math.inf)
    lse = s.logsumexp(-1)
    weights = (s - lse.masked_fill(lse == -math.inf, 0)[..., None]).exp()
    out = product(weights.unflatten(1, (kv_heads, -1)), widened(v)[:, :, None], careful=True)
    # Queries that see no key stand in front.
    out = F.pad(out.flatten(1, 2), (0, 0, blind, 0)).to(q.dtype)
    return out, F.pad(lse, (blind, 0), value=-math.inf)


def differentiable_gradients(
    q: Tensor, k: Tensor, v: Tensor, slopes: Tensor | None, d_out: Tensor, d_lse: Tensor,
    scores: Scores,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """The gradients of q, k and v, which are differentiable themselves."""
    with torch.enable_grad():
        q, k, v = distinct(q), distinct(k), distinct(v)
        results = differentiable_attention(q, k, v, slopes, scores)
        dq, dk, dv = torch.autograd.grad(results, (q, k, v), (d_out, d_lse), create_graph=True)
    return dq, dk, dv


def distinct(x: Tensor) -> Tensor:
    """x under a name of its own: q may be k, and a derivative by one is not that by both."""
    return x.view_as(x) if x.requires_grad else x.detach().requires_grad_()
