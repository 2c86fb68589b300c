"""SmolLM2: Llama's block at the size of GPT-2; the smallest is the book's real model."""

from typing import Any

from llmlib.model_cards.config import ModelCard, ModelConfig, like
from llmlib.model_cards.llama import LLAMA2, of_size

SMOLLM2 = like(
    LLAMA2,
    head_dim=64,
    vocab_size=49_152,
    context=8192,
    rope_base=100_000.0,
    tied=True,
)


def _smollm2(size: str, config: ModelConfig, count: int, tokens: float, **rest: Any) -> ModelCard:
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
        of_size(SMOLLM2, 576, 30, 9, 1536, n_kv_heads=3),
        134_515_008,
        2e12,
        note="Deep and narrow: 30 layers of width 576. This book takes its weights apart.",
    ),
    _smollm2(
        "360M",
        of_size(SMOLLM2, 960, 32, 15, 2560, n_kv_heads=5),
        361_821_120,
        4e12,
    ),
    _smollm2(
        "1.7B",
        of_size(SMOLLM2, 2048, 24, 32, 8192, rope_base=130_000.0),
        1_711_376_384,
        11e12,
        note="Every query head has its own keys and values, unlike in the smaller two.",
    ),
]
