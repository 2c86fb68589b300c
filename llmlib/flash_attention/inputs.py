"""What a call of flash attention asks for, checked: tensors, numbers, slopes, offsets."""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from llmlib.checks import check_options
from llmlib.precision import widened
from llmlib.sizes import check_number, check_sizes


@dataclass(frozen=True)
class TileSizes:
    """How large the blocked engine's tiles are; what it computes does not depend on them."""

    scores: int = 2**19  # the most, 2 MB, that all heads of a text may have to share one tile
    queries: int = 128  # of a tile of one head, where they do not
    keys: int = 4096

    def __post_init__(self) -> None:
        """Refuse sizes that are no positive integers; no scores means no shared tile."""
        check_sizes(queries=self.queries, keys=self.keys)
        check_sizes(least=0, scores=self.scores)


USUAL_TILES = TileSizes()


@dataclass(frozen=True)
class Options:
    """What a call asks for, beside its tensors."""

    causal: bool
    window: int | None
    scale: float
    softcap: float | None

    @property
    def hides(self) -> bool:
        """Whether some query may not see some key."""
        return self.causal or self.window is not None

    @staticmethod
    def checked(
        causal: bool, window: int | None, scale: float | None, softcap: float | None, head_dim: int
    ) -> "Options":
        """The options of a call; TypeError or ValueError for numbers that mean nothing."""
        check_options(causal, window, scale)
        scale = 1 / math.sqrt(head_dim) if scale is None else scale
        if softcap is not None:
            check_number("softcap", softcap)
            if softcap <= 0:
                raise ValueError(f"softcap is {softcap}, expected a positive number")
        return Options(causal, window, float(scale), softcap)


def slopes_by_text(slopes: Tensor | None, q: Tensor) -> Tensor | None:
    """ALiBi's slopes as (batch, heads), in the type that scores are computed in."""
    if slopes is None:
        return None
    check_slopes(slopes, q)
    if slopes.requires_grad and torch.is_grad_enabled():
        raise ValueError("alibi_slopes requires a gradient, which flash attention does not compute")
    wide = widened(q.new_empty(0))
    return slopes.to(wide).expand(*q.shape[:2])


def check_slopes(slopes: Tensor, q: Tensor) -> None:
    """TypeError or ValueError for slopes that are not one number for each head."""
    batch, heads = q.shape[:2]
    if not isinstance(slopes, Tensor) or not slopes.is_floating_point():
        kind = slopes.dtype if isinstance(slopes, Tensor) else type(slopes).__name__
        raise TypeError(f"alibi_slopes is {kind}, expected a tensor of floats")
    if tuple(slopes.shape) not in ((heads,), (batch, heads)):
        expected = f"({heads},) or ({batch}, {heads})"
        raise ValueError(f"alibi_slopes has shape {tuple(slopes.shape)}, expected {expected}")


def check_offsets(name: str, offsets: Tensor, total: int, n: int | None = None) -> list[int]:
    """Where texts start and the last one ends, as numbers; ValueError if they cannot be that."""
    if offsets.ndim != 1 or offsets.is_floating_point() or len(offsets) != (n or len(offsets)):
        shape = f"({n},)" if n else "(texts + 1,)"
        found = f"{offsets.dtype} of shape {tuple(offsets.shape)}"
        raise ValueError(f"{name} is {found}, expected integers of shape {shape}")
    ends: list[int] = offsets.tolist()
    if not ends or ends[0] != 0 or ends[-1] != total or sorted(ends) != ends:
        raise ValueError(f"{name} is {ends}, expected to rise from 0 to {total} tokens")
    return ends


def longest(ends: list[int]) -> int:
    """The length of the longest text; 0 if there is none."""
    return max((b - a for a, b in pairwise(ends)), default=0)
