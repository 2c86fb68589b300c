"""Which part of the score matrix is worked on, and who works on it.

A strip is a run of queries of one head with all keys that any of them may see. Everything that
masks is arithmetic on positions: query i stands at p = i + seq_k - seq_q, and tiles that no query
of a strip may see are never visited.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Mask:
    """What hides keys from queries: the sizes, causality and the window."""

    seq_q: int
    seq_k: int
    causal: bool
    window: int | None

    def position(self, i: int) -> int:
        """Where query i stands among the keys; the last query stands at the last key."""
        return i + self.seq_k - self.seq_q

    def keys(self, first: int, last: int) -> tuple[int, int]:
        """The range of keys that some query of first .. last - 1 may see; empty if start >= end."""
        low, high = self.position(first), self.position(last - 1)
        start = 0 if self.window is None else low - self.window + 1
        end = self.seq_k
        if self.causal:
            end = high + 1
        elif self.window is not None:
            end = high + self.window
        return max(start, 0), min(end, self.seq_k)

    def hide(self, scores: Tensor, first: int, start: int) -> bool:
        """Set hidden scores of a tile to -inf, in place; returns whether any column was touched.

        scores: (queries from `first`, keys from `start`). Only columns that are hidden from some
        query are visited: on the diagonal, and at the window's edges.
        """
        rows, columns = scores.shape
        low, high = self.position(first), self.position(first + rows - 1)
        touched = False
        if self.causal or self.window is not None:  # the right edge: keys too far ahead
            reach = 0 if self.causal else (self.window or 1) - 1
            touched |= self._hide(scores, max(low + reach + 1 - start, 0), columns, first, start)
        if self.window is not None:  # the left edge: keys too far behind
            edge = min(max(high - self.window + 1 - start, 0), columns)
            touched |= self._hide(scores, 0, edge, first, start)
        return touched

    def _hide(self, scores: Tensor, begin: int, end: int, first: int, start: int) -> bool:
        if begin >= end:
            return False
        rows = torch.arange(len(scores), device=scores.device)[:, None] + self.position(first)
        behind = rows - torch.arange(start + begin, start + end, device=scores.device)
        hidden = behind < 0 if self.causal else behind <= -(self.window or 0)
        if self.window is not None:
            hidden = hidden | (behind >= self.window)
        scores[:, begin:end].masked_fill_(hidden, -torch.inf)
        return True


def strips(n: int, length: int) -> Iterator[tuple[int, int]]:
    """The ranges of at most `length` that cover 0 .. n."""
    for first in range(0, n, length):
        yield first, min(first + length, n)


def run_all(tasks: Iterable[Callable[[], None]]) -> None:
    """Run the tasks on as many Python threads as PyTorch has threads, one core each.

    Products release Python's lock. One thread for each task is several times faster on a busy
    machine than many small operations that all cores share, since those wait for the slowest.
    Threads live for this call only: nothing to inherit in a process that is forked.
    """
    waiting, n_threads = list(tasks), torch.get_num_threads()
    if n_threads == 1 or len(waiting) < n_threads:
        for task in waiting:
            task()
        return
    torch.set_num_threads(1)  # threads that start from now on take this over
    try:
        with ThreadPoolExecutor(n_threads) as pool:
            for done in [pool.submit(_without_graph, task) for task in waiting]:
                done.result()
    finally:
        torch.set_num_threads(n_threads)


def _without_graph(task: Callable[[], None]) -> None:
    """A thread starts with gradients recorded, whatever its caller does."""
    with torch.no_grad():
        task()
