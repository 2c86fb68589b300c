"""Which query may attend to which key: one rule a pattern, as a mask and as a count of pairs.

Masks are dense, to look at and to test with: they hold seq * seq booleans, True = may attend.
`llmlib.sparse_attention.computation` uses the rules without building them.
"""

import random
from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from llmlib.attention import visible_after
from llmlib.sizes import check_integer, check_sizes

# --- sliding window ---------------------------------------------------------------------------


def window_rule(
    queries: Int[Tensor, "..."],
    keys: Int[Tensor, "..."],
    window: int,
    causal: bool,
    dilation: int,
) -> Bool[Tensor, "..."]:
    """Whether the query at one position sees the key at another; the positions broadcast."""
    after = queries - keys
    visible = visible_after(after, causal=causal, window=window * dilation)
    return visible & (after % dilation == 0)


def sliding_window_mask(
    seq: int,
    window: int,
    *,
    causal: bool = False,
    dilation: int = 1,
    seq_k: int | None = None,
) -> Bool[Tensor, "seq seq_k"]:
    """The band mask: each query sees the window keys up to itself, or that many on both sides.

    Causal: keys p, p - dilation, ..., p - (window - 1) * dilation of the query's position p.
    Otherwise the same steps forward as well: |p - j| < window * dilation, in steps of dilation.

    Args:
        seq: number of queries.
        window: keys a query sees on one side, itself included.
        causal: whether only keys up to the query's own position.
        dilation: the step from one visible key to the next; 1 leaves none out.
        seq_k: number of keys; seq if None. The last query stands at the last key.

    Raises:
        TypeError, ValueError: sizes that are not positive integers.

    Source: beltagy2020longformer
    """
    seq_k = seq if seq_k is None else seq_k
    check_sizes(seq=seq, window=window, dilation=dilation, seq_k=seq_k)
    positions = torch.arange(seq) + (seq_k - seq)
    return window_rule(positions[:, None], torch.arange(seq_k), window, causal, dilation)


