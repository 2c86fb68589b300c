"""T5 and BART: an encoder that reads, a decoder that writes and looks across."""

import dataclasses

import llmlib.architecture as arch
from llmlib.model_cards.card import ModelCard, all_alike
from llmlib.model_cards.gpt import classic_attention, classic_block


def t5(dim: int, n_layers: int, n_heads: int) -> arch.ModelConfig:
    """A T5, both stacks of the same depth: scores are not scaled, the tied head is."""
    attention = arch.Attention(n_heads, n_heads, dim // n_heads, scale=1.0)
    encoder = arch.Block(attention, arch.FeedForward(4 * dim, "relu", gated=False))
    decoder = dataclasses.replace(encoder, cross=attention)
    table = arch.Buckets(n_heads)
    return arch.ModelConfig(
        dim, 32_128, 512,
        all_alike(n_layers, decoder, positions=table),
        all_alike(n_layers, encoder, positions=table, causal=False),
        tied=True, output_scale=dim**-0.5,
    )  # fmt: skip


def bart(dim: int, n_layers: int, n_heads: int) -> arch.ModelConfig:
    """A BART, both stacks of the same depth.

    Two rows of each position table lie before the first position, left over from padding.
    """
    encoder = classic_block(dim, n_heads, activation="gelu", norms="post")
    decoder = dataclasses.replace(encoder, cross=classic_attention(dim, n_heads))
    rows = arch.Learned(1026, first=2)
    return arch.ModelConfig(
        dim, 50_265, 1024,
        all_alike(n_layers, decoder, positions=rows, first_norm=arch.LAYER),
        all_alike(n_layers, encoder, positions=rows, first_norm=arch.LAYER, causal=False),
        tied=True,
    )  # fmt: skip


ENCODER_DECODER_CARDS = [
    ModelCard(
        name="T5-small",
        year=2019,
        config=t5(512, 6, 8),
        published_parameters=60_506_624,
        quoted="60M",
        source="raffel2020t5",
        training_tokens=1e12,
        note="Six layers in each stack. The paper calls RMSNorm a simplified layer normalization.",
    ),
    ModelCard(
        name="T5-base",
        year=2019,
        config=t5(768, 12, 12),
        published_parameters=222_903_552,
        quoted="220M",
        source="raffel2020t5",
        training_tokens=1e12,
        note="Twelve layers in each stack: twice BERT-base, and cross-attention.",
        difference="Rounded to tens of millions.",
    ),
    ModelCard(
        name="T5-large",
        year=2019,
        config=t5(1024, 24, 16),
        published_parameters=737_668_096,
        quoted="770M",
        source="raffel2020t5",
        training_tokens=1e12,
        difference=(
            "The paper gives no reckoning; a head of its own would bring the count to 770.6 "
            "million, but the release shares it with the embedding."
        ),
    ),
    ModelCard(
        name="BART-base",
        year=2019,
        config=bart(768, 6, 12),
        published_parameters=139_420_416,
        quoted="140M",
        source="lewis2020bart",
        note="Six layers in each stack. The paper prints no size; this is the release's.",
    ),
    ModelCard(
        name="BART-large",
        year=2019,
        config=bart(1024, 12, 16),
        published_parameters=406_291_456,
        quoted="400M",
        source="lewis2020bart",
        note="Twelve layers in each stack. The paper prints no size; this is the release's.",
        difference="Rounded to one digit.",
    ),
]
