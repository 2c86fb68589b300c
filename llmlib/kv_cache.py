"""Caches of keys and values: what a decoder keeps so that a new token costs one token's work.

Under a causal mask the keys and values of past positions never change, so they are computed once.
The module reads as the chapter does: everything kept (`KVCache`), only the last `window` tokens
(`RollingKVCache`), everything in 8 bits (`QuantizedKVCache`), and everything in buffers of fixed
shape for compiled steps (`FixedKVCache`). A cache serves all layers of one model; `layer(i)` is
what layer i's attention writes to and reads from.

`n_bytes` counts the tokens that are held: 2 * batch * layers * kv_heads * head_dim * bytes a number
* tokens, plus the scales where numbers are quantized. `allocated_bytes` counts the buffers, which
grow ahead of need.
"""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float, Int
from torch import Tensor

Stored = Float[Tensor, "batch kv_heads seq head_dim"]

FIRST_CAPACITY = 64  # tokens that a buffer without a given capacity starts with


class Buffer:
    """Rows appended along the sequence axis of one tensor, which doubles when it is full."""

    def __init__(self, capacity: int | None = None) -> None:
        self.capacity = capacity
        self.data: Tensor | None = None
        self.length = 0

    def append(self, x: Tensor) -> Tensor:
        """Store (batch, heads, seq, width) behind what is there; return a view of everything."""
        end = self.length + x.shape[2]
        if self.data is None or not self._fits(x, end):
            self._grow(x, end)
        assert self.data is not None
        self.data[:, :, self.length : end] = x
        self.length = end
        return self.data[:, :, :end]

    def _fits(self, x: Tensor, end: int) -> bool:
        assert self.data is not None
        batch, heads, room, width = self.data.shape
        same = (batch, heads, width) == (x.shape[0], x.shape[1], x.shape[3])
        if self.length and not same:
            raise ValueError(
                f"the cache holds (batch, heads, width) {(batch, heads, width)}, got "
                f"{(x.shape[0], x.shape[1], x.shape[3])}; reset it before another batch"
            )
        return same and end <= room and self.data.dtype == x.dtype and self.data.device == x.device

    def _grow(self, x: Tensor, end: int) -> None:
        """Doubling copies each row less than twice on average, however long the text becomes."""
        room = self.capacity or FIRST_CAPACITY
        while room < end:
            room *= 2
        grown = x.new_empty(x.shape[0], x.shape[1], room, x.shape[3])
        if self.data is not None and self.length:
            grown[:, :, : self.length] = self.data[:, :, : self.length]
        self.data = grown

    @property
    def n_bytes(self) -> int:
        """Bytes of the rows that are held."""
        return 0 if self.data is None else self.data[:, :, : self.length].nbytes

    @property
    def allocated_bytes(self) -> int:
        """Bytes of the whole tensor."""
        return 0 if self.data is None else self.data.nbytes


# --- one layer --------------------------------------------------------------------------------


class Layer(ABC):
    """Keys and values of one layer."""

    aligned = True  # the last key that update returns is the last new one
    length = 0  # tokens seen so far

    @abstractmethod
    def update(self, keys: Stored, values: Stored) -> tuple[Tensor, Tensor]:
        """Store new keys and values; return all that the new queries may attend to."""

    @abstractmethod
    def reset(self) -> None:
        """Forget every token, keep the memory."""

    @property
    @abstractmethod
    def n_bytes(self) -> int:
        """Bytes of the tokens that are held."""

    @property
    @abstractmethod
    def allocated_bytes(self) -> int:
        """Bytes of the buffers."""


class _BufferedLayer(Layer):
    """A layer that consists of buffers of equal length."""

    buffers: tuple[Buffer, ...]

    def reset(self) -> None:
        for buffer in self.buffers:
            buffer.length = 0

    @property
    def length(self) -> int:  # type: ignore[override]
        return self.buffers[0].length

    @property
    def n_bytes(self) -> int:
        return sum(buffer.n_bytes for buffer in self.buffers)

    @property
    def allocated_bytes(self) -> int:
        return sum(buffer.allocated_bytes for buffer in self.buffers)


class FullLayer(_BufferedLayer):
    """Keys and values as they are."""

    def __init__(self, capacity: int | None = None) -> None:
        self.buffers = (Buffer(capacity), Buffer(capacity))

    def update(self, keys: Stored, values: Stored) -> tuple[Tensor, Tensor]:
        return self.buffers[0].append(keys), self.buffers[1].append(values)


