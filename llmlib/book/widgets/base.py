"""The widget base: one ES module for a live kernel (anywidget) and for a static page."""

import html
import itertools
import json
import math
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from llmlib.book.digits import to_significant, without_residue

FOLDER = Path(__file__).parent
STYLE = FOLDER.parent / "style.css"
_NUMBERS_LIMIT = 60_000
_PARTS = {"calculator": ("calculator_formulas", "calculator_picture")}
"""Modules that are too long for one file, and what stands before their own."""
_CALCULATOR = r'data-kind="calculator"><p>[^<]*</p><script type="application/json">(.*?)</script>'

Real = int | float
"""Said in full, since the tests check types at run time and an int is no float there."""


@dataclass(frozen=True)
class Slider:
    """A control with ordered stops; `start` is the index of the first one shown."""

    name: str
    label: str
    values: Sequence[Real]
    start: int = 0
    labels: Sequence[str] | None = None

    def spec(self) -> dict[str, Any]:
        shown = self.labels or [f"{value:g}".replace("-", "−") for value in self.values]
        return {"kind": "slider", "label": self.label, "labels": list(shown)}


@dataclass(frozen=True)
class Choice:
    """A control with named options."""

    name: str
    label: str
    values: Sequence[str]
    start: int = 0

    def spec(self) -> dict[str, Any]:
        return {"kind": "choice", "label": self.label, "labels": list(self.values)}


def source(kind: str) -> str:
    """The ES module of one kind of picture, with the drawing functions that all kinds share."""
    return (FOLDER / "draw.js").read_text(encoding="utf-8") + "\n" + own(kind)


def own(kind: str) -> str:
    """What `source` has beside the shared functions."""
    names = (*_PARTS.get(kind, ()), kind)
    return "\n".join((FOLDER / f"{name}.js").read_text(encoding="utf-8") for name in names)


def static_script() -> str:
    """The script that runs every widget of a static page: all kinds of picture and their host.

    Each module becomes a function that returns what the module exports: a page whose server allows
    scripts of its own alone runs them, which it would not do with a module made on the spot.
    """
    no_kinds = {"draw", "host", *(name for names in _PARTS.values() for name in names)}
    kinds = sorted({file.stem for file in FOLDER.glob("*.js")} - no_kinds)
    export = re.compile(r"^export default ", re.M)
    bodies = [
        f"{json.dumps(kind)}: () => {{\n{export.sub('return ', own(kind))}\n}}" for kind in kinds
    ]
    host = (FOLDER / "host.js").read_text(encoding="utf-8")
    draw = (FOLDER / "draw.js").read_text(encoding="utf-8")
    modules = ",\n".join(bodies)
    return f"(() => {{\n{draw}\nconst KINDS = {{\n{modules}\n}};\n{host}}})();\n"


def formula_script(pages_body: str) -> str:
    """The formulas of a page's calculators as functions, so that the page need not make them.

    Empty for a page without a calculator.
    """
    functions = {}
    for state in re.findall(_CALCULATOR, pages_body, re.S):
        spec = json.loads(state)["spec"]
        for name in ("values", "sizes", "follows", "conditions"):
            functions[fingerprint(spec[name])] = f"function (given) {{\n{spec[name]}\n}}"
    if not functions:
        return ""
    pairs = ",\n".join(f"{json.dumps(key)}: {code}" for key, code in functions.items())
    return f"globalThis.LM_FORMULAS = {{\n{pairs}\n}};\n"


def fingerprint(text: str) -> str:
    """FNV-1a over ASCII text, and its length: calculator.js computes the same."""
    value = 0x811C9DC5
    for byte in text.encode("ascii"):
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return f"{value:08x}-{len(text)}"


class StaticWidget(anywidget.AnyWidget):
    """An anywidget that also carries a text/html view of itself.

    A notebook front end shows the live view; the built page takes text/html, the widget's state,
    for which `static_script` runs the very same ES module without a kernel.
    """

    _css = STYLE.read_text(encoding="utf-8")
    spec = traitlets.Dict().tag(sync=True)
    alt = traitlets.Unicode().tag(sync=True)

    kind = ""
    """Which ES module draws it: the stem of the .js file in this folder."""
    _shared: Sequence[str] = ("spec", "alt")

    def static_html(self) -> str:
        """The state as HTML, and a sentence for readers without JavaScript."""
        state = {name: getattr(self, name) for name in self._shared}
        # "<" is escaped so that no text inside can close the script element.
        payload = json.dumps(state, separators=(",", ":"), ensure_ascii=False)
        payload = payload.replace("<", "\\u003c")
        return (
            f'<div class="lm-widget" data-kind="{self.kind}"><p>{html.escape(self.alt)}</p>'
            f'<script type="application/json">{payload}</script></div>'
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.alt!r})"  # the default holds an address

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        bundle = super()._repr_mimebundle_(**kwargs)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle or {}, {})
        return {**data, "text/html": self.static_html(), "text/plain": repr(self)}, metadata


