"""Gemma: wide heads, gated GELU, a large vocabulary; then windows between layers that see all."""

import llmlib.architecture as arch
from llmlib.model_cards.card import ModelCard, all_alike, stacked

GAIN = arch.Norm(gain="1 + weight")


def gemma(
    dim: int, n_layers: int, n_heads: int, ffn_dim: int, n_kv_heads: int | None = None
) -> arch.ModelConfig:
    """A Gemma: heads of 256, embeddings times √d."""
    groups = n_heads if n_kv_heads is None else n_kv_heads
    block = arch.Block(
        arch.Attention(n_heads, groups, 256, arch.Rope()),
        arch.FeedForward(ffn_dim, "gelu_tanh"),
        GAIN,
    )
    stack = all_alike(n_layers, block)
    return arch.ModelConfig(dim, 256_000, 8192, stack, tied=True, embedding_scale=dim**0.5)


def gemma2(
    dim: int, n_pairs: int, n_heads: int, ffn_dim: int, *, n_kv_heads: int, head_dim: int = 256,
    scale: float | None = None,
) -> arch.ModelConfig:  # fmt: skip
    """A Gemma 2: a window of 4,096 and a layer that sees all in turn; norms around each part."""
    full = arch.Attention(n_heads, n_kv_heads, head_dim, arch.Rope(), scale=scale, softcap=50.0)
    far = arch.Block(full, arch.FeedForward(ffn_dim, "gelu_tanh"), GAIN, "sandwich")
    near = arch.changed(far, arch.Attention, window=4096)
    stack = stacked(arch.repeat(n_pairs, near, far))
    return arch.ModelConfig(
        dim, 256_000, 8192, stack, tied=True, embedding_scale=dim**0.5, softcap=30.0
    )


def gemma3(
    dim: int, n_groups: int, n_last: int, n_heads: int, ffn_dim: int, *, n_kv_heads: int,
    head_dim: int = 256, window: int = 1024, scale: float | None = None, vocab_size: int = 262_208,
    context: int = 131_072, stretched: float | None = 8.0,
) -> arch.ModelConfig:  # fmt: skip
    """A Gemma 3: groups of five windows and a layer that sees all, and some windows at the end.

    Norms of queries and keys take the place of the caps; the layers that see all turn slower.
    """
    feed_forward = arch.FeedForward(ffn_dim, "gelu_tanh")
    scaling = None if stretched is None else arch.Scaling("linear", stretched)
    slow = arch.Rope(1_000_000.0, scaling=scaling)
    full = arch.Attention(n_heads, n_kv_heads, head_dim, slow, qk_norm=GAIN, scale=scale)
    far = arch.Block(full, feed_forward, GAIN, "sandwich")
    near = arch.changed(far, arch.Attention, window=window, rope=arch.Rope())
    last = [arch.repeat(n_last, near)] if n_last else []
    stack = stacked(arch.repeat(n_groups, arch.repeat(5, near), far), *last)
    return arch.ModelConfig(dim, vocab_size, context, stack, tied=True, embedding_scale=dim**0.5)


def _gemma2(
    size: str, config: arch.ModelConfig, count: int, tokens: float, difference: str = ""
) -> ModelCard:
    return ModelCard(
        name=f"Gemma-2-{size}",
        year=2024,
        config=config,
        published_parameters=count,
        quoted=size,
        source="gemma2024two",
        training_tokens=tokens,
        note=(
            "A norm before each part and another after it; every other layer has a window of "
            "4,096. Scores and logits are capped."
        ),
        difference=difference,
    )


def _gemma3(
    size: str, config: arch.ModelConfig, count: int, tokens: float, difference: str = ""
) -> ModelCard:
    return ModelCard(
        name=f"Gemma-3-{size}",
        year=2025,
        config=config,
        published_parameters=count,
        quoted=size,
        source="gemma2025three",
        training_tokens=tokens,
        note=(
            "Five layers with a window for one that sees all; norms of queries and keys. Counted "
            "without the part that reads pictures, which all but the 1B have."
        ),
        difference=difference,
    )


GEMMA_CARDS = [
    ModelCard(
        name="Gemma-2B",
        year=2024,
        config=gemma(2048, 18, 8, 16384, n_kv_heads=1),
        published_parameters=2_506_172_416,
        quoted="2B",
        source="gemma2024",
        training_tokens=3e12,
        note=(
            "One key/value head. The paper's feed-forward width of 32,768 counts gate and value "
            "together; its embedding has 128 rows more than the release's. Embeddings are "
            "multiplied by √d. The paper's first version said 2 trillion training tokens, its "
            "present one says 3."
        ),
        difference="The name leaves out the embedding: 1.98 billion without it.",
    ),
    ModelCard(
        name="Gemma-7B",
        year=2024,
        config=gemma(3072, 28, 16, 24576),
        published_parameters=8_537_680_896,
        quoted="7B",
        source="gemma2024",
        training_tokens=6e12,
        note=(
            "16 heads of 256 are wider than the stream. The paper's feed-forward width of 49,152 "
            "counts gate and value together. Embeddings are multiplied by √d."
        ),
        difference=(
            "The name leaves out the embedding and cuts what is left, 7.75 billion, to one digit."
        ),
    ),
    _gemma2(
        "2B",
        gemma2(2304, 13, 8, 9216, n_kv_heads=4),
        2_614_341_888,
        2e12,
        "The name leaves out the embedding: 2.02 billion without it.",
    ),
    _gemma2(
        "9B",
        gemma2(3584, 21, 16, 14_336, n_kv_heads=8),
        9_241_705_984,
        8e12,
        "The name rounds 9.2 to one digit.",
    ),
    _gemma2(
        "27B",
        gemma2(4608, 23, 32, 36_864, n_kv_heads=16, head_dim=128, scale=144**-0.5),
        27_227_128_320,
        13e12,
    ),
    _gemma3(
        "1B",
        gemma3(
            1152,
            4,
            2,
            4,
            6912,
            n_kv_heads=1,
            window=512,
            vocab_size=262_144,
            context=32_768,
            stretched=None,
        ),
        999_885_952,
        2e12,
    ),
    _gemma3(
        "4B",
        gemma3(2560, 5, 4, 8, 10_240, n_kv_heads=4),
        3_880_263_168,
        4e12,
        "The name rounds 3.9 to one digit; with its 0.4 billion for pictures it would be 4.3.",
    ),
    _gemma3(
        "12B",
        gemma3(3840, 8, 0, 16, 15_360, n_kv_heads=8),
        11_766_034_176,
        12e12,
        "The name rounds 11.8 to two digits.",
    ),
    _gemma3(
        "27B",
        gemma3(5376, 10, 2, 32, 21_504, n_kv_heads=16, head_dim=128, scale=168**-0.5),
        27_009_346_304,
        14e12,
    ),
]
