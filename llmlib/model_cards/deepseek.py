"""DeepSeek-V2: latent attention, and many small experts of which two are always asked."""

from llmlib.attention import LatentSizes
from llmlib.model_cards.config import Experts, ModelCard, like
from llmlib.model_cards.llama import LLAMA

_LATENT = LatentSizes(kv_rank=512, query_rank=1536, plain_dim=128, rope_dim=64, value_dim=128)
DEEPSEEK_V2 = like(
    LLAMA,
    dim=5120,
    n_layers=60,
    n_heads=128,
    n_kv_heads=128,
    head_dim=_LATENT.head_dim,
    ffn_dim=12288,
    vocab_size=102_400,
    context=163_840,
    latent=_LATENT,
    experts=Experts(n_experts=160, n_active=6, ffn_dim=1536, n_shared=2, n_dense_layers=1),
)
_LITE_LATENT = LatentSizes(kv_rank=512, query_rank=None, plain_dim=128, rope_dim=64, value_dim=128)

DEEPSEEK_CARDS = [
    ModelCard(
        name="DeepSeek-V2-Lite",
        year=2024,
        config=like(
            DEEPSEEK_V2,
            dim=2048,
            n_layers=27,
            n_heads=16,
            n_kv_heads=16,
            ffn_dim=10944,
            latent=_LITE_LATENT,
            experts=Experts(n_experts=64, n_active=6, ffn_dim=1408, n_shared=2, n_dense_layers=1),
        ),
        published_parameters=15_706_484_224,
        quoted="15.7B",
        source="deepseek2024v2",
        training_tokens=5.7e12,
        note=(
            "Queries are not compressed. The first layer has one wide block instead of experts. "
            "The printed activated size comes nearest to the count without the embedding, 2.45 "
            "billion. Positions of the released configuration."
        ),
        quoted_active="2.4B",
    ),
    ModelCard(
        name="DeepSeek-V2",
        year=2024,
        config=DEEPSEEK_V2,
        published_parameters=235_741_434_880,
        quoted="236B",
        source="deepseek2024v2",
        training_tokens=8.1e12,
        note=(
            "A token caches one latent of 512 and one RoPE key of 64 a layer. Six of 160 experts "
            "and two shared ones see it; the first layer has one wide block instead. Positions of "
            "the released configuration; the paper says 128K."
        ),
        quoted_active="21B",
    ),
]
