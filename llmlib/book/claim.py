"""Claims: one line in the page for each statement, and an error when the statement is false."""

import html
import math
import re
from typing import Any

import numpy as np
from IPython.display import display

from llmlib.book.digits import to_decimals, to_significant
from llmlib.book.real_model import model_name

CLAIM_MIME = "application/vnd.llmlib.claim+json"
"""Beside the visible line each claim stores itself as data, so that a ledger can collect it."""

_SHOWN_IN_FULL = 6
"""Arrays with more elements are summarized by their shape and largest difference."""


class ClaimError(AssertionError):
    """A statement of the book is false."""


def claim(
    id: str,
    statement: str,
    measured: Any,
    expected: Any,
    tolerance: int | float,
    *,
    about: str | None = None,
) -> None:
    """Shows that `measured` equals `expected` within `tolerance`, or raises.

    |measured - expected| <= tolerance must hold for every element; NaN never holds. Text and
    truth values are compared for equality and take tolerance 0.

    Args:
        id: `chapter.topic` in lower case; the page carries it as an anchor, `#claim-chapter-topic`.
        statement: the sentence that is proven, plain text.
        measured: what `llmlib` or an independent library computed: a number, an array, a tensor,
            a truth value, or text.
        expected: what the formula or the source says: of the same shape, or one number for all.
        tolerance: absolute and elementwise, in the unit of `measured`.
        about: the model whose own numbers these are. Where the reader's model stands in its place
            the claim steps aside: it shows both numbers and raises nothing.

    Raises:
        ClaimError: the statement is false.
        ValueError: a malformed id, an empty statement, a negative or NaN tolerance.
    """
    _check_arguments(id, statement, tolerance)
    if about not in (None, model_name()):
        display(_Aside(id, statement, _short(measured), _short(expected), str(about)))
        return
    holds, shown_measured, shown_expected = _compare(measured, expected, tolerance)
    line = _Line(id, statement, shown_measured, shown_expected, tolerance, holds)
    display(line)
    if not holds:
        raise ClaimError(
            f"{id}: {statement}: measured {_raw(measured)}, "
            f"expected {_raw(expected)} within {tolerance:g}"
        )


def _check_arguments(id: str, statement: str, tolerance: int | float) -> None:
    if not re.fullmatch(r"[a-z0-9_]+\.[a-z0-9_]+", id):
        raise ValueError(f"claim id {id!r}: expected chapter.topic in lower case")
    if not statement.strip():
        raise ValueError(f"claim {id}: the statement is empty")
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise ValueError(f"claim {id}: tolerance is {tolerance}, expected a finite number >= 0")


def _compare(measured: Any, expected: Any, tolerance: int | float) -> tuple[bool, str, str]:
    """Returns whether the claim holds, and both sides as text."""
    left, right = _as_array(measured), _as_array(expected)
    if left.dtype.kind not in "iuf" or right.dtype.kind not in "iuf":
        same = left.shape == right.shape and bool(np.all(left == right))
        return same, _plain(measured), _plain(expected)
    if right.shape not in ((), left.shape):
        return False, f"shape {left.shape}", f"shape {right.shape}"
    close = _close(left, right, tolerance)
    digits = _digits(tolerance)
    shown = _settled(left, right, digits) if close.all() else left
    return bool(close.all()), _array_text(shown, close, digits), _number(right, digits)


def _close(left: np.ndarray, right: np.ndarray, tolerance: int | float) -> np.ndarray:
    with np.errstate(invalid="ignore"):  # equal infinities differ by NaN, hence the first test
        return np.asarray((left == right) | (np.abs(left - right) <= tolerance))


