"""Flash attention in plain PyTorch, for any device: tiles of scores, never the matrix.

Forward: a strip of queries meets its keys tile by tile. Each tile's softmax is taken by itself and
the tiles are merged with their log-sum-exp, which is exact. Backward: the tiles are computed again
from q, k and the stored log-sum-exp; only vectors as long as the text are kept in between.

    P = exp(S - lse)   dV = P^T dO   dS = P * (dO V^T - delta)   delta = rowsum(dO * O)

Source: dao2022flashattention, dao2023flashattention2
"""

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from llmlib.flash_attention.strips import Mask, run_all, strips

QUERIES, KEYS = 128, 4096  # of a tile: its scores stay in a core's cache


@dataclass(frozen=True)
class Scores:
    """How scores come from products: scale, then cap, then ALiBi's slope; then the mask."""

    mask: Mask
    scale: float
    softcap: float | None = None

    def tile(
        self, q: Tensor, k: Tensor, slope: float, first: int, start: int, out: Tensor
    ) -> tuple[Tensor, bool]:
        """Scores of queries from `first` and keys from `start`, and whether a key may be hidden."""
        scores = torch.mm(q, k.t(), out=out)
        if self.softcap is not None:
            scores.div_(self.softcap).tanh_().mul_(self.softcap)
        if slope:
            scores.sub_(slope * self.distance(scores, first, start))
        return scores, self.mask.hide(scores, first, start)

    def distance(self, scores: Tensor, first: int, start: int) -> Tensor:
        """|p - j|, in the type of the scores."""
        kind = {"dtype": scores.dtype, "device": scores.device}
        rows = torch.arange(len(scores), **kind)[:, None] + self.mask.position(first)
        return (rows - torch.arange(start, start + scores.shape[1], **kind)).abs_()


class Workspace:
    """Buffers that a task uses again for each of its tiles."""

    def __init__(self, like: Tensor, n: int, mask: Mask) -> None:
        room = min(QUERIES, mask.seq_q) * min(KEYS, mask.seq_k)
        self.buffers = [like.new_empty(room, dtype=wide_type(like)) for _ in range(n)]

    def views(self, rows: int, columns: int) -> list[Tensor]:
        """Each buffer as (rows, columns)."""
        return [buffer[: rows * columns].view(rows, columns) for buffer in self.buffers]


def wide_type(x: Tensor) -> torch.dtype:
    """The type to compute in: float32 for anything narrower."""
    return torch.float32 if x.element_size() < 4 else x.dtype


# --- forward ----------------------------------------------------------------------------------


def forward_head(
    q: Tensor, k: Tensor, v: Tensor, slope: float, scores: Scores, out: Tensor, lse: Tensor
) -> None:
    """One head: (seq_q, d), (seq_k, d), (seq_k, d_v) -> out (seq_q, d_v) and lse (seq_q,)."""
    mask, kind = scores.mask, wide_type(q)
    work, clean = Workspace(q, 2, mask), bool(v.isfinite().all())
    for first, last in strips(mask.seq_q, QUERIES):
        rows = q[first:last].to(kind) * scores.scale
        start, end = mask.keys(first, last)
        total = mixed = None
        for begin in range(start, end, KEYS):
            keys = slice(begin, min(begin + KEYS, end))
            tile, weights = work.views(last - first, keys.stop - begin)
            _, hidden = scores.tile(rows, k[keys].to(kind), slope, first, begin, tile)
            torch.softmax(tile, -1, out=weights)
            top = tile.amax(-1)
            part = top - weights.amax(-1).log()  # log-sum-exp: the largest weight is exp(top - lse)
            if hidden and bool((empty := top == -math.inf).any()):
                weights.masked_fill_(empty[:, None], 0)
                part.masked_fill_(empty, -math.inf)
            values = average(weights, v[keys].to(kind), clean)
            total, mixed = (part, values) if total is None else merge(total, mixed, part, values)
        out[first:last] = 0 if mixed is None else mixed
        lse[first:last] = -math.inf if total is None else total


def average(weights: Tensor, values: Tensor, clean: bool) -> Tensor:
    """weights @ values, where a weight of 0 takes nothing, not even from NaN or inf."""
    if clean:
        return weights @ values
    good = values.isfinite()
    bad = (~good.all(-1)).nonzero()[:, 0]
    out = weights @ values.where(good, 0)
    for j in bad.tolist():
        wrong = values[j].where(~good[j], 0)
        out += (weights[:, j, None] * wrong).where(weights[:, j, None] != 0, 0)
    return out


