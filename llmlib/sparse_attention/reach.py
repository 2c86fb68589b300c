"""What a pattern of attention can do and costs: paths through layers, influence, memory."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary


def path_lengths(mask: Bool[Tensor, "seq seq"]) -> Int[Tensor, "seq seq"]:
    """Layers until what stands at key j can reach query i: the shortest path in the mask's graph.

    One layer carries information along each visible pair, and the residual keeps what is there, so
    i knows of j after L layers if and only if the mask's L-th power has a 1 there.

    Returns:
        0 on the diagonal, 1 for a visible pair, and so on; -1 where no number of layers suffices.

    Raises:
        ValueError: a mask that is not square.
    """
    if mask.ndim != 2 or mask.shape[0] != mask.shape[1]:
        raise ValueError(f"the mask has shape {tuple(mask.shape)}, expected (seq, seq)")
    edges = mask.float()
    known = torch.eye(len(mask), dtype=torch.bool, device=mask.device)
    lengths = torch.where(known, 0, -1)
    for layers in range(1, len(mask) + 1):
        found = ((edges @ known.float()) > 0) & ~known
        if not found.any():
            break
        lengths[found] = layers
        known = known | found
    return lengths


def window_influence(
    window: int, n_layers: int, residual: float = 0.0
) -> Float[Tensor, " distance"]:
    """How a token's influence is spread over distances, if every layer averages its window evenly.

    Each layer moves information back by 0 .. window - 1 positions with equal weight, or leaves it
    in place with weight `residual`: the distribution of one step, convolved n_layers times.

    Args:
        window: keys a query sees, itself included.
        n_layers: layers with that window.
        residual: share that takes the path around attention, from 0 up to 1.

    Returns:
        float64 weights of the distances 0 .. n_layers * (window - 1); they sum to 1.

    Raises:
        ValueError: sizes below 1, a residual outside [0, 1].
    """
    if window < 1 or n_layers < 1 or not 0 <= residual <= 1:
        raise ValueError(
            f"window {window}, n_layers {n_layers}, residual {residual}: expected at least 1, 1, "
            "and a share from 0 to 1"
        )
    spread = torch.ones(1, dtype=torch.float64)
    for _ in range(n_layers):
        nothing = spread.new_zeros(window - 1)
        # The sum over a window is a difference of running sums.
        total = torch.cat([spread, nothing]).cumsum(0)
        before = torch.cat([spread.new_zeros(window), total[:-window]])[: len(total)]
        stays = torch.cat([spread, nothing])
        spread = (1 - residual) * (total - before) / window + residual * stays
    return spread.clamp(min=0)


class _Peak(TorchDispatchMode):
    """Adds up the storages that operations create, as long as they live."""

    def __init__(self) -> None:
        super().__init__()
        self.alive = WeakIdKeyDictionary()
        self.peak = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        for given in tree_leaves((args, kwargs)):  # what was there before is not counted
            if isinstance(given, Tensor):
                self.alive.setdefault(given.untyped_storage(), 0)
        out = func(*args, **(kwargs or {}))
        for made in tree_leaves(out):
            if isinstance(made, Tensor):
                storage = made.untyped_storage()
                self.alive.setdefault(storage, storage.nbytes())
        self.peak = max(self.peak, sum(self.alive.values()))
        return out


def peak_bytes(run: Callable[[], object]) -> int:
    """The most bytes that tensors made inside `run` hold at one time, its result included.

    Counted, not measured: the same on every machine. What a fused kernel takes for itself is not
    seen, nor are the tensors that existed before.
    """
    with _Peak() as counter:
        run()
    return counter.peak
