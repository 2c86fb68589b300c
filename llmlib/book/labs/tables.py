"""The tables in which labs keep what their long runs gave: a row a run, a column a field."""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar, get_type_hints

Row = TypeVar("Row")


def write_rows(path: Path, kind: type[Row], rows: Iterable[Row], **formats: str) -> None:
    """Writes named tuples or dataclasses of one kind; `formats` holds those of its numbers."""
    names = list(get_type_hints(kind))
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, delimiter="\t", lineterminator="\n")
        table.writerow(names)
        for row in rows:
            table.writerow([format(getattr(row, name), formats.get(name, "")) for name in names])


def read_rows(path: Path, kind: type[Row]) -> list[Row]:
    """The rows of a table."""
    kinds = get_type_hints(kind)
    with path.open(encoding="utf-8", newline="") as file:
        table = csv.DictReader(file, delimiter="\t")
        return [kind(**{name: kinds[name](text) for name, text in row.items()}) for row in table]
