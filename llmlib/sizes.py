"""Checks of sizes and numbers; without torch, so that models are described and counted without."""

import math


def check_integer(name: str, value: int) -> None:
    """TypeError for what is no integer; True and False are none."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, got {value!r}")


def check_sizes(least: int = 1, **sizes: int) -> None:
    """TypeError for what is no integer, ValueError for what is below the least; both name it."""
    for name, value in sizes.items():
        check_integer(name, value)
        if value < least:
            expected = "positive" if least == 1 else f"at least {least}"
            raise ValueError(f"{name} must be {expected}, got {value}")


def check_even(name: str, value: int, why: str) -> None:
    """As `check_sizes`, and ValueError for an odd number."""
    check_sizes(**{name: value})
    if value % 2:
        raise ValueError(f"{name} is {value}, expected an even number: {why}")


def check_number(name: str, value: float) -> None:
    """TypeError for what is no number, ValueError for NaN and infinity."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} is {value!r}, expected a number")
    if not math.isfinite(value):
        raise ValueError(f"{name} is {value}, expected a finite number")
