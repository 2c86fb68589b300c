"""Checks of arguments that several modules share: sizes, and heads that fit together."""

import torch
from torch import Tensor
from torch._subclasses import FakeTensor


def has_numbers(x: Tensor) -> bool:
    """Whether x has numbers, now or when the traced program runs, and not a shape alone."""
    return torch.compiler.is_compiling() or not (x.is_meta or isinstance(_inner(x), FakeTensor))


def readable(x: Tensor) -> bool:
    """Whether Python can look at the numbers of x, so that a check of values makes sense.

    Tensors on the "meta" device and fake ones have none; a program that is being traced has them
    later; under vmap they would have to be the same in all calls at once.
    """
    return has_numbers(x) and not torch.compiler.is_compiling() and not is_batched(x)


def is_batched(x: Tensor) -> bool:
    """Whether vmap is at work on x."""
    while torch._C._functorch.is_functorch_wrapped_tensor(x):
        if torch._C._functorch.is_batchedtensor(x):
            return True
        x = torch._C._functorch.get_unwrapped(x)
    return False


def _inner(x: Tensor) -> Tensor:
    """What the transforms of torch.func have wrapped."""
    while torch._C._functorch.is_functorch_wrapped_tensor(x):
        x = torch._C._functorch.get_unwrapped(x)
    return x


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


def check_heads(q: Tensor, k: Tensor, v: Tensor | None = None) -> None:
    """Shapes that would broadcast into a wrong answer, or fail with a message about views."""
    tensors = {"q": q, "k": k} if v is None else {"q": q, "k": k, "v": v}
    for name, x in tensors.items():
        if x.ndim != 4:
            raise ValueError(f"{name} has shape {tuple(x.shape)}, expected (batch, heads, seq, d)")
        if x.shape[0] != q.shape[0]:
            raise ValueError(f"{name} has batch {x.shape[0]}, expected {q.shape[0]} as q")
        if x.shape[1:3] != k.shape[1:3] and name == "v":
            expected = tuple(k.shape[1:3])
            raise ValueError(f"v has (heads, seq) {tuple(x.shape[1:3])}, expected {expected} as k")
    if q.shape[-1] != k.shape[-1]:
        raise ValueError(f"k has head_dim {k.shape[-1]}, expected {q.shape[-1]} as q")
    if k.shape[1] == 0 or q.shape[1] % k.shape[1]:
        raise ValueError(f"k has {k.shape[1]} heads, expected a divisor of q's {q.shape[1]}")
