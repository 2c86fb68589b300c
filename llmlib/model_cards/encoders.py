"""BERT and RoBERTa: the whole text at once, a norm behind each residual."""

from llmlib.model_cards.config import ModelCard, like
from llmlib.model_cards.gpt import GPT2, wider

BERT = like(
    GPT2,
    vocab_size=30522,
    context=512,
    norm_position="post",
    activation="gelu",
    norm_eps=1e-12,
    family="encoder",
    embedding_norm=True,
    segments=2,
    pooler=True,
)
# Rows 0 and 1 of the position table are kept for padding, which is counted from 1.
ROBERTA = like(BERT, vocab_size=50265, context=512, position_rows=514, segments=1, norm_eps=1e-5)

ENCODER_CARDS = [
    ModelCard(
        name="BERT-base",
        year=2018,
        config=BERT,
        published_parameters=109_482_240,
        quoted="110M",
        source="devlin2019bert",
        note="The encoder with its pooler, without the pre-training heads; two segment embeddings.",
    ),
    ModelCard(
        name="BERT-large",
        year=2018,
        config=wider(BERT, 1024, 24, 16),
        published_parameters=335_141_888,
        quoted="340M",
        source="devlin2019bert",
        note="Counted as BERT-base.",
        difference="Rounded to tens of millions; the release has 335 with the pooler.",
    ),
    ModelCard(
        name="RoBERTa-base",
        year=2019,
        config=ROBERTA,
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
        config=wider(ROBERTA, 1024, 24, 16),
        published_parameters=355_359_744,
        quoted="355M",
        source="liu2019roberta",
        note="Counted as RoBERTa-base.",
    ),
]
