"""The attention of `patterns`, computed without the full matrix of scores.

All of it is one loop: take some queries, take every key that any of them sees, attend between the
two under the pattern's rule. A part has a bounded number of scores, and there are as many parts as
the text has chunks: time and memory grow linearly in its length. NaN in a key that a part reads but
hides does spread, as in `llmlib.attention.attention`, which computes the parts unless
`with llmlib.attention.engine(...)` asks for another engine.
"""

from collections.abc import Iterable, Iterator, Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

from llmlib.attention.engines import attend
from llmlib.precision import without_autocast
from llmlib.shapes import Keys, Output, Queries, Values
from llmlib.sizes import check_sizes
from llmlib.sparse_attention.patterns import (
    bigbird_rows,
    check_blocks,
    check_positions,
    sink_rule,
    window_rule,
)

Rows = slice | Tensor  # positions along the sequence axis
Part = tuple[Rows, Rows, Bool[Tensor, "rows columns"] | None]

LEAST_CHUNK, MOST_CHUNK = 64, 512  # queries of a part: few parts, little work under the mask


def attend_in_parts(
    q: Queries, k: Keys, v: Values, parts: Iterable[Part], scale: float | None = None
) -> Output:
    """Attention of each part's queries over its keys under its mask; a row of no part is 0."""
    out = q.new_zeros(*q.shape[:3], v.shape[-1])
    for rows, columns, mask in parts:
        keys, values = k[:, :, columns], v[:, :, columns]
        out[:, :, rows] = attend(q[:, :, rows], keys, values, engine="sdpa", mask=mask, scale=scale)
    return out


@without_autocast
def sliding_window_attention(
    q: Queries,
    k: Keys,
    v: Values,
    *,
    window: int,
    causal: bool = False,
    dilation: int = 1,
    scale: float | None = None,
    chunk: int | None = None,
) -> Output:
    """Attention under `sliding_window_mask`: chunks of queries against the keys near them.

    Scores computed: about seq * (chunk + window), not seq * seq. With a dilation, positions of the
    same remainder see only each other: that many ordinary windows over every dilation-th token.

    Args:
        q, k, v: as for `llmlib.attention.reference_attention`, seq_q and seq_k may differ.
        window, causal, dilation: see `sliding_window_mask`.
        scale: of the scores; 1/sqrt(head_dim) if None.
        chunk: queries of a part; None lets the window decide.

    Raises:
        TypeError, ValueError: sizes that are not positive integers, shapes that do not fit.

    Source: beltagy2020longformer
    """
    check_sizes(window=window, dilation=dilation)
    parts = _window_parts(q, k.shape[2], window, causal, dilation, chunk)
    return attend_in_parts(q, k, v, parts, scale)


@without_autocast
def longformer_attention(
    q: Queries,
    k: Keys,
    v: Values,
    *,
    window: int,
    global_tokens: Sequence[int],
    global_qkv: tuple[Tensor, Tensor, Tensor] | None = None,
    causal: bool = False,
    dilation: int = 1,
    scale: float | None = None,
    chunk: int | None = None,
) -> Output:
    """Attention under `longformer_mask`; global queries may bring projections of their own.

    Args:
        q, k, v: of one text, seq_q = seq_k.
        window, global_tokens, causal, dilation: see `longformer_mask`.
        global_qkv: other queries, keys and values for the rows of the global tokens, the queries
            (batch, heads, len(global_tokens), head_dim); None takes them from q, k, v.
        scale: of the scores; 1/sqrt(head_dim) if None.
        chunk: queries of a part; None lets the window decide.

    Raises:
        TypeError, ValueError: as `longformer_mask`; seq_q and seq_k that differ.

    Source: beltagy2020longformer
    """
    check_sizes(window=window, dilation=dilation)
    _check_one_text(q, k)
    places = check_positions(global_tokens, q.shape[2])
    near = _window_parts(q, k.shape[2], window, causal, dilation, chunk)
    out = attend_in_parts(q, k, v, _with_columns(near, places, q, causal), scale)
    if places:
        chosen = torch.tensor(places, device=q.device)
        own = (q[:, :, chosen], k, v) if global_qkv is None else global_qkv
        everything = torch.arange(q.shape[2], device=q.device)
        mask = everything <= chosen[:, None] if causal else None
        seen = attend(*own, engine="sdpa", mask=mask, scale=scale)
        out[:, :, chosen] = seen.to(out.dtype)  # autocast has narrowed q, k and v alone
    return out


