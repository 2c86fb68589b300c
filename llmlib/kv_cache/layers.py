"""One layer's cache: what its attention writes to and reads from, and where its keys stand.

The rows themselves (`Buffer`), then everything as it is (`FullLayer`), in 8 bits
(`QuantizedLayer`), one row of latents for all heads (`LatentLayer`), the last `window` tokens in a
ring (`RollingLayer`). `caches` puts the caches of a model's layers together.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from llmlib.sizes import check_sizes

Stored = Float[Tensor, "batch kv_heads seq _"]  # values may be of another width than keys

FIRST_CAPACITY = 64  # tokens that a buffer without a given capacity starts with


def ordinary_empty(like: Tensor, *shape: int) -> Tensor:
    """Memory of the tensor's kind that may be written in any mode.

    A tensor that is made under `torch.inference_mode` could not be written outside of it, and a
    cache outlives the mode in which it was filled.
    """
    with torch.inference_mode(False):
        return like.new_empty(shape)


def without_gradient(out: Tensor) -> Tensor:
    """What attention computed over a cache; its backward pass raises ValueError.

    Keys and values are stored without their gradients, so those of the weights would be wrong.
    """
    if out.requires_grad:
        out.register_hook(_refuse_gradient)
    return out


def _refuse_gradient(_: Tensor) -> None:
    raise ValueError(
        "a pass with a cache has no gradients: it stores keys and values without theirs; train "
        "without a cache"
    )


def check_pair(keys: Tensor, values: Tensor) -> None:
    """ValueError for keys and values that are not those of the same tokens and heads."""
    if keys.ndim != 4 or keys.shape[:3] != values.shape[:3] or not keys.shape[2]:
        raise ValueError(
            f"keys have shape {tuple(keys.shape)}, values {tuple(values.shape)}; expected (batch, "
            "heads, seq, width) with the same batch, heads and seq, at least one token"
        )


def kind(x: Tensor) -> tuple[object, ...]:
    """All that has to be equal in two pieces of one text: (batch, heads, width), type, device."""
    return (x.shape[0], x.shape[1], x.shape[3], x.dtype, x.device)


def check_kind(held: Tensor, x: Tensor) -> None:
    """ValueError for rows that belong to another batch, model or type than those that are held."""
    if kind(held) != kind(x):
        (*sizes, dtype, device), (*new, new_dtype, new_device) = kind(held), kind(x)
        raise ValueError(
            f"the cache holds (batch, heads, width) {tuple(sizes)} in {dtype} on {device}, got "
            f"{tuple(new)} in {new_dtype} on {new_device}; reset it before another text"
        )


class Buffer:
    """Rows appended along the sequence axis of one tensor, which doubles when it is full."""

    def __init__(self, capacity: int | None = None) -> None:
        self.capacity = capacity
        self.data: Tensor | None = None
        self.length = 0

    def append(self, x: Tensor) -> Tensor:
        """Store (batch, heads, seq, width) after what is there; return a view of everything."""
        end = self.length + x.shape[2]
        data = self.data
        if (
            data is None
            or end > data.shape[2]
            or data.shape[:2] != x.shape[:2]
            or data.shape[3:] != x.shape[3:]
            or data.dtype != x.dtype
            or data.device != x.device
        ):
            if data is not None and self.length:
                check_kind(data, x)
            data = self.grow(x, end)
        data[:, :, self.length : end] = x
        self.length = end
        return data[:, :, :end]

    def grow(self, x: Tensor, end: int) -> Tensor:
        """Doubling copies each row less than twice on average, however long the text becomes."""
        room = self.capacity or FIRST_CAPACITY
        while room < end:
            room *= 2
        grown = ordinary_empty(x, x.shape[0], x.shape[1], room, x.shape[3])
        if self.data is not None and self.length:
            grown[:, :, : self.length] = self.data[:, :, : self.length]
        self.data = grown
        return grown

    @property
    def n_bytes(self) -> int:
        """Bytes of the rows that are held."""
        return 0 if self.data is None else self.data[:, :, : self.length].nbytes

    @property
    def allocated_bytes(self) -> int:
        """Bytes of the whole tensor."""
        return 0 if self.data is None else self.data.nbytes


# --- one layer --------------------------------------------------------------------------------


class Reader(NamedTuple):
    """What a layer's cache has to know of the attention that reads it."""

    window: int | None = None  # keys a query sees
    latent: bool = False  # whether a token leaves one latent for all heads
    frequencies: Tensor | None = None  # of RoPE
    layout: str = "half"  # which features RoPE pairs


