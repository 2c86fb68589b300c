"""Functions compiled by PyTorch, each when it is first asked for.

Asking for it imports the compiler, which takes seconds and 150 MB: a reader who does not compile
should not pay for it. Shapes are static: a program for every length would cost more than the slots
of a cache of fixed shape that are padding.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch


@functools.cache
def compiled(function: Callable[..., Any]) -> Any:
    """The function, compiled: one program for all tensors of the same shapes."""
    return torch.compile(function, dynamic=False)
