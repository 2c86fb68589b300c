"""Mistral 7B, Mixtral with eight feed-forward blocks to choose from, and Ministral's windows."""

from typing import Any

import llmlib.architecture as arch
from llmlib.model_cards.card import ModelCard, stacked
from llmlib.model_cards.llama import llama2


def mistral(**more: Any) -> arch.ModelConfig:
    """Mistral 7B's size: eight key/value heads, a wide block."""
    return llama2(4096, 32, 32, 14_336, n_kv_heads=8, **more)


def _with_experts(config: arch.ModelConfig, experts: arch.Experts) -> arch.ModelConfig:
    """Experts in the place of every feed-forward block."""
    changed: arch.ModelConfig = arch.changed(config, arch.Block, feed_forward=experts)
    return changed


_CHOSEN_FIRST = arch.Router(order="choose, then score")  # weights of the chosen sum to 1


def _ministral_8b() -> arch.ModelConfig:
    """A layer that sees all, then three with a window."""
    attention = arch.Attention(32, 8, 128, arch.Rope(100_000_000.0))
    far = arch.Block(attention, arch.FeedForward(12_288), arch.Norm(eps=1e-5))
    near = arch.changed(far, arch.Attention, window=32_768)
    stack = stacked(arch.repeat(9, far, arch.repeat(3, near)))
    return arch.ModelConfig(4096, 131_072, 131_072, stack)


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
    ModelCard(
        name="Ministral-8B",
        year=2024,
        config=_ministral_8b(),
        published_parameters=8_019_808_256,
        quoted="8B",
        source="mistral2024ministral",
        note=(
            "A layer that sees all for three with a window of 32,768, as announced; the released "
            "config has the window in every layer and as many positions."
        ),
    ),
]
