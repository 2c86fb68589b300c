"""Sizes of the Triton kernels' tiles by chip, head width and type. Needs neither Triton nor a GPU.

Each list is tried on the device and the fastest is kept; the first is taken where measuring would
cost more than it saves, and the last fits into the smallest shared memory (99 KiB, as in GeForce
cards). What each compiles to stands in the table of the book.
"""

from dataclasses import dataclass, replace

import torch


@dataclass(frozen=True)
class Tiles:
    """Queries and keys of a tile; warps and pipeline stages of a program."""

    queries: int
    keys: int
    warps: int = 4
    stages: int = 2


def block(width: int) -> int:
    """The power of two that holds a number of features or rows; tensor cores want 16."""
    return max(16, 1 << (width - 1).bit_length())


# By kernel and by the power of two that holds the head's width. Two bytes a number.
Table = dict[str, dict[int, list[Tiles]]]
DECODE = {64: [Tiles(16, 64, 4, 3)], 128: [Tiles(16, 64, 4, 3)], 256: [Tiles(16, 32, 4, 3)]}
TABLE: dict[tuple[int, int], Table] = {
    (8, 0): {
        "forward": {
            64: [Tiles(128, 64, 8, 3), Tiles(128, 32, 4, 3)],
            128: [Tiles(64, 64, 4, 2), Tiles(128, 32, 8, 3)],
            256: [Tiles(64, 32, 8, 2)],
        },
        "dq": {
            64: [Tiles(64, 64, 8, 2), Tiles(128, 32, 8, 2)],
            128: [Tiles(64, 64, 8, 2)],
            256: [Tiles(32, 32, 8, 1)],
        },
        "dk_dv": {
            64: [Tiles(32, 64, 8, 2), Tiles(64, 32, 8, 2)],
            128: [Tiles(32, 64, 8, 2)],
            256: [Tiles(32, 32, 8, 1)],
        },
        "decode": DECODE,
    },
    (9, 0): {
        "forward": {
            64: [Tiles(128, 128, 8, 2), Tiles(128, 64, 4, 3)],
            128: [Tiles(128, 64, 8, 2), Tiles(64, 64, 4, 2)],
            256: [Tiles(64, 32, 8, 2)],
        },
        "dq": {
            64: [Tiles(128, 64, 8, 2), Tiles(64, 64, 4, 2)],
            128: [Tiles(128, 64, 8, 2), Tiles(64, 64, 8, 2)],
            256: [Tiles(32, 32, 8, 1)],
        },
        "dk_dv": {
            64: [Tiles(64, 64, 8, 2), Tiles(32, 64, 4, 2)],
            128: [Tiles(32, 64, 8, 2)],
            256: [Tiles(32, 32, 8, 1)],
        },
        "decode": DECODE,
    },
    (10, 0): {
        "forward": {
            64: [Tiles(128, 64, 4, 3), Tiles(128, 64, 8, 3)],
            128: [Tiles(128, 64, 8, 2)],
            256: [Tiles(64, 64, 8, 2), Tiles(64, 64, 8, 1)],
        },
        "dq": {
            64: [Tiles(64, 64, 4, 2)],
            128: [Tiles(64, 64, 8, 2), Tiles(64, 64, 8, 1)],
            256: [Tiles(64, 64, 8, 1), Tiles(64, 32, 8, 1)],
        },
        "dk_dv": {
            64: [Tiles(64, 64, 8, 2)],
            128: [Tiles(64, 32, 8, 2), Tiles(32, 64, 8, 1)],
            256: [Tiles(32, 32, 8, 1)],
        },
        "decode": DECODE,
    },
}
# Products of float32 are exact to float32, so they do not run on tensor cores: smaller tiles.
FLOAT32: Table = {
    "forward": {64: [Tiles(32, 32, 4, 1)], 128: [Tiles(32, 32, 8, 1)], 256: [Tiles(32, 32, 8, 1)]},
    "dq": {64: [Tiles(32, 32, 4, 1)], 128: [Tiles(32, 32, 8, 1)], 256: [Tiles(16, 32, 8, 1)]},
    "dk_dv": {64: [Tiles(32, 32, 4, 1)], 128: [Tiles(32, 32, 8, 1)], 256: [Tiles(16, 16, 8, 1)]},
    "decode": {64: [Tiles(16, 32, 4, 1)], 128: [Tiles(16, 32, 4, 1)], 256: [Tiles(16, 16, 4, 1)]},
}


def candidates(
    kernel: str, capability: tuple[int, int], width: int, dtype: torch.dtype
) -> list[Tiles]:
    """The tiles to choose among, of the newest chip in the table that is no newer than this one."""
    chip = max(chip for chip in TABLE if chip <= max(capability, (8, 0)))
    table = FLOAT32 if dtype == torch.float32 else TABLE[chip]
    return table[kernel][max(64, block(width))]


def guarded(kernel: str, tiles: Tiles) -> Tiles:
    """Tiles of the second run, which repairs what met NaN: it must own what the first run owned."""
    if kernel == "dk_dv":
        return replace(tiles, queries=min(32, tiles.queries), warps=8, stages=1)
    return replace(tiles, keys=min(32, tiles.keys), warps=8, stages=1)
