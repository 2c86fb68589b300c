"""A calculator: number boxes, sliders and choices; a bar of parts, its formulas and what follows.

The numbers are too many to tabulate, so the page computes them itself: with JavaScript that is
generated from the very formulas that Python counts with.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sympy
import traitlets

from llmlib.book.javascript import to_javascript
from llmlib.book.widgets.base import Real, StaticWidget, source
from llmlib.book.widgets.calculator_state import checked_state

Formula = Any  # a sympy expression
Letter = Any  # a sympy symbol
Unit = Literal["count", "bytes", "flops", "seconds", "rate", "share", "intensity", "sequences"]
MOST = 10**12
_GROUPS = 6  # as many as there are colors


@dataclass(frozen=True)
class Follow:
    """What a field is as long as nothing is typed into it, such as d_head = d / H."""

    value: Formula
    message: str  # where that is no whole number: "H is {H}: expected a divisor of d = {d}"
    start: bool = True
    is_printed: bool = True  # formulas show what is followed; else the letter of the field


@dataclass(frozen=True)
class Field:
    """A number box, with a slider where it has stops."""

    letter: Letter
    label: str
    start: int
    stops: Sequence[int] = ()
    least: int = 1
    follows: Follow | None = None


@dataclass(frozen=True)
class Toggle:
    """A checkbox whose letter is 1 or 0."""

    letter: Letter
    label: str
    start: bool = False


@dataclass(frozen=True)
class Pick:
    """A select; each option gives numbers to the same letters."""

    label: str
    options: Mapping[str, Mapping[Letter, Real]]
    start: str
    shown: str = ""  # beside the option where what is given is named, e.g. "norms:"


@dataclass(frozen=True)
class Largest:
    """A letter for the position of the largest of some formulas, such as a step's fullest moment.

    A part may depend on it as a Piecewise of `sympy.Eq(letter, position)`, in order.
    """

    letter: Letter
    formulas: Mapping[str, Formula]
    shown: str  # "fullest when {}", where the name of the largest one is filled in


@dataclass(frozen=True)
class Bar:
    """A stacked bar, and the table of its parts below it.

    groups: label -> the group's parts, each a name -> (label, formula). A group has a color.
    largest: whether its parts depend on the calculator's `Largest`.
    """

    name: str
    title: str
    unit: Unit
    groups: Mapping[str, Mapping[str, tuple[str, Formula]]]
    limit: Formula = None  # drawn as a line across the bar, such as a chip's memory
    limit_label: str = ""
    largest: bool = False


@dataclass(frozen=True)
class Result:
    """A number that follows from the letters, shown below the bars."""

    name: str
    label: str
    value: Formula
    unit: Unit


@dataclass(frozen=True)
class Check:
    """What must hold, and what is said where it does not; the letter's field is marked."""

    letter: Letter
    condition: Formula
    message: str


@dataclass(frozen=True)
class Roof:
    """The roofline of a chip and the steps that stand on it: label -> (FLOPs, bytes)."""

    peak: Formula
    bandwidth: Formula
    steps: Mapping[str, tuple[Formula, Formula]]


class Calculator(StaticWidget):
    """Formulas under the reader's hands. `state` holds what stands in its boxes."""

    kind = "calculator"
    _esm = source(kind)
    _shared = ("spec", "alt", "state")
    state = traitlets.Dict().tag(sync=True)

    @traitlets.validate("state")
    def _shown(self, proposal: dict[str, Any]) -> dict[str, Any]:
        return checked_state(self.spec, proposal["value"])

    def __init__(
        self,
        *,
        fields: Sequence[Field],
        bars: Sequence[Bar],
        note: str,
        alt: str,
        toggles: Sequence[Toggle] = (),
        picks: Sequence[Pick] = (),
        presets: Mapping[str, Mapping[Letter, Real]] | None = None,
        preset: str = "",
        results: Sequence[Result] = (),
        checks: Sequence[Check] = (),
        roof: Roof | None = None,
        largest: Largest | None = None,
        remark: str = "",
    ) -> None:
        """Turns the formulas into JavaScript.

        Args:
            presets: name -> numbers for the letters of fields, toggles and picks; others stay.
            preset: the one that the starting numbers are.
            note: a sentence with results in braces, read out to who cannot see the picture.
            remark: what the formulas leave out.

        Raises:
            ValueError: a letter, a name or a label given twice, a formula with unknown letters, a
                part that is no sum of products, a preset or a start that no control can show.
        """
        super().__init__()
        if not alt.strip():
            raise ValueError("a widget needs an alt text")
        letters, presets = _letters(fields, toggles, picks), presets or {}
        formulas = _formulas(bars, results, roof)
        self.spec = {
            "letters": [str(letter) for letter in letters],
            **_controls(fields, toggles, picks, letters),
            "presets": [_preset(name, presets[name], fields, toggles, picks) for name in presets],
            "bars": [_bar(bar) for bar in bars],
            "results": [{"name": r.name, "label": r.label, "unit": r.unit} for r in results],
            "checks": [{"letter": str(c.letter), "message": c.message} for c in checks],
            "roof": list(roof.steps) if roof else None,
            "largest": _largest(largest),
            "note": note,
            "remark": remark,
            "most": MOST,
            **_scripts(formulas, fields, checks, largest, letters),
        }
        self.alt = alt
        self.state = _start(fields, toggles, picks, list(presets), preset)


