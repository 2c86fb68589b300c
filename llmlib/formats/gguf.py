"""The GGUF file format: a table of settings, a table of tensors, and the numbers, often quantized.

Quantized tensors lie in blocks of 32 numbers that share a scale (and a minimum):

    Q8_0   34 bytes: scale d (float16), 32 x int8 q            x = d q
    Q4_0   18 bytes: d, 16 bytes of 2 x 4 bits                 x = d (q - 8)
    Q4_1   20 bytes: d, minimum m (float16), 16 bytes          x = d q + m

The low halves of the 16 bytes are the block's first 16 numbers, the high halves its last 16.

The settings are read here and not with the package `gguf`: its reader makes an array for each of
98,000 strings of a tokenizer and needs seconds where this needs a fraction of one. The tests hold
both equal.
"""

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

# Type numbers of the format, as struct letters; 8 is a string, 9 an array.
NUMBERS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
STRING, ARRAY = 8, 9
DEFAULT_ALIGNMENT = 32
LARGEST_COUNT = 1 << 24  # entries of an array; a tokenizer has 300,000, so more is damage
LARGEST_AXES = 4
PIECE = 1 << 17  # bytes of a file that are turned into numbers at once: what the caches hold


@dataclass(frozen=True)
class Storage:
    """How numbers of a type lie in the file."""

    name: str
    block: int  # numbers in a block
    n_bytes: int  # bytes of a block


STORAGE = {
    0: Storage("F32", 1, 4),
    1: Storage("F16", 1, 2),
    2: Storage("Q4_0", 32, 18),
    3: Storage("Q4_1", 32, 20),
    8: Storage("Q8_0", 32, 34),
}


@dataclass(frozen=True)
class Entry:
    """One tensor of the file."""

    shape: tuple[int, ...]  # as PyTorch has it: the file counts the fastest axis first
    kind: int  # number of its storage type
    start: int  # where it begins, in bytes from the start of the file


