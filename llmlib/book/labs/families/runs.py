"""Trainings that a page has no time for, as two stored tables, and what measured them.

    python -m llmlib.book.labs.families.runs masked 0 1 2     # these seeds: some ten minutes
    python -m llmlib.book.labs.families.runs dates 0 1 2      # two minutes

Each prints the rows of its table.
"""

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmlib.book.labs.families import dates, masked
from llmlib.book.labs.tables import read_rows

FOLDER = Path(__file__).parent
STEPS = (masked.LIVE, 1200, 3600)
MODELS = {
    "two stacks": dates.two_stacks(),
    "one stack, two blocks": dates.one_stack(2),
    "one stack, one block": dates.one_stack(1),
}


@dataclass(frozen=True)
class MaskedRun:
    """How a guesser did after so many steps: share of 2,000 hidden words, and nats a word.

    The loss is not a number where a guesser gives some words no probability at all.
    """

    guesser: str
    seed: int
    steps: int
    accuracy: float
    loss: float


@dataclass(frozen=True)
class DatesRun:
    """How a model did on 1,000 dates that it has not met: share with all ten characters right."""

    model: str
    seed: int
    weights: int
    exact: float


def masked_runs(seed: int) -> Iterator[MaskedRun]:
    """Train the three models of `masked` for each number of steps, and ask everybody."""
    for steps in STEPS:
        found = masked.study(seed, steps, n=2000)
        losses = found.losses()
        for name, share in found.accuracies().items():
            loss = losses[name] if math.isfinite(losses[name]) else math.nan
            yield MaskedRun(name, seed, steps, round(share, 4), round(loss, 3))


def dates_runs(seed: int) -> Iterator[DatesRun]:
    """Train the encoder-decoder of `dates` and its two rivals."""
    for name, config in MODELS.items():
        model = dates.trained(config, seed)
        weights = sum(p.numel() for p in model.parameters())
        yield DatesRun(name, seed, weights, round(dates.exact(model, 1000), 4))


def stored_masked() -> list[MaskedRun]:
    """The rows of masked.tsv."""
    return read_rows(FOLDER / "masked.tsv", MaskedRun)


def stored_dates() -> list[DatesRun]:
    """The rows of dates.tsv."""
    return read_rows(FOLDER / "dates.tsv", DatesRun)


def main() -> None:
    kind, *seeds = sys.argv[1:]
    runs: Any = {"masked": masked_runs, "dates": dates_runs}[kind]
    for seed in map(int, seeds):
        for run in runs(seed):
            print(*vars(run).values(), sep="\t", flush=True)


if __name__ == "__main__":
    main()
