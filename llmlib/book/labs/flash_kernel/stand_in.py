"""The few words of Triton that a small kernel needs, in torch, where Triton does not exist.

Triton is built for Linux alone, and the page runs a kernel of its own in Triton's interpreter. With
these stand-ins the same kernel runs elsewhere: memory is a flat tensor, an address an index into
it, and the programs of a launch run one after another.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor


@dataclass
class Pointer:
    """An address, or a tile of them."""

    memory: Tensor
    at: Any = 0

    def __add__(self, steps: Any) -> "Pointer":
        return Pointer(self.memory, self.at + steps)


class Kernel:
    """`kernel[(programs,)](...)`, as in Triton; tensors become the addresses where they begin."""

    def __init__(self, program: Callable[..., None]) -> None:
        self.program = program

    def __getitem__(self, grid: tuple[int]) -> Callable[..., None]:
        def launch(*given: Any, **constants: int) -> None:
            given = tuple(Pointer(x.view(-1)) if isinstance(x, Tensor) else x for x in given)
            for number in range(grid[0]):
                tl.program_id = lambda axis, number=number: number
                self.program(*given, **constants)

        return launch


def load(pointer: Pointer, inside: Tensor, other: float) -> Tensor:
    found = pointer.memory[pointer.at.clamp(max=len(pointer.memory) - 1)]
    return torch.where(inside, found, other)


def store(pointer: Pointer, x: Tensor) -> None:
    pointer.memory[pointer.at] = x


triton = SimpleNamespace(jit=Kernel)
tl = SimpleNamespace(
    arange=torch.arange,
    constexpr=int,
    exp=torch.exp,
    load=load,
    log=torch.log,
    max=torch.amax,
    maximum=lambda a, b: torch.maximum(torch.as_tensor(a), b),
    program_id=lambda axis: 0,
    store=store,
    sum=torch.sum,
)
