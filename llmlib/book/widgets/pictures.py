"""The kinds of picture: lines, bars, and a heat map with a cursor."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from llmlib.book.widgets.base import Choice, Explorer, Real, Slider, source


@dataclass(frozen=True)
class Series:
    """A line: with `y` it stands in every frame, without it the frame gives its values."""

    label: str
    color: int = 1
    dash: bool = False
    y: Sequence[Real | None] | None = None
    dots: bool = False
    """Draw points instead of a line, for measurements."""


@dataclass(frozen=True)
class Panel:
    """One set of axes; `x` for lines, `labels` for bars."""

    title: str
    y_label: str
    y_range: tuple[Real, Real]
    x: Sequence[Real] = ()
    x_label: str = ""
    series: Sequence[Series] = field(default_factory=tuple)
    labels: Sequence[str] = ()
    color: int = 1
    x_log: bool = False
    y_log: bool = False

    def spec(self) -> dict[str, Any]:
        return {**vars(self), "series": [vars(item) for item in self.series]}


class Lines(Explorer):
    """Curves in one or more panels.

    `frame` takes the value of each control by name and returns `series` (for each panel, the
    y values of each series that has none of its own; None leaves a gap), and optionally `marks`
    (for each panel, points `(x, y, text)`) and `note` (one sentence on this frame).
    """

    kind = "lines"
    _esm = source(kind)

    def __init__(
        self,
        *,
        controls: Sequence[Slider | Choice],
        panels: Sequence[Panel],
        frame: Callable[..., dict[str, Any]],
        alt: str,
    ) -> None:
        spec = [panel.spec() for panel in panels]
        super().__init__(controls=controls, frame=frame, alt=alt, panels=spec)
        free = [sum(item.y is None for item in panel.series) for panel in panels]
        for index, shown in enumerate(self.frames):
            if [len(lines) for lines in shown["series"]] != free:
                raise ValueError(
                    f"frame {index} has {[len(lines) for lines in shown['series']]} series "
                    f"in its panels, expected {free}"
                )


class Bars(Explorer):
    """Bar charts, one panel above the other; `frame` returns `values` for each, and `note`."""

    kind = "bars"
    _esm = source(kind)

    def __init__(
        self,
        *,
        controls: Sequence[Slider | Choice],
        panels: Sequence[Panel],
        frame: Callable[..., dict[str, Any]],
        alt: str,
    ) -> None:
        spec = [panel.spec() for panel in panels]
        super().__init__(controls=controls, frame=frame, alt=alt, panels=spec)
        sizes = [len(panel.labels) for panel in panels]
        for index, shown in enumerate(self.frames):
            if [len(row) for row in shown["values"]] != sizes:
                raise ValueError(
                    f"frame {index} has {[len(row) for row in shown['values']]} bars "
                    f"in its panels, expected {sizes}"
                )


class HeatMap(Explorer):
    """A matrix over (x, y), a cursor moved by two sliders, and the row through the cursor.

    `matrix` takes the choice's value and returns one row for each y.
    """

    kind = "heat_map"
    _esm = source(kind)

    def __init__(
        self,
        *,
        choice: Choice,
        x: Sequence[Real],
        y: Sequence[Real],
        x_label: str,
        y_label: str,
        value_label: str,
        matrix: Callable[[str], Sequence[Sequence[Real]]],
        start: tuple[int, int],
        alt: str,
    ) -> None:
        labels = {"x_label": x_label, "y_label": y_label, "value_label": value_label}
        spec = {"x": list(x), "y": list(y), **labels}

        def frame(**stop: str) -> dict[str, Any]:
            return {"matrix": matrix(stop[choice.name])}

        super().__init__(controls=[choice], frame=frame, alt=alt, **spec)
        for shown in self.frames:
            if len(shown["matrix"]) != len(y) or {len(row) for row in shown["matrix"]} != {len(x)}:
                raise ValueError(f"matrix: expected {len(y)} rows of {len(x)} numbers")
        sliders = [Slider("x", x_label, x, start[0]), Slider("y", y_label, y, start[1])]
        controls = [*self.spec["controls"], *(slider.spec() for slider in sliders)]
        self.spec = {**self.spec, "controls": controls}
        self.at = [*self.at, *start]