class LayerCache(ABC):
    """Keys and values of one layer."""

    aligned = True  # the last key that update returns is the last new one
    length = 0  # tokens seen so far

    def why_not(self, reader: Reader) -> str | None:
        """Why it is not exact for this attention, with what was expected; None where it is."""
        return None

    def key_positions(self, n_new: int) -> Int[Tensor, " seq_k"]:
        """The positions of the keys that an update with n_new tokens returns, in their order."""
        return torch.arange(self.length + n_new)

    @abstractmethod
    def update(self, keys: Stored, values: Stored) -> tuple[Tensor, Tensor]:
        """Store new keys and values; return all that the new queries may attend to.

        An update that is interrupted leaves the length as it was, and can be repeated.

        Raises:
            ValueError: keys and values of different tokens, or another batch, width, type or
                device than those that are held.
        """

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


class _BufferedLayer(LayerCache):
    """A layer that consists of buffers of equal length."""

    buffers: tuple[Buffer, ...]

    def reset(self) -> None:
        self.cut(0)

    def prepare(self, keys: Tensor, values: Tensor) -> None:
        """Check new tokens, and drop what an interrupted update left there."""
        check_pair(keys, values)
        if self.buffers[0].length != self.length or self.buffers[-1].length != self.length:
            self.cut(self.length)

    def cut(self, length: int) -> None:
        """Forget all but the first tokens."""
        self.length = length
        for buffer in self.buffers:
            buffer.length = length

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
        self.prepare(keys, values)
        both = self.buffers[0].append(keys), self.buffers[1].append(values)
        self.length += keys.shape[2]  # last: an update that is interrupted does not count
        return both

    def held(self) -> tuple[Tensor, Tensor]:
        """All keys and values; there are none before the first update."""
        keys, values = (buffer.data for buffer in self.buffers)
        if keys is None or values is None:
            raise RuntimeError("the cache is empty: run the prompt through the model first")
        return keys[:, :, : self.length], values[:, :, : self.length]


class QuantizedLayer(_BufferedLayer):
    """Keys and values as 8-bit integers, with one float32 scale for each token and head."""

    def __init__(self, capacity: int | None = None) -> None:
        self.buffers = tuple(Buffer(capacity) for _ in range(4))

    def update(self, keys: Stored, values: Stored) -> tuple[Tensor, Tensor]:
        self.prepare(keys, values)
        found = []
        for x, (numbers, scales) in zip((keys, values), self._pairs(), strict=True):
            quantized, scale = quantize(x)
            restored = dequantize(numbers.append(quantized), scales.append(scale))
            found.append(restored.to(x.dtype))
        self.length += keys.shape[2]
        return found[0], found[1]

    def _pairs(self) -> tuple[tuple[Buffer, Buffer], tuple[Buffer, Buffer]]:
        return self.buffers[:2], self.buffers[2:]  # type: ignore[return-value]


