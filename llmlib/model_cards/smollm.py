"""SmolLM2: Llama's block at the size of GPT-2; the smallest is the book's real model."""

from typing import Any

import llmlib.architecture as arch
from llmlib.model_cards.card import ModelCard
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
]