def _as_array(value: Any) -> np.ndarray:
    """Float64 for numbers (through a tensor's own conversion), else numpy's choice."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = (value.double() if value.is_floating_point() else value).numpy()
    array = np.asarray(value)
    return array.astype(np.float64) if array.dtype.kind in "iuf" else array


def _digits(tolerance: int | float) -> int | None:
    """Decimals that the tolerance lets a reader trust; None shows every digit."""
    return None if tolerance == 0 else max(0, math.ceil(-math.log10(tolerance)))


def _settled(left: np.ndarray, right: np.ndarray, digits: int | None) -> np.ndarray:
    """`left` with 0 where 0 is expected and at most one unit of the last digit is found.

    Such an error is made of last bits, so the border at half a unit would tell machines apart:
    0.4e-6 here and 0.6e-6 elsewhere, with 0 ± 1e-6 expected, are both shown as 0.
    """
    if digits is None:
        return left
    with np.errstate(invalid="ignore"):
        return np.where((right == 0) & (np.abs(left) <= 10.0**-digits), 0.0, left)


def _array_text(left: np.ndarray, close: np.ndarray, digits: int | None) -> str:
    if left.size <= _SHOWN_IN_FULL:
        return _number(left, digits)
    differ = int(np.sum(~close))
    return f"{left.size:,} numbers, {differ or 'none'} outside the tolerance"


def _number(array: np.ndarray, digits: int | None) -> str:
    if array.size > _SHOWN_IN_FULL:
        return f"{array.size:,} numbers"
    if array.ndim:
        return "(" + ", ".join(_number(np.asarray(item), digits) for item in array) + ")"
    value = float(array)
    if not math.isfinite(value):
        return {"inf": "∞", "-inf": "−∞"}.get(str(value), "NaN")
    if value == 0 or (digits is not None and abs(value) < 0.5 * 10.0**-digits):
        return "0"  # never "-0.000": the sign of a rounding error says nothing
    if digits is None:
        whole = value == int(value) and abs(value) < 1e15
        return _minus(f"{int(value):,}" if whole else repr(to_significant(value, 12)))
    value = to_decimals(value, digits)
    return _minus(f"{value:.3g}" if abs(value) < 1e-3 else f"{value:,.{digits}f}")


def _minus(text: str) -> str:
    return text.replace("-", "−")


def _plain(value: Any) -> str:
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return "(" + ", ".join(_plain(item) for item in value) + ")"
    return str(value)


def _raw(value: Any) -> str:
    array = _as_array(value)
    return np.array2string(array, threshold=12) if array.ndim else str(array)


def _short(value: Any) -> str:
    """A side of a claim that is not checked: whole numbers, or three decimals."""
    array = _as_array(value)
    if array.dtype.kind not in "iuf":
        return _plain(value)
    return _number(array, None if bool(np.all(array == np.round(array))) else 3)


class _Aside:
    """A claim about a model that another one stands in for."""

    def __init__(self, id: str, statement: str, measured: str, expected: str, about: str) -> None:
        self.text = (
            f"{id}: {statement}: measured {measured}, expected {expected}; the claim is {about}'s "
            f"and steps aside for {model_name()}"
        )

    def __repr__(self) -> str:
        return f"– {self.text}"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        page = f'<p class="lm-claim lm-aside">– {html.escape(self.text)}</p>'
        return {"text/html": page, "text/plain": repr(self)}


class _Line:
    """One claim as HTML (the page), text (a terminal) and data (the ledger)."""

    def __init__(
        self,
        id: str,
        statement: str,
        measured: str,
        expected: str,
        tolerance: int | float,
        holds: bool,
    ) -> None:
        self.data = {
            "id": id,
            "statement": statement,
            "measured": measured,
            "expected": expected,
            "tolerance": tolerance,
            "holds": holds,
        }

    def __repr__(self) -> str:
        d = self.data
        margin = f" ± {d['tolerance']:g}" if d["tolerance"] else ""
        return (
            f"{'✓' if d['holds'] else '✗'} {d['id']}: {d['statement']}: "
            f"measured {d['measured']}, expected {d['expected']}{margin}"
        )

    def _html(self) -> str:
        d = {key: html.escape(str(value)) for key, value in self.data.items()}
        margin = f" ± {self.data['tolerance']:g}" if self.data["tolerance"] else ""
        anchor = "claim-" + re.sub(r"[._]", "-", d["id"])
        verdict, mark = ("holds", "✓") if self.data["holds"] else ("fails", "✗")
        return (
            f'<p class="lm-claim lm-{verdict}" id="{anchor}">'
            f'<a class="lm-claim-mark" href="#{anchor}" aria-label="claim {d["id"]} {verdict}">'
            f"{mark}</a> "
            f'<span class="lm-claim-statement">{d["statement"]}</span> '
            f'<span class="lm-claim-numbers">measured <b>{d["measured"]}</b>, '
            f"expected <b>{d['expected']}</b>{margin}</span></p>"
        )

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return {"text/html": self._html(), "text/plain": repr(self), CLAIM_MIME: self.data}
