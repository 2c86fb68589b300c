"""StarCoder: models of code that kept GPT-2's norm, block and biases while their heads shrank."""

import llmlib.architecture as arch
from llmlib.model_cards.card import ModelCard, all_alike


def _block(dim: int, attention: arch.Attention) -> arch.Block:
    return arch.Block(
        attention, arch.FeedForward(4 * dim, "gelu_tanh", gated=False, bias=True), arch.LAYER
    )


def _starcoder() -> arch.ModelConfig:
    """GPT-2's design with one key/value head."""
    attention = arch.Attention(48, 1, 128, qkv_bias=True, out_bias=True)
    stack = all_alike(40, _block(6144, attention), positions=arch.Learned(8192))
    return arch.ModelConfig(6144, 49_152, 8192, stack, tied=True)


def starcoder2(
    dim: int, n_layers: int, n_heads: int, n_kv_heads: int, base: float, *, tied: bool
) -> arch.ModelConfig:
    """A StarCoder2: RoPE, a window in every layer, a few key/value heads."""
    attention = arch.Attention(
        n_heads, n_kv_heads, 128, arch.Rope(base), window=4096, qkv_bias=True, out_bias=True
    )
    stack = all_alike(n_layers, _block(dim, attention))
    return arch.ModelConfig(dim, 49_152, 16_384, stack, tied=tied)


def _starcoder2(
    size: str, config: arch.ModelConfig, count: int, tokens: float, difference: str
) -> ModelCard:
    """A StarCoder2; the paper's sizes are the names."""
    return ModelCard(
        name=f"StarCoder2-{size}",
        year=2024,
        config=config,
        published_parameters=count,
        quoted=size,
        source="lozhkov2024starcoder2",
        training_tokens=tokens,
        note="Every layer has a window of 4,096; LayerNorm, biases and a block without a gate.",
        difference=difference,
    )


STARCODER_CARDS = [
    ModelCard(
        name="StarCoder",
        year=2023,
        config=_starcoder(),
        published_parameters=15_517_456_384,
        quoted="15.5B",
        source="li2023starcoder",
        training_tokens=1e12,
        note="GPT-2's design with one key/value head and a table of 8,192 positions.",
    ),
    _starcoder2(
        "3B",
        starcoder2(3072, 30, 24, 2, 999_999.4420358813, tied=True),
        3_030_371_328,
        3.3e12,
        "The name rounds 3.03 to one digit.",
    ),
    _starcoder2(
        "7B",
        starcoder2(4608, 32, 36, 4, 1_000_000.0, tied=True),
        7_173_923_840,
        3.7e12,
        "The name rounds 7.2 to one digit.",
    ),
    _starcoder2(
        "15B",
        starcoder2(6144, 40, 48, 4, 100_000.0, tied=False),
        15_957_889_024,
        4.3e12,
        "The name cuts 15.96 to two digits.",
    ),
]
