"""Counts what operations move, were each a kernel of its own, and what autograd keeps of them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Traffic(TorchDispatchMode):
    """The bytes that the operations inside the block read and write, as `bytes`.

    Each operation reads its tensors from main memory and writes its result there, as it does on a
    GPU unless a compiler fuses it with another. Views move nothing. Counted, not measured: it
    works on the meta device too, which holds no numbers at all.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0
        self.matmuls: list[tuple[int, int, int]] = []
        """Bytes of both operands and of the result, for each product."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        read = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        out = func(*args, **(kwargs or {}))
        made = [x for x in tree_leaves(out) if isinstance(x, Tensor)]
        if not _is_view(func, read, made):
            self.bytes += sum(map(_size, read + made))
        if func.overloadpacket.__name__ in ("mm", "bmm"):
            self.matmuls.append((_size(read[0]), _size(read[1]), _size(made[0])))
        return out


def _size(x: Tensor) -> int:
    """Bytes of a tensor; what is only repeated by a stride of 0 is there once."""
    return min(x.numel() * x.element_size(), x.untyped_storage().nbytes())


def _is_view(func: Any, read: list[Tensor], made: list[Tensor]) -> bool:
    """True if the results are the inputs' own numbers, unchanged."""
    if func.overloadpacket.__name__.endswith("_"):  # in place
        return False
    own = {x.untyped_storage()._cdata for x in read}
    return bool(read) and all(x.untyped_storage()._cdata in own for x in made)


def kept_for_backward(run: Callable[..., Any], *given: Tensor) -> int:
    """Bytes that autograd holds on to after a forward pass, each tensor once.

    The inputs count too, where a gradient needs them.
    """
    held = {}

    def keep(x: Tensor) -> Tensor:
        held[x.untyped_storage().data_ptr()] = x
        return x

    leaves = [x.detach().requires_grad_() for x in given]
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        out = run(*leaves)
    kept = sum(x.untyped_storage().nbytes() for x in held.values())
    del out  # not before: its graph holds the tensors that were kept
    return kept
