"""Flash attention in plain PyTorch, for any device: tiles of scores, never the whole matrix.

Forward: a strip of queries meets its keys tile by tile. Each tile's softmax is taken by itself, and
averages over separate keys are merged with their log-sum-exps, which is exact. Backward: the tiles
are computed again from q, k and the stored log-sum-exp; between the two passes only vectors as long
as the text are kept.

    P = exp(S - lse)   dV = P^T dO   dS = P * (dO V^T - delta)   delta = rowsum(dO * O)

Products assume that no NaN or inf hides behind the mask, since 0 * NaN is NaN. A head whose result
holds a NaN is computed once more with `careful=True`, where what is hidden takes no part.

Source: dao2022flashattention, dao2023flashattention2
"""

import math
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from llmlib.checks import batched, readable
from llmlib.flash_attention import one_tile
from llmlib.flash_attention.differentiable import (
    differentiable_attention,
    differentiable_gradients,
    distinct,
)
from llmlib.flash_attention.inputs import USUAL_TILES, Options, TileSizes
from llmlib.flash_attention.scores import (
    Scores,
    has_nan,
    merge,
    product,
    reweigh,
    score_gradient,
    weigh,
)
from llmlib.flash_attention.strips import Mask, spans
from llmlib.flash_attention.workers import run_all
from llmlib.precision import autocasts, widened


class Workspace:
    """Buffers that a task uses again for each of its tiles."""

    def __init__(self, like: Tensor, n: int, scores: Scores) -> None:
        sizes, mask = scores.tiles, scores.mask
        room = min(sizes.queries, mask.seq_q) * min(sizes.keys, mask.seq_k)
        self.buffers = [widened(like.new_empty(0)).new_empty(room) for _ in range(n)]

    def views(self, rows: int, columns: int) -> list[Tensor]:
        """Each buffer as (rows, columns)."""
        return [buffer[: rows * columns].view(rows, columns) for buffer in self.buffers]


# --- forward ----------------------------------------------------------------------------------


def forward_head(
    q: Tensor, k: Tensor, v: Tensor, slope: float, scores: Scores, out: Tensor,
    lse: Tensor | None, careful: bool = False,
) -> None:  # fmt: skip
    """One head: (seq_q, d), (seq_k, d), (seq_k, d_v) -> out (seq_q, d_v) and lse (seq_q,)."""
    mask, workspace = scores.mask, Workspace(q, 1, scores)
    rows, columns, v_wide = widened(q) * scores.scale, widened(k).t(), widened(v)
    out[: mask.n_blind] = 0
    for first, last in spans(mask.n_blind, mask.seq_q, scores.tiles.queries):
        tiles, strip = list(mask.tiles(first, last, scores.tiles.keys)), out[first:last]
        single = len(tiles) == 1
        # One tile's average is the result: the product writes it where it belongs.
        target = strip if single and strip.dtype == rows.dtype and not careful else None
        average = total = None
        for start, end in tiles:
            (tile,) = workspace.views(last - first, end - start)
            torch.mm(rows[first:last], columns[:, start:end], out=tile)
            scores.finish(tile, slope, first, start, careful)
            part_lse = weigh(tile, careful, needs_lse=lse is not None or not single)
            part = product(tile, v_wide[start:end], careful, target)
            if average is None:
                average, total = part, part_lse
            else:
                average, total = merge(average, total, part, part_lse)
        assert average is not None  # blind queries are left out
        if target is None:
            strip.copy_(average)
        if lse is not None and total is not None:
            lse[first:last] = total
    if lse is not None:
        lse[: mask.n_blind] = -math.inf
    if not careful and has_nan(out):
        forward_head(q, k, v, slope, scores, out, lse, careful=True)


# --- backward ---------------------------------------------------------------------------------


