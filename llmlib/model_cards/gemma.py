"""Gemma: wide heads, gated GELU, and a vocabulary so large that its name leaves it out."""

import llmlib.architecture as arch
from llmlib.model_cards.card import ModelCard, all_alike

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
            "multiplied by √d."
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
]
