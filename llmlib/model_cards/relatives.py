"""Phi-3, Granite 3 and GLM-4: Llama's block, each with a change of its own."""

import dataclasses
from typing import Any

import llmlib.architecture as arch
from llmlib.model_cards.card import ModelCard, all_alike
from llmlib.model_cards.llama import llama2


def granite3(
    dim: int, ffn_dim: int, head_dim: int, scale: float, output_scale: float
) -> arch.ModelConfig:
    """A Granite 3: what is added to the stream, scores and logits are scaled by fixed numbers."""
    sizes: dict[str, Any] = {"n_kv_heads": 8, "head_dim": head_dim, "vocab_size": 49_155}
    config = llama2(dim, 40, 32, ffn_dim, **sizes, tied=True, scale=scale)
    config = dataclasses.replace(config, embedding_scale=12.0, output_scale=output_scale)
    scaled: arch.ModelConfig = arch.changed(config, arch.Block, residual_scale=0.22)
    return scaled


def _glm4_9b() -> arch.ModelConfig:
    """Two key/value heads, biases on Q, K and V, and RoPE on half of each head, in pairs."""
    rope = arch.Rope(share=0.5, layout="interleaved")
    block = arch.Block(
        arch.Attention(32, 2, 128, rope, qkv_bias=True),
        arch.FeedForward(13_696),
        arch.Norm(eps=1.5625e-07),
    )
    return arch.ModelConfig(4096, 151_552, 8192, all_alike(40, block))


RELATIVE_CARDS = [
    ModelCard(
        name="Phi-3-mini",
        year=2024,
        config=llama2(3072, 32, 32, 8192, head_dim=96, vocab_size=32_064, window=2047),
        published_parameters=3_821_079_552,
        quoted="3.8B",
        source="abdin2024phi3",
        training_tokens=3.3e12,
        note="Llama 2's design in small, with a window; the release for 4,096 positions.",
    ),
    ModelCard(
        name="Granite-3.0-2B",
        year=2024,
        config=granite3(2048, 8192, 64, 0.015625, 1 / 8),
        published_parameters=2_533_531_648,
        quoted="2.5B",
        source="granite2024granite3",
        training_tokens=12e12,
        note="Fixed factors on embedding, residuals, scores and logits, which store nothing.",
        difference="Rounded to two digits.",
    ),
    ModelCard(
        name="Granite-3.0-8B",
        year=2024,
        config=granite3(4096, 12_800, 128, 0.0078125, 1 / 16),
        published_parameters=8_170_848_256,
        quoted="8.1B",
        source="granite2024granite3",
        training_tokens=12e12,
        note="As Granite-3.0-2B, with its head tied too, which is rare at this size.",
    ),
    ModelCard(
        name="GLM-4-9B",
        year=2024,
        config=_glm4_9b(),
        published_parameters=9_399_951_360,
        quoted="9B",
        source="glm2024chatglm",
        training_tokens=10e12,
        note="Two key/value heads for 32 query heads; biases on Q, K and V alone.",
        difference="The name cuts 9.4 to one digit.",
    ),
]
