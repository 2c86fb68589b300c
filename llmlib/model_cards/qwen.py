"""Qwen2 and Qwen3: biases on queries, keys and values, then a norm on queries and keys."""

from typing import Any

import llmlib.architecture as arch
from llmlib.model_cards.card import ModelCard
from llmlib.model_cards.llama import llama


def qwen2(dim: int, n_layers: int, n_heads: int, ffn_dim: int, **more: Any) -> arch.ModelConfig:
    """A Qwen2: biases on Q, K and V alone."""
    given = {"vocab_size": 151_936, "context": 131_072, "base": 1_000_000.0, "qkv_bias": True}
    return llama(dim, n_layers, n_heads, ffn_dim, **{**given, **more})


def qwen3(dim: int, n_layers: int, n_heads: int, ffn_dim: int, **more: Any) -> arch.ModelConfig:
    """A dense Qwen3: eight key/value heads, norms in the place of the biases."""
    given = {"n_kv_heads": 8, "context": 40_960, "qkv_bias": False, "qk_norm": arch.Norm()}
    return qwen2(dim, n_layers, n_heads, ffn_dim, **{**given, **more})


_POSITIONS = "Positions of the released configuration."


def _qwen2(
    size: str, config: arch.ModelConfig, count: int, tokens: float, note: str = "", **rest: Any
) -> ModelCard:
    """A Qwen2; the report's sizes are the names."""
    return ModelCard(
        name=f"Qwen2-{size}",
        year=2024,
        config=config,
        published_parameters=count,
        quoted=size,
        source="yang2024qwen2",
        training_tokens=tokens,
        note=f"{note} {_POSITIONS}".lstrip(),
        **rest,
    )


def _qwen3(
    size: str, config: arch.ModelConfig, count: int, note: str = "", **rest: Any
) -> ModelCard:
    """A dense Qwen3; the report's sizes are the names."""
    return ModelCard(
        name=f"Qwen3-{size}",
        year=2025,
        config=config,
        published_parameters=count,
        quoted=size,
        source="yang2025qwen3",
        training_tokens=36e12,
        note=f"{note} {_POSITIONS}".lstrip(),
        **rest,
    )


QWEN_CARDS = [
    _qwen2(
        "0.5B",
        qwen2(896, 24, 14, 4864, n_kv_heads=2, head_dim=64, tied=True),
        494_032_768,
        12e12,
        note="More than a quarter of it is the embedding, which the head shares.",
        difference="The name rounds 0.49 to one digit.",
    ),
    _qwen2(
        "1.5B",
        qwen2(1536, 28, 12, 8960, n_kv_heads=2, tied=True),
        1_543_714_304,
        7e12,
        difference="The name rounds 1.54 to two digits.",
    ),
    _qwen2(
        "7B",
        qwen2(3584, 28, 28, 18944, n_kv_heads=4, vocab_size=152_064),
        7_615_616_512,
        7e12,
        note="Biases on Q, K and V alone.",
        difference=(
            "The authors' announcement prints 7.07 billion, which is the count with one of the two "
            "vocabulary matrices, embedding and head, of 0.54 billion each."
        ),
    ),
    _qwen2(
        "72B",
        qwen2(8192, 80, 64, 29568, n_kv_heads=8, vocab_size=152_064, eps=1e-5),
        72_706_203_648,
        7e12,
        note="Trained on texts of up to 32,768 tokens.",
    ),
    _qwen3(
        "0.6B",
        qwen3(1024, 28, 16, 3072, tied=True),
        596_049_920,
        note="16 heads of 128 are twice as wide as the residual stream.",
    ),
    _qwen3(
        "1.7B",
        qwen3(2048, 28, 16, 6144, tied=True),
        1_720_574_976,
        difference="The name rounds 1.72 to two digits.",
    ),
    _qwen3(
        "4B",
        qwen3(2560, 36, 32, 9728, tied=True),
        4_022_468_096,
        note="The largest Qwen3 with a tied head.",
    ),
    _qwen3(
        "8B",
        qwen3(4096, 36, 32, 12288),
        8_190_735_360,
        difference="The name rounds 8.19 to one digit.",
    ),
    _qwen3(
        "14B",
        qwen3(5120, 40, 40, 17408),
        14_768_307_200,
        difference="The name cuts 14.8 to two digits.",
    ),
    _qwen3(
        "32B",
        qwen3(5120, 64, 64, 25600),
        32_762_123_264,
        note="As wide as the 14B and deeper; its heads together are wider than the stream.",
        difference="The name cuts 32.8 to two digits.",
    ),
]