class NotebookStyle(StaticWidget):
    """Gives a live notebook the style of the book's outputs; a built page has it already."""

    _esm = "export default { render() {} };"

    def static_html(self) -> str:
        return ""

    def __repr__(self) -> str:
        return ""


class Explorer(StaticWidget):
    """A picture with controls: one precomputed frame for each combination of their stops."""

    frames = traitlets.List().tag(sync=True)
    at = traitlets.List().tag(sync=True)
    """The chosen stop of each control; Python may read it, set it and observe it."""

    _shared = ("spec", "alt", "frames", "at")

    @traitlets.validate("at")
    def _stops(self, proposal: dict[str, Any]) -> list[int]:
        return stops_of(self.spec["controls"], proposal["value"])

    def __init__(
        self,
        *,
        controls: Sequence[Slider | Choice],
        frame: Callable[..., dict[str, Any]],
        alt: str,
        **spec: Any,
    ) -> None:
        """Computes every frame; the last control varies fastest. `spec` is what frames share."""
        super().__init__()
        if not alt.strip():
            raise ValueError("a widget needs an alt text")
        for control in controls:
            if not 0 <= control.start < len(control.values):
                raise ValueError(
                    f"control {control.name!r} starts at stop {control.start}, "
                    f"expected 0 to {len(control.values) - 1}"
                )
        names = [control.name for control in controls]
        stops = itertools.product(*(control.values for control in controls))
        logs = [bool(panel.get("y_log")) for panel in spec.get("panels", [])]
        frames = [_short(frame(**dict(zip(names, stop, strict=True))), logs) for stop in stops]
        if (count := count_numbers(frames)) > _NUMBERS_LIMIT:
            raise ValueError(f"{count:,} numbers in a widget, expected at most {_NUMBERS_LIMIT:,}")
        short = rounded({**spec, "controls": [control.spec() for control in controls]})
        for number, is_log in enumerate(logs):
            if is_log:
                short["panels"][number] = rounded(spec["panels"][number], tidy=False)
        self.spec = short  # set at once: a live view hears of no change inside
        self.alt, self.frames = alt, frames
        self.at = [control.start for control in controls]


def stops_of(controls: Sequence[dict[str, Any]], at: Sequence[Any]) -> list[int]:
    """`at` as plain integers, where each of the controls has such a stop.

    Raises:
        ValueError: another number of stops than there are controls, or one that a control lacks.
        TypeError: a stop that is no integer.
    """
    if len(at) != len(controls):
        raise ValueError(f"at is {list(at)}, expected a stop for each of {len(controls)} controls")
    for stop, control in zip(at, controls, strict=True):
        if not hasattr(stop, "__index__"):
            raise TypeError(
                f"at: the stop of {control['label']!r} is {stop!r}, expected an integer"
            )
        last = len(control["labels"]) - 1
        if not 0 <= stop <= last:
            raise ValueError(
                f"at: the stop of {control['label']!r} is {stop}, expected 0 to {last}"
            )
    return [operator.index(stop) for stop in at]


def _short(frame: dict[str, Any], logs: Sequence[bool]) -> dict[str, Any]:
    """A frame, rounded; on a logarithmic panel 1e-9 beside 1e9 is no rounding error."""
    short = {key: rounded(item) for key, item in frame.items()}
    for name in ("series", "marks"):
        for number, is_log in enumerate(logs):
            if is_log and name in frame:
                short[name][number] = rounded(frame[name][number], tidy=False)
    return short


def rounded(value: Any, *, tidy: bool = True) -> Any:
    """Numbers to four significant digits, as any CPU reproduces them; NaN and Inf become gaps.

    What is left of a row's largest number where two cancel, such as -1.7e-16 beside 6, becomes 0 in
    a `tidy` row.
    """
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, dict):
        return {key: rounded(item, tidy=tidy) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item, tidy=tidy) for item in (without_residue(value) if tidy else value)]
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        short = to_significant(value, 4)
        return int(short) if short == int(short) else short
    return value


def count_numbers(value: Any) -> int:
    """How many numbers a nested structure holds."""
    if isinstance(value, dict):
        return sum(count_numbers(item) for item in value.values())
    if isinstance(value, list):
        return sum(count_numbers(item) for item in value)
    return int(isinstance(value, int | float))