def quantize(x: Float[Tensor, "*batch width"]) -> tuple[Tensor, Tensor]:
    """x as int8 and one scale a row: round(x / scale), scale = max|x| / 127, in float32.

    A row with NaN or infinity comes back as NaN.
    """
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

    def why_not(self, reader: Reader) -> str | None:
        if reader.latent:
            return None
        return "a cache of latents serves latent attention, got a model without"

    def update(
        self,
        keys: Float[Tensor, "batch kv_heads seq row"],
        values: Float[Tensor, "batch kv_heads seq latent"],
    ) -> tuple[Tensor, Tensor]:
        """Keep the keys; the values that come back are a view of their first columns.

        Raises:
            ValueError: more than one head, or values that are not narrower than the keys.
        """
        self.prepare(keys, values)
        heads, width = keys.shape[1], values.shape[-1]
        if heads != 1 or width >= keys.shape[-1]:
            raise ValueError(
                f"keys have {heads} heads of width {keys.shape[-1]}, values width {width}; expected"
                " one head whose value is the first part of its key: this cache is for latents"
            )
        rows = self.buffers[0].append(keys)
        latents = rows[..., :width]
        self.length += keys.shape[2]
        return rows, latents


class RollingLayer(LayerCache):
    """A ring of `window` slots: position p lies in slot p mod window, over position p - window.

    A single new token attends to the ring as it lies, since softmax does not mind the order of
    keys; several new tokens attend to the past in order, then to each other.
    """

    def __init__(self, window: int) -> None:
        check_sizes(window=window)
        self.window = window
        self.ring: tuple[Tensor, Tensor] | None = None

    def why_not(self, reader: Reader) -> str | None:
        if self.window == reader.window:
            return None
        return (
            f"the cache keeps {self.window} tokens, expected {reader.window}, the window of the "
            "model: a rolling cache is exact for that one alone"
        )

    def key_positions(self, n_new: int) -> Int[Tensor, " seq_k"]:
        end = self.length + n_new
        if n_new > 1:
            return torch.arange(self.length - min(self.length, self.window - 1), end)
        slots = torch.arange(min(end, self.window))
        return end - 1 - (end - 1 - slots) % self.window

    def update(self, keys: Stored, values: Stored) -> tuple[Tensor, Tensor]:
        rings = self._rings(keys, values)
        start, n_new = self.length, keys.shape[2]
        end = start + n_new
        if n_new == 1:
            for ring, x in zip(rings, (keys, values), strict=True):
                ring[:, :, start % self.window] = x[:, :, 0]
            held = min(end, self.window)
            seen = rings[0][:, :, :held], rings[1][:, :, :held]
            self.ring, self.length = rings, end
            return seen
        past = torch.arange(start - min(start, self.window - 1), start, device=keys.device)
        pairs = list(zip(rings, (keys, values), strict=True))
        both = [torch.cat([ring[:, :, past % self.window], x], dim=2) for ring, x in pairs]
        # New rings: an update that is interrupted has changed nothing.
        kept = torch.arange(max(0, end - self.window), end, device=keys.device)
        made = [ordinary_empty(ring, *ring.shape) for ring in rings]
        for ring, x in zip(made, both, strict=True):
            ring[:, :, kept % self.window] = x[:, :, x.shape[2] - len(kept) :]
        self.ring, self.length = (made[0], made[1]), end
        return both[0], both[1]

    def _rings(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """The rings, or new ones where nothing is held and these do not suit."""
        check_pair(keys, values)
        pairs = list(zip(self.ring or (), (keys, values), strict=False))
        if self.length:
            for ring, x in pairs:
                check_kind(ring, x)
        if self.ring is not None and all(kind(ring) == kind(x) for ring, x in pairs):
            return self.ring
        rooms = [ordinary_empty(x, *x.shape[:2], self.window, x.shape[3]) for x in (keys, values)]
        return rooms[0], rooms[1]

    def reset(self) -> None:
        self.length = 0

    @property
    def n_bytes(self) -> int:
        held = min(self.length, self.window)
        return sum(ring[:, :, :held].nbytes for ring in self.ring or ())

    @property
    def allocated_bytes(self) -> int:
        return sum(ring.nbytes for ring in self.ring or ())
