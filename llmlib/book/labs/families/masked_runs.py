"""The guesses of `masked` after longer training than a page has time for, as a stored table.

python -m llmlib.book.labs.families.masked_runs 0 1 2     # these seeds, printed; about 5 minutes each
"""

import csv
import sys
from dataclasses import dataclass
from pathlib import Path

from llmlib.book.labs.families.masked import LIVE, study

FILE = Path(__file__).with_name("masked.tsv")
STEPS = (LIVE, 1200, 3600)


@dataclass(frozen=True)
class Run:
    """How one guesser did after so many steps: share of 2,000 hidden words, and nats a word."""

    guesser: str
    seed: int
    steps: int
    accuracy: float
    loss: float


def measured(seed: int, steps: int) -> list[Run]:
    """Train the three models once, and ask everybody."""
    found = study(seed, steps, n=2000)
    losses = found.losses()
    return [
        Run(name, seed, steps, round(share, 4), round(losses[name], 3))
        for name, share in found.accuracies().items()
    ]


def stored(file: Path = FILE) -> list[Run]:
    """The runs in the table."""
    with file.open(encoding="utf-8", newline="") as stream:
        return [
            Run(row["guesser"], int(row["seed"]), int(row["steps"]), float(row["accuracy"]),
                float(row["loss"]))
            for row in csv.DictReader(stream, delimiter="\t")
        ]  # fmt: skip


def main() -> None:
    for seed in map(int, sys.argv[1:]):
        for steps in STEPS:
            for run in measured(seed, steps):
                print(*vars(run).values(), sep="\t", flush=True)


if __name__ == "__main__":
    main()
