"""Sizes of numbers in bytes: of a type, of its name, or given. Types of torch need no import."""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

from llmlib.accounting.breakdown import Count

Bytes = Any  # a type of torch or its name, or bytes: an integer, a fraction, a float or a letter

ITEM_BYTES = {
    **dict.fromkeys(("float64", "int64", "uint64"), 8),
    **dict.fromkeys(("float32", "int32", "uint32"), 4),
    **dict.fromkeys(("float16", "bfloat16", "int16", "uint16"), 2),
    **dict.fromkeys(("float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu"), 1),
    **dict.fromkeys(("int8", "uint8", "bool"), 1),
}
"""Name of a type -> bytes of a number."""


def type_name(dtype: Bytes) -> str | None:
    """ "bfloat16" for torch.bfloat16, "torch.bfloat16" and "bfloat16"; None for what is no type.

    Raises:
        ValueError: a name that no type has.
    """
    if not isinstance(dtype, str) and not isinstance(getattr(dtype, "itemsize", None), int):
        return None
    name = str(dtype).removeprefix("torch.")
    if isinstance(dtype, str) and name not in ITEM_BYTES:
        raise ValueError(f"dtype is {dtype!r}, expected the name of a torch.dtype, as 'bfloat16'")
    return name


def number_bytes(dtype: Bytes) -> Count:
    """Bytes of one number of a type; what is a size already comes back as it is.

    Raises:
        TypeError: neither a type nor a number.
        ValueError: a size that is not positive, a name that no type has.
    """
    name = type_name(dtype)
    if name is not None:
        return ITEM_BYTES[name] if isinstance(dtype, str) else dtype.itemsize
    if getattr(dtype, "free_symbols", None):
        return dtype
    known = isinstance(dtype, int | float | Fraction) or getattr(dtype, "is_Number", False)
    if isinstance(dtype, bool) or not known:
        raise TypeError(f"dtype is {dtype!r}, expected a torch.dtype or bytes a number")
    if not dtype > 0:
        raise ValueError(f"dtype is {dtype!r} bytes a number, expected more than 0")
    return dtype


class ByType(Mapping[Any, Any]):
    """Values by the name of a type; a type of torch finds what its name does."""

    def __init__(self, values: Mapping[Any, Any]) -> None:
        self._values = {type_name(dtype) or dtype: x for dtype, x in values.items()}

    def __getitem__(self, dtype: Bytes) -> Any:
        return self._values[type_name(dtype) or dtype]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)
