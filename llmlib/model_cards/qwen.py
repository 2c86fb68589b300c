"""Qwen2 and Qwen3: biases on queries, keys and values, then a norm on queries and keys."""

from typing import Any

from llmlib.model_cards.config import ModelCard, ModelConfig, like
from llmlib.model_cards.llama import LLAMA, of_size

QWEN2 = like(
    LLAMA,
    vocab_size=151_936,
    context=131_072,
    qkv_bias=True,
    rope_base=1_000_000.0,
)
QWEN3 = like(QWEN2, n_kv_heads=8, context=40_960, qkv_bias=False, qk_norm=True)


_POSITIONS = "Positions of the released configuration."


def _qwen2(
    size: str, config: ModelConfig, count: int, tokens: float, note: str = "", **rest: Any
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


def _qwen3(size: str, config: ModelConfig, count: int, note: str = "", **rest: Any) -> ModelCard:
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
        of_size(QWEN2, 896, 24, 14, 4864, n_kv_heads=2, head_dim=64, tied=True),
        494_032_768,
        12e12,
        note="More than a quarter of it is the embedding, which the head shares.",
        difference="The name rounds 0.49 to one digit.",
    ),
    _qwen2(
        "1.5B",
        of_size(QWEN2, 1536, 28, 12, 8960, n_kv_heads=2, tied=True),
        1_543_714_304,
        7e12,
        difference="The name rounds 1.54 to two digits.",
    ),
    _qwen2(
        "7B",
        of_size(QWEN2, 3584, 28, 28, 18944, n_kv_heads=4, vocab_size=152_064),
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
        of_size(QWEN2, 8192, 80, 64, 29568, n_kv_heads=8, vocab_size=152_064, norm_eps=1e-5),
        72_706_203_648,
        7e12,
        note="Trained on texts of up to 32,768 tokens.",
    ),
    _qwen3(
        "0.6B",
        of_size(QWEN3, 1024, 28, 16, 3072, n_kv_heads=8, tied=True),
        596_049_920,
        note="16 heads of 128 are twice as wide as the residual stream.",
    ),
    _qwen3(
        "1.7B",
        of_size(QWEN3, 2048, 28, 16, 6144, n_kv_heads=8, tied=True),
        1_720_574_976,
        difference="The name rounds 1.72 to two digits.",
    ),
    _qwen3(
        "4B",
        of_size(QWEN3, 2560, 36, 32, 9728, n_kv_heads=8, tied=True),
        4_022_468_096,
        note="The largest Qwen3 with a tied head.",
    ),
    _qwen3(
        "8B",
        of_size(QWEN3, 4096, 36, 32, 12288, n_kv_heads=8),
        8_190_735_360,
        difference="The name rounds 8.19 to one digit.",
    ),
    _qwen3(
        "14B",
        of_size(QWEN3, 5120, 40, 40, 17408, n_kv_heads=8),
        14_768_307_200,
        difference="The name cuts 14.8 to two digits.",
    ),
    _qwen3(
        "32B",
        of_size(QWEN3, 5120, 64, 64, 25600, n_kv_heads=8),
        32_762_123_264,
        note="As wide as the 14B and deeper; its heads together are wider than the stream.",
        difference="The name cuts 32.8 to two digits.",
    ),
]
