"""Sizes of numbers in bytes, and the smaller and larger of two counts that may be formulas."""

from fractions import Fraction
from typing import Any

import sympy
import torch

from llmlib.accounting.breakdown import Count
from llmlib.accounting.letters import is_number

Bytes = Any  # a torch.dtype or its name, or bytes: an integer, a fraction, a float or a letter


def as_dtype(dtype: Bytes) -> Bytes:
    """The type of a name, "bfloat16" or "torch.bfloat16"; anything else comes back as it is.

    Raises:
        ValueError: a name that torch has no type for.
    """
    if not isinstance(dtype, str):
        return dtype
    named = getattr(torch, dtype.removeprefix("torch."), None)
    if not isinstance(named, torch.dtype):
        raise ValueError(f"dtype is {dtype!r}, expected the name of a torch.dtype, as 'bfloat16'")
    return named


def number_bytes(dtype: Bytes) -> Count:
    """Bytes of one number of a torch type; what is a size already comes back as it is.

    Raises:
        TypeError: neither a type nor a number.
        ValueError: a size that is not positive, a name that torch has no type for.
    """
    dtype = as_dtype(dtype)
    if isinstance(dtype, torch.dtype):
        return dtype.itemsize
    if isinstance(dtype, sympy.Expr) and not dtype.is_number:
        return dtype
    if isinstance(dtype, bool) or not isinstance(dtype, int | float | Fraction | sympy.Number):
        raise TypeError(f"dtype is {dtype!r}, expected a torch.dtype or bytes a number")
    if not dtype > 0:
        raise ValueError(f"dtype is {dtype!r} bytes a number, expected more than 0")
    return dtype


def least(a: Count, b: Count) -> Count:
    """The smaller of two sizes, as a formula where one of them is."""
    return min(a, b) if is_number(a) and is_number(b) else sympy.Min(a, b)


def largest(*sizes: Count) -> Count:
    """The largest of some sizes, as a formula where one of them is."""
    return max(sizes) if all(map(is_number, sizes)) else sympy.Max(*sizes)


def without_past(count: Count, past: Count) -> Count:
    """The count where no cache holds anything yet, else 0; a formula where a past may be 0."""
    if is_number(past):
        return count if past == 0 else 0
    return sympy.Piecewise((count, sympy.Eq(past, 0)), (0, True))
