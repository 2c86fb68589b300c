"""Mistral 7B, and Mixtral: the same block with eight feed-forward blocks to choose from."""

from typing import Any

import llmlib.architecture as arch
from llmlib.model_cards.card import ModelCard
from llmlib.model_cards.llama import llama2


def mistral(**more: Any) -> arch.ModelConfig:
    """Mistral 7B's size: eight key/value heads, a wide block."""
    return llama2(4096, 32, 32, 14_336, n_kv_heads=8, **more)


def _with_experts(config: arch.ModelConfig, experts: arch.Experts) -> arch.ModelConfig:
    """Experts in the place of every feed-forward block."""
    changed: arch.ModelConfig = arch.changed(config, arch.Block, feed_forward=experts)
    return changed


_CHOSEN_FIRST = arch.Router(order="choose, then score")  # weights of the chosen sum to 1

MISTRAL_CARDS = [
    ModelCard(
        name="Mistral-7B-v0.1",
        year=2023,
        config=mistral(context=8192, window=4096),
        published_parameters=7_241_732_096,
        quoted="7B",
        source="jiang2023mistral",
        note="Context as in the paper's Table 1; the released config allows 32,768 positions.",
        difference="The name rounds 7.2 to one digit.",
    ),
    ModelCard(
        name="Mixtral-8x7B-v0.1",
        year=2023,
        config=_with_experts(
            mistral(context=32_768, base=1_000_000.0),
            arch.Experts(8, 2, arch.FeedForward(14_336), router=_CHOSEN_FIRST),
        ),
        published_parameters=46_702_792_704,
        quoted="47B",
        source="jiang2024mixtral",
        note=(
            "Mistral's block with a router and eight feed-forward blocks, two of them for each "
            "token. Attention and vocabulary are there once, so the total is 47 billion, not eight "
            "times seven."
        ),
        quoted_active="13B",
    ),
]
