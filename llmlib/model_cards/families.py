"""One model of each family, from the Transformer of 2017 to ModernBERT, for laying side by side.

Three of these cards stand here alone. The tables of the other chapters are over `CARDS`.
"""

import dataclasses

import llmlib.architecture as arch
from llmlib.model_cards import CARDS
from llmlib.model_cards.card import ModelCard


def transformer_2017(dim: int, n_layers: int, n_heads: int, vocab_size: int) -> arch.ModelConfig:
    """The Transformer: two stacks, a norm over every sum, sinusoids, one matrix at both ends.

    Its equations give biases to the feed-forward block and none to the projections of attention.
    """
    attention = arch.Attention(n_heads, n_heads, dim // n_heads)
    feed_forward = arch.FeedForward(4 * dim, "relu", gated=False, bias=True)
    reader = arch.Block(attention, feed_forward, arch.LAYER, "post")
    writer = dataclasses.replace(reader, cross=attention)
    return arch.ModelConfig(
        dim, vocab_size, 1024,
        arch.Stack((arch.repeat(n_layers, writer),), None, positions=arch.Sinusoidal()),
        arch.Stack((arch.repeat(n_layers, reader),), None, False, arch.Sinusoidal()),
        tied=True, embedding_scale=dim**0.5,
    )  # fmt: skip


def modernbert(dim: int, ffn_dim: int, n_layers: int, n_heads: int) -> arch.ModelConfig:
    """A ModernBERT with its head: every third layer sees all, the others 64 tokens either side."""
    norm = arch.Norm("layer", 1e-5)
    wide = arch.Block(
        arch.Attention(n_heads, n_heads, dim // n_heads, arch.Rope(160_000.0)),
        arch.FeedForward(ffn_dim, "gelu"),
        norm,
    )
    near = arch.changed(wide, arch.Attention, window=65, rope=arch.Rope(10_000.0))
    first = dataclasses.replace(wide, mixer_norm=False)
    layers = [near if i % 3 else wide for i in range(n_layers)]
    return arch.ModelConfig(
        dim, 50_368, 8192,
        arch.Stack(arch.runs_of([first, *layers[1:]]), norm, causal=False, first_norm=norm),
        tied=True, transform=arch.Transform("gelu", norm, bias=False), head_bias=True,
    )  # fmt: skip


def t5_1_1(dim: int, ffn_dim: int, n_layers: int, n_heads: int) -> arch.ModelConfig:
    """A T5 of version 1.1: a gate, a head of its own, heads of 64 whatever the width."""
    attention = arch.Attention(n_heads, n_heads, 64, scale=1.0)
    reader = arch.Block(attention, arch.FeedForward(ffn_dim, "gelu_tanh"))
    writer = dataclasses.replace(reader, cross=attention)
    table = arch.Buckets(n_heads)
    return arch.ModelConfig(
        dim, 32_128, 512,
        arch.Stack((arch.repeat(n_layers, writer),), positions=table),
        arch.Stack((arch.repeat(n_layers, reader),), causal=False, positions=table),
    )  # fmt: skip


TRANSFORMER = ModelCard(
    name="Transformer (base)",
    year=2017,
    config=transformer_2017(512, 6, 8, 37_000),
    published_parameters=65_000_000,
    quoted="65M",
    source="vaswani2017attention",
    exact=False,
    note="The vocabulary is given as about 37,000; no weights of it are distributed.",
    difference="With 37,000 rows the count is 63.1 million; the paper gives no reckoning.",
)
MODERNBERT = ModelCard(
    name="ModernBERT-base",
    year=2024,
    config=modernbert(768, 1152, 22, 12),
    published_parameters=149_655_232,
    quoted="149M",
    source="warner2024modernbert",
    training_tokens=2e12,
    note="With the head that guesses hidden tokens.",
)
T5_1_1 = ModelCard(
    name="T5-v1.1-small",
    year=2020,
    config=t5_1_1(512, 1024, 8, 6),
    published_parameters=76_961_152,
    quoted="77M",
    source="raffel2020t5",
    note="The release that followed the paper, with the gate of Shazeer (2020).",
)
FAMILY_CARDS: dict[str, ModelCard] = {
    one.name: one
    for one in (
        TRANSFORMER, CARDS["GPT-2"], CARDS["BERT-base"], CARDS["RoBERTa-base"], CARDS["T5-small"],
        CARDS["BART-base"], T5_1_1, CARDS["LLaMA-7B"], MODERNBERT,
    )
}  # fmt: skip
"""One of each family, oldest first."""
