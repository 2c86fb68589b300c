"""How long a step takes at least: its FLOPs at a chip's peak, its bytes at the memory's bandwidth.

The roofline: a chip computes and moves at the same time, so a step takes as long as the slower of
the two. What is moved is counted for a forward pass in which everything between the weights and the
cache stays on the chip: a lower bound, which long prompts exceed.
"""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

import torch

from llmlib.accounting.breakdown import Breakdown, Count
from llmlib.accounting.checks import check_counts, check_past, source_tokens
from llmlib.accounting.config import as_config
from llmlib.accounting.letters import is_number, largest, least, without_past
from llmlib.accounting.memory import cache_row_bytes
from llmlib.accounting.parameters import norm_parameters, parameters
from llmlib.accounting.sizes import Bytes, as_dtype, number_bytes
from llmlib.model_cards import ModelConfig

TERA, GIGA = 1e12, 1e9
Number = float | int


@dataclasses.dataclass(frozen=True)
class Chip:
    """What a chip's data sheet promises; dense products, no sparsity."""

    name: str
    peak: Mapping[torch.dtype, Number]  # FLOP/s of matrix products by the type of their inputs
    bandwidth: Number  # bytes a second between the chip and its memory
    memory: Number  # bytes
    source: str  # key in references.bib
    quoted: bool = True  # from the maker's sheet: nothing here measures it
    note: str = ""

    def ridge(self, dtype: Bytes = torch.bfloat16) -> Number:
        """FLOPs a byte above which the chip computes longer than it moves.

        Raises:
            ValueError: a type that the chip has no rate for.

        Source: williams2009roofline
        """
        return self.rate(dtype) / self.bandwidth

    def rate(self, dtype: Bytes = torch.bfloat16) -> Number:
        """FLOP/s for a type. Raises ValueError where the chip has none."""
        dtype = as_dtype(dtype)
        if dtype not in self.peak:
            known = ", ".join(map(str, self.peak))
            raise ValueError(f"dtype is {dtype}, expected one that {self.name} has: {known}")
        return self.peak[dtype]


def _chip(
    name: str, half: Number, single: Number | None, bandwidth: Number, memory: Number, source: str,
    *, note: str = "", types: tuple[torch.dtype, ...] = (torch.bfloat16, torch.float16),
    **narrow: Number,
) -> Chip:  # fmt: skip
    """Rates in TFLOP/s, bandwidth in TB/s, memory in GB."""
    rates = dict.fromkeys(types, half) | {getattr(torch, kind): x for kind, x in narrow.items()}
    if single is not None:
        rates[torch.float32] = single
    peak = MappingProxyType({dtype: round(rate * TERA) for dtype, rate in rates.items()})
    return Chip(name, peak, round(bandwidth * TERA), round(memory * GIGA), source, note=note)


CHIPS: dict[str, Chip] = {
    chip.name: chip
    for chip in (
        _chip("V100", 125, 15.7, 0.9, 32, "nvidia2020v100", types=(torch.float16,),
              note="SXM2 with 32 GB; no bfloat16"),
        _chip("A100", 312, 19.5, 2.039, 80, "nvidia2020a100", int8=624, note="SXM with 80 GB"),
        _chip("H100", 989.4, 66.9, 3.35, 80, "nvidia2022h100", float8_e4m3fn=1978.9, int8=1978.9,
              note="SXM with 80 GB"),
        _chip("H200", 989.4, 66.9, 4.8, 141, "nvidia2023h200", float8_e4m3fn=1978.9, int8=1978.9,
              note="SXM; the H100's chip with more memory"),
        _chip("B200", 2250, 80, 8.0, 180, "nvidia2024blackwell", float8_e4m3fn=4500, int8=4500,
              note="SXM, in a server of eight at 1,000 W"),
        _chip("RTX 4090", 165.2, 82.6, 1.008, 24, "nvidia2022ada", float8_e4m3fn=330.3,
              int8=660.6, note="sums in float32; twice as fast with sums in float16"),
        _chip("TPU v4", 275, None, 1.2, 32, "jouppi2023tpuv4", types=(torch.bfloat16,), int8=275),
    )
}  # fmt: skip
"""Name -> chip, oldest first within each maker."""


# --- what is moved ----------------------------------------------------------------------------