def backward_group(
    q: Tensor, k: Tensor, v: Tensor, slopes: list[float], scores: Scores, out: Tensor, lse: Tensor,
    d_out: Tensor, d_lse: Tensor, dq: Tensor, dk: Tensor, dv: Tensor, careful: bool = False,
) -> None:  # fmt: skip
    """All query heads of one key/value head; q, out, ... have the heads in front."""
    work, k_wide, v_wide = Workspace(q, 2, scores), widened(k), widened(v)
    dk_wide, dv_wide = torch.zeros_like(k_wide), torch.zeros_like(v_wide)
    blind = scores.mask.n_blind
    dq[:, :blind] = 0
    for head, slope in enumerate(slopes):
        for first, last in spans(blind, scores.mask.seq_q, scores.tiles.queries):
            rows, d_rows = widened(q[head, first:last]) * scores.scale, d_out[head, first:last]
            d_rows = widened(d_rows)
            delta = (d_rows * out[head, first:last]).sum(-1) - d_lse[head, first:last]
            top = lse[head, first:last, None]
            d_query = torch.zeros_like(rows)
            for start, end in scores.mask.tiles(first, last, scores.tiles.keys):
                tile, d_tile = work.views(last - first, end - start)
                k_tile, v_tile = k_wide[start:end], v_wide[start:end]
                torch.mm(rows, k_tile.t(), out=tile)
                steepness = None if scores.softcap is None else scores.steepness(tile)
                weights = reweigh(scores.finish(tile, slope, first, start, careful), top)
                dv_wide[start:end].addmm_(weights.t(), d_rows)
                torch.mm(d_rows, v_tile.t(), out=d_tile)
                score_gradient(d_tile, weights, delta, steepness, careful)
                d_query += product(d_tile, k_tile, careful)
                dk_wide[start:end].addmm_(d_tile.t(), rows)
            dq[head, first:last] = d_query * scores.scale
    dk.copy_(dk_wide)
    dv.copy_(dv_wide)
    if not careful and has_nan(dq):
        backward_group(q, k, v, slopes, scores, out, lse, d_out, d_lse, dq, dk, dv, careful=True)


# --- all heads --------------------------------------------------------------------------------


