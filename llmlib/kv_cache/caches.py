"""The caches of a model: one `Layer` for each of its layers, and the positions that they hold."""

from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from llmlib.kv_cache.layers import (
    FullLayer,
    LatentLayer,
    Layer,
    QuantizedLayer,
    RollingLayer,
    Stored,
    check_kind,
    check_pair,
    kind,
    ordinary_empty,
)
from llmlib.sizes import check_sizes


class Reader(NamedTuple):
    """What a cache has to know of the model that reads it, to say whether it is exact for it."""

    n_layers: int
    window: int | None  # keys a query sees
    latent: bool  # whether a token leaves one latent for all heads
    frequencies: Tensor | None  # of RoPE
    layout: str  # which features RoPE pairs


class KVCache:
    """Keys and values of every token: memory grows with the text, nothing is lost.

    Args:
        capacity: tokens to make room for at once; None starts small. Either doubles when full.

    Raises:
        TypeError, ValueError: a capacity that is not a positive integer.
    """

    starts_with_sinks = False  # whether the first slots are kept for their own sake

    def __init__(self, capacity: int | None = None) -> None:
        if capacity is not None:
            check_sizes(capacity=capacity)
        self.capacity = capacity
        self.layers: list[Layer] = []

    def _new_layer(self) -> Layer:
        return FullLayer(self.capacity)

    def layer(self, index: int) -> Layer:
        """The cache of layer `index`, made when it is first asked for."""
        while len(self.layers) <= index:
            self.layers.append(self._new_layer())
        return self.layers[index]

    @property
    def length(self) -> int:
        """Tokens seen so far, whether they are still held or not."""
        return self.layers[0].length if self.layers else 0

    def check(self, reader: Reader) -> None:
        """Whether a pass of this model may begin.

        Raises:
            RuntimeError: layers that have not seen the same tokens: a pass was interrupted between
                them, or was another model's.
            ValueError: a model that this kind of cache is not exact for.
        """
        if not self.layers:
            return
        last = self.layers[reader.n_layers - 1].length if self._reaches(reader.n_layers) else 0
        behind = self.layers[reader.n_layers].length if self._reaches(reader.n_layers + 1) else 0
        if last != self.length or behind:
            raise RuntimeError(
                f"the cache has seen {self.length} tokens in layer 1, {last} in layer "
                f"{reader.n_layers} and {behind} beyond the model's last: a pass was interrupted, "
                "or was another model's; reset it"
            )

    def _reaches(self, n_layers: int) -> bool:
        return len(self.layers) >= n_layers

    def reach(self, total: int) -> int:
        """How many positions apart the tokens of a text of this length may meet in attention."""
        return total

    @property
    def n_bytes(self) -> int:
        """Bytes of the keys and values that are held, with their scales where there are any."""
        return sum(layer.n_bytes for layer in self.layers)

    @property
    def allocated_bytes(self) -> int:
        """Bytes of the buffers, room for tokens to come included."""
        return sum(layer.allocated_bytes for layer in self.layers)

    def reset(self) -> None:
        """Forget every token; the buffers are kept for the next text."""
        for layer in self.layers:
            layer.reset()

    def positions(self, n_new: int) -> Int[Tensor, " seq"]:
        """The positions of the next n_new tokens."""
        return torch.arange(self.length, self.length + n_new)

    def key_positions(self, n_new: int) -> Int[Tensor, " seq_k"]:
        """The positions of the keys that an update with n_new tokens returns, in their order."""
        return torch.arange(self.length + n_new)


class QuantizedKVCache(KVCache):
    """Keys and values in 8 bits: (head_dim + 4) / (2 * head_dim) of bfloat16's memory.

    Each token's key and value of a head is stored as int8 with one float32 scale, so a number is
    off by at most 1/254 of the largest beside it. New tokens see the rounded ones as well: chunks
    of any size give the same result.
    """

    def _new_layer(self) -> Layer:
        return QuantizedLayer(self.capacity)


class LatentKVCache(KVCache):
    """The latents of multi-head latent attention: (kv_rank + rope_dim) numbers a token and layer.

    All heads read the same row, so their number does not matter: n_bytes is batch * layers *
    (kv_rank + rope_dim) * bytes a number * tokens.

    Source: deepseek2024v2
    """

    def _new_layer(self) -> Layer:
        return LatentLayer(self.capacity)

    def check(self, reader: Reader) -> None:
        if not reader.latent:
            raise ValueError("a cache of latents serves latent attention, got a model without")
        super().check(reader)