def moved_bytes(
    config: Any,
    batch: Count,
    seq: Count,
    *,
    past: Count = 0,
    dtype: Bytes = torch.bfloat16,
    cache_dtype: Bytes | None = None,
    source_seq: Count | None = None,
) -> Breakdown:
    """The bytes that a forward pass reads and writes at least, by component.

    Each weight is read once, whatever the batch. Of the embedding only the rows of the tokens are
    read, the head is read as a whole. Of E experts, k for each of n = b s tokens, uniform and
    independent routing reaches E (1 - (1 - k / E)^n): k of them for one token, nearly all soon
    after. Of the cache each layer reads the past that some query sees, and writes the new tokens.
    Left out are activations, logits, and new keys and values on their way through attention.

    A decode step is seq = 1 and past = tokens in the cache.

    Args:
        config: as for `parameters`.
        batch, seq, past, source_seq: as for `forward_flops`.
        dtype: of the weights.
        cache_dtype: of the cache, see `kv_cache_bytes`; that of the weights if None.

    Raises:
        TypeError, ValueError: sizes that are no positive integers, sizes of numbers likewise.

    Source: williams2009roofline, pope2023inference
    """
    c = as_config(config)
    check_counts(1, batch=batch, seq=seq)
    check_past(c, past)
    source = source_tokens(seq, source_seq)
    both = c.family == "encoder-decoder"
    size = number_bytes(dtype)
    stack = c if c.family == "encoder" else dataclasses.replace(c, family="decoder")
    read = _weights(stack, batch, seq)
    if both:
        # With a past the source has been read: its keys and values are in the cache.
        first = without_past(1, past)
        encoder = _weights(dataclasses.replace(c, family="encoder", pooler=0), batch, source)
        read = read + Breakdown({name: first * x for name, x in encoder.items()})
        read = read + _cross_weights(c, first)
    counts = {name: x * size for name, x in read.items()}
    if c.family != "encoder":
        row = batch * c.n_layers * cache_row_bytes(c, dtype if cache_dtype is None else cache_dtype)
        counts |= _cache(c, row, seq, past, source if both else 0)
    return Breakdown(counts)


def _weights(c: ModelConfig, batch: Count, seq: Count) -> Breakdown:
    """Numbers read of one stack."""
    tables = ("embedding", "positions", "segments", "head")
    stored = parameters(c)
    counts: dict[str, Count] = {"embedding": batch * seq * c.dim}
    counts["positions"] = seq * c.dim if c.position == "learned" else stored.get("positions", 0)
    counts["segments"] = c.segments * c.dim
    counts |= {name: x for name, x in stored.groups().items() if name not in tables}
    if c.experts is not None:
        e = c.experts
        reached = e.n_experts * (1 - (1 - e.n_active / e.n_experts) ** (batch * seq))
        unread = stored.get("feed_forward.experts", 0) * (1 - reached / e.n_experts)
        counts["feed_forward"] -= unread
    if c.family != "encoder":
        counts["head"] = c.vocab_size * c.dim
    return Breakdown(counts)


def _cross_weights(c: ModelConfig, first: Count) -> Breakdown:
    """Cross-attention and its norm; the source's keys and values are made once, at first."""
    stored = parameters(c)
    once = stored["cross_attention.key"] + stored["cross_attention.value"]
    read = stored["cross_attention"] - (1 - first) * once
    return Breakdown({"cross_attention": read, "norms": c.n_layers * norm_parameters(c)})


def _cache(c: ModelConfig, row: Count, seq: Count, past: Count, source: Count) -> dict[str, Count]:
    """Bytes read and written; the first new query sees itself and window - 1 tokens before."""
    seen = past if c.window is None else least(past, c.window - 1)
    new = without_past(source, past)
    return {
        "cache.read": row * (seen + source - new),
        "cache.written": row * (seq + new),
    }


# --- the time ---------------------------------------------------------------------------------


def intensity(flops: Count, moved: Count) -> Count:
    """FLOPs a byte; either may be a breakdown, whose total counts."""
    return _total(flops) / _total(moved)


@dataclasses.dataclass(frozen=True)
class StepTime:
    """The two times of a step, in seconds."""

    computing: Count
    moving: Count

    @property
    def seconds(self) -> Count:
        """The larger one: both go on at once."""
        return largest(self.computing, self.moving)

    @property
    def bound(self) -> Literal["compute", "memory"]:
        """What the step waits for. Raises ValueError where a time is a formula."""
        if not (is_number(self.computing) and is_number(self.moving)):
            raise ValueError(f"times are {self.computing} and {self.moving}: expected numbers")
        return "compute" if self.computing >= self.moving else "memory"


def step_time(flops: Count, moved: Count, chip: Chip, dtype: Bytes = torch.bfloat16) -> StepTime:
    """How long a chip takes at least: max(FLOPs / peak, bytes / bandwidth).

    Args:
        flops: operations, or a breakdown of them.
        moved: bytes, or a breakdown of them.
        chip: one of CHIPS, or one of your own.
        dtype: what the products' inputs are.

    Raises:
        ValueError: a type that the chip has no rate for, a negative count.

    Source: williams2009roofline
    """
    flops, moved = _total(flops), _total(moved)
    for name, count in (("flops", flops), ("moved", moved)):
        if is_number(count) and not count >= 0:
            raise ValueError(f"{name} is {count}, expected 0 or more")
    return StepTime(flops / chip.rate(dtype), moved / chip.bandwidth)


def _total(count: Count) -> Count:
    return count.total if isinstance(count, Breakdown) else count
