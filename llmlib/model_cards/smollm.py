"""SmolLM2 and 3: Llama's block in small; the smallest is the book's real model."""

from typing import Any

import llmlib.architecture as arch
from llmlib.model_cards.card import ModelCard, stacked
from llmlib.model_cards.llama import llama2


def smollm2(dim: int, n_layers: int, n_heads: int, ffn_dim: int, **more: Any) -> arch.ModelConfig:
    """A SmolLM2: heads of 64, the head of the model tied."""
    given = {"head_dim": 64, "vocab_size": 49_152, "context": 8192, "base": 100_000.0, "tied": True}
    return llama2(dim, n_layers, n_heads, ffn_dim, **{**given, **more})


def _smollm2(
    size: str, config: arch.ModelConfig, count: int, tokens: float, **rest: Any
) -> ModelCard:
    """A SmolLM2; the paper's sizes are the names."""
    return ModelCard(
        name=f"SmolLM2-{size}",
        year=2024,
        config=config,
        published_parameters=count,
        quoted=size,
        source="allal2025smollm2",
        training_tokens=tokens,
        **rest,
    )


def _smollm3_3b() -> arch.ModelConfig:
    """Three layers with RoPE, then one that knows no positions."""
    plain = arch.Block(arch.Attention(16, 4, 128), arch.FeedForward(11_008))
    turned = arch.changed(plain, arch.Attention, rope=arch.Rope(5_000_000.0))
    stack = stacked(arch.repeat(9, arch.repeat(3, turned), plain))
    return arch.ModelConfig(2048, 128_256, 65_536, stack, tied=True)


SMOLLM_CARDS = [
    _smollm2(
        "135M",
        smollm2(576, 30, 9, 1536, n_kv_heads=3),
        134_515_008,
        2e12,
        note="Deep and narrow: 30 layers of width 576. This book takes its weights apart.",
    ),
    _smollm2(
        "360M",
        smollm2(960, 32, 15, 2560, n_kv_heads=5),
        361_821_120,
        4e12,
    ),
    _smollm2(
        "1.7B",
        smollm2(2048, 24, 32, 8192, base=130_000.0),
        1_711_376_384,
        11e12,
        note="Every query head has its own keys and values, unlike in the smaller two.",
    ),
    ModelCard(
        name="SmolLM3-3B",
        year=2025,
        config=_smollm3_3b(),
        published_parameters=3_075_098_624,
        quoted="3B",
        source="bakouch2025smollm3",
        training_tokens=11.2e12,
        note="One layer in four has no positions: its scores do not know how far a key is.",
        difference="The name rounds 3.1 to one digit.",
    ),
]
