"""Scaled dot-product attention as functions of queries, keys and values.

The weights and the weighted average written out (`attention_weights`, `reference_attention`), then
the same function on PyTorch's fused kernel (`attention`). Keys and values may have fewer heads than
queries; those of a group are never repeated.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Integer
from torch import Tensor

from llmlib.checks import check_attention, has_numbers, readable
from llmlib.precision import widened, without_autocast
from llmlib.shapes import Keys, Output, Queries, Values
from llmlib.sizes import check_number, check_sizes

# --- the formula ------------------------------------------------------------------------------


def visible_after(
    after: Integer[Tensor, "*shape"], *, causal: bool = False, window: int | None = None
) -> Bool[Tensor, "*shape"]:
    """Whether a query sees a key that it follows by so many positions: the library's one rule.

    Causal: keys at or before the query, after >= 0. A window w with causal: 0 <= after < w, the
    query itself included; without: |after| < w.
    """
    visible = after >= 0 if causal else torch.ones_like(after, dtype=torch.bool)
    return visible if window is None else visible & (after.abs() < window)


def visible_at(
    positions_q: Integer[Tensor, "*batch seq_q"],
    positions_k: Integer[Tensor, "*batch seq_k"],
    *,
    causal: bool = False,
    window: int | None = None,
) -> Bool[Tensor, "*batch seq_q seq_k"]:
    """Which key each query may attend to, by where they stand; see `visible_after`."""
    after = positions_q[..., :, None] - positions_k[..., None, :]
    return visible_after(after, causal=causal, window=window)


def visible_keys(
    seq_q: int,
    seq_k: int,
    *,
    causal: bool = False,
    window: int | None = None,
    device: torch.device | None = None,
) -> Bool[Tensor, "seq_q seq_k"]:
    """`visible_at` for the last seq_q of seq_k positions: the last query sees the last key.

    Raises:
        TypeError, ValueError: a window that is no positive integer.
    """
    if window is not None:
        check_sizes(window=window)
    queries = torch.arange(seq_q, device=device) + (seq_k - seq_q)
    return visible_at(queries, torch.arange(seq_k, device=device), causal=causal, window=window)


@without_autocast
def attention_weights(
    q: Queries,
    k: Keys,
    *,
    causal: bool = False,
    window: int | None = None,
    bias: Float[Tensor, "..."] | None = None,
    mask: Bool[Tensor, "..."] | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    sinks: Float[Tensor, " heads"] | None = None,
) -> Float[Tensor, "batch heads seq_q seq_k"]:
    """How much each query takes from each key: softmax(q k^T * scale + bias) over visible keys.

    Rows sum to 1, or with a sink to less; a row that sees no key is 0 throughout. Arguments as for
    `reference_attention`.
    """
    check_attention(q, k, causal=causal, window=window, bias=bias, mask=mask, scale=scale)
    _check_extras(q, softcap, sinks)
    wide_q, wide_k = widened(q), widened(k)
    scores = _grouped(wide_q, k.shape[1]) @ wide_k.transpose(-1, -2)[:, :, None]
    scores = scores.flatten(1, 2) * _scale(q, scale)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    if bias is not None:
        scores = scores + bias
    visible = visible_keys(*scores.shape[-2:], causal=causal, window=window, device=q.device)
    if mask is not None:
        visible = visible & mask
    scores = scores.masked_fill(~visible, -math.inf)
    # softmax is unchanged by a shift; without the largest score taken off, exp(89) overflows.
    # A row that sees nothing has the maximum -inf: 0 instead keeps -inf - -inf = NaN away.
    top = scores.amax(-1, keepdim=True) if scores.shape[-1] else scores.sum(-1, keepdim=True)
    if sinks is not None:
        top = top.maximum(sinks.to(scores)[:, None, None])
    top = top.masked_fill(top == -math.inf, 0)
    powers = (scores - top).exp()
    total = powers.sum(-1, keepdim=True)
    if sinks is not None:
        total = total + (sinks.to(scores)[:, None, None] - top).exp()
    return (powers / total.masked_fill(total == 0, 1)).to(q.dtype)


@without_autocast
def reference_attention(
    q: Queries,
    k: Keys,
    v: Values,
    *,
    causal: bool = False,
    window: int | None = None,
    bias: Float[Tensor, "..."] | None = None,
    mask: Bool[Tensor, "..."] | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    sinks: Float[Tensor, " heads"] | None = None,
) -> Output:
    """Attention written out: softmax(q k^T * scale + bias) v over the keys each query may see.

    16-bit input is computed in float32 and rounded once. What a query may not see does not touch
    it, not even as 0 * NaN.

    Args:
        q: queries; k, v: keys and values. Their heads divide those of q: query heads
            h * group .. (h + 1) * group - 1 share key/value head h.
        causal, window: see `visible_keys`; seq_q may differ from seq_k.
        bias: added to the scores, broadcast to (batch, heads, seq_q, seq_k).
        mask: True where a query may attend, broadcast alike; causal and window apply as well.
        scale: of the scores; 1/sqrt(head_dim) if None.
        softcap: scores become softcap * tanh(score / softcap), before the bias.
        sinks: a logit of each head that joins its softmax and has no value: its part goes nowhere.
            (StreamingLLM's sinks are first tokens kept in view: `llmlib.sparse_attention`.)

    Returns:
        (batch, heads, seq_q, value_dim); a row that may attend to nothing is 0.

    Raises:
        TypeError: tensors that are no floats of one type on one device, a mask that is not bool, a
            bias that is no float, a flag, window or scale of another kind.
        ValueError: heads that do not divide, shapes that do not fit, a window below 1, a scale that
            is not finite, a cap that is not positive.

    Source: vaswani2017attention; gemma2024two for the cap, openai2025gptoss for sinks
    """
    options = {"causal": causal, "window": window, "bias": bias, "mask": mask, "scale": scale}
    check_attention(q, k, v, **options)  # type: ignore[arg-type]
    options |= {"softcap": softcap, "sinks": sinks}
    weights = attention_weights(widened(q), widened(k), **options)  # type: ignore[arg-type]
    grouped, values = _grouped(weights, v.shape[1]), widened(v)[:, :, None]
    out = _averaged(grouped, values)
    return out.flatten(1, 2).to(q.dtype)


def _averaged(weights: Tensor, values: Tensor) -> Tensor:
    """weights @ values; a weight of 0 takes nothing, though 0 * NaN is NaN."""
    if not has_numbers(values) or (readable(values) and bool(values.isfinite().all())):
        return weights @ values
    out = weights @ values.where(values.isfinite(), 0)
    takes = (weights > 0).to(values)
    for special in (math.inf, -math.inf, math.nan):
        there = values.isnan() if math.isnan(special) else values == special
        met = takes @ there.to(values) > 0
        out = out + torch.zeros_like(out).masked_fill(met, special)
    return out


# --- the same on PyTorch's fused kernel -------------------------------------------------------


@without_autocast
def attention(
    q: Queries,
    k: Keys,
    v: Values,
    *,
    causal: bool = False,
    window: int | None = None,
    bias: Float[Tensor, "..."] | None = None,
    mask: Bool[Tensor, "..."] | None = None,
    scale: float | None = None,
) -> Output:
    """`reference_attention` on PyTorch's kernel, which never stores the weights.

    A mask is built only where one is needed. NaN in a hidden key or value does spread here.
    """
    check_attention(q, k, v, causal=causal, window=window, bias=bias, mask=mask, scale=scale)
    bias, top_left = _told(q, k, causal, window, bias, mask)
    folds = q.shape[2] == 1 and q.shape[1] != k.shape[1]
    if folds:
        # One query a head: the group's heads become rows of one product with their shared keys,
        # up to ten times faster, because the kernel would read the keys once for each head.
        q, bias = _folded(q, k.shape[1]), None if bias is None else _folded(bias, k.shape[1])
    out = F.scaled_dot_product_attention(
        q,
        k,
        v,
        attn_mask=bias,
        is_causal=top_left,
        scale=_scale(q, scale),
        enable_gqa=q.shape[1] != k.shape[1],
    )
    return out.reshape(q.shape[0], -1, 1, v.shape[-1]) if folds else out


def _told(
    q: Tensor, k: Tensor, causal: bool, window: int | None, bias: Tensor | None, mask: Tensor | None
) -> tuple[Tensor | None, bool]:
    """Who sees whom, as PyTorch's kernel is told it: a bias or mask, and its flag `is_causal`."""
    seq_q, seq_k = q.shape[2], k.shape[2]
    if causal and seq_q == 1:
        causal = False  # a single query is the last one: it sees every key
    compiling = torch.compiler.is_compiling()  # then a program is not to hold for short texts only
    if window is not None and not compiling and 1 <= max(seq_q, seq_k) <= window:
        window = None  # no query lies further from a key
    # PyTorch aligns is_causal to the top left: right only where queries and keys are as many.
    top_left = causal and window is None and mask is None and bias is None
    if seq_q != seq_k:  # decided by `if`: compared, the compiler's sizes give no bool of Python's
        top_left = False
    if (causal or window is not None) and not top_left:
        visible = visible_keys(seq_q, seq_k, causal=causal, window=window, device=q.device)
        mask = visible if mask is None else mask & visible
    bias = _merged(bias, mask, q) if bias is not None else mask
    while bias is not None and bias.ndim < 2:
        bias = bias[None]  # the kernel wants an axis of queries
    return bias, top_left


def _merged(bias: Tensor, mask: Tensor | None, q: Tensor) -> Tensor:
    """Bias and mask in one tensor of scores, which is what PyTorch's kernel takes.

    A finite bias stays finite: rounded to -inf it would hide what it only makes improbable. The
    kernel for the CPU adds float32 to the scores of 16-bit queries, others want one type.
    """
    dtype = torch.float32 if q.device.type == "cpu" and q.element_size() < 4 else q.dtype
    ends = torch.finfo(dtype)
    if ends.max < torch.finfo(bias.dtype).max:
        bias = bias.clamp(ends.min, ends.max).masked_fill(bias == -math.inf, -math.inf)
    bias = bias.to(dtype)
    return bias if mask is None else bias.masked_fill(~mask, -math.inf)


def _folded(x: Tensor, kv_heads: int) -> Tensor:
    """(batch, heads, 1, last) -> (batch, kv_heads, group, last); one head for all stays one."""
    while x.ndim < 4:
        x = x[None]
    if x.shape[1] == 1:
        return x
    return x.reshape(x.shape[0], kv_heads, -1, x.shape[-1])


# --- shared by the functions above ------------------------------------------------------------


def _check_extras(q: Tensor, softcap: float | None, sinks: Tensor | None) -> None:
    if softcap is not None:
        check_number("softcap", softcap)
        if softcap <= 0:
            raise ValueError(f"softcap is {softcap}, expected a positive number")
    if sinks is not None and sinks.shape != q.shape[1:2]:
        raise ValueError(f"sinks have shape {tuple(sinks.shape)}, expected ({q.shape[1]},), one a "
                         "head")  # fmt: skip


def _scale(q: Tensor, scale: float | None) -> float:
    return 1 / math.sqrt(q.shape[-1]) if scale is None else scale


def _grouped(x: Tensor, kv_heads: int) -> Tensor:
    """(batch, heads, ...) -> (batch, kv_heads, group, ...): the heads that share keys, together."""
    return x.unflatten(1, (kv_heads, -1))
