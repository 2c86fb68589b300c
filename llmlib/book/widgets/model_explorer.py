"""The kind of picture that sorts and filters a table, above it the same rows as points."""

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import traitlets

from llmlib.book.widgets.base import Choice, Real, StaticWidget, rounded, source, stops_of


@dataclass(frozen=True)
class Column:
    """One column: a text for each row and, where it can be a coordinate, numbers too."""

    label: str
    texts: Sequence[str]
    groups: Sequence[str]  # under which names the reader may ask for it
    values: Sequence[Real | None] | None = None  # what rows are sorted by; None: by the texts
    axis: str = ""  # label of an axis with these values; empty: not to be plotted
    log: bool = False  # whether that axis is logarithmic
    descending: bool = False  # which way the first click sorts
    searched: bool = False  # whether the search field looks into its texts
    prose: bool = False  # sentences, which may wrap

    def spec(self) -> dict[str, Any]:
        numbers = None if self.values is None else [_plain(x) for x in self.values]
        return {**vars(self), "groups": list(self.groups), "texts": list(self.texts),
                "values": numbers}  # fmt: skip


class ModelExplorer(StaticWidget):
    """A table with sortable columns, a filter, a search field, and a scatter plot of its rows.

    `at` holds the chosen option of the five selects (columns, rows, order, x, y), the column whose
    order is turned round (or -1), and the text of the search field.
    """

    kind = "model_explorer"
    _esm = source(kind)
    frames = traitlets.List().tag(sync=True)
    """Empty: the page itself sorts and filters what `spec` holds."""
    at = traitlets.List().tag(sync=True)
    _shared = ("spec", "alt", "frames", "at")

    @traitlets.validate("at")
    def _chosen(self, proposal: dict[str, Any]) -> list[Any]:
        controls, columns = self.spec["controls"], len(self.spec["columns"])
        if len(at := proposal["value"]) != len(controls) + 2:
            raise ValueError(f"at is {at}, expected {len(controls)} stops, a column and a text")
        *stops, turned, text = at
        if not isinstance(text, str):
            raise TypeError(f"at ends with {text!r}, expected what is searched for, a text")
        if not -1 <= turned < columns:
            raise ValueError(f"at: the turned column is {turned}, expected -1 to {columns - 1}")
        return [*stops_of(controls, stops), operator.index(turned), text]

    def __init__(
        self,
        *,
        names: Sequence[str],
        columns: Sequence[Column],
        filters: Mapping[str, Sequence[bool]],
        kinds: Mapping[str, Sequence[bool]],
        alt: str,
        start: Mapping[str, str],
    ) -> None:
        """The table's rows are `names`; every sequence of a column or filter is as long.

        Args:
            filters: option of the second select -> which rows it shows.
            kinds: label of a color -> which rows have it, six at most.
            start: what is chosen first: "columns", "order", "x" and "y".

        Raises: ValueError for sequences of another length, or an empty alt text.
        """
        super().__init__()
        if not alt.strip():
            raise ValueError("a widget needs an alt text")
        lengths = {column.label: len(column.texts) for column in columns}
        lengths |= {label: len(rows) for label, rows in {**filters, **kinds}.items()}
        for label, length in lengths.items():
            if length != len(names):
                raise ValueError(f"{label!r} has {length} rows, expected {len(names)}")
        groups = list(dict.fromkeys(group for column in columns for group in column.groups))
        axes = {column.axis: index for index, column in enumerate(columns) if column.axis}
        labels = [column.label for column in columns]
        controls = [
            Choice("columns", "columns", groups, groups.index(start["columns"])),
            Choice("rows", "cards", list(filters)),
            Choice("order", "sort by", labels, labels.index(start["order"])),
            Choice("x", "plot across", list(axes), list(axes).index(start["x"])),
            Choice("y", "plot upward", list(axes), list(axes).index(start["y"])),
        ]
        self.spec = {
            "names": list(names),
            "columns": [column.spec() for column in columns],
            "filters": [[int(shown) for shown in rows] for rows in filters.values()],
            "kinds": {label: [int(one) for one in rows] for label, rows in kinds.items()},
            "axes": list(axes.values()),
            "controls": [control.spec() for control in controls],
        }
        self.alt = alt
        self.at = [*(control.start for control in controls), -1, ""]


def _plain(value: Real | None) -> Real | None:
    """Four digits of a fraction; counts keep all of theirs."""
    short: Real | None = rounded(value)
    return short
