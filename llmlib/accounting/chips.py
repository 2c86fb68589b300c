"""Chips as their data sheets promise them: rates of products, bandwidth, memory."""

import dataclasses
from collections.abc import Mapping

from llmlib.accounting.sizes import Bytes, ByType, type_name

TERA, GIGA = 1e12, 1e9
Number = float | int


@dataclasses.dataclass(frozen=True)
class Chip:
    """What a chip's data sheet promises; dense products, no sparsity."""

    name: str
    peak: Mapping[Bytes, Number]  # FLOP/s of matrix products by the type of their inputs
    bandwidth: Number  # bytes a second between the chip and its memory
    memory: Number  # bytes
    source: str  # key in references.bib
    quoted: bool = True  # from the maker's sheet: nothing here measures it
    note: str = ""

    def __post_init__(self) -> None:
        """A type of torch and its name find the same rate."""
        object.__setattr__(self, "peak", ByType(self.peak))

    def ridge(self, dtype: Bytes = "bfloat16") -> Number:
        """FLOPs a byte above which the chip computes longer than it moves.

        Raises:
            ValueError: a type that the chip has no rate for.

        Source: williams2009roofline
        """
        return self.rate(dtype) / self.bandwidth

    def rate(self, dtype: Bytes = "bfloat16") -> Number:
        """FLOP/s for a type. Raises ValueError where the chip has none."""
        if dtype not in self.peak:
            name, known = type_name(dtype) or dtype, ", ".join(map(str, self.peak))
            raise ValueError(f"dtype is {name}, expected one that {self.name} has: {known}")
        return self.peak[dtype]


def _chip(
    name: str, half: Number, single: Number | None, bandwidth: Number, memory: Number, source: str,
    *, note: str = "", types: tuple[str, ...] = ("bfloat16", "float16"),
    **narrow: Number,
) -> Chip:  # fmt: skip
    """Rates in TFLOP/s, bandwidth in TB/s, memory in GB."""
    rates = dict.fromkeys(types, half) | narrow | ({} if single is None else {"float32": single})
    peak = {dtype: round(rate * TERA) for dtype, rate in rates.items()}
    return Chip(name, peak, round(bandwidth * TERA), round(memory * GIGA), source, note=note)


CHIPS: dict[str, Chip] = {
    chip.name: chip
    for chip in (
        _chip("V100", 125, 15.7, 0.9, 32, "nvidia2020v100", types=("float16",),
              note="SXM2 with 32 GB; no bfloat16"),
        _chip("A100", 312, 19.5, 2.039, 80, "nvidia2020a100", int8=624, note="SXM with 80 GB"),
        _chip("H100", 989.4, 66.9, 3.35, 80, "nvidia2022h100", float8_e4m3fn=1978.9, int8=1978.9,
              note="SXM with 80 GB"),
        _chip("H200", 989.4, 66.9, 4.8, 141, "nvidia2023h200", float8_e4m3fn=1978.9, int8=1978.9,
              note="SXM; the H100's chip with more memory"),
        _chip("B200", 2250, 75, 7.7, 180, "nvidia2025hgxb200", float8_e4m3fn=4500, int8=4500,
              note="SXM, in an HGX server of eight at 1,000 W; the architecture brief of 2024 "
              "promised 192 GB and up to 8 TB/s"),
        _chip("RTX 4090", 165.2, 82.6, 1.008, 24, "nvidia2022ada", float8_e4m3fn=330.3,
              int8=660.6, note="sums in float32; twice as fast with sums in float16"),
        _chip("TPU v4", 275, None, 1.2, 32, "jouppi2023tpuv4", types=("bfloat16",), int8=275),
    )
}  # fmt: skip
"""Name -> chip, oldest first within each maker."""
