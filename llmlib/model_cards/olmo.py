"""OLMo 2 and 3: norms after each part, over queries and keys too; then windows in most layers."""

import llmlib.architecture as arch
from llmlib.model_cards.card import ModelCard, all_alike, stacked

_NORM = arch.Norm(eps=1e-6)


def _block(n_heads: int, ffn_dim: int, rope: arch.Rope, window: int | None = None) -> arch.Block:
    """A norm on what each part gives, none on what it reads; one over all heads of Q and of K."""
    attention = arch.Attention(
        n_heads, n_heads, 128, rope, window, qk_norm=_NORM, qk_norm_over="all heads"
    )
    return arch.Block(attention, arch.FeedForward(ffn_dim), _NORM, "output")


def olmo2(dim: int, n_layers: int, n_heads: int, ffn_dim: int) -> arch.ModelConfig:
    """An OLMo 2."""
    block = _block(n_heads, ffn_dim, arch.Rope(500_000.0))
    return arch.ModelConfig(dim, 100_352, 4096, all_alike(n_layers, block))


def _olmo3_7b() -> arch.ModelConfig:
    """Three windows of 4,096, then a layer that sees all, whose RoPE is stretched."""
    reach = (("attention_factor", 1.2079441541679836), ("beta_fast", 32), ("beta_slow", 1))
    scaling = arch.Scaling("yarn", 8.0, 8192, reach)
    near = _block(32, 11_008, arch.Rope(500_000.0), window=4096)
    far = _block(32, 11_008, arch.Rope(500_000.0, scaling=scaling))
    stack = stacked(arch.repeat(8, arch.repeat(3, near), far))
    return arch.ModelConfig(4096, 100_278, 65_536, stack)


OLMO_CARDS = [
    ModelCard(
        name="OLMo-2-7B",
        year=2024,
        config=olmo2(4096, 32, 32, 11_008),
        published_parameters=7_298_617_344,
        quoted="7B",
        source="olmo2024olmo2",
        training_tokens=4.05e12,
        note="LLaMA-7B's shape with the norms after the parts, and over queries and keys.",
        difference="The name cuts 7.3 to one digit.",
    ),
    ModelCard(
        name="OLMo-2-13B",
        year=2024,
        config=olmo2(5120, 40, 40, 13_824),
        published_parameters=13_716_198_400,
        quoted="13B",
        source="olmo2024olmo2",
        training_tokens=5.6e12,
        note="LLaMA-13B's shape, normed as OLMo-2-7B.",
        difference="The name cuts 13.7 to two digits.",
    ),
    ModelCard(
        name="OLMo-3-7B",
        year=2025,
        config=_olmo3_7b(),
        published_parameters=7_298_011_136,
        quoted="7B",
        source="olmo2025olmo3",
        note="OLMo-2-7B with a window of 4,096 in three of four layers.",
        difference="The name cuts 7.3 to one digit.",
    ),
]
