"""How long a step takes at least: its FLOPs at a chip's peak, its bytes at the memory's bandwidth.

The roofline: a chip computes and moves at the same time, so a step takes as long as the slower of
the two.
"""

import dataclasses
from typing import Literal

from llmlib.accounting.arithmetic import is_number, largest
from llmlib.accounting.breakdown import Breakdown, Count
from llmlib.accounting.chips import Chip
from llmlib.accounting.sizes import Bytes


def intensity(flops: Count, moved: Count) -> Count:
    """FLOPs a byte; either may be a breakdown, whose total counts."""
    return _total(flops) / _total(moved)


@dataclasses.dataclass(frozen=True)
class StepTime:
    """The two times of a step, in seconds."""

    computing: Count
    moving: Count

    @property
    def seconds(self) -> Count:
        """The larger one: both go on at once."""
        return largest(self.computing, self.moving)

    @property
    def bound(self) -> Literal["compute", "memory"]:
        """What the step waits for. Raises ValueError where a time is a formula."""
        if not (is_number(self.computing) and is_number(self.moving)):
            raise ValueError(f"times are {self.computing} and {self.moving}: expected numbers")
        return "compute" if self.computing >= self.moving else "memory"


def step_time(flops: Count, moved: Count, chip: Chip, dtype: Bytes = "bfloat16") -> StepTime:
    """How long a chip takes at least: max(FLOPs / peak, bytes / bandwidth).

    Args:
        flops: operations, or a breakdown of them.
        moved: bytes, or a breakdown of them.
        chip: one of CHIPS, or one of your own.
        dtype: what the products' inputs are.

    Raises:
        ValueError: a type that the chip has no rate for, a negative count.

    Source: williams2009roofline
    """
    flops, moved = _total(flops), _total(moved)
    for name, count in (("flops", flops), ("moved", moved)):
        if is_number(count) and not count >= 0:
            raise ValueError(f"{name} is {count}, expected 0 or more")
    return StepTime(flops / chip.rate(dtype), moved / chip.bandwidth)


def _total(count: Count) -> Count:
    return count.total if isinstance(count, Breakdown) else count
