"""Exercises of the chapter on model cards."""

from collections.abc import Callable
from typing import Any

import llmlib.architecture as arch
from llmlib.accounting import parameters
from llmlib.book.exercise import Choice, Exercise, Function, Mistake, Number
from llmlib.book.labs.model_cards import from_five_numbers
from llmlib.book.widgets.base import Real
from llmlib.model_cards import card


def _llama3() -> float:
    return parameters(card("Llama-3-8B").config).total / 1e9


def _three_experts() -> float:
    """Mixtral's parameters in use with three experts for each token, in billions."""
    changed = arch.changed(card("Mixtral-8x7B-v0.1").config, arch.Experts, n_active=3)
    return parameters(changed, active=True).total / 1e9


_CASES = {
    "LLaMA-7B": (32_000, 4096, 32, 2.6875, 1, 1, True, False),
    "Qwen2-7B": (152_064, 3584, 28, 18944 / 3584, 1 / 7, 1, True, False),
    "GPT-2": (50_257, 768, 12, 4, 1, 1, False, True),
    "Gemma-7B": (256_000, 3072, 28, 8, 1, 4 / 3, True, True),
    "PaLM-540B": (256_000, 18_432, 118, 4, 1 / 48, 2 / 3, True, True),
}


def _total(
    V: int, d: int, n_layers: int, ratio: Real, kv_share: Real, head_share: Real,
    gated: bool, tied: bool,
) -> Real:  # fmt: skip
    """The estimate with heads that together are head_share · d wide."""
    narrow = from_five_numbers(V, d, n_layers, ratio, kv_share, gated=gated, tied=tied)
    more: Real = narrow + n_layers * d**2 * (2 + 2 * kv_share) * (head_share - 1)
    return more


def _grade_total(answer: Callable[..., Any]) -> str | None:
    for name, case in _CASES.items():
        expected = _total(*case)
        found = answer(*case)
        if isinstance(found, bool) or not isinstance(found, int | float):
            return f"Return a number; for {name} you return {type(found).__name__}."
        if abs(found / expected - 1) < 1e-6:
            continue
        return f"{name}: expected {expected / 1e9:.3f} billion, you return {found / 1e9:.3f}. " + (
            _what_is_wrong(found, *case)
        )
    return None


def _what_is_wrong(
    found: Real, V: int, d: int, n_layers: int, ratio: Real, kv_share: Real, head_share: Real,
    gated: bool, tied: bool,
) -> str:  # fmt: skip
    """What a wrong total comes from, where it is a known mistake."""
    known = {
        "The vocabulary stands in two matrices, unless the head is tied.": _total(
            V, d, n_layers, ratio, kv_share, head_share, gated, not tied
        ),
        "A gated block has three matrices, another has two.": _total(
            V, d, n_layers, ratio, kv_share, head_share, not gated, tied
        ),
        "Keys and values are narrower by G/H: two of attention's four matrices.": _total(
            V, d, n_layers, ratio, 1, head_share, gated, tied
        ),
        "The heads' width is in all four matrices of attention.": _total(
            V, d, n_layers, ratio, kv_share, 1, gated, tied
        ),
        "The output matrix reads all heads: it is as wide as the queries' matrix.": _total(
            V, d, n_layers, ratio, kv_share, head_share, gated, tied
        )
        - n_layers * d**2 * (head_share - 1),
    }
    for message, value in known.items():
        if abs(found / value - 1) < 1e-6:
            return message
    return "Count vocabulary, attention and feed-forward block one after the other."


