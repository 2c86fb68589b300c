"""Rounding for what a notebook stores: the digits that another CPU gives too.

Another instruction set, or another number of threads, adds in another order: it changes the last
bits of a result. Rounding hides them, except where the value lies on the border between two
rounded ones. Numbers that are exact on paper often do (0.125 to two decimals), so they are rounded
in two steps: the first restores the exact number, which the second then rounds alike everywhere.

What rounding cannot hide: a result whose own error is as large as the digits that are shown. Such
numbers are computed in float64, or shown with fewer digits.
"""

import math
from collections.abc import Sequence
from typing import Any

_SPARE = 3
"""Decimals of the first step beyond those of the second."""

_RESIDUE = 1e-14
"""What float64 leaves of 1 where two numbers cancel, with room for a sum of some fifty terms."""


def to_decimals(value: float, decimals: int) -> float:
    """Rounds to `decimals` digits after the point; never to -0."""
    if not math.isfinite(value):
        return value
    return round(round(value, decimals + _SPARE), decimals) + 0.0


def to_significant(value: float, digits: int) -> float:
    """Rounds to `digits` digits from the first one that is not 0."""
    if value == 0 or not math.isfinite(value):
        return value
    return float(f"{float(f'{value:.{digits + _SPARE}g}'):.{digits}g}")


def without_residue(row: Sequence[Any]) -> list[Any]:
    """The row with 0 for floats that are only the rounding errors of its largest number."""
    sizes = [abs(item) for item in row if isinstance(item, int | float) and math.isfinite(item)]
    least = _RESIDUE * max(sizes, default=0)
    return [0.0 if isinstance(item, float) and abs(item) < least else item for item in row]