def sliding_window_pairs(seq: int, window: int, *, causal: bool = False, dilation: int = 1) -> int:
    """Visible pairs of `sliding_window_mask`, without the mask.

    A distance of m steps occurs seq - m * dilation times, so that m = 0 .. w - 1 sum to
    w * seq - dilation * w (w - 1) / 2, with w = window or what fits; without causal twice that,
    and the diagonal once.
    """
    check_sizes(seq=seq, window=window, dilation=dilation)
    w = min(window, -(-seq // dilation))
    one_side = w * seq - dilation * (w * (w - 1) // 2)
    return one_side if causal else 2 * one_side - seq


# --- Longformer: a window and global tokens -----------------------------------------------------


def longformer_mask(
    seq: int,
    window: int,
    global_tokens: Sequence[int],
    *,
    causal: bool = False,
    dilation: int = 1,
) -> Bool[Tensor, "seq seq"]:
    """Longformer's mask: a sliding window; global tokens see every token and are seen by every one.

    Symmetric; causal keeps its lower triangle, where a global token sees what stands before it.

    Args:
        seq, window, dilation: see `sliding_window_mask`.
        global_tokens: their positions, 0 .. seq - 1.

    Raises:
        TypeError, ValueError: sizes that are not positive integers, a position outside the text.

    Source: beltagy2020longformer
    """
    mask = sliding_window_mask(seq, window, causal=causal, dilation=dilation)
    chosen = check_positions(global_tokens, seq)
    mask[chosen] = True
    mask[:, chosen] = True
    return mask.tril() if causal else mask


def longformer_pairs(
    seq: int,
    window: int,
    global_tokens: Sequence[int],
    *,
    causal: bool = False,
    dilation: int = 1,
) -> int:
    """Visible pairs of `longformer_mask`, without the mask.

    The window's pairs, plus the pairs that touch a global token, n^2 - (n - g)^2 of them (causal:
    n (n + 1) / 2 - (n - g) (n - g + 1) / 2), less those that are both.
    """
    chosen = check_positions(global_tokens, seq)
    n, rest = seq, seq - len(chosen)
    touching = n * (n + 1) // 2 - rest * (rest + 1) // 2 if causal else n * n - rest * rest
    both = 0
    for token in chosen:
        back = min(window - 1, token // dilation)
        ahead = min(window - 1, (seq - 1 - token) // dilation)
        # As a query it sees `back` keys behind it, as a key `ahead` queries see it; itself once.
        both += back + ahead + 1 if causal else 2 * (back + ahead) + 1
    at = torch.tensor(chosen, dtype=torch.long)
    among = window_rule(at[:, None], at, window, causal, dilation).fill_diagonal_(False)
    counted_twice = int(among.sum())
    return (
        sliding_window_pairs(seq, window, causal=causal, dilation=dilation)
        + touching
        - (both - counted_twice)
    )


# --- BigBird: a window, global tokens and random ones -------------------------------------------


def bigbird_rows(
    n: int, window: int, n_global: int, n_random: int, *, causal: bool = False, seed: int = 0
) -> list[list[int]]:
    """What each of n blocks (or tokens) sees, in order: the one source of mask and computation.

    The first n_global see all and are seen by all. Each other one draws n_random of those that
    neither window nor globals show it, or takes them all where there are fewer.
    """
    check_sizes(n=n, window=window)
    check_sizes(least=0, n_global=n_global, n_random=n_random)
    generator, rows = random.Random(seed), []
    for i in range(n):
        end = i + 1 if causal else n
        if i < n_global:
            rows.append(list(range(end)))
            continue
        seen = _seen_without_random(i, end, window, n_global)
        unseen = end - len(seen)
        ranks = generator.sample(range(unseen), min(n_random, unseen))
        rows.append(sorted([*seen, *_of_ranks(ranks, seen)]))
    return rows


def _seen_without_random(i: int, end: int, window: int, n_global: int) -> list[int]:
    near = range(max(0, i - window + 1), min(end, i + window))
    return [*range(min(n_global, near.start)), *near]


def _of_ranks(ranks: Iterable[int], seen: list[int]) -> list[int]:
    """The ranks-th of the numbers 0, 1, 2, ... that are not in the sorted list `seen`."""
    found = []
    for rank in ranks:
        for taken in seen:
            rank += taken <= rank
        found.append(rank)
    return found


def bigbird_mask(
    seq: int,
    window: int,
    n_global: int,
    n_random: int,
    *,
    block_size: int = 1,
    causal: bool = False,
    seed: int = 0,
) -> Bool[Tensor, "seq seq"]:
    """BigBird's mask: a sliding window, global tokens at the start, and random keys.

    With blocks, whole blocks of keys are visible to whole blocks of queries, and window, n_global
    and n_random count blocks; that is how it is computed. Random keys are drawn once, from the
    seed, among those that a query does not see anyway: the number of pairs does not depend on it.

    Args:
        seq: tokens, a multiple of block_size.
        window: see `sliding_window_mask`.
        n_global: the first n_global see all and are seen by all.
        n_random: further keys of each query that is not global.
        block_size: tokens of a block.
        causal: whether only keys up to the query's own position.
        seed: of the random keys.

    Raises:
        TypeError, ValueError: sizes that are no integers or too small, a seq that is no multiple.

    Source: zaheer2020bigbird
    """
    n_blocks = check_blocks(seq, block_size)
    blocks = torch.zeros(n_blocks, n_blocks, dtype=torch.bool)
    rows = bigbird_rows(n_blocks, window, n_global, n_random, causal=causal, seed=seed)
    for i, row in enumerate(rows):
        blocks[i, row] = True
    mask = blocks.repeat_interleave(block_size, 0).repeat_interleave(block_size, 1)
    return mask.tril() if causal else mask


def bigbird_pairs(
    seq: int,
    window: int,
    n_global: int,
    n_random: int,
    *,
    block_size: int = 1,
    causal: bool = False,
) -> int:
    """Visible pairs of `bigbird_mask`, without drawing one: the same for every seed.

    A row of blocks sees its window, the globals outside it, and n_random of the rest or all of it.
    """
    n_blocks = check_blocks(seq, block_size)
    check_sizes(window=window)
    check_sizes(least=0, n_global=n_global, n_random=n_random)
    total = 0
    for i in range(n_blocks):
        end = i + 1 if causal else n_blocks
        first = max(0, i - window + 1)
        seen = min(end, i + window) - first + min(n_global, first)
        total += end if i < n_global else min(end, seen + n_random)
    hidden = n_blocks * block_size * (block_size - 1) // 2 if causal else 0
    return total * block_size**2 - hidden


# --- attention sinks ----------------------------------------------------------------------------


def sink_rule(
    queries: Int[Tensor, "..."], keys: Int[Tensor, "..."], window: int, n_sinks: int
) -> Bool[Tensor, "..."]:
    """Whether a query sees a key: within its causal window, or among the first n_sinks.

    These are tokens; gpt-oss's sinks, a learned logit of each head, are `reference_attention`'s.
    """
    near = window_rule(queries, keys, window, True, 1)
    return near | ((keys < n_sinks) & (keys <= queries))


def sink_mask(
    seq: int, window: int, n_sinks: int, *, seq_k: int | None = None
) -> Bool[Tensor, "seq seq_k"]:
    """StreamingLLM's mask: a causal window, and the first n_sinks tokens for every query.

    Args:
        seq, window, seq_k: see `sliding_window_mask`.
        n_sinks: tokens at the start that stay visible; 0 is a plain window.

    Raises:
        TypeError, ValueError: sizes that are no integers or too small.

    Source: xiao2024sinks
    """
    seq_k = seq if seq_k is None else seq_k
    check_sizes(seq=seq, window=window, seq_k=seq_k)
    check_sizes(least=0, n_sinks=n_sinks)
    positions = torch.arange(seq) + (seq_k - seq)
    return sink_rule(positions[:, None], torch.arange(seq_k), window, n_sinks)


# --- shared by the functions above --------------------------------------------------------------


def check_positions(positions: Sequence[int], seq: int) -> list[int]:
    """The positions, each once and in order; ValueError for one outside 0 .. seq - 1."""
    for i, at in enumerate(positions):
        check_integer(f"global token {i}", at)
        if not 0 <= at < seq:
            raise ValueError(f"global token at {at}, expected a position 0 .. {seq - 1}")
    return sorted(set(positions))


def check_blocks(seq: int, block_size: int) -> int:
    """How many blocks the text has; ValueError unless it is a whole number."""
    check_sizes(seq=seq, block_size=block_size)
    if seq % block_size:
        raise ValueError(f"seq is {seq}, expected a multiple of block_size {block_size}")
    return seq // block_size
