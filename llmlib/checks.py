"""Checks of tensors that several modules share: heads, types and options that fit together."""

import torch
from torch import Tensor
from torch._subclasses import FakeTensor

from llmlib.sizes import check_number, check_sizes

INTEGERS = (
    torch.int64, torch.int32, torch.int16, torch.int8,
    torch.uint8, torch.uint16, torch.uint32, torch.uint64,
)  # fmt: skip


def has_numbers(x: Tensor) -> bool:
    """Whether x has numbers, now or when the traced program runs, and not a shape alone."""
    if torch.compiler.is_compiling():
        return True
    while torch._C._functorch.is_functorch_wrapped_tensor(x):
        x = torch._C._functorch.get_unwrapped(x)
    return not (x.is_meta or isinstance(x, FakeTensor))


def readable(x: Tensor) -> bool:
    """Whether Python can look at the numbers of x, so that a check of values makes sense.

    Tensors on the "meta" device and fake ones have none; a program that is being traced has them
    later; under vmap they would have to be the same in all calls at once.
    """
    if type(x) is Tensor and not torch._C._are_functorch_transforms_active():
        return not torch.compiler.is_compiling() and not x.is_meta  # the usual case, in one step
    return not torch.compiler.is_compiling() and not batched(x) and has_numbers(x)


def batched(x: Tensor) -> bool:
    """Whether vmap, or a backward pass for many gradients at once, is at work on x."""
    while torch._C._functorch.is_functorch_wrapped_tensor(x):
        if torch._C._functorch.is_batchedtensor(x):
            return True
        x = torch._C._functorch.get_unwrapped(x)
    return bool(torch._C._functorch.is_legacy_batchedtensor(x))


def check_integers(name: str, x: Tensor) -> Tensor:
    """x as int64, so that a difference of narrow or unsigned ones does not wrap around.

    TypeError for floats and bools, which would be cut, or taken for 0 and 1.
    """
    if not isinstance(x, Tensor) or x.dtype not in INTEGERS:
        kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"{name} is {kind}, expected a tensor of integers")
    return x.long()


def check_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor | None = None,
    *,
    causal: bool = False,
    window: int | None = None,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    scale: float | None = None,
) -> None:
    """What attention cannot mean, and would take for something else or fail at unclearly.

    TypeError for tensors that are no floats of one type on one device, a mask that is not bool, a
    bias that is no float, options of another kind; ValueError for shapes that do not fit, a window
    below 1, a scale that is not finite.
    """
    check_heads(q, k, v)
    check_floats(q, k, v)
    for name, x in (("mask", mask), ("bias", bias)):
        if x is not None and not isinstance(x, Tensor):
            raise TypeError(f"{name} is {type(x).__name__}, expected a tensor")
    if bias is not None and not bias.is_floating_point():
        raise TypeError(f"bias is {bias.dtype}, expected floats to be added to the scores")
    if mask is not None and mask.dtype != torch.bool:
        raise TypeError(f"mask is {mask.dtype}, expected torch.bool, True where a query may see")
    for name, x in (("mask", mask), ("bias", bias)):
        if x is not None:
            _check_broadcast(name, x, q, k)
    check_options(causal, window, scale)


def check_floats(q: Tensor, k: Tensor, v: Tensor | None = None) -> None:
    """TypeError for integers, or for tensors of several types or devices."""
    for name, x in (("q", q), ("k", k), ("v", q if v is None else v)):
        if not x.is_floating_point():
            raise TypeError(f"{name} is {x.dtype}, expected floats")
        if (x.dtype, x.device) != (q.dtype, q.device):
            expected = f"{q.dtype} on {q.device} as q"
            raise TypeError(f"{name} is {x.dtype} on {x.device}, expected {expected}")
    if q.shape[-1] == 0:
        raise ValueError("q has head_dim 0, expected at least 1")


def _check_broadcast(name: str, x: Tensor, q: Tensor, k: Tensor) -> None:
    """A mask or bias has to stretch to all scores, and must not stretch them."""
    if x.device != q.device:
        raise TypeError(f"{name} lies on {x.device}, expected {q.device} as q")
    scores = (*q.shape[:3], k.shape[2])
    sizes = zip(reversed(x.shape), reversed(scores), strict=False)
    if x.ndim > 4 or any(size != 1 and size != n for size, n in sizes):
        expected = f"one that broadcasts to (batch, heads, seq_q, seq_k) {scores}"
        raise ValueError(f"{name} has shape {tuple(x.shape)}, expected {expected}")


def check_options(causal: bool, window: int | None, scale: float | None) -> None:
    """TypeError or ValueError for a flag, a window or a scale that means nothing."""
    if torch.compiler.is_compiling():
        return  # sizes may be letters there
    if not isinstance(causal, bool):
        raise TypeError(f"causal is {causal!r}, expected True or False")
    if window is not None:
        check_sizes(window=window)
    if scale is not None:
        check_number("scale", scale)


def check_heads(q: Tensor, k: Tensor, v: Tensor | None = None) -> None:
    """Shapes that would broadcast into a wrong answer, or fail with a message about views."""
    tensors = {"q": q, "k": k} if v is None else {"q": q, "k": k, "v": v}
    for name, x in tensors.items():
        if not isinstance(x, Tensor):
            raise TypeError(f"{name} is {type(x).__name__}, expected a tensor")
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
