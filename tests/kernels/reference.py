"""Attention as the formula says, inputs inside NaN, outputs watched, and errors by the rule.

The rule of flash-attention's tests: the error against float64 may be twice that of naive attention
in the same type (gradients: three times), plus 1e-5, both over the largest value of the tensor.
"""

import contextlib
import math
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from tests.kernels.cases import Case

FREE = 1e-5
FORWARD, GRADIENT = 2, 3  # times naive attention's error
MARGIN = 64


def formula(
    q: Tensor, k: Tensor, v: Tensor, slopes: Tensor | None, case: Case
) -> tuple[Tensor, Tensor]:
    """Output and log-sum-exp in the type of q: every score kept, heads repeated."""
    group = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    seq_q, seq_k = q.shape[2], k.shape[2]
    s = q @ k.transpose(-1, -2) * scale_of(case)
    if case.softcap is not None:
        s = case.softcap * torch.tanh(s / case.softcap)
    behind = torch.arange(seq_q)[:, None] + (seq_k - seq_q) - torch.arange(seq_k)
    visible = torch.ones(seq_q, seq_k, dtype=torch.bool)
    if case.causal:
        visible &= behind >= 0
    if case.window is not None:
        visible &= behind.abs() < case.window
    if slopes is not None:
        s = s - (slopes[:, :, None, None] * behind.abs()).to(s.dtype)
    s = s.masked_fill(~visible, -math.inf)
    if seq_k == 0:
        return v.new_zeros(*q.shape[:3], v.shape[-1]) * q.sum(), q.sum(-1) * 0 - math.inf
    seen = visible.any(-1)
    top = s.amax(-1, keepdim=True).masked_fill(~seen[:, None], 0)
    p = (s - top).exp()
    total = p.sum(-1, keepdim=True).masked_fill(~seen[:, None], 1)
    lse = (top + total.log())[..., 0].masked_fill(~seen, -math.inf)
    return p / total @ v, lse


def scale_of(case: Case) -> float:
    """1 / sqrt(d), times the size of the scores that the case asks for."""
    return case.size / math.sqrt(case.widths[0])


def all_texts(
    q: Tensor, k: Tensor, v: Tensor, slopes: Tensor | None, case: Case
) -> tuple[Tensor, Tensor]:
    """`formula`, text by text where they are packed: (1, heads, total, width)."""
    if case.packed is None:
        return formula(q, k, v, slopes, case)
    found, at_q, at_k = [], 0, 0
    for text, (n_q, n_k) in enumerate(case.packed):
        own = (q[:, :, at_q : at_q + n_q], *(x[:, :, at_k : at_k + n_k] for x in (k, v)))
        found.append(formula(*own, None if slopes is None else slopes[text : text + 1], case))
        at_q, at_k = at_q + n_q, at_k + n_k
    return torch.cat([out for out, _ in found], 2), torch.cat([lse for _, lse in found], 2)


def with_gradient(
    inputs: list[Tensor], slopes: Tensor | None, case: Case, d_out: Tensor, d_lse: Tensor,
    kind: torch.dtype,
) -> list[Tensor]:  # fmt: skip
    """Output, log-sum-exp, dQ, dK and dV of the formula in some type."""
    leaves = [x.to(kind).requires_grad_() for x in inputs]
    out, lse = all_texts(*leaves, slopes, case)
    known = lse.masked_fill(lse == -math.inf, 0)
    d_lse = d_lse.masked_fill(lse == -math.inf, 0)
    total = (out * d_out.to(kind)).sum() + (known * d_lse.to(kind)).sum()
    found = torch.autograd.grad(total, leaves, allow_unused=True)
    gradients = [
        torch.zeros_like(x) if g is None else g for g, x in zip(found, leaves, strict=True)
    ]
    return [out.detach(), lse.detach(), *gradients]


def inside_nan(x: Tensor, layout: str) -> Tensor:
    """x as part of a larger buffer of NaN, so that whatever is read beside it shows."""
    batch, heads, seq, width = x.shape
    if layout == "rows first":  # as a projection leaves them: (batch, seq, heads, width)
        view = x.new_full((batch + 1, seq + 3, heads + 1, width + 8), math.nan).transpose(1, 2)
    elif layout == "turned":  # features far apart
        view = x.new_full((batch + 1, heads + 1, width + 8, seq + 3), math.nan).transpose(2, 3)
    else:
        view = x.new_full((batch + 1, heads + 1, seq + 3, width + 8), math.nan)
    view = view[:batch, :heads, 1 : seq + 1, 4 : width + 4]
    return view.copy_(x)


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Every tensor made meanwhile stands between margins, which must be untouched at the end."""
    made: list[tuple[Tensor, int]] = []
    new_empty, empty_like, zeros = torch.Tensor.new_empty, torch.empty_like, torch.zeros

    def between(shape: Any, kind: torch.dtype, fill: float) -> Tensor:
        n = math.prod(shape)
        edge = math.nan if kind.is_floating_point else -7
        buffer = torch.full((n + 2 * MARGIN,), edge, dtype=kind)
        made.append((buffer, n))
        inner = buffer[MARGIN : MARGIN + n]
        return inner.fill_(fill).view(tuple(shape))

    def own_new_empty(x: Tensor, *size: Any, dtype: Any = None, device: Any = None) -> Tensor:
        if device is not None:  # the interpreter's own
            return new_empty(x, *size, dtype=dtype, device=device)
        shape = size[0] if len(size) == 1 and not isinstance(size[0], int) else size
        return between(shape, dtype or x.dtype, math.nan)

    with (
        mock.patch.object(torch.Tensor, "new_empty", own_new_empty),
        mock.patch.object(torch, "empty_like", lambda x, **_: between(x.shape, x.dtype, math.nan)),
        mock.patch.object(torch, "zeros", lambda n, dtype, device: between((n,), dtype, 0)),
    ):
        yield
    assert (new_empty, empty_like, zeros) == (torch.Tensor.new_empty, torch.empty_like, torch.zeros)
    assert made, "the kernels' outputs were not watched"
    for buffer, n in made:
        margins = torch.cat([buffer[:MARGIN], buffer[MARGIN + n :]])
        untouched = margins.isnan() if buffer.dtype.is_floating_point else margins == -7
        assert bool(untouched.all()), "a kernel wrote beside its output"


def error(x: Tensor, exact: Tensor) -> float:
    """The largest error over the largest value; NaN counts as infinite, -inf in both as none."""
    if x.shape != exact.shape:
        return math.inf
    x, exact = x.double(), exact.double()
    apart = (x - exact).abs().masked_fill(x == exact, 0).nan_to_num(nan=math.inf)
    largest = exact.abs().masked_fill(exact.isinf(), 0).amax().item() if exact.numel() else 0.0
    return apart.amax().item() / max(largest, 1.0) if exact.numel() else 0.0


def ratio(x: Tensor, exact: Tensor, naive: Tensor, times: float) -> float:
    """The error as a share of what the rule allows: 1 is just allowed."""
    return error(x, exact) / (times * min(error(naive, exact), 1.0) + FREE)
