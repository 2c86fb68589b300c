"""Sizes of numbers in bytes: of a torch type, of its name, or given."""

from fractions import Fraction
from typing import Any

import sympy
import torch

from llmlib.accounting.breakdown import Count

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
