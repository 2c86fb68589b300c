"""How numbers lie in a GGUF file: plain, or quantized in blocks that share a scale.

The numbers q of a block are whole and of few bits; a scale d, and in some types a minimum m, give
them their size. In blocks of 32, with d and m in float16:

    Q8_0   34 bytes: d, 32 x 8 bits               x = d q
    Q4_0   18 bytes: d, 32 x 4 bits               x = d (q - 8)
    Q4_1   20 bytes: d, m, 32 x 4 bits            x = d q + m
    Q5_0   22 bytes: d, 32 x 1 and 4 bits         x = d (q - 16)
    Q5_1   24 bytes: d, m, 32 x 1 and 4 bits      x = d q + m

The "K" types have blocks of 256 in groups of 32 or 16. Each group has a scale s (and a minimum n)
that is quantized too, to 4, 6 or 8 bits, and the block's d (and m) give these their size:

    Q2_K   84 bytes: 16 groups, s and n of 4 bits     x = d s q - m n
    Q3_K  110 bytes: 16 groups, s of 6 bits           x = d (s - 32) (q - 4)
    Q4_K  144 bytes:  8 groups, s and n of 6 bits     x = d s q - m n
    Q5_K  176 bytes:  8 groups, s and n of 6 bits     x = d s q - m n
    Q6_K  210 bytes: 16 groups, s of 8 bits           x = d s (q - 32)

BF16 is the upper half of a float32. Files called Q4_K_M hold Q4_K, and Q6_K for some tensors.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8

Bytes = UInt8[np.ndarray, "n n_bytes"]
Numbers = Float32[np.ndarray, "n block"]


@dataclass(frozen=True)
class Storage:
    """How numbers of a type lie in the file."""

    name: str
    block: int  # numbers in a block
    n_bytes: int  # bytes of a block


# By the number that the file has for the type.
STORAGE = {
    0: Storage("F32", 1, 4),
    1: Storage("F16", 1, 2),
    2: Storage("Q4_0", 32, 18),
    3: Storage("Q4_1", 32, 20),
    6: Storage("Q5_0", 32, 22),
    7: Storage("Q5_1", 32, 24),
    8: Storage("Q8_0", 32, 34),
    10: Storage("Q2_K", 256, 84),
    11: Storage("Q3_K", 256, 110),
    12: Storage("Q4_K", 256, 144),
    13: Storage("Q5_K", 256, 176),
    14: Storage("Q6_K", 256, 210),
    30: Storage("BF16", 1, 2),
}


def dequantize(blocks: Bytes, kind: str, out: Numbers) -> None:
    """Write the numbers that blocks of bytes stand for into `out`, in float32.

    With numpy and not PyTorch: pieces are small, and threads that wait for each other cost more
    than they save.

    Args:
        blocks: one block a row.
        kind: the name of a storage type.
        out: the numbers of one block a row.

    Raises:
        ValueError: a kind that is not in STORAGE.
    """
    if kind not in _READERS:
        raise ValueError(f"the storage type is {kind!r}, expected {', '.join(_READERS)}")
    _READERS[kind](blocks, out)


def _halves(packed: Bytes, run: int) -> UInt8[np.ndarray, "n numbers"]:
    """4 bits a number: of each run of bytes first the low halves, then the high ones."""
    return _fields(packed, run, bits=4)


def _fields(packed: Bytes, run: int, bits: int) -> UInt8[np.ndarray, "n numbers"]:
    """Numbers of 1, 2 or 4 bits: of each run of bytes first all lowest bits, then the next."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)[:, None]
    rows = packed.reshape(len(packed), -1, 1, run)
    return ((rows >> shifts) & np.uint8((1 << bits) - 1)).reshape(len(packed), -1)


def _half_floats(two_bytes: Bytes) -> Float32[np.ndarray, "n 1"]:
    return np.ascontiguousarray(two_bytes).view(np.float16).astype(np.float32)


# --- plain numbers, and blocks of 32 ----------------------------------------------------------


def _f32(blocks: Bytes, out: Numbers) -> None:
    out[:] = blocks.view(np.float32)


def _f16(blocks: Bytes, out: Numbers) -> None:
    out[:] = blocks.view(np.float16)


def _bf16(blocks: Bytes, out: Numbers) -> None:
    np.left_shift(blocks.view(np.uint16), np.uint32(16), out=out.view(np.uint32), dtype=np.uint32)


def _q8_0(blocks: Bytes, out: Numbers) -> None:
    np.multiply(blocks[:, 2:].view(np.int8), _half_floats(blocks[:, :2]), out=out)


def _q4_0(blocks: Bytes, out: Numbers) -> None:
    out[:] = _halves(blocks[:, 2:], 16)
    out -= 8
    out *= _half_floats(blocks[:, :2])


def _q4_1(blocks: Bytes, out: Numbers) -> None:
    out[:] = _halves(blocks[:, 4:], 16)
    out *= _half_floats(blocks[:, :2])
    out += _half_floats(blocks[:, 2:4])