def forward_heads(
    q: Tensor, k: Tensor, v: Tensor, slopes: Tensor | None, scores: Scores, needs_lse: bool
) -> tuple[Tensor, Tensor | None]:
    """Every head of every text; a query head reads the key/value head of its group."""
    group = q.shape[1] // k.shape[1]
    out = q.new_empty(*q.shape[:3], v.shape[-1])
    lse = widened(q.new_empty(0)).new_empty(q.shape[:3]) if needs_lse else None
    steep = _numbers(slopes, q)
    tasks = (
        partial(
            forward_head, q[b, h], k[b, h // group], v[b, h // group], steep[b][h], scores,
            out[b, h], None if lse is None else lse[b, h],
        )
        for b in range(q.shape[0]) for h in range(q.shape[1])
    )  # fmt: skip
    run_all(tasks, q.device.type == "cpu")
    return out, lse


def backward_heads(
    q: Tensor, k: Tensor, v: Tensor, slopes: Tensor | None, out: Tensor, lse: Tensor,
    d_out: Tensor, d_lse: Tensor, scores: Scores,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of q, k and v; one task for each key/value head."""
    group = q.shape[1] // k.shape[1]
    dq, dk, dv = (torch.empty_like(x) for x in (q, k, v))
    steep = _numbers(slopes, q)

    def task(b: int, g: int) -> None:
        own = slice(g * group, (g + 1) * group)
        backward_group(
            q[b, own], k[b, g], v[b, g], steep[b][own], scores, out[b, own], lse[b, own],
            d_out[b, own], d_lse[b, own], dq[b, own], dk[b, g], dv[b, g],
        )  # fmt: skip

    heads = [(b, g) for b in range(k.shape[0]) for g in range(k.shape[1])]
    run_all((partial(task, b, g) for b, g in heads), q.device.type == "cpu")
    return dq, dk, dv


def _numbers(slopes: Tensor | None, q: Tensor) -> list[list[float]]:
    """The slope of each head of each text, 0 where there is no ALiBi."""
    if slopes is None or not readable(slopes):
        return [[0.0 if slopes is None else 1.0] * q.shape[1]] * q.shape[0]
    numbers: list[list[float]] = slopes.tolist()
    return numbers


# --- the function and its gradient ------------------------------------------------------------


class BlockedAttention(torch.autograd.Function):
    """(out, lse) of all heads and their gradient, in many tiles or in one."""

    @staticmethod
    def forward(ctx, q, k, v, slopes, scores, fits):  # type: ignore[no-untyped-def]
        """slopes: (batch, heads) or None; fits: whether one tile holds all scores."""
        forward = one_tile.forward if fits else forward_heads
        out, lse = forward(q, k, v, slopes, scores, needs_lse=True)
        ctx.save_for_backward(q, k, v, slopes, out, lse)
        ctx.scores, ctx.fits = scores, fits
        return out, lse

    @staticmethod
    def backward(ctx, d_out, d_lse):  # type: ignore[no-untyped-def]
        """Tiles are computed again; in a function of its own, so that it has a gradient too."""
        given = (*ctx.saved_tensors, d_out, d_lse)
        if batched(d_out) or batched(d_lse):
            q, k, v, slopes = given[:4]
            found = differentiable_gradients(q, k, v, slopes, d_out, d_lse, ctx.scores)
            return *found, None, None, None
        return *BlockedGradient.apply(*given, ctx.scores, ctx.fits), None, None, None


class BlockedGradient(torch.autograd.Function):
    """(dq, dk, dv) by tiles; their own derivatives are those of the formula."""

    @staticmethod
    def forward(ctx, q, k, v, slopes, out, lse, d_out, d_lse, scores, fits):  # type: ignore[no-untyped-def]
        """As `BlockedAttention.forward`, and the gradients of its results."""
        ctx.save_for_backward(q, k, v, slopes, d_out, d_lse)
        ctx.scores = scores
        backward: Any = one_tile.backward if fits else backward_heads
        off = torch.autocast("cuda" if d_out.is_cuda else "cpu", enabled=False)
        with off:  # as the forward pass
            return backward(q, k, v, slopes, out, lse, d_out, d_lse, scores)

    @staticmethod
    def backward(ctx, *upstream):  # type: ignore[no-untyped-def]
        """Through the formula, which autograd can differentiate as often as it likes."""
        q, k, v, slopes, d_out, d_lse = ctx.saved_tensors
        keep = torch.is_grad_enabled()
        off = torch.autocast("cuda" if q.is_cuda else "cpu", enabled=False)
        with torch.enable_grad(), off:
            q, k, v, d_out, d_lse = given = [distinct(x) for x in (q, k, v, d_out, d_lse)]
            first = differentiable_gradients(q, k, v, slopes, d_out, d_lse, ctx.scores)
            dq, dk, dv, *d = torch.autograd.grad(first, given, upstream, create_graph=keep)
        return dq, dk, dv, None, None, None, *d, None, None


def blocked_attention(
    q: Tensor, k: Tensor, v: Tensor, slopes: Tensor | None, options: Options, needs_lse: bool,
    tiles: TileSizes = USUAL_TILES,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """Output and, if it is needed, the log-sum-exp; slopes are (batch, heads)."""
    if autocasts(q):
        with torch.autocast(q.device.type, enabled=False):
            return blocked_attention(q, k, v, slopes, options, needs_lse, tiles)
    mask = Mask(q.shape[2], k.shape[2], options.causal, options.window)
    scores = Scores(mask, options.scale, options.softcap, tiles)
    forward_mode = forward_ad._current_level >= 0 and has_tangent(q, k, v)
    if forward_mode or torch._C._are_functorch_transforms_active():
        return differentiable_attention(q, k, v, slopes, scores)
    fits = one_tile.fits(q, k, tiles.scores)
    if torch.is_grad_enabled() and (q.requires_grad or k.requires_grad or v.requires_grad):
        return BlockedAttention.apply(q, k, v, slopes, scores, fits)
    if fits and not needs_lse and slopes is None and options.softcap is None and mask.shows_all:
        out = one_tile.see_all(q, k, v, options.scale)
        if not has_nan(out):
            return out, None
    forward = one_tile.forward if fits else forward_heads
    return forward(q, k, v, slopes, scores, needs_lse)


def has_tangent(*tensors: Tensor) -> bool:
    """Whether forward-mode differentiation goes through one of the tensors."""
    return any(forward_ad.unpack_dual(x).tangent is not None for x in tensors)


def blocked_packed(
    q: Tensor, k: Tensor, v: Tensor, slopes: Tensor | None, options: Options,
    ends_q: list[int], ends_k: list[int], needs_lse: bool,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """Texts that lie end to end, one after the other: (heads, total, d), slopes (texts, heads)."""
    outs = [q.new_empty(1, len(q), 0, v.shape[-1])]  # all there is of no texts
    lses = [widened(q.new_empty(1, len(q), 0))]
    texts = zip(pairwise(ends_q), pairwise(ends_k), strict=True)
    for i, ((a, b), (c, d)) in enumerate(texts):
        text = (q[None, :, a:b], k[None, :, c:d], v[None, :, c:d])
        steep = None if slopes is None else slopes[i : i + 1]
        out, lse = blocked_attention(*text, steep, options, needs_lse)
        outs.append(out)
        lses += [] if lse is None else [lse]
    return torch.cat(outs, 2)[0], torch.cat(lses, 2)[0] if needs_lse else None
