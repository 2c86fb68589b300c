"""Flash attention where one tile holds the scores of all heads of a text.

Short texts, and one query against a cache: then all heads, of as many texts as fit, go through one
batched product. The formulas, and what is kept for the backward pass, are those of `blocked`. The
heads of a group become rows of one product with the keys they share.
"""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from llmlib.flash_attention.scores import (
    Scores,
    has_nan,
    product,
    reweigh,
    score_gradient,
    weigh,
)
from llmlib.flash_attention.strips import spans
from llmlib.flash_attention.workers import run_all
from llmlib.precision import widened

LEAST = 2**16  # scores that are worth a worker's start
PIECE = 512  # keys of a cache that are widened at a time


def fits(q: Tensor, k: Tensor, largest: int) -> bool:
    """Whether one tile of that many scores holds those of a text, and there are any."""
    return q.numel() > 0 and 0 < q.shape[1] * q.shape[2] * k.shape[2] <= largest


def texts_at_once(q: Tensor, k: Tensor, largest: int) -> Iterator[slice]:
    """The texts of a batch, shared out to the workers, no more at a time than one tile holds."""
    of_a_text = q.shape[1] * q.shape[2] * k.shape[2]
    share = max(-(-len(q) // torch.get_num_threads()), LEAST // of_a_text)
    at_once = max(min(share, largest // of_a_text), 1)
    return (slice(first, last) for first, last in spans(0, len(q), at_once))


def forward(
    q: Tensor, k: Tensor, v: Tensor, slopes: Tensor | None, scores: Scores, needs_lse: bool
) -> tuple[Tensor, Tensor | None]:
    """(batch, heads, seq_q, d), ... -> (batch, heads, seq_q, d_v) and, if needed, lse."""
    out = q.new_empty(*q.shape[:3], v.shape[-1])
    lse = widened(q.new_empty(0)).new_empty(q.shape[:3]) if needs_lse else None

    def task(some: slice) -> None:
        steep = None if slopes is None else slopes[some]
        out[some], own = forward_texts(q[some], k[some], v[some], steep, scores, needs_lse)
        if lse is not None and own is not None:
            lse[some] = own

    texts = texts_at_once(q, k, scores.tiles.scores)
    run_all((partial(task, some) for some in texts), q.device.type == "cpu")
    return out, lse


def backward(
    q: Tensor, k: Tensor, v: Tensor, slopes: Tensor | None, out: Tensor, lse: Tensor,
    d_out: Tensor, d_lse: Tensor, scores: Scores,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of q, k and v; tiles are computed again."""
    dq, dk, dv = (torch.empty_like(x) for x in (q, k, v))

    def task(some: slice) -> None:
        steep = None if slopes is None else slopes[some]
        dq[some], dk[some], dv[some] = backward_texts(
            q[some], k[some], v[some], steep, out[some], lse[some], d_out[some], d_lse[some],
            scores,
        )  # fmt: skip

    texts = texts_at_once(q, k, scores.tiles.scores)
    run_all((partial(task, some) for some in texts), q.device.type == "cpu")
    return dq, dk, dv


# --- the texts of one tile --------------------------------------------------------------------


def forward_texts(
    q: Tensor, k: Tensor, v: Tensor, slopes: Tensor | None, scores: Scores, needs_lse: bool,
    careful: bool = False,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """`forward` of texts that fit."""
    careful = careful or scores.mask.n_blind > 0
    rows, columns = by_key_head(widened(q), k) * scores.scale, widened(k).flatten(0, 1)
    tile = finished(torch.bmm(rows, columns.transpose(1, 2)), q, slopes, scores, careful)
    lse = weigh(tile, careful, needs_lse)
    out = product(tile, widened(v).flatten(0, 1), careful)
    if not careful and has_nan(out):
        return forward_texts(q, k, v, slopes, scores, needs_lse, careful=True)
    out = out.view(*q.shape[:3], v.shape[-1]).to(q.dtype)
    return out, None if lse is None else lse.view(q.shape[:3])


def backward_texts(
    q: Tensor, k: Tensor, v: Tensor, slopes: Tensor | None, out: Tensor, lse: Tensor,
    d_out: Tensor, d_lse: Tensor, scores: Scores, careful: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """`backward` of texts that fit."""
    careful = careful or scores.mask.n_blind > 0
    rows, columns = by_key_head(widened(q), k) * scores.scale, widened(k).flatten(0, 1)
    d_rows = by_key_head(widened(d_out), k)
    delta = (d_rows * by_key_head(out, k)).sum(-1) - d_lse.reshape(d_rows.shape[:2])
    tile = torch.bmm(rows, columns.transpose(1, 2))
    steepness = None if scores.softcap is None else scores.steepness(tile)
    tile = finished(tile, q, slopes, scores, careful)
    weights = reweigh(tile, lse.reshape(*d_rows.shape[:2], 1))
    dv = product(weights.transpose(1, 2), d_rows, careful)
    d_tile = torch.bmm(d_rows, widened(v).flatten(0, 1).transpose(1, 2))
    score_gradient(d_tile, weights, delta, steepness, careful)
    dq = product(d_tile, columns, careful) * scores.scale
    if not careful and has_nan(dq):
        return backward_texts(q, k, v, slopes, out, lse, d_out, d_lse, scores, careful=True)
    dk = product(d_tile.transpose(1, 2), rows, careful)
    return dq.view_as(q).to(q.dtype), dk.view_as(k).to(k.dtype), dv.view_as(v).to(v.dtype)


def see_all(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """softmax(q k^T * scale) v where every query sees every key: a decoder's step for one token."""
    rows, keys, values = by_key_head(widened(q), k), k.flatten(0, 1), v.flatten(0, 1)
    if k.element_size() < 4 and k.shape[2] > PIECE:
        out = _in_pieces(rows, keys, values, scale)
    else:
        weights = torch.bmm(rows, widened(keys).transpose(1, 2)).mul_(scale).softmax(-1)
        out = torch.bmm(weights, widened(values))
    return out.view(*q.shape[:3], v.shape[-1]).to(q.dtype)


def _in_pieces(rows: Tensor, keys: Tensor, values: Tensor, scale: float) -> Tensor:
    """The same over a long cache of 16-bit numbers, which would leave the core if widened whole."""
    pieces = [torch.bmm(rows, widened(part).transpose(1, 2)) for part in keys.split(PIECE, 1)]
    weights = torch.cat(pieces, -1).mul_(scale).softmax(-1)
    out = rows.new_zeros(*rows.shape[:2], values.shape[-1])
    for some, part in zip(weights.split(PIECE, -1), values.split(PIECE, 1), strict=True):
        out.baddbmm_(some, widened(part))
    return out


def by_key_head(x: Tensor, k: Tensor) -> Tensor:
    """(batch, heads, seq, d) -> (batch * kv_heads, group * seq, d)."""
    return x.reshape(k.shape[0] * k.shape[1], -1, x.shape[-1])


def finished(
    tile: Tensor, q: Tensor, slopes: Tensor | None, scores: Scores, careful: bool
) -> Tensor:
    """Scores from products, in place; slopes and mask go by head and query."""
    if slopes is not None or scores.softcap is not None or not scores.mask.shows_all:
        by_head = tile.view(*q.shape[:3], -1)
        scores.finish(by_head, 0.0 if slopes is None else slopes[..., None, None], 0, 0, careful)
    return tile
