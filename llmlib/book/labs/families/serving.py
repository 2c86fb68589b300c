"""What one job costs an encoder-decoder, and decoders of as many weights or of as much work."""

from typing import Any

import llmlib.architecture as arch
from llmlib.accounting import CHIPS, forward_flops, kv_cache_bytes, moved_bytes, step_time
from llmlib.accounting import parameters as counted

READ, WRITTEN = 512, 128
"""Tokens of the job: read so many, write so many."""


def decoder_like(config: arch.ModelConfig, n_layers: int) -> arch.ModelConfig:
    """A decoder of the blocks of an encoder-decoder's reader: same widths, one causal stack."""
    assert config.source is not None
    block = arch.layers(config.source.runs)[0]
    stack = arch.Stack((arch.repeat(n_layers, block),), positions=config.stack.positions)
    return arch.ModelConfig(config.dim, config.vocab_size, config.context, stack, tied=True)


def reading(config: arch.ModelConfig, tokens: int = READ) -> float:
    """FLOPs before the first token is written."""
    if config.source is None:
        return float(forward_flops(config, 1, tokens, logits="last", pairs="visible").total)
    return float(forward_flops(config, 1, 1, source_seq=tokens, pairs="visible").total)


def writing(config: arch.ModelConfig, tokens: int = READ, written: int = WRITTEN) -> float:
    """FLOPs of all further tokens, one at a time, with a cache."""
    return sum(_step(config, tokens, k, forward_flops, pairs="visible") for k in range(1, written))


def cache(config: arch.ModelConfig, batch: int = 1) -> int:
    """Bytes kept at the end of the job."""
    if config.source is None:
        return int(kv_cache_bytes(config, batch, READ + WRITTEN))
    return int(kv_cache_bytes(config, batch, WRITTEN, source_seq=READ))


def job_seconds(config: arch.ModelConfig, batch: int = 32, chip: str = "H100") -> float:
    """The roofline's least time of a batch of jobs: reading, then one step after the other."""
    options: dict[str, Any] = {} if config.source is None else {"source_seq": READ}
    first = READ if config.source is None else 1
    flops = forward_flops(config, batch, first, logits="last", pairs="visible", **options)
    total = step_time(flops, moved_bytes(config, batch, first, **options), CHIPS[chip]).seconds
    for k in range(1, WRITTEN):
        past = READ + k - 1 if config.source is None else k
        flops = forward_flops(config, batch, 1, past=past, pairs="visible", **options)
        moved = moved_bytes(config, batch, 1, past=past, **options)
        total += step_time(flops, moved, CHIPS[chip]).seconds
    return float(total)


def _step(config: arch.ModelConfig, read: int, written: int, count: Any, **options: Any) -> float:
    """One more token after so many."""
    if config.source is None:
        return float(count(config, 1, 1, past=read + written - 1, **options).total)
    return float(count(config, 1, 1, past=written, source_seq=read, **options).total)


def conversation(config: arch.ModelConfig, turns: int, asked: int = 200, said: int = 200) -> float:
    """FLOPs of a talk: the decoder goes on with its cache, the encoder reads all again each turn.

    What was asked and said before belongs to the source, and each state of the source may change
    with what comes after it.
    """
    total = 0.0
    for turn in range(turns):
        before = turn * (asked + said)
        if config.source is None:
            new = forward_flops(config, 1, asked, past=before, logits="last", pairs="visible")
            total += float(new.total)
        else:
            total += reading(config, before + asked)
        total += writing(config, before + asked, said)
    return total


def rewriting(config: arch.ModelConfig, read: int = READ, written: int = WRITTEN) -> float:
    """FLOPs of writing with an encoder: a mask is appended, and everything read again."""
    each = (forward_flops(config, 1, read + k, pairs="visible", logits="last").total
            for k in range(1, written + 1))  # fmt: skip
    return float(sum(each))


def size(config: arch.ModelConfig) -> int:
    """Its parameters."""
    return int(counted(config).total)


def job(config: arch.ModelConfig, read: int, written: int) -> float:
    """FLOPs of one job, reading and writing together."""
    return reading(config, read) + writing(config, read, written)