EXERCISES: list[Exercise] = [
    Number(
        "model_cards.total_from_five",
        level="easy",
        hint=(
            "Two matrices of V·d, and in each layer d²·(2 + 2·G/H + 3·d<sub>ff</sub>/d). The "
            "bracket is 13."
        ),
        solution=(
            "The vocabulary takes 2 · 128,256 · 4,096 = 1.051 billion. A layer has "
            "4,096² · (2 + 0.5 + 10.5) = 218.1 million, all 32 have 6.979 billion. Together "
            "<strong>8.03</strong> billion."
        ),
        answer=_llama3,
        tolerance=0.006,
        mistakes=[
            Mistake(7.50, "You counted one matrix for the vocabulary; the head is not tied."),
            Mistake(8.84, "You counted keys and values at full width; G/H is 1/4."),
            Mistake(6.15, "A gated block has three matrices, not two."),
            Mistake(6.98, "The vocabulary is missing."),
        ],
    ),
    Choice(
        "model_cards.torn_off",
        level="easy",
        hint="Which lines share key/value heads? Which vocabulary has 32,000 rows?",
        solution=(
            "<strong>Mistral-7B</strong>. LLaMA-7B has the same L, H, d and V, but a key/value "
            "head for each query head and d<sub>ff</sub>/d = 2.69. Llama-3-8B has the same "
            "G and d<sub>ff</sub>/d, but 128,256 rows. Qwen3-8B has 36 layers and 151,936 rows."
        ),
        options=["LLaMA-7B", "Mistral-7B-v0.1", "Llama-3-8B", "Qwen3-8B"],
        answer=1,
        mistakes=[
            Mistake(0, "LLaMA-7B has 32 key/value heads and a narrower feed-forward block."),
            Mistake(2, "Everything fits but the vocabulary: Llama 3 has 128,256 rows."),
            Mistake(3, "Qwen3-8B has 36 layers and a far larger vocabulary."),
        ],
    ),
    Choice(
        "model_cards.wrong_cell",
        level="medium",
        hint="Count the layers first: d² · (matrices of attention and block). Then the vocabulary.",
        solution=(
            "Attention has 4 · 3,072 · 4,096 = 50.3 million in a layer, the block 3 · 3,072 · "
            "24,576 = 226.5 million: 28 layers have 7.75 billion. One matrix of 256,000 · 3,072 = "
            "0.79 billion brings them to 8.54, two would give 9.32. So <strong>the head is "
            "tied</strong>. (Half the vocabulary would give the same count; the other entries "
            "offered cannot.)"
        ),
        options=[
            "28 layers",
            "16 heads of 256, since 4,096 is not the width 3,072",
            "head not tied",
            "GeGLU: the block cannot be gated",
        ],
        answer=2,
        mistakes=[
            Mistake(
                0,
                "A layer has 0.277 billion. With a head of its own, 25 layers would give 8.49 "
                "billion and 26 would give 8.77: no number of layers gives 8.54.",
            ),
            Mistake(1, "Heads need not fill the width. With 12 of them the count would be lower."),
            Mistake(3, "Without a gate a third of the blocks, over 2 billion, would be missing."),
        ],
    ),
    Function(
        "model_cards.wide_heads",
        level="medium",
        hint=(
            "Queries and output have d · H d<sub>head</sub> = head_share · d² numbers each; keys "
            "and values G/H of that."
        ),
        solution="""\
def my_total(V, d, L, ffn_ratio, kv_share, head_share, gated, tied):
    vocabulary = (1 if tied else 2) * V * d
    attention = d**2 * head_share * (2 + 2 * kv_share)
    feed_forward = d**2 * (3 if gated else 2) * ffn_ratio
    return vocabulary + L * (attention + feed_forward)
""",
        grader=_grade_total,
        mistakes=[
            Mistake(
                """\
def my_total(V, d, L, ffn_ratio, kv_share, head_share, gated, tied):
    return (2 - tied) * V * d + L * d**2 * (2 + 2 * kv_share + (2 + gated) * ffn_ratio)
""",
                "all four matrices",
            ),
            Mistake(
                """\
def my_total(V, d, L, ffn_ratio, kv_share, head_share, gated, tied):
    attention = head_share + 1 + 2 * head_share * kv_share
    return (2 - tied) * V * d + L * d**2 * (attention + (2 + gated) * ffn_ratio)
""",
                "as wide as the queries",
            ),
            Mistake(
                """\
def my_total(V, d, L, ffn_ratio, kv_share, head_share, gated, tied):
    attention = head_share * (2 + 2 * kv_share)
    return (1 + tied) * V * d + L * d**2 * (attention + (2 + gated) * ffn_ratio)
""",
                "unless the head is tied",
            ),
            Mistake(
                """\
def my_total(V, d, L, ffn_ratio, kv_share, head_share, gated, tied):
    return (2 - tied) * V * d + L * d**2 * (4 * head_share + (2 + gated) * ffn_ratio)
""",
                "narrower by G/H",
            ),
            Mistake(
                """\
def my_total(V, d, L, ffn_ratio, kv_share, head_share, gated, tied):
    attention = head_share * (2 + 2 * kv_share)
    return (2 - tied) * V * d + L * d**2 * (attention + (3 - gated) * ffn_ratio)
""",
                "three matrices",
            ),
            Mistake(
                """\
def my_total(V, d, L, ffn_ratio, kv_share, head_share, gated, tied):
    return 12 * L * d**2
""",
                "one after the other",
            ),
        ],
    ),
    Number(
        "model_cards.three_experts",
        level="hard",
        hint="Mistral's parameters hold one feed-forward block already. How many more are in use?",
        solution=(
            "Everything but the blocks is 7.242 − 5.637 = 1.605 billion. Three blocks take "
            "16.911, the router 0.001: <strong>18.52</strong> billion."
        ),
        answer=_three_experts,
        tolerance=0.02,
        mistakes=[
            Mistake(12.88, "That is with two experts, as the model is."),
            Mistake(17.51, "Three eighths of everything; attention and vocabulary are used whole."),
            Mistake(21.73, "Three whole models; attention and vocabulary are there once."),
            Mistake(24.15, "Mistral's own block is one of the three: add two."),
            Mistake(46.70, "That is what is stored."),
        ],
    ),
]
