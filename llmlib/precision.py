"""The type to compute in: half types are too coarse for sums, exponentials and angles.

Autocast would make products of widened tensors coarse again, so what widens also switches it off.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

Function = TypeVar("Function", bound=Callable[..., Any])


def widened(x: Tensor) -> Tensor:
    """x in float32 where its type is narrower, else x itself."""
    return x.float() if x.element_size() < 4 else x


def autocasts(x: Tensor) -> bool:
    """Whether autocast is on where x lies; some devices, such as "meta", have none."""
    kind = x.device.type
    return torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)


def in_one_type(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Under autocast the tensors in its type, as PyTorch's own attention takes them."""
    if not autocasts(tensors[0]):
        return tensors
    dtype = torch.get_autocast_dtype(tensors[0].device.type)
    narrows = (x.is_floating_point() and x.dtype != torch.float64 for x in tensors)
    return tuple(x.to(dtype) if yes else x for x, yes in zip(tensors, narrows, strict=True))


def without_autocast(function: Function) -> Function:
    """A function of queries, keys and perhaps values that rounds them to autocast's type.

    Inside autocast is off: what the function widens stays wide.
    """

    @functools.wraps(function)
    def wrapped(*tensors: Any, **options: Any) -> Any:
        given = dict(zip("qkv", tensors, strict=False))
        given |= {name: options.pop(name) for name in "qkv" if name in options}
        first = next(iter(given.values()), None)
        if not isinstance(first, Tensor) or not autocasts(first):
            return function(**given, **options)
        narrow = dict(zip(given, in_one_type(*given.values()), strict=True))
        with torch.autocast(first.device.type, enabled=False):
            return function(**narrow, **options)

    return wrapped  # type: ignore[return-value]