def _controls(
    fields: Sequence[Field],
    toggles: Sequence[Toggle],
    picks: Sequence[Pick],
    letters: Sequence[Letter],
) -> dict[str, Any]:
    return {
        "fields": [_field(field, letters) for field in fields],
        "toggles": [{"letter": str(t.letter), "label": t.label} for t in toggles],
        "picks": [_pick(pick) for pick in picks],
    }


def _scripts(
    formulas: Mapping[str, Formula],
    fields: Sequence[Field],
    checks: Sequence[Check],
    largest: Largest | None,
    letters: Sequence[Letter],
) -> dict[str, str]:
    """Four functions: what boxes follow, what must hold, what is the largest, and the values."""
    followers = {str(field.letter): field.follows.value for field in fields if field.follows}
    conditions = {str(number): check.condition for number, check in enumerate(checks)}
    return {
        "follows": to_javascript(followers, letters),
        "conditions": to_javascript(conditions, letters),
        "sizes": to_javascript(largest.formulas if largest else {}, letters),
        "values": to_javascript(formulas, [*letters, largest.letter] if largest else letters),
    }


def _letters(
    fields: Sequence[Field], toggles: Sequence[Toggle], picks: Sequence[Pick]
) -> list[Letter]:
    """Every letter that has a number, in the order of the controls."""
    letters = [*(field.letter for field in fields), *(toggle.letter for toggle in toggles)]
    for pick in picks:
        sets = {tuple(numbers) for numbers in pick.options.values()}
        if len(sets) != 1:
            raise ValueError(f"options of {pick.label!r} set {len(sets)} lists of letters")
        letters += next(iter(sets))
    names = [str(letter) for letter in letters]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{', '.join(twice)}: expected one control for each letter")
    return letters


def _formulas(
    bars: Sequence[Bar], results: Sequence[Result], roof: Roof | None
) -> dict[str, Formula]:
    """All that the page computes, by name."""
    pairs = [
        (name, formula)
        for bar in bars
        for parts in bar.groups.values()
        for name, (_, formula) in parts.items()
    ]
    pairs += [(f"{bar.name}:limit", bar.limit) for bar in bars if bar.limit is not None]
    pairs += [(result.name, result.value) for result in results]
    if roof:
        pairs += [("roof:peak", roof.peak), ("roof:bandwidth", roof.bandwidth)]
        for label, (flops, moved) in roof.steps.items():
            pairs += [(f"roof:{label}:flops", flops), (f"roof:{label}:bytes", moved)]
    names = [name for name, _ in pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{', '.join(twice)}: expected each name once")
    return dict(pairs)


def products(formula: Formula) -> list[list[Any]]:
    """A sum of products as [coefficient, {letter: power}], so that the page can print it.

    Raises:
        ValueError: a formula that is more than letters, whole powers, products and sums.
    """
    terms = []
    for product, factor in sympy.expand(formula).as_coefficients_dict().items():
        powers = {} if product == 1 else product.as_powers_dict()
        if factor == 0:
            continue
        if any(not base.is_Symbol or not power.is_Integer for base, power in powers.items()):
            raise ValueError(f"{product} in {formula}, expected products of letters")
        number = float(factor)
        short = int(number) if number == int(number) else number
        terms.append([short, {str(base): int(power) for base, power in powers.items()}])
    return sorted(terms, key=lambda term: sorted(term[1].items()))  # one order on every machine


def _field(field: Field, letters: Sequence[Letter]) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "letter": str(field.letter),
        "label": field.label,
        "stops": list(field.stops),
        "least": field.least,
    }
    if field.follows:
        product = products(field.follows.value)
        if len(product) != 1 or not field.follows.value.free_symbols <= set(letters):
            raise ValueError(f"{field.letter} follows {field.follows.value}, expected a product")
        spec["follows"] = {"product": product[0], "message": field.follows.message}
        if not field.follows.is_printed:
            spec["follows"]["keeps_letter"] = True
    return spec


