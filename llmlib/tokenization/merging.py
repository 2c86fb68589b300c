"""Applying merges to one piece of text: the pair of lowest rank is joined first.

The plain way ranks all pairs anew for each merge. A merge changes only the pairs beside it, so a
short piece keeps the other ranks; a long one keeps them in a heap, which is n log n.
"""

import heapq
import sys
from collections.abc import Sequence
from itertools import pairwise

from llmlib.tokenization.learning import Pair

NEVER = sys.maxsize  # the rank of a pair that no merge joins
LONG = 50  # symbols; about where the heap begins to win

Ranks = dict[Pair, int]  # pair of ids -> rank of the merge that joins it


def reference_merge_by_rank(ids: list[int], ranks: Ranks, products: Sequence[int]) -> list[int]:
    """Joins the pair of lowest rank, the first of equals, until no merge applies.

    Args:
        ids: the piece, one id a character or byte.
        ranks: pair of ids -> rank; a lower rank was learned earlier and is applied earlier.
        products: rank -> id of the joined token.

    Source: sennrich2016bpe
    """
    ids = list(ids)
    while present := [ranks[pair] for pair in pairwise(ids) if pair in ranks]:
        rank = min(present)
        i = next(i for i, pair in enumerate(pairwise(ids)) if ranks.get(pair) == rank)
        ids[i : i + 2] = [products[rank]]
    return ids


def merge_by_rank(ids: list[int], ranks: Ranks, products: Sequence[int]) -> list[int]:
    """The ids of `reference_merge_by_rank`, found faster."""
    if len(ids) > LONG:
        return _merge_with_heap(ids, ranks, products)
    ids = list(ids)
    present = [ranks.get(pair, NEVER) for pair in pairwise(ids)]
    while present and (rank := min(present)) != NEVER:
        i = present.index(rank)
        ids[i : i + 2] = [products[rank]]
        del present[i]
        if i > 0:
            present[i - 1] = ranks.get((ids[i - 1], ids[i]), NEVER)
        if i < len(present):
            present[i] = ranks.get((ids[i], ids[i + 1]), NEVER)
    return ids


def _merge_with_heap(ids: list[int], ranks: Ranks, products: Sequence[int]) -> list[int]:
    """The same with a heap of (rank, place) over a linked list of symbols."""
    end = len(ids)
    ids = [*ids, -1]  # no merge joins -1: it ends the list, and marks what was absorbed
    before, after = list(range(-1, end)), list(range(1, end + 2))
    heap = [(ranks[pair], i) for i, pair in enumerate(pairwise(ids)) if pair in ranks]
    heapq.heapify(heap)
    while heap:
        rank, i = heapq.heappop(heap)
        j = after[i]
        if ranks.get((ids[i], ids[j])) != rank:
            continue  # out of date: one of the two was joined to another symbol since
        ids[i], ids[j] = products[rank], -1
        after[i] = after[j]
        before[after[i]] = i
        for k in (before[i], i):
            if k >= 0 and (pair := (ids[k], ids[after[k]])) in ranks:
                heapq.heappush(heap, (ranks[pair], k))
    return [token for token in ids if token != -1]
