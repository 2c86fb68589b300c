"""BERT and RoBERTa: the whole text at once, a norm after each residual."""

import llmlib.architecture as arch
from llmlib.model_cards.card import ModelCard, all_alike
from llmlib.model_cards.gpt import classic_block


def bert(
    dim: int, n_layers: int, n_heads: int, *, vocab_size: int = 30_522, rows: int = 512,
    first: int = 0, segments: int = 2, eps: float = 1e-12,
) -> arch.ModelConfig:  # fmt: skip
    """A BERT with its pooler."""
    norm = arch.Norm("layer", eps, bias=True)
    block = classic_block(dim, n_heads, norm, "gelu", norms="post")
    stack = all_alike(
        n_layers, block, positions=arch.Learned(rows, first), first_norm=norm, causal=False
    )
    return arch.ModelConfig(
        dim,
        vocab_size,
        512,
        stack,
        tied=True,
        segments=segments,
        head="none",
        pooler=True,
    )


def roberta(dim: int, n_layers: int, n_heads: int) -> arch.ModelConfig:
    """A RoBERTa. Rows 0 and 1 of the position table are for padding, which is counted from 1."""
    return bert(dim, n_layers, n_heads, vocab_size=50_265, rows=514, first=2, segments=1, eps=1e-5)


ENCODER_CARDS = [
    ModelCard(
        name="BERT-base",
        year=2018,
        config=bert(768, 12, 12),
        published_parameters=109_482_240,
        quoted="110M",
        source="devlin2019bert",
        note="The encoder with its pooler, without the pre-training heads; two segment embeddings.",
    ),
    ModelCard(
        name="BERT-large",
        year=2018,
        config=bert(1024, 24, 16),
        published_parameters=335_141_888,
        quoted="340M",
        source="devlin2019bert",
        note="Counted as BERT-base.",
        difference="Rounded to tens of millions; the release has 335 with the pooler.",
    ),
    ModelCard(
        name="RoBERTa-base",
        year=2019,
        config=roberta(768, 12, 12),
        published_parameters=124_645_632,
        quoted="125M",
        source="liu2019roberta",
        note=(
            "BERT with GPT-2's kind of vocabulary, one segment and 514 rows of positions. Counted "
            "as BERT, pooler included; the weights come with a prediction head instead."
        ),
    ),
    ModelCard(
        name="RoBERTa-large",
        year=2019,
        config=roberta(1024, 24, 16),
        published_parameters=355_359_744,
        quoted="355M",
        source="liu2019roberta",
        note="Counted as RoBERTa-base.",
    ),
]
