"""Functions compiled by PyTorch, each when it is first asked for.

Asking for it imports the compiler, which takes seconds and 150 MB: a reader who does not compile
should not pay for it. Shapes are static: a program for every length would cost more than the slots
of a cache of fixed shape that are padding.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from llmlib.plain import why_not_around, why_not_plain


@functools.cache
def compiled(function: Callable[..., Any]) -> Any:
    """The function, compiled: one program for all tensors of the same shapes."""
    return torch.compile(function, dynamic=False)


def whole_step(model: nn.Module, *args: Any, **options: Any) -> Tensor:
    """The model called as it is called anywhere: compiled, with its own `forward`, whatever it is.

    A compiled `Decoder.forward` would pass over that of a subclass.
    """
    return model(*args, **options)


def why_not_compiled(model: nn.Module) -> str | None:
    """Why the whole model is not to be compiled, or None.

    A program is made once and used again while modules, types and shapes are the same; that a hook
    was added, or a method replaced on an instance, is not looked at when it is used again.
    """
    reason = why_not_around()
    for name, module in model.named_modules():
        reason = reason or why_not_plain(module, type(module))
        if reason is not None:
            return f"{name}: {reason}"
    return None
