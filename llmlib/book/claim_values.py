"""The two sides of a claim: compared, and written with the digits that another CPU gives too."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from llmlib.book.digits import to_decimals, to_significant

_SHOWN_IN_FULL = 6
"""Arrays with more elements are summarized."""


@dataclass(frozen=True)
class Bound:
    """What is expected of a number that is only bounded: that it lies beyond `limit`."""

    sign: str
    limit: int | float

    def __str__(self) -> str:
        return f"{self.sign} {number(np.asarray(self.limit), None)}"


def more_than(limit: int | float) -> Bound:
    """For `expected` in a claim: every element of what is measured exceeds `limit`."""
    return _bound(">", limit)


def less_than(limit: int | float) -> Bound:
    """For `expected` in a claim: every element of what is measured stays below `limit`."""
    return _bound("<", limit)


def _bound(sign: str, limit: int | float) -> Bound:
    if isinstance(limit, bool) or not isinstance(limit, int | float) or not math.isfinite(limit):
        raise ValueError(f"a bound of {limit!r}: expected a finite number")
    return Bound(sign, limit)


def compare(measured: Any, expected: Any, tolerance: int | float) -> tuple[bool, str, str]:
    """Returns whether the claim holds, and both sides as text."""
    left = _as_array(measured)
    if isinstance(expected, Bound):
        return _beyond(left, expected)
    right = _as_array(expected)
    if left.dtype.kind not in "iuf" or right.dtype.kind not in "iuf":
        same = left.shape == right.shape and bool(np.all(left == right))
        return same, plain(measured), plain(expected)
    if right.shape not in ((), left.shape):
        return False, f"shape {left.shape}", f"shape {right.shape}"
    close = _close(left, right, tolerance)
    digits = _digits(tolerance)
    return bool(close.all()), _array_text(left, right, close, digits), number(right, digits)


def _beyond(left: np.ndarray, bound: Bound) -> tuple[bool, str, str]:
    """Of many numbers the one that is nearest to the bound is shown."""
    if left.dtype.kind not in "iuf" or not left.size:
        raise ValueError(f"a bound {bound} is for numbers, got {plain(left)!r}")
    nearest = float(left.min() if bound.sign == ">" else left.max())  # NaN, if one is among them
    holds = nearest > bound.limit if bound.sign == ">" else nearest < bound.limit
    text = _beside(nearest, bound.limit)
    if left.size > 1:
        text = f"{'least' if bound.sign == '>' else 'most'} of {left.size:,}: {text}"
    return holds, text, str(bound)


def _beside(value: int | float, limit: int | float) -> str:
    """`value` with two digits, or as many as tell it from `limit`."""
    for digits in range(2, 12):
        shown = to_significant(value, digits)
        if shown != limit or value == limit:
            break
    if not math.isfinite(shown) or shown == 0 or (shown == int(shown) and abs(shown) >= 10):
        return number(np.asarray(shown), None)
    if abs(shown) < 1e-3:
        return _minus(f"{shown:.{digits - 1}e}")
    return _minus(f"{shown:,.{max(0, digits - 1 - math.floor(math.log10(abs(shown))))}f}")


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


def _array_text(left: np.ndarray, right: np.ndarray, close: np.ndarray, digits: int | None) -> str:
    if not close.all() and left.size > _SHOWN_IN_FULL:
        return f"{left.size:,} numbers, {int(np.sum(~close))} outside the tolerance"
    if close.all() and digits is not None and _residue(left, right, digits):
        return f"under {power(10.0**-digits)}"
    if left.size > _SHOWN_IN_FULL:
        return f"all {left.size:,} numbers agree"
    return number(left, digits)


def _residue(left: np.ndarray, right: np.ndarray, digits: int) -> bool:
    """Whether 0 is expected and at most one unit of the last digit is found.

    Such an error is made of last bits, so the border at half a unit would tell machines apart:
    0.4e-6 here and 0.6e-6 elsewhere, with 0 ± 1e-6 expected, must be written alike.
    """
    return bool(np.all(right == 0) and np.all(np.abs(left) <= 10.0**-digits))


def power(value: int | float) -> str:
    """A tolerance as a reader writes it: 0.001, 1e-6."""
    return f"{value:g}".replace("e-0", "e-")


def number(array: np.ndarray, digits: int | None) -> str:
    """A number or a short array with `digits` decimals; None shows every digit."""
    if array.size > _SHOWN_IN_FULL:
        return f"{array.size:,} numbers"
    if array.ndim:
        return "(" + ", ".join(number(np.asarray(item), digits) for item in array) + ")"
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


def plain(value: Any) -> str:
    """Text and truth values, alone or in a list."""
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return "(" + ", ".join(plain(item) for item in value) + ")"
    return str(value)


def raw(value: Any) -> str:
    """All digits, for the message of an error."""
    array = _as_array(value)
    return np.array2string(array, threshold=12) if array.ndim else str(array)


def short(value: Any) -> str:
    """A side of a claim that is not checked: whole numbers, or three decimals."""
    array = _as_array(value)
    if array.dtype.kind not in "iuf":
        return plain(value)
    return number(array, None if bool(np.all(array == np.round(array))) else 3)