@without_autocast
def bigbird_attention(
    q: Queries,
    k: Keys,
    v: Values,
    *,
    window: int,
    n_global: int,
    n_random: int,
    block_size: int = 64,
    causal: bool = False,
    seed: int = 0,
    scale: float | None = None,
) -> Output:
    """Attention under `bigbird_mask`: each block of queries against the blocks it sees, gathered.

    Args:
        q, k, v: of one text, seq_q = seq_k, a multiple of block_size.
        window, n_global, n_random, block_size, causal, seed: see `bigbird_mask`.
        scale: of the scores; 1/sqrt(head_dim) if None.

    Raises:
        TypeError, ValueError: as `bigbird_mask`; seq_q and seq_k that differ.

    Source: zaheer2020bigbird
    """
    _check_one_text(q, k)
    n_blocks = check_blocks(q.shape[2], block_size)
    rows = bigbird_rows(n_blocks, window, n_global, n_random, causal=causal, seed=seed)

    def parts() -> Iterator[Part]:
        inside = torch.arange(block_size, device=q.device)
        for i, row in enumerate(rows):
            starts = torch.tensor(row, device=q.device) * block_size
            columns = (starts[:, None] + inside).flatten()
            queries = i * block_size + inside
            mask = columns <= queries[:, None] if causal else None
            yield slice(i * block_size, (i + 1) * block_size), columns, mask

    return attend_in_parts(q, k, v, parts(), scale)


@without_autocast
def sink_attention(
    q: Queries, k: Keys, v: Values, *, window: int, n_sinks: int, scale: float | None = None,
    chunk: int | None = None,
) -> Output:  # fmt: skip
    """Attention under `sink_mask`: a causal window, and the first n_sinks keys for every query.

    Args, Raises: as `sliding_window_attention` and `sink_mask`.

    Source: xiao2024sinks
    """
    check_sizes(window=window)
    check_sizes(least=0, n_sinks=n_sinks)
    seq_k = k.shape[2]
    offset = seq_k - q.shape[2]

    def parts() -> Iterator[Part]:
        for rows, columns, _ in _window_parts(q, seq_k, window, True, 1, chunk):
            queries, near = _positions(rows, columns, offset, q.device)
            sinks = torch.arange(min(n_sinks, columns.start), device=q.device)
            both = torch.cat([sinks, near])
            yield rows, both, sink_rule(queries[:, None], both, window, n_sinks)

    return attend_in_parts(q, k, v, parts(), scale)


# --- parts ------------------------------------------------------------------------------------


def _window_parts(
    q: Tensor, seq_k: int, window: int, causal: bool, dilation: int, chunk: int | None
) -> Iterator[tuple[slice, slice, Tensor]]:
    """Chunks of queries, the slice of keys that their windows cover, and the band between them."""
    seq_q, offset = q.shape[2], seq_k - q.shape[2]
    span = (window - 1) * dilation
    if chunk is None:
        chunk = min(max(window, LEAST_CHUNK), MOST_CHUNK)
    check_sizes(chunk=chunk)
    step = dilation * chunk
    for first in range(min(dilation, seq_q)):
        for start in range(first, seq_q, step):
            rows = slice(start, min(start + step, seq_q), dilation)
            last = range(seq_q)[rows][-1]
            low = start + offset - span
            low += max(0, -(low // dilation)) * dilation  # the first key of this remainder
            end = min(seq_k, last + offset + 1 + (0 if causal else span))
            if low < end:
                columns = slice(low, end, dilation)
                queries, keys = _positions(rows, columns, offset, q.device)
                mask = window_rule(queries[:, None], keys, window, causal, dilation)
                yield rows, columns, mask


def _positions(
    rows: slice, columns: slice, offset: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """The positions in the text of a part's queries and keys."""
    queries = torch.arange(rows.start, rows.stop, rows.step, device=device) + offset
    return queries, torch.arange(columns.start, columns.stop, columns.step, device=device)


def _with_columns(
    parts: Iterable[tuple[slice, slice, Tensor]], places: list[int], q: Tensor, causal: bool
) -> Iterator[Part]:
    """Each part with further keys that all queries see, but none of them twice."""
    extra = torch.tensor(places, device=q.device, dtype=torch.long)
    for rows, columns, mask in parts:
        queries, near = _positions(rows, columns, 0, q.device)
        mask = mask | torch.isin(near, extra)
        inside = range(columns.start, columns.stop, columns.step)  # numbers: fake tensors have none
        outside = [at for at in places if at not in inside]
        others = torch.tensor(outside, device=q.device, dtype=torch.long)
        both = torch.cat([near, others])
        mask = torch.cat([mask, mask.new_ones(len(queries), len(others))], dim=1)
        yield rows, both, mask & (both <= queries[:, None]) if causal else mask


def _check_one_text(q: Tensor, k: Tensor) -> None:
    if q.shape[2] != k.shape[2]:
        raise ValueError(f"q has {q.shape[2]} tokens, k {k.shape[2]}: expected as many")
