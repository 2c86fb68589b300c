"""Tensors in safetensors files: one file, or shards that an index lists.

A safetensors file is the length of a header (8 bytes), the header (JSON: name -> type, shape,
place) and the numbers. Nothing in it can run.
"""

import json
import math
import struct
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "U8": 1, "BOOL": 1}
FLOATS = ("F64", "F32", "F16", "BF16")


class SafetensorsFiles:
    """The named tensors of a model's folder.

    Args:
        folder: holds model.safetensors, or the index and the shards it lists.

    Raises:
        FileNotFoundError: no such weights, or a shard that the index lists is not there.
        ValueError: a file that is damaged or cut off.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._file: dict[str, Path] = {}
        self._types: dict[str, str] = {}
        if (folder / WHOLE).is_file():
            self.listing = folder / WHOLE
            self._add(self.listing)
        elif (folder / INDEX).is_file():
            self.listing = folder / INDEX
            self._add_shards()
        else:
            raise FileNotFoundError(_no_weights(folder))

    def file(self, name: str) -> Path:
        """The file that holds the tensor; for one that is not there, the file that lists all."""
        return self._file.get(name, self.listing)

    def read(self, name: str) -> Tensor:
        """The tensor, in memory of its own.

        The file is opened for each tensor: one that stays open counts in memory with all that was
        read of it, which would double the need.
        """
        path = self.file(name)
        if self._types[name] not in FLOATS:
            expected = ", ".join(FLOATS)
            raise ValueError(
                f"{path}: tensor {name!r} has type {self._types[name]}, expected one of {expected}"
            )
        try:
            with safe_open(path, framework="pt") as file:
                return file.get_tensor(name).clone()
        except SafetensorError as error:
            raise ValueError(f"{path}: tensor {name!r} cannot be read: {error}") from None

    def _add(self, path: Path) -> None:
        for name, entry in read_header(path).items():
            self.shapes[name] = tuple(entry["shape"])
            self._file[name] = path
            self._types[name] = entry["dtype"]

    def _add_shards(self) -> None:
        try:
            listed = json.loads(self.listing.read_text(encoding="utf-8"))["weight_map"]
            shards = sorted(set(listed.values()))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ValueError(f"{self.listing}: expected JSON with a weight_map") from None
        for shard in shards:
            if not isinstance(shard, str) or Path(shard).name != shard:
                raise ValueError(f"{self.listing} lists {shard!r}, expected a file beside it")
            if not (self.folder / shard).is_file():
                missing = next(name for name, file in listed.items() if file == shard)
                raise FileNotFoundError(
                    f"{self.folder / shard} is not there; {self.listing.name} lists it for tensor "
                    f"{missing!r}"
                )
            self._add(self.folder / shard)
        for name, shard in listed.items():
            if self._file.get(name) != self.folder / shard:
                raise ValueError(f"{self.folder / shard}: tensor {name!r} is missing")


def read_header(path: Path) -> dict[str, dict[str, Any]]:
    """What a safetensors file holds, name by name; ValueError if it is damaged or cut off."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= size - 8:
            raise ValueError(f"{path} is no safetensors file, or its header is cut off")
        try:
            header = json.loads(file.read(length))
            header.pop("__metadata__", None)
            for name, entry in header.items():
                _check_entry(path, name, entry, size - 8 - length)
        except (UnicodeDecodeError, json.JSONDecodeError, AttributeError, KeyError, TypeError):
            raise ValueError(f"{path} is no safetensors file: its header is damaged") from None
    return header


def _check_entry(path: Path, name: str, entry: dict[str, Any], room: int) -> None:
    begin, end = entry["data_offsets"]
    if end > room:
        raise ValueError(
            f"{path} is cut off: tensor {name!r} ends {end - room} bytes behind the end of the file"
        )
    kind = str(entry["dtype"])
    if kind in BYTES and end - begin != BYTES[kind] * math.prod(entry["shape"]):
        raise ValueError(
            f"{path}: tensor {name!r} takes {end - begin} bytes, which is not its shape "
            f"{tuple(entry['shape'])} in {kind}"
        )


def _no_weights(folder: Path) -> str:
    pickles = sorted(p.name for p in folder.glob("*.bin")) + sorted(
        p.name for p in folder.glob("*.pt*")
    )
    if pickles:
        return (
            f"{folder} holds {pickles[0]} but no {WHOLE}: pickled weights are never read, because "
            "unpickling runs whatever they contain; save the model as safetensors"
        )
    return f"{folder} holds neither {WHOLE} nor {INDEX}"
