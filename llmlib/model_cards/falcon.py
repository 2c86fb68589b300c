"""Falcon and MPT: decoders of 2023 that kept LayerNorm and a block without a gate."""

import llmlib.architecture as arch
from llmlib.model_cards.card import ModelCard, all_alike


def _falcon(
    dim: int, n_layers: int, attention: arch.Attention, *, one_norm: bool
) -> arch.ModelConfig:
    """A Falcon: parallel blocks without biases but those of the norms."""
    block = arch.Block(
        attention,
        arch.FeedForward(4 * dim, "gelu", gated=False),
        arch.LAYER,
        order="parallel, one norm" if one_norm else "parallel",
    )
    return arch.ModelConfig(dim, 65_024, 2048, all_alike(n_layers, block), tied=True)


def _mpt_7b() -> arch.ModelConfig:
    """ALiBi, and no bias anywhere, not even in the norms."""
    block = arch.Block(
        arch.Attention(32, 32, 128, alibi=True),
        arch.FeedForward(16_384, "gelu", gated=False),
        arch.Norm("layer", 1e-5),
    )
    return arch.ModelConfig(4096, 50_432, 2048, all_alike(32, block), tied=True)


FALCON_CARDS = [
    ModelCard(
        name="Falcon-7B",
        year=2023,
        config=_falcon(4544, 32, arch.Attention(71, 1, 64, arch.Rope()), one_norm=True),
        published_parameters=6_921_720_704,
        quoted="7B",
        source="almazrouei2023falcon",
        training_tokens=1.5e12,
        note="One key/value head, as PaLM; 71 heads fill the width. Both halves read one norm.",
        difference="The name rounds 6.9 to one digit.",
    ),
    ModelCard(
        name="Falcon-40B",
        year=2023,
        config=_falcon(8192, 60, arch.Attention(128, 8, 64, arch.Rope()), one_norm=False),
        published_parameters=41_303_293_952,
        quoted="40B",
        source="almazrouei2023falcon",
        training_tokens=1.0e12,
        note="Eight key/value heads, and a norm for each half of the parallel block.",
        difference="The name rounds 41.3 to one digit.",
    ),
    ModelCard(
        name="MPT-7B",
        year=2023,
        config=_mpt_7b(),
        published_parameters=6_649_286_656,
        quoted="6.7B",
        source="mosaicml2023mpt",
        training_tokens=1e12,
        note="ALiBi, and no bias anywhere, not even in the norms.",
    ),
]
