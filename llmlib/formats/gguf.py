"""The GGUF file format: a table of settings, a table of tensors, and the numbers.

`gguf_tables` reads the tables, `gguf_blocks` the numbers, which are often quantized. A large model
lies in several files; they are read as one.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from llmlib.formats.gguf_blocks import STORAGE, dequantize
from llmlib.formats.gguf_tables import Entry, read_tables

PIECE = 1 << 17  # bytes of a file that are turned into numbers at once: what the caches hold
PART_NAME = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf")  # number from 1, how many
OF_A_PART = ("split.no", "split.count", "split.tensors.count")


class GGUFFile:
    """Settings and tensors of a GGUF model: of one file, or of several that belong together.

    Parts are named model-00001-of-00003.gguf and so on, and lie in one folder; any of them may be
    given. The first has the settings.

    Args:
        path: the file.

    Raises:
        FileNotFoundError: there is none, or another part of the model is not there.
        ValueError: not GGUF, damaged or cut off, or parts that do not fit together; the text names
            the file, and the setting or the tensor that is at fault.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        self.settings, self.entries = read_tables(self.path)
        count = _part_count(self.path, self.settings)
        if count > 1:
            self.settings, self.entries = _read_parts(self.path, count)
        self.shapes = {name: entry.shape for name, entry in self.entries.items()}

    def file(self, name: str) -> Path:
        """The file that holds the tensor; for one that is not there, the file that was given."""
        return self.entries[name].path if name in self.entries else self.path

    def read(self, name: str, piece: int = PIECE) -> Tensor:
        """The tensor in float32, turned into numbers piece by piece where it will stay.

        Args:
            name: a key of `entries`.
            piece: bytes of the file that are turned into numbers at once; the numbers are the same.
        """
        entry = self.entries[name]
        storage = STORAGE[entry.kind]
        out = torch.empty(entry.shape)
        with entry.path.open("rb") as file:
            file.seek(entry.start)
            for rows in out.view(-1, storage.block).split(max(piece // storage.n_bytes, 1)):
                raw = np.fromfile(file, np.uint8, len(rows) * storage.n_bytes)
                dequantize(raw.reshape(len(rows), -1), storage.name, rows.numpy())
        return out


def _part_count(path: Path, settings: dict[str, Any]) -> int:
    """In how many files the model lies."""
    count = settings.get("split.count", 0)
    if type(count) is not int or count < 0:
        raise ValueError(f"{path}: split.count is {count!r}, expected a number of files")
    return count


def _read_parts(path: Path, count: int) -> tuple[dict[str, Any], dict[str, Entry]]:
    """All settings and tensors of a model in several files."""
    settings: dict[str, Any] = {}
    entries: dict[str, Entry] = {}
    for number, part in enumerate(_part_paths(path, count)):
        if not part.is_file():
            raise FileNotFoundError(
                f"{part} is not there: the model of {path.name} lies in {count} files"
            )
        found, tensors = read_tables(part)
        for key, expected in (("split.no", number), ("split.count", count)):
            if found.get(key) != expected:
                raise ValueError(
                    f"{part}: {key} is {found.get(key)!r}, expected {expected} by its name"
                )
        for key, value in found.items():
            if key not in OF_A_PART and settings.get(key, value) != value:
                raise ValueError(f"{part}: the setting {key!r} differs from an earlier file's")
        if twice := next((name for name in tensors if name in entries), None):
            raise ValueError(f"{part}: tensor {twice!r} is in {entries[twice].path.name} too")
        settings = found | settings
        entries |= tensors
    stated = settings.get("split.tensors.count", len(entries))
    if stated != len(entries):
        raise ValueError(
            f"{path}: split.tensors.count is {stated!r}, but the {count} files hold "
            f"{len(entries)} tensors"
        )
    return settings, entries


def _part_paths(path: Path, count: int) -> list[Path]:
    name = PART_NAME.fullmatch(path.name)
    if name is None or int(name[3]) != count:
        raise ValueError(
            f"{path}: split.count is {count}, so the name is expected to end in "
            f"-00001-of-{count:05}.gguf, or with the number of another part"
        )
    return [path.with_name(f"{name[1]}-{n:05}-of-{name[3]}.gguf") for n in range(1, count + 1)]
