"""Arithmetic that takes letters as it takes numbers; sympy is imported where one comes."""

from typing import Any

from llmlib.accounting.breakdown import Count


def is_number(x: Any) -> bool:
    """True for what is no formula."""
    return not hasattr(x, "free_symbols")


def on(switch: Any) -> Count:
    """1 for True, 0 for False; a letter stays."""
    return int(switch) if isinstance(switch, bool) else switch


def least(a: Count, b: Count) -> Count:
    """The smaller of two sizes, as a formula where one of them is."""
    if is_number(a) and is_number(b):
        return min(a, b)
    import sympy

    return sympy.Min(a, b)


def largest(*sizes: Count, evaluate: bool = True) -> Count:
    """The largest of some sizes, as a formula where one of them is.

    Args:
        evaluate: False: formulas are not compared with each other, which can take seconds.
    """
    if all(map(is_number, sizes)):
        return max(sizes)
    import sympy

    return sympy.Max(*sizes, evaluate=evaluate)


def without_past(count: Count, past: Count) -> Count:
    """The count where no cache holds anything yet, else 0; a formula where a past may be 0."""
    if is_number(past):
        return count if past == 0 else 0
    import sympy

    return sympy.Piecewise((count, sympy.Eq(past, 0)), (0, True))


def halved(x: Count) -> Count:
    """Half of an even number."""
    return x // 2 if is_number(x) else x / 2
