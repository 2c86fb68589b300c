"""The two tables in front of a GGUF file: settings, and where each tensor lies.

The settings are read here and not with the package `gguf`: its reader makes an array for each of
98,000 strings of a tokenizer and needs seconds where this needs a fraction of one. The tests hold
both equal.
"""

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from llmlib.formats.gguf_blocks import STORAGE

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


@dataclass(frozen=True)
class Entry:
    """One tensor of a file."""

    path: Path
    shape: tuple[int, ...]  # as PyTorch has it: the file counts the fastest axis first
    kind: int  # number of its storage type
    start: int  # where it begins, in bytes from the start of the file


def read_tables(path: Path) -> tuple[dict[str, Any], dict[str, Entry]]:
    """The settings and the tensors of one file, all of which can be read.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not GGUF, damaged or cut off; the text names the setting or the tensor.
    """
    if path.is_dir():
        raise ValueError(f"{path} is a folder, expected a GGUF file")
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there")
    size = path.stat().st_size
    with path.open("rb") as file:
        reader = Reader(file, size)
        try:
            _read_header(path, reader)
            n_tensors, n_settings = reader.number("Q"), reader.number("Q")
            settings = _read_settings(path, reader, n_settings)
            entries = _read_entries(path, reader, n_tensors, _alignment(path, settings))
        except (struct.error, EOFError, UnicodeDecodeError, RecursionError) as error:
            raise ValueError(
                f"{path} is cut off or damaged: its tables end early, or hold what is no "
                f"{reader.reading} (before byte {file.tell()} of {size}): {error}"
            ) from None
    _check_sizes(path, entries, size)
    return settings, entries


def _read_header(path: Path, reader: "Reader") -> None:
    if reader.file.read(4) != b"GGUF":
        raise ValueError(f"{path} is no GGUF file: it does not begin with GGUF")
    version = reader.number("I")
    if version not in (2, 3):
        raise ValueError(f"{path} is GGUF version {version}, expected 2 or 3")


def _read_settings(path: Path, reader: "Reader", count: int) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for n in range(count):
        reader.reading = f"setting ({n + 1} of {count})"
        key = reader.text()
        if key in settings:
            raise ValueError(f"{path}: the setting {key!r} stands twice, expected once")
        reader.reading = f"value of the setting {key!r}"
        settings[key] = reader.value(reader.number("I"))
    return settings


def _read_entries(path: Path, reader: "Reader", count: int, alignment: int) -> dict[str, Entry]:
    found: dict[str, tuple[tuple[int, ...], int, int]] = {}
    for n in range(count):
        reader.reading = f"entry of a tensor ({n + 1} of {count})"
        name, n_axes = reader.text(), reader.number("I")
        if name in found:
            raise ValueError(f"{path}: tensor {name!r} stands twice, expected once")
        if n_axes > LARGEST_AXES:
            raise ValueError(
                f"{path}: tensor {name!r} has {n_axes} axes, expected {LARGEST_AXES} at most"
            )
        axes = [reader.number("Q") for _ in range(n_axes)]
        kind, offset = reader.number("I"), reader.number("Q")
        found[name] = (tuple(reversed(axes)), kind, offset)
    begin = -(-reader.file.tell() // alignment) * alignment
    for name, (_, _, offset) in found.items():
        if offset % alignment:
            raise ValueError(
                f"{path}: tensor {name!r} has offset {offset}, expected a multiple of "
                f"{alignment} (general.alignment)"
            )
    return {name: Entry(path, shape, kind, begin + o) for name, (shape, kind, o) in found.items()}


def _alignment(path: Path, settings: dict[str, Any]) -> int:
    """What the places of tensors are multiples of."""
    found = settings.get("general.alignment", DEFAULT_ALIGNMENT)
    # A power of two has one bit, so it shares none with the number before it.
    if not isinstance(found, int) or found < 1 or found & (found - 1) or found is True:
        raise ValueError(f"{path}: general.alignment is {found!r}, expected a power of two")
    return found


def _check_sizes(path: Path, entries: dict[str, Entry], size: int) -> None:
    """ValueError for a tensor that cannot be read, or that shares bytes with another."""
    end, before = 0, ""
    for name, entry in sorted(entries.items(), key=lambda item: item[1].start):
        if entry.kind not in STORAGE:
            known = ", ".join(storage.name for storage in STORAGE.values())
            raise ValueError(
                f"{path}: tensor {name!r} has storage type {entry.kind}, expected {known}"
            )
        storage, count = STORAGE[entry.kind], math.prod(entry.shape)
        if 0 in entry.shape:
            raise ValueError(
                f"{path}: tensor {name!r} has shape {entry.shape}, expected numbers in it"
            )
        if (entry.shape or (1,))[-1] % storage.block:
            raise ValueError(
                f"{path}: tensor {name!r} has rows of {(entry.shape or (1,))[-1]} "
                f"numbers, expected a multiple of {storage.block} for {storage.name}"
            )
        if entry.start < end:
            raise ValueError(
                f"{path}: tensor {name!r} begins {end - entry.start} bytes before "
                f"{before!r} ends, expected tensors that share no bytes"
            )
        end, before = entry.start + count // storage.block * storage.n_bytes, name
        if end > size:
            raise ValueError(
                f"{path} is cut off: tensor {name!r} ends {end - size} bytes behind the "
                "end of the file"
            )


class Reader:
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
