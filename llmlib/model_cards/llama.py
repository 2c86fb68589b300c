"""LLaMA, Llama 2 and Llama 3, and the block that most later decoders start from."""

from typing import Any

import llmlib.architecture as arch
from llmlib.model_cards.card import ModelCard, all_alike


def llama(
    dim: int, n_layers: int, n_heads: int, ffn_dim: int, *, n_kv_heads: int | None = None,
    head_dim: int = 128, vocab_size: int = 32_000, context: int = 2048, base: float = 10_000.0,
    eps: float = 1e-6, tied: bool = False, scaling: arch.Scaling | None = None, **attention: Any,
) -> arch.ModelConfig:  # fmt: skip
    """A LLaMA of a size: RMSNorm first, RoPE, a gate, no biases.

    Each query head has its own keys unless `n_kv_heads` is given; `attention` is what else is said
    of its attention.
    """
    groups, rope = n_heads if n_kv_heads is None else n_kv_heads, arch.Rope(base, scaling=scaling)
    block = arch.Block(
        arch.Attention(n_heads, groups, head_dim, rope, **attention),
        arch.FeedForward(ffn_dim),
        arch.Norm(eps=eps),
    )
    return arch.ModelConfig(dim, vocab_size, context, all_alike(n_layers, block), tied=tied)


def llama2(dim: int, n_layers: int, n_heads: int, ffn_dim: int, **more: Any) -> arch.ModelConfig:
    """A Llama 2: twice the context."""
    return llama(dim, n_layers, n_heads, ffn_dim, **{"context": 4096, "eps": 1e-5, **more})


def llama3(dim: int, n_layers: int, n_heads: int, ffn_dim: int, **more: Any) -> arch.ModelConfig:
    """A Llama 3: eight key/value heads, four times the vocabulary."""
    given = {"n_kv_heads": 8, "vocab_size": 128_256, "context": 8192, "base": 500_000.0}
    return llama2(dim, n_layers, n_heads, ffn_dim, **{**given, **more})


_STRETCHED = arch.Scaling(
    "llama3", 8.0, 8192, (("high_freq_factor", 4.0), ("low_freq_factor", 1.0))
)


def _llama(name: str, config: arch.ModelConfig, count: int, quoted: str, **rest: Any) -> ModelCard:
    """A LLaMA of February 2023."""
    return ModelCard(name, 2023, config, count, quoted, source="touvron2023llama", **rest)


def _llama2(name: str, config: arch.ModelConfig, count: int, quoted: str, **rest: Any) -> ModelCard:
    """A Llama 2."""
    paper = {"source": "touvron2023llama2", "training_tokens": 2.0e12}
    return ModelCard(name, 2023, config, count, quoted, **{**paper, **rest})


def _llama3(name: str, config: arch.ModelConfig, count: int, quoted: str, **rest: Any) -> ModelCard:
    """A Llama 3 or 3.1."""
    return ModelCard(name, 2024, config, count, quoted, source="dubey2024llama3", **rest)


LLAMA_CARDS = [
    _llama(
        "LLaMA-7B",
        llama(4096, 32, 32, 11_008),
        6_738_415_616,
        "6.7B",
        training_tokens=1.0e12,
        note="The gated block is 8/3 d wide, rounded up to a multiple of 256.",
    ),
    _llama(
        "LLaMA-13B",
        llama(5120, 40, 40, 13_824),
        13_015_864_320,
        "13.0B",
        training_tokens=1.0e12,
    ),
    _llama(
        "LLaMA-33B",
        llama(6656, 60, 52, 17_920),
        32_528_943_616,
        "32.5B",
        training_tokens=1.4e12,
        note="Named 33B in the paper; the release's folder says 30B.",
    ),
    _llama(
        "LLaMA-65B",
        llama(8192, 80, 64, 22_016, eps=1e-5),
        65_285_660_672,
        "65.2B",
        training_tokens=1.4e12,
    ),
    _llama2(
        "Llama-2-7B",
        llama2(4096, 32, 32, 11_008),
        6_738_415_616,
        "7B",
        note="LLaMA-7B with twice the context and twice the text.",
        difference="The name rounds 6.7 to one digit.",
    ),
    _llama2("Llama-2-13B", llama2(5120, 40, 40, 13_824), 13_015_864_320, "13B"),
    _llama2(
        "Llama-2-70B",
        llama2(8192, 80, 64, 28_672, n_kv_heads=8),
        68_976_648_192,
        "70B",
        note="The only Llama 2 with grouped queries; what they save went into a wider block.",
        difference="The name rounds 69 to one digit.",
    ),
    _llama3(
        "Llama-3-8B",
        llama3(4096, 32, 32, 14_336),
        8_030_261_248,
        "8B",
        training_tokens=15e12,
        note="Four times the vocabulary of Llama 2: its two matrices are an eighth of the model.",
    ),
    _llama3(
        "Llama-3-70B",
        llama3(8192, 80, 64, 28_672),
        70_553_706_496,
        "70B",
        training_tokens=15e12,
    ),
    _llama3(
        "Llama-3.1-405B",
        llama3(16_384, 126, 128, 53_248, context=131_072, scaling=_STRETCHED),
        405_853_388_800,
        "405B",
        training_tokens=15.6e12,
        note="It stretches RoPE to the long context, which stores nothing.",
    ),
]
