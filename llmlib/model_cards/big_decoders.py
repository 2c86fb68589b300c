"""PanGu-alpha, PaLM and BLOOM: what was changed in GPT-3's design as it grew."""

import llmlib.architecture as arch
from llmlib.model_cards.card import ModelCard, all_alike, size_as_number
from llmlib.model_cards.gpt import classic_block, gpt


def palm(dim: int, n_layers: int, n_heads: int) -> arch.ModelConfig:
    """A PaLM: parallel blocks with one norm, one key/value head, SwiGLU, no biases."""
    block = arch.Block(
        arch.Attention(n_heads, 1, 256, arch.Rope()),
        arch.FeedForward(4 * dim),
        arch.Norm("layer", 1e-5),
        order="parallel, one norm",
    )
    return arch.ModelConfig(dim, 256_000, 2048, all_alike(n_layers, block), tied=True)


def bloom(dim: int, n_layers: int, n_heads: int) -> arch.ModelConfig:
    """A BLOOM: ALiBi, and a norm after the embedding."""
    block = arch.changed(classic_block(dim, n_heads), arch.Attention, alibi=True)
    stack = all_alike(n_layers, block, first_norm=arch.LAYER)
    return arch.ModelConfig(dim, 250_880, 2048, stack, tied=True)


def _palm(
    size: str,
    dim: int,
    n_layers: int,
    n_heads: int,
    quoted: str,
    note: str,
) -> ModelCard:
    """A column of the PaLM paper's Table 1."""
    return ModelCard(
        name=f"PaLM-{size}",
        year=2022,
        config=palm(dim, n_layers, n_heads),
        published_parameters=round(size_as_number(quoted)),
        quoted=quoted,
        source="chowdhery2022palm",
        exact=False,
        training_tokens=780e9,
        note=note,
    )


BIG_DECODER_CARDS = [
    ModelCard(
        name="PanGu-alpha-200B",
        year=2021,
        # Two tables of 1,024 rows: the last layer takes its queries from one of its own.
        config=gpt(16384, 64, 128, vocab_size=40_000, rows=2 * 1024),
        published_parameters=207_000_000_000,
        quoted="207.0B",
        source="zeng2021pangu",
        exact=False,
        note=(
            "The last of the 64 layers is a query layer: it asks with a learned row for the next "
            "position, which takes a second table of positions and nothing more. The weights of "
            "this size are not public; the authors' training code is."
        ),
    ),
    _palm(
        "8B",
        4096,
        32,
        16,
        "8.63B",
        note=(
            "Parallel blocks with one norm and no biases, one key/value head, SwiGLU. Weights are "
            "not public."
        ),
    ),
    _palm(
        "62B",
        8192,
        64,
        32,
        "62.50B",
        "As PaLM-8B, twice as wide and deep; the paper has all three read the same text once.",
    ),
    _palm(
        "540B",
        18432,
        118,
        48,
        "540.35B",
        note="As PaLM-8B, but 48 heads of 256 are narrower than the residual stream.",
    ),
    ModelCard(
        name="BLOOM-560M",
        year=2022,
        config=bloom(1024, 24, 16),
        published_parameters=559_214_592,
        quoted="559M",
        source="bigscience2022bloom",
        training_tokens=341e9,
        note="Nearly half of it is the embedding: 250,880 rows for 46 human languages and code.",
    ),
    ModelCard(
        name="BLOOM-176B",
        year=2022,
        config=bloom(14336, 70, 112),
        published_parameters=176_247_271_424,
        quoted="176B",
        source="bigscience2022bloom",
        training_tokens=366e9,
        note=(
            "ALiBi stores no positions; a norm stands after the embedding. 25 billion of the 341 "
            "billion tokens of text were read twice."
        ),
    ),
]