def merge(lse_a: Tensor, a: Tensor, lse_b: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Two averages over separate keys as one over all of them, and its log-sum-exp."""
    both = torch.logaddexp(lse_a, lse_b)
    safe = both.masked_fill(both == -math.inf, 0)
    share_a, share_b = (lse_a - safe).exp()[:, None], (lse_b - safe).exp()[:, None]
    return both, a * share_a + b * share_b


# --- backward ---------------------------------------------------------------------------------


def backward_group(
    q: Tensor, k: Tensor, v: Tensor, slopes: list[float], scores: Scores, out: Tensor, lse: Tensor,
    d_out: Tensor, d_lse: Tensor, dq: Tensor, dk: Tensor, dv: Tensor,
) -> None:  # fmt: skip
    """All query heads of one key/value head; q, out, ... have the heads in front."""
    mask, kind = scores.mask, wide_type(q)
    work = Workspace(q, 2, mask)
    dk_wide, dv_wide = (x.new_zeros(x.shape, dtype=kind) for x in (dk, dv))
    for head, slope in enumerate(slopes):
        for first, last in strips(mask.seq_q, QUERIES):
            rows, d_rows = q[head, first:last].to(kind) * scores.scale, d_out[head, first:last]
            d_rows = d_rows.to(kind)
            delta = (d_rows * out[head, first:last]).sum(-1) - d_lse[head, first:last]
            top = lse[head, first:last, None]
            top = top.masked_fill(top == -math.inf, math.inf)  # rows without a key: all weights 0
            d_query = torch.zeros_like(rows)
            start, end = mask.keys(first, last)
            for begin in range(start, end, KEYS):
                keys = slice(begin, min(begin + KEYS, end))
                tile, d_tile = work.views(last - first, keys.stop - begin)
                k_tile, v_tile = k[keys].to(kind), v[keys].to(kind)
                scores.tile(rows, k_tile, slope, first, begin, tile)
                capped = None if scores.softcap is None else capped_slope(scores, rows, k_tile)
                weights = tile.sub_(top).exp_()
                dv_wide[keys].addmm_(weights.t(), d_rows)
                torch.mm(d_rows, v_tile.t(), out=d_tile)
                d_tile.sub_(delta[:, None]).mul_(weights)
                if capped is not None:
                    d_tile.mul_(capped)
                d_query.addmm_(d_tile, k_tile)
                dk_wide[keys].addmm_(d_tile.t(), rows)
            dq[head, first:last] = d_query * scores.scale
    dk.copy_(dk_wide)
    dv.copy_(dv_wide)


def capped_slope(scores: Scores, rows: Tensor, k: Tensor) -> Tensor:
    """The derivative of cap * tanh(s / cap): 1 - tanh^2."""
    return 1 - (rows @ k.t() / scores.softcap).tanh().square()


class BlockedAttention(torch.autograd.Function):
    """Attention of (batch, heads, seq, d) and its gradient, head by head; returns (out, lse)."""

    @staticmethod
    def forward(ctx, q, k, v, slopes, scores):  # type: ignore[no-untyped-def, override]
        """slopes: (batch, heads) on the CPU, zeros for none."""
        batch, heads, seq_q, _ = q.shape
        group = heads // k.shape[1]
        out = q.new_empty(batch, heads, seq_q, v.shape[-1])
        lse = q.new_empty(batch, heads, seq_q, dtype=wide_type(q))
        run_all(
            partial(forward_head, q[b, h], k[b, h // group], v[b, h // group],
                    float(slopes[b, h]), scores, out[b, h], lse[b, h])
            for b in range(batch) for h in range(heads)
        )  # fmt: skip
        ctx.save_for_backward(q, k, v, slopes, out, lse)
        ctx.scores = scores
        return out, lse

    @staticmethod
    def backward(ctx, d_out, d_lse):  # type: ignore[no-untyped-def, override]
        """The tiles are computed again."""
        q, k, v, slopes, out, lse = ctx.saved_tensors
        group = q.shape[1] // k.shape[1]
        dq, dk, dv = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)

        def task(b: int, g: int) -> None:
            own = slice(g * group, (g + 1) * group)
            backward_group(
                q[b, own], k[b, g], v[b, g], slopes[b, own].tolist(), ctx.scores, out[b, own],
                lse[b, own], d_out[b, own], d_lse[b, own], dq[b, own], dk[b, g], dv[b, g],
            )  # fmt: skip

        run_all(partial(task, b, g) for b in range(len(q)) for g in range(k.shape[1]))
        return dq, dk, dv, None, None
