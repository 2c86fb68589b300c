"""Command R and Nemotron-4: large decoders of 2024 that kept LayerNorm."""

import llmlib.architecture as arch
from llmlib.model_cards.card import ModelCard, all_alike


def _command_r() -> arch.ModelConfig:
    """Parallel blocks with one norm and no bias, as PaLM; logits are scaled down."""
    rope = arch.Rope(8_000_000.0, layout="interleaved")
    block = arch.Block(
        arch.Attention(64, 64, 128, rope),
        arch.FeedForward(22_528),
        arch.Norm("layer", 1e-5),
        order="parallel, one norm",
    )
    stack = all_alike(40, block)
    return arch.ModelConfig(8192, 256_000, 131_072, stack, tied=True, output_scale=0.0625)


def _nemotron4_15b() -> arch.ModelConfig:
    """Squared ReLU without a gate, RoPE on half of each head, a norm whose gain is near 1."""
    block = arch.Block(
        arch.Attention(48, 8, 128, arch.Rope(share=0.5)),
        arch.FeedForward(24_576, "relu_squared", gated=False),
        arch.Norm("layer", 1e-5, bias=True, gain="1 + weight"),
    )
    return arch.ModelConfig(6144, 256_000, 4096, all_alike(32, block))


LAYER_NORM_CARDS = [
    ModelCard(
        name="Command R",
        year=2024,
        config=_command_r(),
        published_parameters=34_980_831_232,
        quoted="35B",
        source="cohere2024commandr",
        note=(
            "PaLM's parallel block with a key/value head for every query head. Context as "
            "announced; the released config has 8,192 positions."
        ),
    ),
    ModelCard(
        name="Nemotron-4-15B",
        year=2024,
        config=_nemotron4_15b(),
        published_parameters=15_700_000_000,
        quoted="15.7B",
        source="parmar2024nemotron4",
        exact=False,
        training_tokens=8e12,
        note=(
            "Squared ReLU without a gate; RoPE turns half of each head. The paper prints 3.2 "
            "billion parameters of embeddings and 12.5 billion others; weights of this size are "
            "not public."
        ),
    ),
]
