"""Gemma: wide heads, gated GELU, and a vocabulary so large that its name leaves it out."""

from llmlib.model_cards.config import ModelCard, like
from llmlib.model_cards.llama import LLAMA, of_size

GEMMA = like(
    LLAMA,
    head_dim=256,
    vocab_size=256_000,
    context=8192,
    activation="gelu_tanh",
    tied=True,
    embedding_scaled=True,
)

GEMMA_CARDS = [
    ModelCard(
        name="Gemma-2B",
        year=2024,
        config=of_size(GEMMA, 2048, 18, 8, 16384, n_kv_heads=1),
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
        config=of_size(GEMMA, 3072, 28, 16, 24576),
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