def _pick(pick: Pick) -> dict[str, Any]:
    if pick.start not in pick.options:
        raise ValueError(f"{pick.label!r} starts at {pick.start!r}, expected one of its options")
    options = [
        {"label": label, "numbers": {str(letter): number for letter, number in numbers.items()}}
        for label, numbers in pick.options.items()
    ]
    return {"label": pick.label, "shown": pick.shown, "options": options}


def _preset(
    name: str,
    numbers: Mapping[Letter, Real],
    fields: Sequence[Field],
    toggles: Sequence[Toggle],
    picks: Sequence[Pick],
) -> dict[str, Any]:
    """What a preset does to each control."""
    picked: dict[str, int] = {}
    for position, pick in enumerate(picks):
        options = list(pick.options.values())
        if not set(options[0]) <= set(numbers):
            continue
        wanted = {letter: numbers[letter] for letter in options[0]}
        if wanted not in [dict(option) for option in options]:
            raise ValueError(f"{name} needs {wanted}, expected an option of {pick.label!r}")
        picked[str(position)] = [dict(option) for option in options].index(wanted)
    filled = [field for field in fields if field.letter in numbers]
    follow = {
        str(field.letter): bool(field.follows.value.subs(numbers) == numbers[field.letter])
        for field in filled
        if field.follows
    }
    return {
        "label": name,
        "text": {str(field.letter): f"{numbers[field.letter]:,}" for field in filled},
        "follow": follow,
        "on": {str(t.letter): int(numbers[t.letter]) for t in toggles if t.letter in numbers},
        "pick": picked,
    }


def _largest(largest: Largest | None) -> dict[str, Any] | None:
    if largest is None:
        return None
    names = {"names": list(largest.formulas), "shown": largest.shown}
    return {"letter": str(largest.letter), **names}


def _part(name: str, label: str, formula: Formula) -> dict[str, Any]:
    """With the products of each case where the largest of something decides."""
    if isinstance(formula, sympy.Piecewise):
        return {"name": name, "label": label, "cases": [products(x) for x, _ in formula.args]}
    return {"name": name, "label": label, "products": products(formula)}


def _bar(bar: Bar) -> dict[str, Any]:
    if len(bar.groups) > _GROUPS:
        raise ValueError(f"{bar.name!r} has {len(bar.groups)} groups, expected at most {_GROUPS}")
    groups = [
        {
            "label": label,
            "parts": [_part(name, text, formula) for name, (text, formula) in parts.items()],
        }
        for label, parts in bar.groups.items()
    ]
    limit = None if bar.limit is None else bar.limit_label
    return {
        "name": bar.name,
        "title": bar.title,
        "unit": bar.unit,
        "limit": limit,
        "largest": bar.largest,
        "groups": groups,
    }


def _start(
    fields: Sequence[Field],
    toggles: Sequence[Toggle],
    picks: Sequence[Pick],
    presets: list[str],
    preset: str,
) -> dict[str, Any]:
    """What stands in the controls at first. Preset 0 is the reader's own numbers."""
    if preset and preset not in presets:
        raise ValueError(f"starts with {preset!r}, expected one of {', '.join(presets)}")
    return {
        "text": {str(field.letter): f"{field.start:,}" for field in fields},
        "follow": {str(field.letter): field.follows.start for field in fields if field.follows},
        "on": {str(toggle.letter): int(toggle.start) for toggle in toggles},
        "pick": [list(pick.options).index(pick.start) for pick in picks],
        "preset": presets.index(preset) + 1 if preset else 0,
        "changed": "",
    }