def _five_bits(blocks: Bytes) -> UInt8[np.ndarray, "n 32"]:
    """The last 20 bytes: the fifth bits of 32 numbers, one after the other, and their halves."""
    fifth = np.unpackbits(blocks[:, -20:-16], axis=1, bitorder="little")
    return _halves(blocks[:, -16:], 16) | fifth << np.uint8(4)


def _q5_0(blocks: Bytes, out: Numbers) -> None:
    out[:] = _five_bits(blocks)
    out -= 16
    out *= _half_floats(blocks[:, :2])


def _q5_1(blocks: Bytes, out: Numbers) -> None:
    out[:] = _five_bits(blocks)
    out *= _half_floats(blocks[:, :2])
    out += _half_floats(blocks[:, 2:4])


# --- blocks of 256 ----------------------------------------------------------------------------


def _grouped(
    out: Numbers,
    q: UInt8[np.ndarray, "n 256"],
    less: int,
    scales: Float32[np.ndarray, "n groups"],
    minima: Float32[np.ndarray, "n groups"] | None = None,
) -> None:
    """scale (q - less) - minimum, each group of numbers with its own."""
    out[:] = q
    out -= less
    rows = out.reshape(*scales.shape, -1)
    rows *= scales[:, :, None]
    if minima is not None:
        rows -= minima[:, :, None]


def _q2_k(blocks: Bytes, out: Numbers) -> None:
    """16 bytes of scales (low halves) and minima (high), 64 bytes of 2 bits a number, d, m."""
    scales = _half_floats(blocks[:, 80:82]) * (blocks[:, :16] & 15)
    minima = _half_floats(blocks[:, 82:]) * (blocks[:, :16] >> 4)
    _grouped(out, _fields(blocks[:, 16:80], 32, bits=2), 0, scales, minima)


def _q3_k(blocks: Bytes, out: Numbers) -> None:
    """32 bytes of third bits, 64 of 2 bits a number, 12 of scales, d.

    Of 16 scales, the first 8 of the 12 bytes have the lower 4 bits, the last 4 the upper 2.
    """
    scales = _halves(blocks[:, 96:104], 8) | _fields(blocks[:, 104:108], 4, bits=2) << 4
    sizes = _half_floats(blocks[:, 108:]) * (scales.astype(np.float32) - 32)
    third = _fields(blocks[:, :32], 32, bits=1)
    _grouped(out, _fields(blocks[:, 32:96], 32, bits=2) | third << 2, 4, sizes)


def _scales_and_minima(blocks: Bytes) -> tuple[Numbers, Numbers]:
    """The first 16 bytes of Q4_K and Q5_K: d, m, and 6 bits for each of 8 scales and 8 minima.

    Of the 12 bytes, 4 have the first scales, 4 the first minima; these leave 2 bits a byte, which
    are the upper ones of the last scales and minima. The last 4 bytes have their lower 4.
    """
    first_s, first_n, lower = blocks[:, 4:8], blocks[:, 8:12], blocks[:, 12:16]
    last_s = lower & 15 | first_s >> 6 << 4
    last_n = lower >> 4 | first_n >> 6 << 4
    scales = np.concatenate([first_s & 63, last_s], axis=1)
    minima = np.concatenate([first_n & 63, last_n], axis=1)
    return _half_floats(blocks[:, :2]) * scales, _half_floats(blocks[:, 2:4]) * minima


def _q4_k(blocks: Bytes, out: Numbers) -> None:
    """d, m, 12 bytes of scales and minima, 128 bytes of 4 bits a number."""
    _grouped(out, _halves(blocks[:, 16:], 32), 0, *_scales_and_minima(blocks))


def _q5_k(blocks: Bytes, out: Numbers) -> None:
    """As Q4_K, with 32 bytes of fifth bits before the others."""
    q = _halves(blocks[:, 48:], 32) | _fields(blocks[:, 16:48], 32, bits=1) << 4
    _grouped(out, q, 0, *_scales_and_minima(blocks))


def _q6_k(blocks: Bytes, out: Numbers) -> None:
    """128 bytes of lower 4 bits, 64 of upper 2, 16 scales of 8 bits, d."""
    q = _halves(blocks[:, :128], 64) | _fields(blocks[:, 128:192], 32, bits=2) << 4
    sizes = _half_floats(blocks[:, 208:]) * blocks[:, 192:208].view(np.int8)
    _grouped(out, q, 32, sizes)


_READERS: dict[str, Callable[[Bytes, Numbers], None]] = {
    "F32": _f32, "F16": _f16, "BF16": _bf16, "Q8_0": _q8_0, "Q4_0": _q4_0, "Q4_1": _q4_1,
    "Q5_0": _q5_0, "Q5_1": _q5_1, "Q2_K": _q2_k, "Q3_K": _q3_k, "Q4_K": _q4_k, "Q5_K": _q5_k,
    "Q6_K": _q6_k,
}  # fmt: skip
