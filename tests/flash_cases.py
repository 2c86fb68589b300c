"""Cases of flash attention for its tests, the formula in any type, and how far off is right."""

import itertools
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from llmlib.attention import visible_keys


def naive(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    causal: bool = False,
    window: int | None = None,
    alibi_slopes: Tensor | None = None,
    scale: float | None = None,
    softcap: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Attention written out in the type of its input, and the log-sum-exp: the yardstick."""
    group, (seq_q, seq_k) = q.shape[1] // k.shape[1], (q.shape[2], k.shape[2])
    k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    scores = (q @ k.mT) * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    if softcap is not None:
        scores = softcap * (scores / softcap).tanh()
    if alibi_slopes is not None:
        behind = torch.arange(seq_q)[:, None] + seq_k - seq_q - torch.arange(seq_k)
        scores = scores - (alibi_slopes[..., None, None] * behind.abs()).to(scores.dtype)
    visible = visible_keys(seq_q, seq_k, causal=causal, window=window)
    scores = scores.masked_fill(~visible, -math.inf)
    lse = scores.logsumexp(-1) if seq_k else scores.sum(-1).fill_(-math.inf)
    weights = (scores - lse.masked_fill(lse == -math.inf, 0)[..., None]).exp()
    return weights @ v, lse


def drawn(
    seed: int, seq_q: int, seq_k: int, heads: tuple[int, int], widths: tuple[int, int],
    dtype: torch.dtype = torch.float32, batch: int = 2,
) -> list[Tensor]:  # fmt: skip
    """q, k, v and the gradient of the output, from a seed."""
    rng = torch.Generator().manual_seed(seed)
    shapes = [
        (batch, heads[0], seq_q, widths[0]), (batch, heads[1], seq_k, widths[0]),
        (batch, heads[1], seq_k, widths[1]), (batch, heads[0], seq_q, widths[1]),
    ]  # fmt: skip
    return [torch.randn(shape, generator=rng).to(dtype) for shape in shapes]


def results(attention: Any, tensors: Sequence[Tensor], **options: Any) -> list[Tensor]:
    """Output, log-sum-exp, and the gradients of q, k and v through both."""
    *given, d_out = (x.detach() for x in tensors)
    given = [x.requires_grad_() for x in given]
    out, lse = attention(*given, **options)
    seen = lse != -math.inf
    d_lse = torch.linspace(-1, 1, lse.numel(), dtype=lse.dtype).view_as(lse) * seen
    loss = (out * d_out).sum(dtype=torch.float64) + (lse.where(seen, 0) * d_lse).sum()
    return [out.detach(), lse.detach(), *torch.autograd.grad(loss, given)]


def check_against_naive(attention: Any, tensors: Sequence[Tensor], **options: Any) -> None:
    """The rule of the field: at most 2 times the error of the formula in the same type, + 1e-5.

    Gradients 3 times. The truth is the formula in float64; the log-sum-exp is held to 1e-4 of it,
    since it is kept in float32.
    """
    wide = [x.double() for x in tensors]
    slopes = options.get("alibi_slopes")
    exact = {**options, "alibi_slopes": None if slopes is None else slopes.double()}
    truth, plain = results(naive, wide, **exact), results(naive, tensors, **options)
    found = results(attention, tensors, **options)
    for name, x in zip(("out", "lse", "dq", "dk", "dv"), found, strict=True):
        assert not x.isnan().any(), name
    assert torch.equal(found[1] == -math.inf, truth[1] == -math.inf)
    names = {"out": (0, 2), "dq": (2, 3), "dk": (3, 3), "dv": (4, 3)}
    for name, (i, factor) in names.items():
        if not truth[i].numel():
            continue
        allowed = factor * (plain[i] - truth[i]).abs().nan_to_num(0).max().item() + 1e-5
        assert (error := (found[i] - truth[i]).abs().max().item()) <= allowed, (name, error)
    seen = truth[1] != -math.inf
    torch.testing.assert_close(found[1].double()[seen], truth[1][seen], rtol=1e-5, atol=1e-4)


def pairwise_cases(choices: Mapping[str, Sequence[Any]], seed: int = 0) -> Iterator[dict[str, Any]]:
    """Few cases in which every two choices of every two names meet; the same at every run."""
    rng, names = random.Random(seed), list(choices)
    missing = {
        (a, x, b, y)
        for a, b in itertools.combinations(names, 2)
        for x in range(len(choices[a]))
        for y in range(len(choices[b]))
    }
    while missing:
        best: dict[str, int] = {}
        gain: set[Any] = set()
        seed_pair = rng.choice(sorted(missing))
        for _ in range(30):
            case = {name: rng.randrange(len(choices[name])) for name in names}
            case |= {seed_pair[0]: seed_pair[1], seed_pair[2]: seed_pair[3]}
            met = {(a, case[a], b, case[b]) for a, b in itertools.combinations(names, 2)} & missing
            if len(met) > len(gain):
                best, gain = case, met
        missing -= gain
        yield {name: choices[name][i] for name, i in best.items()}
