"""The caches of a model: a `LayerCache` for each of its layers."""

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from llmlib.kv_cache.layers import (
    FullLayer,
    LatentLayer,
    LayerCache,
    QuantizedLayer,
    Reader,
    RollingLayer,
    Stored,
    check_kind,
    check_pair,
    kind,
    ordinary_empty,
)
from llmlib.sizes import check_sizes


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
        self.layers: list[LayerCache] = []

    def _new_layer(self) -> LayerCache:
        return FullLayer(self.capacity)

    def layer(self, index: int) -> LayerCache:
        """The cache of layer `index`, made when it is first asked for."""
        while len(self.layers) <= index:
            self.layers.append(self._new_layer())
        return self.layers[index]

    @property
    def length(self) -> int:
        """Tokens seen so far, whether they are still held or not."""
        return self.layers[0].length if self.layers else 0

    def check(self, readers: Sequence[Reader]) -> None:
        """Whether a pass of a model whose layers are these may begin.

        Raises:
            RuntimeError: layers that have not seen the same tokens: a pass was interrupted between
                them, or was another model's.
            ValueError: a layer that this kind of cache is not exact for.
        """
        n_layers, started = len(readers), len(self.layers)
        self.layer(n_layers - 1)  # makes those that are not there yet
        for layer, reader in zip(self.layers, readers, strict=False):
            reason = layer.why_not(reader)
            if reason is not None:
                raise ValueError(reason)
        first, last = self.layers[0].length, self.layers[n_layers - 1].length
        beyond = self.layers[n_layers].length if started > n_layers else 0
        if last != first or beyond:
            raise RuntimeError(
                f"the cache has seen {first} tokens in layer 1, {last} in layer {n_layers} "
                f"and {beyond} beyond the model's last: a pass was interrupted, or was another "
                "model's; reset it"
            )

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
        length = self.layers[0].length if self.layers else 0
        return torch.arange(length, length + n_new)

    def key_positions(self, n_new: int) -> Int[Tensor, " seq_k"]:
        """The first layer's `key_positions`; where all layers are of one kind, every layer's."""
        return self.layer(0).key_positions(n_new)


class LayeredKVCache(KVCache):
    """A cache of several kinds of layers: windows that roll beside layers that grow.

    Args:
        layers: the cache of each layer, empty, in the order of the layers.

    Raises:
        TypeError: what is no cache of a layer.
    """

    def __init__(self, layers: Sequence[LayerCache]) -> None:
        super().__init__()
        for layer in layers:
            if not isinstance(layer, LayerCache):
                raise TypeError(f"layers holds a {type(layer).__name__}, expected caches of layers")
        self.layers = list(layers)

    def _new_layer(self) -> LayerCache:
        raise ValueError(f"the cache has {len(self.layers)} layers, the model has more")


class QuantizedKVCache(KVCache):
    """Keys and values in 8 bits: (head_dim + 4) / (2 * head_dim) of bfloat16's memory.

    Each token's key and value of a head is stored as int8 with one float32 scale, so a number is
    off by at most 1/254 of the largest beside it. New tokens see the rounded ones as well: chunks
    of any size give the same result.
    """

    def _new_layer(self) -> LayerCache:
        return QuantizedLayer(self.capacity)


class LatentKVCache(KVCache):
    """The latents of multi-head latent attention: (kv_rank + rope_dim) numbers a token and layer.

    All heads read the same row, so their number does not matter: n_bytes is batch * layers *
    (kv_rank + rope_dim) * bytes a number * tokens.

    Source: deepseek2024v2
    """

    def _new_layer(self) -> LayerCache:
        return LatentLayer(self.capacity)


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

    def _new_layer(self) -> LayerCache:
        return RollingLayer(self.window)


# --- buffers of fixed shape -------------------------------------------------------------------


class FixedLayer(LayerCache):
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

    def key_positions(self, n_new: int) -> Int[Tensor, " seq_k"]:
        return torch.arange(self.owner.capacity, device=self.owner.count.device)

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
        """The position is the owner's, and the mask hides what comes after it."""

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

    def _new_layer(self) -> LayerCache:
        return FixedLayer(self)

    def check(self, readers: Sequence[Reader]) -> None:
        # A pass that was interrupted did not count its tokens: they are written again.
        if self.length and len(self.layers) < len(readers):
            raise RuntimeError(
                f"the cache holds a text of {len(self.layers)} layers, the model has "
                f"{len(readers)}; reset it"
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
