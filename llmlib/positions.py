"""Where the tokens of a pass stand, and what every layer's attention makes of that.

Layers differ: in their RoPE, their window, in what their cache holds. So the decoder hands down one
`Positions`, and each layer asks it for its own `Seen`. What several layers share, a table of
cosines or a mask, is made once.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

import llmlib.architecture as arch
from llmlib.attention import visible_at
from llmlib.checks import readable
from llmlib.kv_cache import LayerCache
from llmlib.position_encoding import (
    Rotation,
    alibi_bias_at,
    alibi_slopes,
    rope_amplitude,
    rope_frequencies,
    rope_rotation,
)


class Angles(NamedTuple):
    """One RoPE of a stack: its frequencies, and what cosine and sine are multiplied with.

    No buffer of a module: model.to(bfloat16) would round the angles, and far positions would blur.
    """

    number: int  # among the different ones of the stack
    frequencies: Tensor
    amplitude: float

    @classmethod
    def of(cls, rope: arch.Rope, turned: int, number: int = 0) -> "Angles":
        """The angles of a description, for so many features of a head."""
        scaling = None if rope.scaling is None else rope.scaling.settings()
        return cls(number, rope_frequencies(turned, rope.base, scaling), rope_amplitude(scaling))


class Seen(NamedTuple):
    """What attention takes beside the stream and the cache."""

    rotation: Rotation | None = None
    bias: Tensor | None = None
    mask: Tensor | None = None
    alibi_slopes: Tensor | None = None


class Positions:
    """The positions of new tokens, for all layers of a stack.

    Args:
        slots: (seq,), where the new tokens lie, padding counted.
        padding: (batch, total), True for tokens and False for padding, of all that a cache has
            seen and the new ones; None: there is none.
        mask: a further mask of all layers, True where a query may see a key.
        bias: the module of a bias by distance that all layers share (T5).
        wide: tables in float64 instead of float32.
        slopes: ALiBi by its slopes where that is possible, instead of its bias.
    """

    def __init__(
        self,
        slots: Tensor,
        padding: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        bias: nn.Module | None = None,
        wide: bool = False,
        slopes: bool = True,
    ) -> None:
        self.slots, self.padding, self.mask, self.bias = slots, padding, mask, bias
        self.dtype = torch.float64 if wide else torch.float32
        self.slopes = slopes
        # Padding counts nothing, so rows may differ: (seq,), or (batch, seq).
        self.counted = None if padding is None else (padding.cumsum(-1) - 1).clamp(min=0)
        self.at = slots if self.counted is None else self.counted[:, slots]
        self._rotations: dict[int, tuple[Tensor, Rotation]] = {}
        self._seen: dict[tuple[object, ...], Seen] = {}

    def see(
        self, cache: LayerCache | None, angles: Angles | None, causal: bool, window: int | None,
        alibi: int = 0,
    ) -> Seen:  # fmt: skip
        """What the attention of one layer takes.

        Args:
            cache: of the layer.
            angles: of its RoPE.
            causal, window: whom its queries see.
            alibi: how many heads have a slope.
        """
        key = (type(cache), causal, window, alibi)
        if key not in self._seen:
            self._seen[key] = self._keys(cache, causal, window, alibi)
        seen = self._seen[key]
        return seen if angles is None else seen._replace(rotation=self.rotation(angles))

    def rotation(self, angles: Angles) -> Rotation:
        """RoPE's tables for the tokens, with an axis for the heads where rows differ."""
        made = self._rotations.get(angles.number)
        # A block that was put in from another stack may bear a number of this one.
        if made is None or made[0] is not angles.frequencies:
            cos, sin = rope_rotation(self.at, angles.frequencies, angles.amplitude, self.dtype)
            alike = self.at.ndim == 1
            made = angles.frequencies, (cos, sin) if alike else (cos[:, None], sin[:, None])
            self._rotations[angles.number] = made
        return made[1]

    def _keys(self, cache: LayerCache | None, causal: bool, window: int | None, alibi: int) -> Seen:
        """Mask and bias over the keys that this kind of cache returns."""
        mask, bias, slopes = self.mask, None, None
        if cache is None and self.padding is None and not alibi and self.bias is None:
            return Seen(mask=mask)  # flags say it all
        slots = self.slots
        keys = slots if cache is None else cache.key_positions(len(slots)).to(slots.device)
        if self.padding is not None:
            mask = _both(mask, self.padding[:, None, None, keys])
        if cache is not None and not cache.aligned:
            mask = _both(mask, visible_at(slots, keys, causal=causal, window=window))
        key_at = keys if self.counted is None else self.counted[:, keys]
        if alibi:
            slopes = alibi_slopes(alibi).to(slots.device)
            in_order = readable(keys) and bool((keys.diff() == 1).all())
            if not (self.slopes and mask is None and in_order):
                bias, slopes = alibi_bias_at(slopes, self.at, key_at), None
        if self.bias is not None:
            bias = self.bias(self.at, key_at)
        return Seen(None, bias, mask, slopes)


def _both(a: Tensor | None, b: Tensor) -> Tensor:
    return b if a is None else a & b
