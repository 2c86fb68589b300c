"""Token ids as callers give them: a list, a row of an array or tensor."""

import operator
from collections.abc import Iterable
from typing import Any


def whole_ids(ids: Iterable[Any]) -> list[int]:
    """The ids as plain integers.

    Raises: TypeError for what is no sequence of whole numbers; True and False are none.
    """
    if isinstance(ids, (str, bytes)) or not isinstance(ids, Iterable):
        raise TypeError(f"ids are {ids!r}, expected a sequence of whole numbers")
    if getattr(ids, "ndim", 1) != 1:  # an array or a tensor
        shape = tuple(getattr(ids, "shape", ()))
        raise TypeError(f"ids have shape {shape}, expected one row of whole numbers")
    numbers = list(ids.tolist() if hasattr(ids, "tolist") else ids)
    if set(map(type, numbers)) <= {int}:
        return numbers
    return [_whole(i) for i in numbers]


def _whole(value: Any) -> int:
    scalar = value.item() if getattr(value, "shape", None) == () else value  # of numpy or torch
    if isinstance(scalar, bool):
        raise TypeError(f"token id {value!r}, expected a whole number")
    try:
        return operator.index(scalar)
    except TypeError:
        raise TypeError(f"token id {value!r}, expected a whole number") from None