class QuantizedLayer(_BufferedLayer):
    """Keys and values as 8-bit integers, with one float32 scale for each token and head."""

    def __init__(self, capacity: int | None = None) -> None:
        self.buffers = tuple(Buffer(capacity) for _ in range(4))

    def update(self, keys: Stored, values: Stored) -> tuple[Tensor, Tensor]:
        found = []
        for x, (numbers, scales) in zip((keys, values), self._pairs(), strict=True):
            quantized, scale = quantize(x)
            restored = dequantize(numbers.append(quantized), scales.append(scale))
            found.append(restored.to(x.dtype))
        return found[0], found[1]

    def _pairs(self) -> tuple[tuple[Buffer, Buffer], tuple[Buffer, Buffer]]:
        return self.buffers[:2], self.buffers[2:]  # type: ignore[return-value]


def quantize(x: Float[Tensor, "*batch width"]) -> tuple[Tensor, Tensor]:
    """x as int8 and one scale a row: round(x / scale), scale = max|x| / 127."""
    scale = x.float().abs().amax(-1, keepdim=True) / 127
    numbers = torch.where(scale > 0, x.float() / scale, 0).round()
    return numbers.to(torch.int8), scale


def dequantize(numbers: Tensor, scale: Tensor) -> Tensor:
    """numbers * scale, in float32."""
    return numbers * scale


class RollingLayer(Layer):
    """A ring of `window` slots: position p lies in slot p mod window, over position p - window.

    A single new token attends to the ring as it lies, since softmax does not mind the order of
    keys; several new tokens attend to the past in order, then to each other.
    """

    def __init__(self, window: int) -> None:
        self.window = window
        self.ring: tuple[Tensor, Tensor] | None = None

    def update(self, keys: Stored, values: Stored) -> tuple[Tensor, Tensor]:
        if self.ring is None or (not self.length and not self._suits(keys)):
            room = (*keys.shape[:2], self.window)
            widths = (keys.shape[3], values.shape[3])
            self.ring = (keys.new_zeros(*room, widths[0]), keys.new_zeros(*room, widths[1]))
        if not self._suits(keys):
            expected = tuple(self.ring[0].shape[:2])
            found = tuple(keys.shape[:2])
            raise ValueError(f"the cache holds (batch, heads) {expected}, got {found}; reset it")
        start, n_new = self.length, keys.shape[2]
        self.length = start + n_new
        if n_new == 1:
            held = min(self.length, self.window)
            for ring, x in zip(self.ring, (keys, values), strict=True):
                ring[:, :, start % self.window] = x[:, :, 0]
            return self.ring[0][:, :, :held], self.ring[1][:, :, :held]
        past = torch.arange(start - min(start, self.window - 1), start, device=keys.device)
        pairs = list(zip(self.ring, (keys, values), strict=True))
        both = [torch.cat([ring[:, :, past % self.window], x], dim=2) for ring, x in pairs]
        kept = torch.arange(max(start, self.length - self.window), self.length, device=keys.device)
        for ring, x in pairs:
            ring[:, :, kept % self.window] = x[:, :, kept - start]
        return both[0], both[1]

    def _suits(self, keys: Tensor) -> bool:
        assert self.ring is not None
        ring = self.ring[0]
        return ring.shape[:2] == keys.shape[:2] and ring.dtype == keys.dtype

    def reset(self) -> None:
        self.length = 0

    @property
    def n_bytes(self) -> int:
        held = min(self.length, self.window)
        return sum(ring[:, :, :held].nbytes for ring in self.ring or ())

    @property
    def allocated_bytes(self) -> int:
        return sum(ring.nbytes for ring in self.ring or ())


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

    def update(self, keys: Stored, values: Stored) -> tuple[Tensor, Tensor]:
        if self.keys is None or self.values is None:
            room = (*keys.shape[:2], self.owner.capacity)
            self.keys = keys.new_zeros(*room, keys.shape[3])
            self.values = values.new_zeros(*room, values.shape[3])
        slots = self.owner.positions(keys.shape[2]).to(keys.device)
        self.keys.index_copy_(2, slots, keys)
        self.values.index_copy_(2, slots, values)
        return self.keys, self.values

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


# --- all layers -------------------------------------------------------------------------------


class KVCache:
    """Keys and values of every token: memory grows with the text, nothing is lost.

    Args:
        capacity: tokens to make room for at once; None starts small. Either doubles when full.

    Raises:
        TypeError, ValueError: a capacity that is not a positive integer.
    """

    def __init__(self, capacity: int | None = None) -> None:
        if capacity is not None:
            _check_size("capacity", capacity)
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
        _check_size("window", window)
        self.window = window

    def _new_layer(self) -> Layer:
        return RollingLayer(self.window)

    def key_positions(self, n_new: int) -> Int[Tensor, " seq_k"]:
        end = self.length + n_new
        if n_new > 1:
            return torch.arange(self.length - min(self.length, self.window - 1), end)
        slots = torch.arange(min(end, self.window))
        return end - 1 - (end - 1 - slots) % self.window


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
        self.count = torch.zeros((), dtype=torch.long)

    def _new_layer(self) -> Layer:
        return FixedLayer(self)

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


def _check_size(name: str, value: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value <= 0:
        raise ValueError(f"{name} must be positive, got {value}")
