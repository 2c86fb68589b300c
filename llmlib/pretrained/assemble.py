"""Fills a model with tensors from files, and names file and tensor of whatever does not fit.

A model is built without memory (on PyTorch's meta device) and gets its tensors one at a time, so
that loading needs little more memory than the weights.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from llmlib.decoder import Decoder, DecoderConfig

Part = Callable[[Tensor], Tensor]


@runtime_checkable
class TensorFiles(Protocol):
    """Named tensors in files."""

    shapes: dict[str, tuple[int, ...]]

    def file(self, name: str) -> Path:
        """The file that holds the tensor, or that should."""

    def read(self, name: str) -> Tensor:
        """The tensor, in memory of its own."""


@dataclass(frozen=True)
class Rule:
    """Which stored tensor becomes a parameter, and what has to be done to it."""

    parameter: str  # name in the model
    tensor: str  # name in the file
    part: Part = lambda stored: stored  # e.g. a transposition, or one of three matrices in one


def assemble(
    config: DecoderConfig,
    files: TensorFiles,
    rules: Collection[Rule],
    ignored: Callable[[str], bool] = lambda name: False,
    dtype: torch.dtype = torch.float32,
) -> Decoder:
    """The decoder with the files' weights, ready to run.

    Args:
        config: the decoder's sizes and choices.
        files: where the tensors are.
        rules: one for each parameter.
        ignored: stored tensors that are no weights, such as masks.
        dtype: type of the model's weights.

    Raises:
        ValueError: a tensor that is missing, left over, or of another shape; all of this before
            any is read.
    """
    with torch.device("meta"):
        model = Decoder(config)
    expected = {name: tuple(p.shape) for name, p in model.named_parameters()}
    check_tensors(expected, files, rules, ignored)
    weights = {}
    for rule in rules:
        stored = rule.part(files.read(rule.tensor))
        # A part of a larger tensor would keep all of it in memory.
        whole = stored.untyped_storage().nbytes() == stored.nbytes and stored.is_contiguous()
        weights[rule.parameter] = stored.to(dtype) if whole else stored.to(dtype, copy=True)
        weights[rule.parameter] = weights[rule.parameter].contiguous()
    model.load_state_dict(weights, assign=True)
    return model.eval()


def check_tensors(
    expected: dict[str, tuple[int, ...]],
    files: TensorFiles,
    rules: Collection[Rule],
    ignored: Callable[[str], bool],
) -> None:
    """ValueError for the first tensor that is missing, of another shape, or left over."""
    filled = {rule.parameter for rule in rules}
    if filled != set(expected):
        raise AssertionError(f"rules and parameters differ in {sorted(filled ^ set(expected))}")
    for rule in rules:
        if rule.tensor not in files.shapes:
            raise ValueError(f"{files.file(rule.tensor)}: tensor {rule.tensor!r} is missing")
        found, wanted = files.shapes[rule.tensor], expected[rule.parameter]
        try:  # a tensor without memory shows what the part would be
            shape = tuple(rule.part(torch.empty(found, device="meta")).shape)
        except (RuntimeError, ValueError, IndexError):
            shape = None
        if shape != wanted:
            became = "" if shape in (None, found) else f", which gives {shape}"
            raise ValueError(
                f"{files.file(rule.tensor)}: tensor {rule.tensor!r} has shape {found}{became}; "
                f"the configuration asks for {wanted} ({rule.parameter})"
            )
    used = {rule.tensor for rule in rules}
    for name in files.shapes:
        if name not in used and not ignored(name):
            raise ValueError(
                f"{files.file(name)}: tensor {name!r} belongs to no part of the model that the "
                "configuration describes"
            )