class RollingKVCache(KVCache):
    """Keys and values of the last `window` tokens: memory is constant, however long the text.

    Exact for models whose attention has this window; others would need what is thrown away.

    Args:
        window: tokens that are held, the attention's window.

    Raises:
        TypeError, ValueError: a window that is not a positive integer.

    Source: jiang2023mistral
    """

    def __init__(self, window: int) -> None:
        super().__init__()
        check_sizes(window=window)
        self.window = window

    def _new_layer(self) -> Layer:
        return RollingLayer(self.window)

    def check(self, reader: Reader) -> None:
        if self.window != reader.window:
            raise ValueError(
                f"the cache keeps {self.window} tokens, expected {reader.window}, the window of "
                "the model: a rolling cache is exact for that one alone"
            )
        super().check(reader)

    def key_positions(self, n_new: int) -> Int[Tensor, " seq_k"]:
        end = self.length + n_new
        if n_new > 1:
            return torch.arange(self.length - min(self.length, self.window - 1), end)
        slots = torch.arange(min(end, self.window))
        return end - 1 - (end - 1 - slots) % self.window


# --- buffers of fixed shape -------------------------------------------------------------------


class FixedLayer(Layer):
    """Buffers of one shape for good, written at a position that is a tensor.

    A compiled step then is the same program at every position. All slots are returned, also those
    never written: the mask has to hide them.
    """

    aligned = False

    def __init__(self, owner: "FixedKVCache") -> None:
        self.owner = owner
        self.keys: Tensor | None = None
        self.values: Tensor | None = None

    @property
    def length(self) -> int:  # type: ignore[override]
        return self.owner.length

    def update(self, keys: Stored, values: Stored) -> tuple[Tensor, Tensor]:
        check_pair(keys, values)
        if self.keys is None or self.values is None:
            self.keys, self.values = self._empty(keys), self._empty(values)
        elif kind(self.keys) != kind(keys) or kind(self.values) != kind(values):
            if self.length:
                check_kind(self.keys, keys)
                check_kind(self.values, values)
            self.keys, self.values = self._empty(keys), self._empty(values)
        slots = self.owner.positions(keys.shape[2]).to(keys.device)
        self.keys.index_copy_(2, slots, keys)
        self.values.index_copy_(2, slots, values)
        return self.keys, self.values

    def _empty(self, x: Tensor) -> Tensor:
        """Zeros, not what memory holds: 0 times a hidden NaN would be seen."""
        return ordinary_empty(x, *x.shape[:2], self.owner.capacity, x.shape[3]).zero_()

    def buffers(self) -> tuple[Tensor, Tensor]:
        """All slots, for a step that writes by itself; there are none before the first update."""
        if self.keys is None or self.values is None:
            raise RuntimeError("the cache is empty: run the prompt through the model first")
        return self.keys, self.values

    def reset(self) -> None:
        """The position is the owner's, and the mask hides what lies behind it."""

    @property
    def n_bytes(self) -> int:
        both = (self.keys, self.values)
        return sum(x[:, :, : self.owner.length].nbytes for x in both if x is not None)

    @property
    def allocated_bytes(self) -> int:
        return sum(x.nbytes for x in (self.keys, self.values) if x is not None)


class FixedKVCache(KVCache):
    """Keys and values in buffers of fixed shape, for steps that are compiled once.

    The count of tokens is a tensor that `advance` raises after each forward pass, so no shape and
    no Python number changes from step to step.

    Args:
        capacity: tokens that there is room for; more raise IndexError.
    """

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self.capacity: int = capacity
        with torch.inference_mode(False):  # it is raised in any mode
            self.count = torch.zeros((), dtype=torch.long)

    def _new_layer(self) -> Layer:
        return FixedLayer(self)

    def check(self, reader: Reader) -> None:
        # A pass that was interrupted did not count its tokens: they are written again.
        if self.length and len(self.layers) < reader.n_layers:
            raise RuntimeError(
                f"the cache holds a text of {len(self.layers)} layers, the model has "
                f"{reader.n_layers}; reset it"
            )

    @property
    def length(self) -> int:
        return int(self.count)

    def advance(self, n_new: int) -> None:
        """Count the tokens of a forward pass that is over."""
        self.count += n_new

    def reset(self) -> None:
        self.count.zero_()

    def positions(self, n_new: int) -> Int[Tensor, " seq"]:
        return self.count + torch.arange(n_new, device=self.count.device)

    def key_positions(self, n_new: int) -> Int[Tensor, " seq_k"]:
        return torch.arange(self.capacity, device=self.count.device)
