"""Published sizes of named language models from 2018 to 2026, each row with its source.

The data lie in timeline.tsv beside this file: parameters and training tokens in billions (10^9), an
empty field where nothing was published. "open weights" means that the public can get the weights,
whatever the licence: it does not say that data or training code are open.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

_NUMBERS = ("parameters", "active", "tokens")
_FILE = Path(__file__).with_name("timeline.tsv")


@dataclass(frozen=True)
class Release:
    """One row: a model as its source describes it."""

    name: str
    date: str  # "2020-05": the month of the paper or of the release, whichever came first
    organization: str
    family: str  # decoder, encoder, encoder-decoder, unpublished
    parameters: float | None  # billions, all of them; None: not published
    active: float | None  # billions that a token passes, of a mixture of experts; None: all
    tokens: float | None  # billions seen in training, repeated ones too; None: not published
    openness: str  # open weights, closed
    source: str  # key in references.bib

    @property
    def time(self) -> float:
        """The middle of the month, in years."""
        year, month = self.date.split("-")
        return int(year) + (int(month) - 0.5) / 12

    @property
    def training_flops(self) -> float | None:
        """6 N D, in a mixture of experts with the N that a token passes; None: not published."""
        if self.parameters is None or self.tokens is None:
            return None
        return 6 * (self.active or self.parameters) * 1e9 * self.tokens * 1e9


def read_timeline() -> list[Release]:
    """All rows, oldest first."""
    with _FILE.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t"))
    return sorted((_release(row) for row in rows), key=lambda release: release.date)


def release(name: str) -> Release:
    """The row of one model.

    Raises: ValueError for a name that is not in the table.
    """
    rows = {row.name: row for row in read_timeline()}
    if name not in rows:
        raise ValueError(f"no row for {name!r}; there are {', '.join(rows)}")
    return rows[name]


def _release(row: dict[str, str]) -> Release:
    number = {key: float(row[key]) if row[key] else None for key in _NUMBERS}
    text = {key: row[key] for key in ("name", "date", "organization", "family", "openness")}
    return Release(**text, **number, source=row["source"])  # type: ignore[arg-type]
