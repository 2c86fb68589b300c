"""The calculator of FLOPs, with the roofline."""

from typing import Any, Literal

import sympy

from llmlib.accounting import CONTROLS, SWITCHES, Breakdown, forward_flops, moved_bytes
from llmlib.book.calculators.shared import (
    BANDWIDTH,
    BATCHES,
    HEADS_DIVIDE,
    LENGTHS,
    N_CTX,
    PEAK,
    B,
    P,
    S,
    chips,
    grouped,
    plain_config,
    plain_decoders,
    size_fields,
    sizes_alone,
    switched,
)
from llmlib.book.widgets.calculator import Bar, Calculator, Field, Follow, Result, Roof, Toggle

CAUSAL, LAST = CONTROLS["causal"], CONTROLS["last_only"]
_PAIRS: tuple[Literal["visible"], Literal["all"]] = ("visible", "all")
_GROUPS = {
    "Projections": {
        "attention.query": "query",
        "attention.key": "key",
        "attention.value": "value",
        "attention.output": "output",
    },
    "Attention": {"attention.scores": "scores", "attention.average": "average of values"},
    "Feed-forward": {
        "feed_forward.gate": "gate",
        "feed_forward.up": "up",
        "feed_forward.down": "down",
    },
    "Head": {"head": "to the vocabulary"},
}


_AFTER_PROMPT = Follow(S, "s is {s}", is_printed=False)  # p stays p: s is another number there
_NOTE = (
    "{model}: the prefill does {prefill_intensity} FLOPs for each byte it moves and takes "
    "{prefill_seconds} at least; a decode step does {decode_intensity} and takes "
    "{decode_seconds}."
)
_REMARK = (
    "Products of 16-bit numbers at the chip's dense rate; weights and cache are moved once, in "
    "16 bit. Left out are norms, softmax, activations and biases; a window is ignored."
)
_ALT = (
    "A calculator of FLOPs: bars of what a prefill and a decode step compute, and both on the "
    "roofline of a chip."
)


def letters_flops() -> tuple[Breakdown, Breakdown]:
    """FLOPs of a prompt's s tokens, and of a step that decodes one after p."""
    config = plain_config()
    visible, every = (
        switched(
            LAST,
            forward_flops(config, B, S, pairs=pairs, logits="last"),
            forward_flops(config, B, S, pairs=pairs, logits="all"),
        )
        for pairs in _PAIRS
    )
    return switched(CAUSAL, visible, every), forward_flops(config, B, 1, past=P)


def _results(name: str, label: str, flops: Any, moved: Any, tokens: Any) -> list[Result]:
    """What is said of a step that takes some tokens."""
    seconds = sympy.Max(flops / PEAK, moved / BANDWIDTH)
    return [
        Result(f"{name}_flops", f"{label}: computes", flops, "flops"),
        Result(f"{name}_bytes", f"{label}: moves", moved, "bytes"),
        Result(f"{name}_intensity", f"{label}: FLOPs per byte", flops / moved, "intensity"),
        Result(f"{name}_seconds", f"{label}: takes at least", seconds, "seconds"),
        Result(f"{name}_rate", f"{label}: tokens per second, at most", tokens / seconds, "rate"),
    ]


def flop_calculator() -> Calculator:
    """What a prompt and a decode step cost, and which of a chip's two limits they meet."""
    prefill, decode = letters_flops()
    config = plain_config()
    steps = {
        "prefill": (prefill.total, moved_bytes(config, B, S).total),
        "decode step": (decode.total, moved_bytes(config, B, 1, past=P).total),
    }
    results = zip(
        _results("prefill", "prefill", *steps["prefill"], B * S),
        _results("decode", "decode step", *steps["decode step"], B),
        strict=True,
    )
    return Calculator(
        fields=[
            Field(B, "batch", 1, BATCHES),
            Field(S, "tokens of the prompt", 1024, LENGTHS),
            Field(P, "tokens in the cache", 1024, LENGTHS, 0, _AFTER_PROMPT),
            *size_fields("LLaMA-7B", stops=False, skip=(N_CTX,)),
        ],
        toggles=[
            Toggle(SWITCHES["gated"], "gated feed-forward", start=True),
            Toggle(CAUSAL, "only the pairs that a causal mask leaves", start=True),
            Toggle(LAST, "logits of the last position alone", start=True),
        ],
        picks=[chips("H100")],
        presets={name: sizes_alone(config) for name, config in plain_decoders().items()},
        preset="LLaMA-7B",
        bars=[
            Bar("prefill", "Prefill", "flops", grouped(prefill, _GROUPS, "prefill.")),
            Bar("decode", "Decode step", "flops", grouped(decode, _GROUPS, "decode.")),
        ],
        results=[result for pair in results for result in pair],
        checks=[HEADS_DIVIDE],
        roof=Roof(PEAK, BANDWIDTH, steps),
        note=_NOTE,
        remark=_REMARK,
        alt=_ALT,
    )
