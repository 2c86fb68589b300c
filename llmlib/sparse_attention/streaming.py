"""A cache for texts without end: the first tokens, which soak up attention, and a window."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from llmlib.kv_cache import FullLayer, KVCache, LayerCache, Reader, RollingLayer
from llmlib.kv_cache.layers import Stored
from llmlib.position_encoding import Layout, apply_rotation, rope_rotation
from llmlib.position_encoding.rotation import LAYOUTS
from llmlib.sizes import check_sizes


class SinkLayer(LayerCache):
    """Keys and values of the first n_sinks tokens and of the last `window`."""

    def __init__(self, owner: "SinkKVCache") -> None:
        self.owner = owner
        self.sinks = FullLayer(owner.n_sinks)
        self.ring = RollingLayer(owner.window)

    def update(self, keys: Stored, values: Stored) -> tuple[Tensor, Tensor]:
        n_sinks, room = self.owner.n_sinks, self.owner.n_sinks + self.owner.window
        start, n_new = self.length, keys.shape[2]
        if n_new > 1 and start + n_new > room:
            raise ValueError(
                f"{n_new} tokens at once behind {start}: expected one at a time where the "
                f"cache of {room} would drop some that the first of them still see"
            )
        self._drop_unfinished()
        first = max(n_sinks - start, 0)  # so many of the new tokens are sinks
        parts = []
        if first:
            parts.append(self.sinks.update(keys[:, :, :first], values[:, :, :first]))
        elif n_sinks:
            parts.append(self.sinks.held())
        if n_new > first:
            parts.append(self.ring.update(keys[:, :, first:], values[:, :, first:]))
        if n_sinks:  # nothing is dropped while all tokens fit
            parts[0] = self.owner.moved(parts[0][0], start + n_new - room), parts[0][1]
        found = [torch.cat(both, dim=2) for both in zip(*parts, strict=True)]
        self.length = start + n_new
        return found[0], found[1]

    def why_not(self, reader: Reader) -> str | None:
        if reader.window is not None:
            return (
                f"the model has a window of {reader.window} of its own, expected none: it would "
                "hide the sinks"
            )
        mine, expected = self.owner.frequencies, reader.frequencies
        if mine is None:
            return None
        same = expected is not None and torch.equal(expected.cpu(), mine.cpu())
        if same and not reader.latent and self.owner.layout == reader.layout:
            return None
        return (
            f"frequencies and layout {self.owner.layout!r} are not those of the model's RoPE; "
            "expected the same, and keys that are rotated whole"
        )

    def key_positions(self, n_new: int) -> Int[Tensor, " seq_k"]:
        """True positions of the keys that an update returns, in their order."""
        n_sinks, end = self.owner.n_sinks, self.length + n_new
        if n_new > 1 or end <= n_sinks:
            return torch.arange(end)
        held = end - n_sinks
        slots = torch.arange(min(held, self.owner.window))
        ring = held - 1 - (held - 1 - slots) % self.owner.window
        return torch.cat([torch.arange(n_sinks), n_sinks + ring])

    def _drop_unfinished(self) -> None:
        """What an interrupted update left behind: tokens count once both parts have them."""
        self.sinks.cut(min(self.length, self.owner.n_sinks))
        self.ring.length = max(self.length - self.owner.n_sinks, 0)

    def reset(self) -> None:
        self.length = 0
        self._drop_unfinished()

    @property
    def n_bytes(self) -> int:
        return self.sinks.n_bytes + self.ring.n_bytes

    @property
    def allocated_bytes(self) -> int:
        return self.sinks.allocated_bytes + self.ring.allocated_bytes


class SinkKVCache(KVCache):
    """Keys and values of the first n_sinks tokens and the last `window`: constant memory.

    Trained models rest much attention on the first tokens, whatever they say; a plain window drops
    them and the model breaks. A prompt may come at once if it fits; after that, one token at a
    time.

    With the frequencies of the model's RoPE, positions count inside the cache, as in StreamingLLM:
    a sink that lies t dropped tokens too far back is turned forward by t positions. Recent keys
    need nothing, because scores depend on differences of positions only. The text then has no end:
    the model's context has to hold n_sinks + window positions, not the text. Without frequencies
    the sinks stay at their true distance, and the text ends with the context.

    For models without a window of their own, whose keys it would not know by their positions, and
    for texts without padding, which would stand where the sinks should be.

    Args:
        window: recent tokens that are held, the newest included.
        n_sinks: first tokens that are held for good.
        frequencies: of RoPE (`rope_frequencies`), those of the model.
        layout: which features RoPE pairs, as in the model.

    Raises:
        TypeError, ValueError: sizes that are no integers or too small, frequencies that are no
            tensor of one axis, an unknown layout.

    Source: xiao2024sinks
    """

    starts_with_sinks = True

    def __init__(
        self,
        window: int,
        n_sinks: int = 4,
        *,
        frequencies: Float[Tensor, " half"] | None = None,
        layout: Layout = "half",
    ) -> None:
        super().__init__()
        check_sizes(window=window)
        check_sizes(least=0, n_sinks=n_sinks)
        if frequencies is not None and (
            not isinstance(frequencies, Tensor) or frequencies.ndim != 1
        ):
            found = getattr(frequencies, "shape", type(frequencies).__name__)
            raise TypeError(f"frequencies are {found}, expected a tensor: rope_frequencies(...)")
        if layout not in LAYOUTS:
            raise ValueError(f"layout is {layout!r}, expected one of {', '.join(LAYOUTS)}")
        self.window, self.n_sinks = window, n_sinks
        self.frequencies, self.layout = frequencies, layout

    def _new_layer(self) -> LayerCache:
        return SinkLayer(self)

    def reach(self, total: int) -> int:
        return total if self.frequencies is None else min(total, self.n_sinks + self.window)

    def moved(self, keys: Tensor, by: int) -> Tensor:
        """Sinks as they look after `by` tokens were dropped between them and the window."""
        if self.frequencies is None or by <= 0:
            return keys
        at = torch.tensor([by], device=keys.device)
        wide = torch.float64 if keys.dtype == torch.float64 else torch.float32
        cos, sin = rope_rotation(at, self.frequencies, 1.0, wide)
        alike = (keys.shape[2], -1)  # all sinks by the same angles
        return apply_rotation(keys, (cos.expand(alike), sin.expand(alike)), self.layout)
