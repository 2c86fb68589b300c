"""The calculator of memory: to serve and to train."""

from collections.abc import Mapping
from typing import Any

import sympy

import llmlib.architecture as arch
from llmlib.accounting import (
    CONTROLS,
    SWITCHES,
    Breakdown,
    kv_cache_bytes,
    parameters,
    training_moments,
    weight_bytes,
)
from llmlib.book.calculators.shared import (
    BATCHES,
    HEADS_DIVIDE,
    LENGTHS,
    MEMORY,
    N_CTX,
    B,
    S,
    chips,
    plain_config,
    plain_decoders,
    size_fields,
    sizes_alone,
    switched,
)
from llmlib.book.widgets.calculator import Bar, Calculator, Field, Largest, Pick, Result, Toggle

W, C = CONTROLS["w"], CONTROLS["w_cache"]
MIXED, ADAMW, FLASH, CHECKPOINTING, MOMENT = (
    CONTROLS[name] for name in ("mixed", "adamw", "flash", "checkpointing", "moment")
)
_MOMENTS = {
    "loss": "at the loss, when all activations are there",
    "last_layer.feed_forward": "in the last layer's feed-forward block, on the way back",
    "last_layer.attention": "in the last layer's attention, on the way back",
    "first_layer.feed_forward": "in the first layer's feed-forward block, on the way back",
    "first_layer.attention": "in the first layer's attention, on the way back",
    "end": "at the end, when all gradients are there",
}
_ALWAYS, _STEP = ("weights", "optimizer"), ("gradients", "activations", "temporary")
_NOTE = (
    "{model}: serving takes {serve_bytes}, training {train_bytes} at the fullest moment of a "
    "step. Beside the weights a chip has room for {most_sequences} such sequences."
)
_REMARK = (
    "Every model is counted with RMSNorm, RoPE and Swish, without biases, norms of heads and a "
    "position table; the cache holds every token, also where a model has a window. Left out are "
    "the program itself, work space, and what is lost when a model is spread over chips."
)
_ALT = "A calculator of memory: bars of what serving and training take, beside a chip's size."


def letters_moments() -> dict[str, Breakdown]:
    """What a training step holds at each of its moments, whatever is chosen."""
    config = plain_config(tied=SWITCHES["tied"])

    def given(**options: Any) -> dict[str, Breakdown]:
        for name, letter, on, off in (
            ("precision", MIXED, "mixed", "float32"),
            ("optimizer", ADAMW, "adamw", "sgd"),
            ("attention", FLASH, "flash", "reference"),
            ("checkpointing", CHECKPOINTING, True, False),
        ):
            if name not in options:
                first, second = given(**options, **{name: on}), given(**options, **{name: off})
                return {key: switched(letter, first[key], second[key]) for key in first}
        return training_moments(config, B, S, **options)

    return given()


def _training_bar(moments: Mapping[str, Breakdown]) -> Bar:
    """Weights and optimizer are there all the time, the others depend on the moment."""
    unknown = {name for moment in moments.values() for name in moment} - {*_ALWAYS, *_STEP}
    if unknown:
        raise ValueError(f"no group holds {', '.join(sorted(unknown))}")
    always = {name: moments["loss"][name] for name in _ALWAYS}
    step = {name: _by_moment([x.get(name, 0) for x in moments.values()]) for name in _STEP}
    groups = {
        name.capitalize(): {f"train.{name}": (name, formula)}
        for name, formula in (always | step).items()
    }
    return Bar("train", "To train", "bytes", groups, MEMORY, "the chip's memory", largest=True)


def _by_moment(formulas: list[Any]) -> Any:
    """The formula of the moment whose number MOMENT is."""
    last = len(formulas) - 1
    cases = [(x, sympy.Eq(MOMENT, k) if k < last else True) for k, x in enumerate(formulas)]
    # Left as it is: sympy would compare formulas of hundreds of terms for minutes.
    return sympy.Piecewise(*cases, evaluate=False)


