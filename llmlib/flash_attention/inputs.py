"""What a call of flash attention asks for, checked: tensors, numbers, slopes, offsets."""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from llmlib.checks import check_sizes
from llmlib.precision import widened


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
        if window is not None:
            check_sizes(window=window)
        scale = 1 / math.sqrt(head_dim) if scale is None else scale
        if not math.isfinite(scale):
            raise ValueError(f"scale is {scale}, expected a finite number")
        if softcap is not None and not (math.isfinite(softcap) and softcap > 0):
            raise ValueError(f"softcap is {softcap}, expected a positive number")
        return Options(bool(causal), window, float(scale), softcap)


def check_tensors(q: Tensor, k: Tensor, v: Tensor) -> None:
    """TypeError for integers, or for tensors of several types or devices."""
    for name, x in (("q", q), ("k", k), ("v", v)):
        if not x.is_floating_point():
            raise TypeError(f"{name} is {x.dtype}, expected floats")
        if (x.dtype, x.device) != (q.dtype, q.device):
            expected = f"{q.dtype} on {q.device} as q"
            raise TypeError(f"{name} is {x.dtype} on {x.device}, expected {expected}")
    if q.shape[-1] == 0:
        raise ValueError("q has head_dim 0, expected at least 1")


def in_one_type(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Under autocast the tensors in its type, as PyTorch's own attention takes them."""
    if not autocasts(q):
        return q, k, v
    dtype = torch.get_autocast_dtype(q.device.type)
    narrows = (x.is_floating_point() and x.dtype != torch.float64 for x in (q, k, v))
    q, k, v = (x.to(dtype) if yes else x for x, yes in zip((q, k, v), narrows, strict=True))
    return q, k, v


def autocasts(x: Tensor) -> bool:
    """Whether autocast is on where x lies; some devices, such as "meta", have none."""
    kind = x.device.type
    return torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)


def slopes_by_text(slopes: Tensor | None, q: Tensor) -> Tensor | None:
    """ALiBi's slopes as (batch, heads), in the type that scores are computed in."""
    if slopes is None:
        return None
    batch, heads = q.shape[:2]
    if tuple(slopes.shape) not in ((heads,), (batch, heads)):
        expected = f"({heads},) or ({batch}, {heads})"
        raise ValueError(f"alibi_slopes has shape {tuple(slopes.shape)}, expected {expected}")
    if slopes.requires_grad and torch.is_grad_enabled():
        raise ValueError("alibi_slopes requires a gradient, which flash attention does not compute")
    wide = widened(q.new_empty(0))
    return slopes.to(wide).expand(batch, heads)


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
