"""What a card holds: a model as `llmlib.architecture` describes it, its size, and its source."""

from dataclasses import dataclass
from typing import Any

import llmlib.architecture as arch


@dataclass(frozen=True)
class ModelCard:
    """A named model: its description, its size and where both come from."""

    name: str
    year: int  # of the first publication, paper or weights
    config: arch.ModelConfig
    published_parameters: int  # numbers in the release, a shared tensor once; rounded if not exact
    quoted: str  # the size as the source prints it, rounded
    source: str  # key in references.bib
    exact: bool = True  # False: the weights are not public, the count is the source's rounded one
    training_tokens: float | None = None  # seen in training, repeated ones too; None: not published
    note: str = ""
    difference: str = ""  # why the count is more than 1% off the quoted size; "" where it is not
    quoted_active: str = ""  # of a mixture of experts: the printed size of what a token passes

    @property
    def quoted_number(self) -> float:
        """The quoted size as a number: "6.7B" is 6.7e9."""
        return size_as_number(self.quoted)


def size_as_number(printed: str) -> float:
    """A printed size as a number: "6.7B" is 6.7e9, "1542M" 1.542e9.

    Raises: ValueError for what does not end with M or B.
    """
    units = {"M": 1e6, "B": 1e9}
    if printed[-1:] not in units:
        raise ValueError(f"the size is {printed!r}, expected a number and M or B, as in 6.7B")
    return float(printed[:-1]) * units[printed[-1]]


def stacked(
    *runs: arch.Run, positions: arch.Learned | arch.Buckets | None = None,
    first_norm: arch.Norm | None = None, causal: bool = True,
) -> arch.Stack:  # fmt: skip
    """A stack that ends with a norm like its blocks', where these do not end with one."""
    last = arch.layers(runs)[-1]
    last_norm = None if last.norms == "post" else last.norm
    return arch.Stack(runs, last_norm, causal, positions, first_norm)


def all_alike(n_layers: int, block: arch.Block, **around: Any) -> arch.Stack:
    """A stack of one kind of block."""
    return stacked(arch.repeat(n_layers, block), **around)
