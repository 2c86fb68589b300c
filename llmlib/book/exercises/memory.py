"""Exercises of the chapter on memory."""

from typing import Any

import llmlib.architecture as arch
from llmlib.accounting import (
    CHIPS,
    fused_activation_bytes,
    kv_cache_bytes,
    parameters,
    training_bytes,
    weight_bytes,
)
from llmlib.book.exercise import Choice, Exercise, Mistake, Number
from llmlib.model_cards import card


def _state() -> float:
    return 16 * parameters(card("Llama-3-8B").config).total / 1e9


def _which_saves() -> int:
    """Of the choices the one after which a step takes least."""
    config = card("GPT-3 1.3B").config
    changes: list[tuple[int, dict[str, Any]]] = [
        (8, {"optimizer": "sgd"}), (4, {}), (8, {"checkpointing": True}),
        (8, {"precision": "float32"}),
    ]  # fmt: skip
    found = [
        training_bytes(config, batch, 2048, **{"precision": "mixed", **options}).total
        for batch, options in changes
    ]
    return found.index(min(found))


def _one_block() -> float:
    config = card("GPT-3 175B").config
    return fused_activation_bytes(config, 1, 2048).total / config.n_layers / 1e9


def _sequences() -> int:
    config: arch.ModelConfig = card("Llama-3-8B").config
    free = CHIPS["H100"].memory - weight_bytes(config)
    return int(free // kv_cache_bytes(config, 1, 8192))


EXERCISES: list[Exercise] = [
    Number(
        "memory.state",
        level="easy",
        hint="Weights and gradients in 16 bits, a copy and two moments in 32.",
        solution="2 + 2 + 4 + 4 + 4 = 16 bytes per parameter, so 16 · 8.03·10<sup>9</sup> = "
        "<strong>128.5 GB</strong>: two cards of 80 GB before the first activation.",
        answer=_state,
        tolerance=0.5,
        mistakes=[
            Mistake(16.06, "That is the weights alone, 2 bytes per parameter: enough to serve."),
            Mistake(32.1, "Weights and gradients. The optimizer holds 12 bytes more each."),
            Mistake(64.2, "Mixed precision does not halve it: copy and moments have 32 bits."),
            Mistake(96.4, "The copy of the weights in 32 bits is missing."),
        ],
    ),
    Choice(
        "memory.which_saves",
        level="medium",
        hint="Of its 82 GB at the loss, 60 are activations and 16 the optimizer's.",
        solution="<strong>Checkpointing</strong>: 27 GB are left. Half of the sequences leave 50, "
        "SGD 71: it takes 8 bytes from each of 1.3 billion parameters. Float32 makes it 100.",
        options=[
            "SGD in the place of AdamW",
            "4 sequences in the place of 8",
            "Checkpointing every block",
            "Float32 in the place of mixed precision: no second copy of the weights",
        ],
        answer=_which_saves(),
        mistakes=[
            Mistake(0, "The two moments are 8 · 1.3 = 10.5 GB of 82."),
            Mistake(1, "It halves the activations: 30 GB less. Another change takes more of them."),
            Mistake(3, "The state has 16 bytes per parameter either way, and activations grow."),
        ],
    ),
    Number(
        "memory.one_block",
        level="medium",
        hint="s b d (34 + 5 H s / d), with b = 1.",
        solution="5 · 96 · 2,048 / 12,288 = 80, so 2,048 · 12,288 · (34 + 80) = 25,165,824 · 114 "
        "= 2.869·10<sup>9</sup> bytes, <strong>2.87 GB</strong>, of which flash attention saves "
        "80/114. There are 96 such blocks.",
        answer=_one_block,
        tolerance=0.01,
        mistakes=[
            Mistake(0.856, "That is without the matrices of attention; here they are written out."),
            Mistake(275.4, "That is all 96 blocks; one is asked for."),
            Mistake(5.74, "The 34 and the 5 are bytes already, not numbers of 2 bytes."),
        ],
    ),
    Number(
        "memory.sequences",
        level="hard",
        hint="A token's cache has 2 · 32 · 8 · 128 numbers of 2 bytes.",
        solution="A token: 2 · 32 · 8 · 128 · 2 = 131,072 bytes; a sequence of 8,192: 1.074 GB. "
        "Beside 16.06 GB of weights 63.94 GB are free: <strong>59</strong> sequences.",
        answer=_sequences,
        tolerance=0,
        mistakes=[
            Mistake(74, "The weights take 16 GB of the card first."),
            Mistake(119, "Keys <em>and</em> values, with 2 bytes each number."),
            Mistake(14, "The cache has 8 key/value heads, not the 32 of the queries."),
            Mistake(60, "59.5 sequences fit, and half a sequence is none."),
        ],
    ),
]
