"""Pythia: GPT-3's block with both halves side by side, and RoPE on a quarter of each head."""

import llmlib.architecture as arch
from llmlib.model_cards.card import ModelCard, all_alike


def pythia(dim: int, n_layers: int, n_heads: int, vocab_size: int) -> arch.ModelConfig:
    """A Pythia: parallel blocks with a norm for each half, biases everywhere."""
    rope = arch.Rope(share=0.25)
    block = arch.Block(
        arch.Attention(n_heads, n_heads, dim // n_heads, rope, qkv_bias=True, out_bias=True),
        arch.FeedForward(4 * dim, "gelu", gated=False, bias=True),
        arch.LAYER,
        order="parallel",
    )
    return arch.ModelConfig(dim, vocab_size, 2048, all_alike(n_layers, block))


def _pythia(size: str, config: arch.ModelConfig, count: int, difference: str = "") -> ModelCard:
    """A Pythia; the paper's sizes are the names."""
    return ModelCard(
        name=f"Pythia-{size}",
        year=2023,
        config=config,
        published_parameters=count,
        quoted=size,
        source="biderman2023pythia",
        training_tokens=300e9,
        note="Made for study: many checkpoints of its training are public. The head is its own.",
        difference=difference,
    )


PYTHIA_CARDS = [
    _pythia("70M", pythia(512, 6, 8, 50_304), 70_426_624),
    _pythia("2.8B", pythia(2560, 32, 32, 50_304), 2_775_208_960),
    _pythia("12B", pythia(5120, 36, 40, 50_688), 11_846_072_320, "Rounded to two digits."),
]
