"""DeepSeek-V2 and V3: latent attention, and many small experts beside shared ones."""

import llmlib.architecture as arch
from llmlib.model_cards.card import ModelCard, stacked


def _latent(n_heads: int, query_rank: int | None, mscale: float) -> arch.Latent:
    """DeepSeek's attention: a latent of 512 and one rotated key of 64 a token."""
    reach = {"beta_fast": 32, "beta_slow": 1, "mscale": mscale, "mscale_all_dim": mscale}
    scaling = arch.Scaling("yarn", 40.0, 4096, tuple(reach.items()))
    rope = arch.Rope(scaling=scaling, layout="interleaved")
    return arch.Latent(n_heads, 512, 64, 128, 128, query_rank, rope)


def _deepseek(
    dim: int, vocab_size: int, latent: arch.Latent, n_dense: int, ffn_dim: int, n_sparse: int,
    experts: arch.Experts,
) -> arch.ModelConfig:  # fmt: skip
    """A few layers with one wide block, then layers with experts."""
    stack = stacked(
        arch.repeat(n_dense, arch.Block(latent, arch.FeedForward(ffn_dim))),
        arch.repeat(n_sparse, arch.Block(latent, experts)),
    )
    return arch.ModelConfig(dim, vocab_size, 163_840, stack)


def _lite() -> arch.ModelConfig:
    experts = arch.Experts(64, 6, arch.FeedForward(1408), n_shared=2)
    return _deepseek(2048, 102_400, _latent(16, None, 0.707), 1, 10_944, 26, experts)


def _v2() -> arch.ModelConfig:
    router = arch.Router(groups=(8, 3), scale=16.0)  # experts of the best 3 of 8 groups
    experts = arch.Experts(160, 6, arch.FeedForward(1536), n_shared=2, router=router)
    return _deepseek(5120, 102_400, _latent(128, 1536, 0.707), 1, 12_288, 59, experts)


def _v3() -> arch.ModelConfig:
    router = arch.Router("sigmoid", balanced=True, groups=(8, 4), scale=2.5)
    experts = arch.Experts(256, 8, arch.FeedForward(2048), n_shared=1, router=router)
    return _deepseek(7168, 129_280, _latent(128, 1536, 1.0), 3, 18_432, 58, experts)


DEEPSEEK_CARDS = [
    ModelCard(
        name="DeepSeek-V2-Lite",
        year=2024,
        config=_lite(),
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
        config=_v2(),
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
    ModelCard(
        name="DeepSeek-V3",
        year=2024,
        config=_v3(),
        published_parameters=671_026_404_352,
        quoted="671B",
        source="deepseek2024v3",
        training_tokens=14.8e12,
        note=(
            "Eight of 256 experts, from the best four of eight groups, and a shared one. A bias "
            "that balances them chooses alone; it is not trained and not counted, nor is the part "
            "that predicts a second token."
        ),
        quoted_active="37B",
    ),
]
