"""A cache for texts without end: the first tokens, which soak up attention, and a window."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from llmlib.checks import check_sizes
from llmlib.kv_cache import KVCache, Layer, RollingLayer
from llmlib.kv_cache.layers import Stored
from llmlib.position_encoding import Layout, apply_rotation, rope_rotation


class SinkLayer(Layer):
    """Keys and values of the first n_sinks tokens and of the last `window`."""

    def __init__(self, owner: "SinkKVCache") -> None:
        self.owner = owner
        self.ring = RollingLayer(owner.window)
        self.sinks: tuple[Tensor, Tensor] | None = None

    @property
    def length(self) -> int:  # type: ignore[override]
        return self._n_sinks + self.ring.length

    @property
    def _n_sinks(self) -> int:
        return 0 if self.sinks is None else self.sinks[0].shape[2]

    def update(self, keys: Stored, values: Stored) -> tuple[Tensor, Tensor]:
        room = self.owner.n_sinks + self.owner.window
        n_new = keys.shape[2]
        if n_new > 1 and self.length + n_new > room:
            raise ValueError(
                f"{n_new} tokens at once behind {self.length}: expected one at a time where the "
                f"cache of {room} would drop some that the first of them still see"
            )
        missing = self.owner.n_sinks - self._n_sinks
        if self.sinks is None:
            self.sinks = keys[:, :, :missing].clone(), values[:, :, :missing].clone()
        elif missing:
            first, second = self.sinks
            self.sinks = (
                torch.cat([first, keys[:, :, :missing]], dim=2),
                torch.cat([second, values[:, :, :missing]], dim=2),
            )
        sinks = self.owner.moved(self.sinks[0], self.length + n_new - room), self.sinks[1]
        keys, values = keys[:, :, missing:], values[:, :, missing:]
        if not keys.shape[2]:
            return sinks
        recent = self.ring.update(keys, values)
        return torch.cat([sinks[0], recent[0]], dim=2), torch.cat([sinks[1], recent[1]], dim=2)

    def reset(self) -> None:
        self.ring.reset()
        self.sinks = None

    @property
    def n_bytes(self) -> int:
        return self.ring.n_bytes + sum(x.nbytes for x in self.sinks or ())

    @property
    def allocated_bytes(self) -> int:
        return self.ring.allocated_bytes + sum(x.nbytes for x in self.sinks or ())


class SinkKVCache(KVCache):
    """Keys and values of the first n_sinks tokens and the last `window`: constant memory.

    Trained models rest much attention on the first tokens, whatever they say; a plain window drops
    them and the model breaks. A prompt may come at once if it fits; after that, one token at a
    time.

    With the frequencies of the model's RoPE, positions count inside the cache, as in StreamingLLM:
    a sink that lies t dropped tokens too far back is turned forward by t positions. Recent keys
    need nothing, because scores depend on differences of positions only.

    Args:
        window: recent tokens that are held, the newest included.
        n_sinks: first tokens that are held for good.
        frequencies: of RoPE (`rope_frequencies`); None leaves the sinks at their true distance.
        layout: which features RoPE pairs.

    Raises:
        TypeError, ValueError: sizes that are no integers or too small.

    Source: xiao2024sinks
    """

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
        self.window, self.n_sinks = window, n_sinks
        self.frequencies, self.layout = frequencies, layout

    def _new_layer(self) -> Layer:
        return SinkLayer(self)

    def moved(self, keys: Tensor, by: int) -> Tensor:
        """Sinks as they look after `by` tokens were dropped between them and the window."""
        if self.frequencies is None or by <= 0:
            return keys
        at = torch.tensor([by], device=keys.device)
        wide = torch.float64 if keys.dtype == torch.float64 else torch.float32
        return apply_rotation(keys, rope_rotation(at, self.frequencies, 1.0, wide), self.layout)

    def key_positions(self, n_new: int) -> Int[Tensor, " seq_k"]:
        """True positions of the keys that an update returns, in their order."""
        end = self.length + n_new
        if n_new > 1 or end <= self.n_sinks:
            return torch.arange(end)
        held = end - self.n_sinks
        slots = torch.arange(min(held, self.window))
        ring = held - 1 - (held - 1 - slots) % self.window
        return torch.cat([torch.arange(self.n_sinks), self.n_sinks + ring])
