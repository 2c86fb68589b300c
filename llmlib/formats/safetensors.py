"""Tensors in safetensors files: one file, or shards that an index lists.

A safetensors file is the length of a header (8 bytes), the header (JSON: name -> type, shape,
place) and the numbers, one tensor behind the other without a gap. Nothing in it can run.
"""

import math
import struct
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from llmlib.formats.json_files import existing_file, read_object

WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
LARGEST_HEADER = 100_000_000  # bytes; the format's own limit
BITS = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16,
    "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U64": 64, "U32": 32, "U16": 16, "U8": 8, "BOOL": 8,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4, "C64": 64,
}  # fmt: skip
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
        if (folder / WHOLE).exists():
            self.listing = folder / WHOLE
            for name, entry in read_header(self.listing).items():
                self._add(name, entry, self.listing)
        elif (folder / INDEX).exists():
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
        except (SafetensorError, RuntimeError) as error:
            raise ValueError(f"{path}: tensor {name!r} cannot be read: {error}") from None

    def _add(self, name: str, entry: dict[str, Any], path: Path) -> None:
        self.shapes[name] = tuple(entry["shape"])
        self._file[name] = path
        self._types[name] = entry["dtype"]

    def _add_shards(self) -> None:
        """The index says which shard holds a tensor, whatever else the shards hold.

        A tensor that the index does not list is added too: it may be a part of the model that its
        settings do not announce, and has to be found.
        """
        listed = self._listed_shards()
        headers = {name: self._shard(name, listed) for name in sorted(set(listed.values()))}
        for name, shard in listed.items():
            if name not in headers[shard]:
                raise ValueError(
                    f"{self.folder / shard}: tensor {name!r} is missing; {self.listing.name} says "
                    "that it is there"
                )
            self._add(name, headers[shard][name], self.folder / shard)
        for shard, header in headers.items():
            for name in header.keys() - listed.keys():
                if name in self.shapes:
                    raise ValueError(
                        f"{self.folder / shard}: tensor {name!r} is in {self.file(name).name} too, "
                        f"expected {self.listing.name} to say which of them counts"
                    )
                self._add(name, header[name], self.folder / shard)

    def _listed_shards(self) -> dict[str, str]:
        """The index: name of each tensor -> file beside it."""
        existing_file(self.listing, "an index of shards")
        listed = read_object(self.listing.read_bytes(), self.listing).get("weight_map")
        if not isinstance(listed, dict):
            raise ValueError(f"{self.listing}: weight_map is {listed!r}, expected name -> file")
        for name, shard in listed.items():
            if not isinstance(shard, str) or Path(shard).name != shard:
                raise ValueError(
                    f"{self.listing} lists {shard!r} for tensor {name!r}, expected a file beside it"
                )
        return listed

    def _shard(self, shard: str, listed: dict[str, str]) -> dict[str, dict[str, Any]]:
        path = self.folder / shard
        if not path.exists():
            missing = next(name for name, file in listed.items() if file == shard)
            raise FileNotFoundError(
                f"{path} is not there; {self.listing.name} lists it for tensor {missing!r}"
            )
        return read_header(path)


def read_header(path: Path) -> dict[str, dict[str, Any]]:
    """What a safetensors file holds, name by name: dtype, shape and data_offsets.

    Raises:
        FileNotFoundError: there is no file.
        ValueError: it is damaged or cut off.
    """
    size = existing_file(path, "a safetensors file").stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= min(size - 8, LARGEST_HEADER):
            raise ValueError(
                f"{path} is no safetensors file, or its header is cut off: it has {size} bytes "
                f"and says that its header has {length}"
            )
        header = read_object(file.read(length), f"{path} is damaged: its header")
    metadata = header.pop("__metadata__", {})
    if not _is_texts(metadata):
        raise ValueError(f"{path}: __metadata__ is {metadata!r}, expected names and texts")
    room = size - 8 - length
    for name, entry in header.items():
        _check_entry(path, name, entry, room)
    _check_places(path, header, room)
    return header


def _is_texts(metadata: Any) -> bool:
    return isinstance(metadata, dict) and all(isinstance(v, str) for v in metadata.values())


def _check_entry(path: Path, name: str, entry: Any, room: int) -> None:
    """ValueError for an entry that is no type, shape and place within the file."""
    keys = ("dtype", "shape", "data_offsets")
    if not isinstance(entry, dict) or set(entry) != set(keys):
        raise ValueError(f"{path}: tensor {name!r} is {entry!r}, expected {', '.join(keys)}")
    kind, shape, offsets = (entry[key] for key in keys)
    if not isinstance(kind, str) or kind not in BITS:
        raise ValueError(
            f"{path}: tensor {name!r} has dtype {kind!r}, expected one of {', '.join(BITS)}"
        )
    for key, numbers in (("shape", shape), ("data_offsets", offsets)):
        if not isinstance(numbers, list) or not all(_is_size(n) for n in numbers):
            raise ValueError(f"{path}: tensor {name!r} has {key} {numbers!r}, expected sizes")
    if len(offsets) != 2 or offsets[0] > offsets[1]:
        raise ValueError(
            f"{path}: tensor {name!r} has data_offsets {offsets}, expected begin and end"
        )
    begin, end = offsets
    if end > room:
        raise ValueError(
            f"{path} is cut off: tensor {name!r} ends {end - room} bytes behind the end of the file"
        )
    if 8 * (end - begin) != BITS[kind] * math.prod(shape):
        raise ValueError(
            f"{path}: tensor {name!r} takes {end - begin} bytes, which is not its shape "
            f"{tuple(shape)} in {kind}"
        )


def _is_size(number: Any) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and 0 <= number < 2**63


def _check_places(path: Path, header: dict[str, dict[str, Any]], room: int) -> None:
    """ValueError where two tensors share bytes, or bytes belong to none."""
    end = 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, last = entry["data_offsets"]
        if begin != end:
            raise ValueError(
                f"{path}: tensor {name!r} begins at byte {begin} of the numbers, expected {end}, "
                "where the one before it ends"
            )
        end = last
    if end != room:
        raise ValueError(f"{path} holds {room} bytes of numbers, expected {end} for its tensors")


def _no_weights(folder: Path) -> str:
    """What a folder without weights holds instead."""
    names = sorted(p.name for p in folder.iterdir())
    pickles = [n for n in names if n.endswith((".bin", ".pt", ".pth", ".ckpt"))]
    others = [n for n in names if n.endswith((".safetensors", ".gguf", ".h5", ".msgpack"))]
    expected = f"expected {WHOLE}, or shards and {INDEX}"
    if pickles:
        return (
            f"{folder} holds {pickles[0]} but no {WHOLE}: pickled weights are never read, because "
            f"unpickling runs whatever they contain; {expected}: save the model as safetensors"
        )
    if others:
        return f"{folder} holds neither {WHOLE} nor {INDEX} but {', '.join(others[:3])}: {expected}"
    return f"{folder} holds neither {WHOLE} nor {INDEX}"
