"""One layer's part of a cache: what attention writes to and reads from.

The rows themselves (`Buffer`), then everything as it is (`FullLayer`), in 8 bits
(`QuantizedLayer`), one row of latents for all heads (`LatentLayer`), the last `window` tokens in a
ring (`RollingLayer`). `caches` puts the layers of a model together.
"""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

Stored = Float[Tensor, "batch kv_heads seq _"]  # values may be of another width than keys

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
            self.grow(x, end)
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

    def grow(self, x: Tensor, end: int) -> None:
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


class LatentLayer(_BufferedLayer):
    """One row a token for all heads, whose first columns are the value: the row is kept once.

    Multi-head latent attention reads its cache as multi-query attention would: the key is a latent
    with one rotated key behind it, the value is the latent alone.
    """

    def __init__(self, capacity: int | None = None) -> None:
        self.buffers = (Buffer(capacity),)

    def update(
        self,
        keys: Float[Tensor, "batch kv_heads seq row"],
        values: Float[Tensor, "batch kv_heads seq latent"],
    ) -> tuple[Tensor, Tensor]:
        """Keep the keys; the values that come back are a view of their first columns.

        Raises:
            ValueError: more than one head, or values wider than the keys.
        """
        heads, width = keys.shape[1], values.shape[-1]
        if heads != 1 or width > keys.shape[-1]:
            raise ValueError(
                f"keys have {heads} heads of width {keys.shape[-1]}, values width {width}; expected"
                " one head whose value is the first part of its key: this cache is for latents"
            )
        rows = self.buffers[0].append(keys)
        return rows, rows[..., :width]


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