class GGUFFile:
    """Settings and tensors of a GGUF file.

    Args:
        path: the file.

    Raises:
        FileNotFoundError: there is none.
        ValueError: not GGUF, damaged or cut off, or one of several files of a model; the text
            names the setting or the tensor that is at fault.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        if self.path.is_dir():
            raise ValueError(f"{self.path} is a folder, expected a GGUF file")
        if not self.path.is_file():
            raise FileNotFoundError(f"{self.path} is not there")
        self.settings: dict[str, Any] = {}
        self.entries: dict[str, Entry] = {}
        size = self.path.stat().st_size
        with self.path.open("rb") as file:
            reader = _Reader(file, size)
            try:
                self._read_tables(reader)
            except (struct.error, EOFError, UnicodeDecodeError, RecursionError) as error:
                raise ValueError(
                    f"{self.path} is cut off or damaged: its tables end early, or hold what is no "
                    f"{reader.reading} (before byte {file.tell()} of {size}): {error}"
                ) from None
        self._check_split()
        self._check_sizes(size)
        self.shapes = {name: entry.shape for name, entry in self.entries.items()}

    def file(self, name: str) -> Path:
        """The file; it holds all tensors."""
        return self.path

    def read(self, name: str, piece: int = PIECE) -> Tensor:
        """The tensor in float32, turned into numbers piece by piece where it will stay.

        Args:
            name: a key of `entries`.
            piece: bytes of the file that are turned into numbers at once; the numbers are the same.
        """
        entry = self.entries[name]
        storage = STORAGE[entry.kind]
        out = torch.empty(entry.shape)
        with self.path.open("rb") as file:
            file.seek(entry.start)
            for rows in out.view(-1, storage.block).split(max(piece // storage.n_bytes, 1)):
                raw = np.fromfile(file, np.uint8, len(rows) * storage.n_bytes)
                dequantize(raw.reshape(len(rows), -1), storage.name, rows.numpy())
        return out

    def _read_tables(self, reader: "_Reader") -> None:
        if reader.file.read(4) != b"GGUF":
            raise ValueError(f"{self.path} is no GGUF file: it does not begin with GGUF")
        version = reader.number("I")
        if version not in (2, 3):
            raise ValueError(f"{self.path} is GGUF version {version}, expected 2 or 3")
        n_tensors, n_settings = reader.number("Q"), reader.number("Q")
        for n in range(n_settings):
            reader.reading = f"setting ({n + 1} of {n_settings})"
            key = reader.text()
            if key in self.settings:
                raise ValueError(f"{self.path}: the setting {key!r} stands twice, expected once")
            reader.reading = f"value of the setting {key!r}"
            self.settings[key] = reader.value(reader.number("I"))
        found: dict[str, tuple[tuple[int, ...], int, int]] = {}
        for n in range(n_tensors):
            reader.reading = f"entry of a tensor ({n + 1} of {n_tensors})"
            name, n_axes = reader.text(), reader.number("I")
            if name in found:
                raise ValueError(f"{self.path}: tensor {name!r} stands twice, expected once")
            if n_axes > LARGEST_AXES:
                raise ValueError(
                    f"{self.path}: tensor {name!r} has {n_axes} axes, expected {LARGEST_AXES} at "
                    "most"
                )
            axes = [reader.number("Q") for _ in range(n_axes)]
            kind, offset = reader.number("I"), reader.number("Q")
            found[name] = (tuple(reversed(axes)), kind, offset)
        alignment = self._alignment()
        begin = -(-reader.file.tell() // alignment) * alignment
        for name, (shape, kind, offset) in found.items():
            if offset % alignment:
                raise ValueError(
                    f"{self.path}: tensor {name!r} has offset {offset}, expected a multiple of "
                    f"{alignment} (general.alignment)"
                )
            self.entries[name] = Entry(shape, kind, begin + offset)

    def _alignment(self) -> int:
        """What the places of tensors are multiples of."""
        found = self.settings.get("general.alignment", DEFAULT_ALIGNMENT)
        # A power of two has one bit, so it shares none with the number before it.
        if not isinstance(found, int) or found < 1 or found & (found - 1) or found is True:
            raise ValueError(
                f"{self.path}: general.alignment is {found!r}, expected a power of two"
            )
        return found

    def _check_split(self) -> None:
        count = self.settings.get("split.count", 0)
        if count not in (0, 1):
            raise ValueError(
                f"{self.path}: split.count is {count!r}, expected a model in one file: models in "
                "several files are not read (llama-gguf-split --merge makes one of them)"
            )

    def _check_sizes(self, size: int) -> None:
        """ValueError for a tensor that cannot be read, or that shares bytes with another."""
        end, before = 0, ""
        for name, entry in sorted(self.entries.items(), key=lambda item: item[1].start):
            if entry.kind not in STORAGE:
                known = ", ".join(storage.name for storage in STORAGE.values())
                raise ValueError(
                    f"{self.path}: tensor {name!r} has storage type {entry.kind}, expected {known}"
                )
            storage, count = STORAGE[entry.kind], math.prod(entry.shape)
            if 0 in entry.shape:
                raise ValueError(
                    f"{self.path}: tensor {name!r} has shape {entry.shape}, expected numbers in it"
                )
            if (entry.shape or (1,))[-1] % storage.block:
                raise ValueError(
                    f"{self.path}: tensor {name!r} has rows of {(entry.shape or (1,))[-1]} "
                    f"numbers, expected a multiple of {storage.block} for {storage.name}"
                )
            if entry.start < end:
                raise ValueError(
                    f"{self.path}: tensor {name!r} begins {end - entry.start} bytes before "
                    f"{before!r} ends, expected tensors that share no bytes"
                )
            end, before = entry.start + count // storage.block * storage.n_bytes, name
            if end > size:
                raise ValueError(
                    f"{self.path} is cut off: tensor {name!r} ends {end - size} bytes behind the "
                    "end of the file"
                )


class _Reader:
    """Numbers, strings and arrays from the front of a file of `size` bytes.

    A count in a damaged file may be any number: no more is asked for than the file can hold.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file = file
        self.size = size
        self.reading = "header"  # what is being read, for the errors

    def number(self, letter: str) -> Any:
        return struct.unpack(f"<{letter}", self._bytes(struct.calcsize(letter)))[0]

    def text(self) -> str:
        return self._bytes(self.number("Q")).decode("utf-8")

    def value(self, kind: int) -> Any:
        if kind == STRING:
            return self.text()
        if kind != ARRAY:
            return self.number(_letter(kind))
        kind, count = self.number("I"), self.number("Q")
        if count > LARGEST_COUNT:
            raise EOFError(f"an array of {count}")
        if kind == STRING:
            return self._texts(count)
        if kind == ARRAY:
            return [self.value(kind) for _ in range(count)]
        letter = _letter(kind)
        raw = self._bytes(count * struct.calcsize(letter))
        return list(struct.unpack(f"<{count}{letter}", raw))

    def _texts(self, count: int) -> list[str]:
        """Many strings in one loop: a tokenizer has 100,000, and a call for each would be slow."""
        found, read, length_of = [], self.file.read, struct.Struct("<Q").unpack
        for _ in range(count):
            (length,) = length_of(read(8))
            text = read(length) if length <= self.size else b""
            if len(text) < length:
                raise EOFError(f"a text of {length} bytes")
            found.append(text.decode("utf-8"))
        return found

    def _bytes(self, count: int) -> bytes:
        found = self.file.read(count) if count <= self.size else b""
        if len(found) < count:
            raise EOFError(f"{count} bytes asked for")
        return found


def _letter(kind: int) -> str:
    if kind not in NUMBERS:
        raise EOFError(f"the type number {kind}")
    return NUMBERS[kind]


def dequantize(
    blocks: UInt8[np.ndarray, "n n_bytes"], kind: str, out: Float32[np.ndarray, "n block"]
) -> None:
    """Write the numbers that blocks of bytes stand for into `out`, in float32.

    With numpy and not PyTorch: pieces are small, and threads that wait for each other cost more
    than they save.

    Raises:
        ValueError: a kind that is not in STORAGE.
    """
    if kind in ("F32", "F16"):
        out[:] = blocks.view(np.float32 if kind == "F32" else np.float16)
        return
    if kind not in ("Q8_0", "Q4_0", "Q4_1"):
        raise ValueError(f"the storage type is {kind!r}, expected F32, F16, Q8_0, Q4_0 or Q4_1")
    scale = blocks[:, :2].view(np.float16).astype(np.float32)
    if kind == "Q8_0":
        np.multiply(blocks[:, 2:].view(np.int8), scale, out=out)
        return
    halves = blocks[:, -16:]
    out[:, :16], out[:, 16:] = halves & 15, halves >> 4
    if kind == "Q4_0":
        out -= 8
        out *= scale
    else:
        out *= scale
        out += blocks[:, 2:4].view(np.float16)