def memory_calculator() -> Calculator:
    """What serving and training a model takes of a chip's memory."""
    config = plain_config(tied=SWITCHES["tied"])
    weights, cache = weight_bytes(config, W), kv_cache_bytes(config, B, S, C)
    moments = letters_moments()
    serve = {
        "Weights": {"serve.weights": ("weights", weights)},
        "KV cache": {"serve.cache": ("keys and values", cache)},
    }
    sizes = {_MOMENTS[name]: moment.total for name, moment in moments.items()}
    return Calculator(
        fields=[
            Field(B, "sequences", 8, BATCHES),
            Field(S, "tokens of each", 2048, LENGTHS),
            *size_fields("LLaMA-7B", stops=False, skip=(N_CTX,)),
        ],
        toggles=[
            Toggle(SWITCHES["tied"], "head tied to the embedding"),
            Toggle(SWITCHES["gated"], "gated feed-forward", start=True),
            Toggle(FLASH, "flash attention", start=True),
            Toggle(CHECKPOINTING, "checkpointing"),
        ],
        picks=[chips("H100"), *_number_sizes(), *_training_choices()],
        presets={
            name: sizes_alone(config) | {SWITCHES["tied"]: int(config.tied)}
            for name, config in plain_decoders().items()
        },
        preset="LLaMA-7B",
        bars=[
            Bar("serve", "To serve", "bytes", serve, MEMORY, "the chip's memory"),
            _training_bar(moments),
        ],
        largest=Largest(MOMENT, sizes, "{}"),
        results=_results(config, weights + cache, _by_moment(list(sizes.values()))),
        checks=[HEADS_DIVIDE],
        note=_NOTE,
        remark=_REMARK,
        alt=_ALT,
    )


def _results(config: arch.ModelConfig, serve: Any, train: Any) -> list[Result]:
    """What is said below the bars."""
    token = kv_cache_bytes(config, 1, 1, C)
    free = sympy.Max(0, MEMORY - weight_bytes(config, W), evaluate=False)
    sequences, tokens = _whole(free / (S * token)), _whole(free / (B * token))
    return [
        Result("total", "parameters", parameters(config).total, "count"),
        Result("token_bytes", "cache of one token", token, "bytes"),
        Result("serve_bytes", "to serve", serve, "bytes"),
        Result("train_bytes", "to train, at the fullest moment", train, "bytes"),
        Result("serve_chips", "chips to serve, at least", _chips_for(serve), "count"),
        Result("train_chips", "chips to train, at least", _chips_for(train), "count"),
        Result("most_sequences", "sequences of s tokens that fit a chip", sequences, "count"),
        Result("most_tokens", "tokens of b sequences that fit a chip", tokens, "count"),
    ]


# Unevaluated, or sympy asks for long what is whole in a formula of hundreds of terms.


def _chips_for(size: Any) -> Any:
    return sympy.ceiling(size / MEMORY, evaluate=False)


def _whole(size: Any) -> Any:
    return sympy.floor(size, evaluate=False)


def _number_sizes() -> list[Pick]:
    sizes = {"float32": 4, "bfloat16": 2, "8 bit": 1, "4 bit": 0.5}
    return [
        Pick(label, {name: {letter: sizes[name]} for name in names}, "bfloat16", shown)
        for label, letter, shown, names in (
            ("weights", W, "serving weights in ", ("float32", "bfloat16", "8 bit", "4 bit")),
            ("cache", C, "cache in ", ("float32", "bfloat16", "8 bit")),
        )
    ]


def _training_choices() -> list[Pick]:
    precision = {"mixed precision": {MIXED: 1}, "float32": {MIXED: 0}}
    optimizer = {"AdamW": {ADAMW: 1}, "SGD without momentum": {ADAMW: 0}}
    return [
        Pick("training", precision, "mixed precision", "training in "),
        Pick("optimizer", optimizer, "AdamW"),
    ]
