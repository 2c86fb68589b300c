"""Fills a model with tensors from files, and names file and tensor of whatever does not fit.

A model is built without memory (on PyTorch's meta device) and gets its tensors one at a time, so
that loading needs little more memory than the weights.
"""

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

import llmlib.architecture as arch

Model = TypeVar("Model", bound=nn.Module)


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
    part: Callable[[Tensor], Tensor] = lambda stored: stored  # e.g. one of three matrices in one


DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16)
}


def weights_dtype(dtype: torch.dtype | str) -> torch.dtype:
    """The type that a model's weights shall have, given as such or by its name."""
    found = DTYPES.get(str(dtype).removeprefix("torch."))
    if found is None:
        raise ValueError(f"dtype is {dtype!r}, expected a torch.dtype among {', '.join(DTYPES)}")
    return found


SIZES = (
    "dim", "vocab_size", "rows", "n_heads", "n_kv_heads", "head_dim", "value_dim", "kv_rank",
    "rope_dim", "plain_dim", "query_rank", "ffn_dim", "n_experts",
)  # fmt: skip
"""Sizes of a description that are the side of a tensor; a window or a context may be any."""


def check_sizes(config: arch.ModelConfig, files: TensorFiles) -> None:
    """ValueError for a size beyond all that the files hold, before anything is made of that size.

    Every layer has a tensor, and every width is the side of one.
    """
    check_layers("n_layers", config.n_layers, files.shapes)
    numbers = sum(math.prod(shape) for shape in files.shapes.values())
    for name, size in described_sizes(config):
        if size > numbers:
            raise ValueError(
                f"{name} is {size}, expected no more than {numbers}: the weights are "
                f"{len(files.shapes)} tensors with {numbers} numbers in all"
            )


def check_layers(name: str, n_layers: int, tensors: Collection[str]) -> None:
    """ValueError for more layers than there are tensors; name is what says so."""
    if n_layers > len(tensors):
        raise ValueError(
            f"{name} is {n_layers}, expected no more than {len(tensors)}, the tensors that the "
            "weights have"
        )


def described_sizes(part: Any) -> Iterator[tuple[str, int]]:
    """Name and value of every size in a description that is the side of a tensor."""
    if isinstance(part, tuple):
        for one in part:
            yield from described_sizes(one)
    elif isinstance(part, arch.Described):
        for name, value in vars(part).items():
            if name in SIZES and value is not None:
                yield name, value
            else:
                yield from described_sizes(value)


def fill(
    model: Model,
    files: TensorFiles,
    rules: Collection[Rule],
    ignored: Callable[[str], bool],
    dtype: torch.dtype,
    copies: Mapping[str, str] | None = None,
) -> Model:
    """The model with the files' weights, ready to run.

    Args:
        model: of any weights; they are replaced.
        files: where the tensors are.
        rules: one for each parameter.
        ignored: stored tensors that are no weights, such as masks.
        dtype: type of the model's weights.
        copies: tensors that the file may hold a second time, copy -> original, such as the head
            of a model whose head is the embedding; either may be missing.

    Raises:
        ValueError: a tensor that is missing, left over, of another shape, or whose copy differs;
            all of this before the weights are read.
    """
    expected = {name: tuple(p.shape) for name, p in model.named_parameters()}
    rules = _instead(rules, files, copies or {})
    used_twice = [copy for copy in copies or {} if _is_copy(copy, (copies or {})[copy], files)]
    check_tensors(expected, files, rules, lambda name: name in used_twice or ignored(name))
    weights = {}
    last, whole_tensor = "", torch.empty(0)
    for rule in rules:
        if rule.tensor != last:  # several parameters in turn may be parts of one
            last, whole_tensor = rule.tensor, files.read(rule.tensor)
        stored = rule.part(whole_tensor)
        # A part of a larger tensor would keep all of it in memory.
        whole = stored.untyped_storage().nbytes() == stored.nbytes and stored.is_contiguous()
        weights[rule.parameter] = stored.to(dtype) if whole else stored.to(dtype, copy=True)
        weights[rule.parameter] = weights[rule.parameter].contiguous()
    model.load_state_dict(weights, assign=True)
    return model.eval()


def _instead(rules: Collection[Rule], files: TensorFiles, copies: Mapping[str, str]) -> list[Rule]:
    """The rules, with the copy of a tensor where only that is stored.

    A tensor with two names is stored under one of them, and which one depends on the writer.
    """
    only = {
        original: copy
        for copy, original in copies.items()
        if copy in files.shapes and original not in files.shapes
    }
    return [replace(rule, tensor=only.get(rule.tensor, rule.tensor)) for rule in rules]


def _is_copy(copy: str, original: str, files: TensorFiles) -> bool:
    """Whether both are stored and equal; ValueError if they are not equal."""
    if not {copy, original} <= files.shapes.keys():
        return False
    same = files.shapes[copy] == files.shapes[original]
    if not same or not _equal(files.read(copy), files.read(original)):
        raise ValueError(
            f"{files.file(copy)}: tensor {copy!r} {files.shapes[copy]} differs from {original!r} "
            f"{files.shapes[original]}, expected a copy: the configuration says that they are one "
            "matrix (tie_word_embeddings)"
        )
    return True


def _equal(a: Tensor, b: Tensor) -> bool:
    wide = torch.promote_types(a.dtype, b.dtype)
    return torch.equal(a.to(wide), b.to(wide))


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
        except (RuntimeError, ValueError, IndexError, TypeError, OverflowError):
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
