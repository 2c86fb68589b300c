"""Which tiles of the score matrix are visited, and which scores of a tile are hidden.

A strip is a run of queries of one head. It meets the keys that some query of it may see, a tile at
a time; keys that none of them may see are never read. All of that is arithmetic on positions: query
i stands at i + seq_k - seq_q among the keys, so the last query stands at the last key.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class Mask:
    """What hides keys from queries: the sizes, causality and the window."""

    seq_q: int
    seq_k: int
    causal: bool = False
    window: int | None = None
    patterns: dict[tuple[int, int, int], Tensor] = field(
        default_factory=dict, repr=False, compare=False
    )
    """Tiles of the mask seen so far: on a diagonal they repeat."""

    def position(self, i: int) -> int:
        """Where query i stands among the keys."""
        return i + self.seq_k - self.seq_q

    @property
    def n_blind(self) -> int:
        """How many queries see no key; they are the first ones, before all keys."""
        if self.seq_k == 0:
            return self.seq_q
        if self.causal:
            first = 0
        elif self.window is not None:
            first = 1 - self.window
        else:
            return 0
        return min(max(first - self.position(0), 0), self.seq_q)

    @property
    def shows_all(self) -> bool:
        """Whether every query sees every key, as a single query of a decoder does."""
        last = self.seq_k - 1  # where the last query stands
        ahead = self.seq_q - 1  # how far the last key lies ahead of the first query
        reach = self.window is None or max(last, ahead) < self.window
        return reach and not (self.causal and ahead > 0)

    def keys(self, first: int, last: int) -> tuple[int, int]:
        """The range of keys that some query of first .. last - 1 may see; empty if start >= end."""
        low, high = self.position(first), self.position(last - 1)
        start, end = 0, self.seq_k
        if self.window is not None:
            start = low - self.window + 1
            end = high + self.window
        if self.causal:
            end = high + 1
        return max(start, 0), min(end, self.seq_k)

    def tiles(self, first: int, last: int, length: int) -> Iterator[tuple[int, int]]:
        """The keys of a strip in equal parts of at most `length`.

        Equal parts, so that none is a narrow rest in which some query sees nothing.
        """
        start, end = self.keys(first, last)
        n = -(-(end - start) // length)
        for part in range(n):
            yield start + (end - start) * part // n, start + (end - start) * (part + 1) // n

    def hide(self, scores: Tensor, first: int, start: int, careful: bool = False) -> None:
        """Set what is hidden to -inf, in place.

        Args:
            scores: (..., queries from `first`, keys from `start`), and no key outside `keys`.
            careful: expect NaN and inf, which -inf cannot be added to.
        """
        rows, columns = scores.shape[-2:]
        low, high = self.position(first), self.position(first + rows - 1)
        for begin, end in self._edges(low - start, high - start, columns):
            hidden = self.pattern(rows, end - begin, low - start - begin, scores)
            if careful:
                scores[..., begin:end].masked_fill_(hidden != 0, -math.inf)
            else:
                scores[..., begin:end].add_(hidden)  # five times faster

    def _edges(self, low: int, high: int, columns: int) -> list[tuple[int, int]]:
        """The columns where some query of positions low .. high sees a key and some does not."""
        right, left = columns, 0  # hidden keys too far ahead, and too far behind
        if self.causal:
            right = low + 1
        elif self.window is not None:
            right = low + self.window
        if self.window is not None:
            left = high - self.window + 1
        right, left = min(max(right, 0), columns), min(max(left, 0), columns)
        if left >= right:
            return [(0, columns)]
        return [edge for edge in ((0, left), (right, columns)) if edge[0] < edge[1]]

    def pattern(self, rows: int, columns: int, offset: int, like: Tensor) -> Tensor:
        """(rows, columns): 0 where the key may be seen, else -inf; query 0 is at key `offset`."""
        known = self.patterns.get((rows, columns, offset))
        if known is not None:
            return known
        whole = torch.full((rows, columns), -math.inf, dtype=like.dtype, device=like.device)
        ahead = 1 if self.causal else self.window  # the first key ahead of a query that is hidden
        made = torch.zeros_like(whole)
        if ahead is not None:
            made = whole.triu(min(offset + ahead, columns))
        if self.window is not None:
            made += whole.tril(max(offset - self.window, -rows))
        if made.numel() <= 2**16:  # strips repeat; one large tile does not
            self.patterns[rows, columns, offset] = made
        return made


def spans(start: int, end: int, length: int) -> Iterator[tuple[int, int]]:
    """The ranges of at most `length` that cover start .. end."""
    for begin in range(start, end, length):
        yield begin, min(begin + length, end)
