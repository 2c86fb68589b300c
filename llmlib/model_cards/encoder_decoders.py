"""T5 and BART: an encoder that reads, a decoder that writes and looks across."""

from llmlib.model_cards.config import ModelCard, ModelConfig, like
from llmlib.model_cards.gpt import GPT2, wider

T5 = ModelConfig(
    dim=512,
    n_layers=6,
    n_heads=8,
    n_kv_heads=8,
    head_dim=64,
    ffn_dim=2048,
    vocab_size=32128,
    context=512,
    norm="rms",
    norm_position="pre",
    activation="relu",
    gated=False,
    bias=False,
    position="relative_bias",
    tied=True,
    norm_eps=1e-6,
    family="encoder-decoder",
)
# Two rows of each position table lie before the first position, left over from padding.
BART = like(
    GPT2,
    n_layers=6,
    vocab_size=50265,
    context=1024,
    position_rows=1026,
    norm_position="post",
    activation="gelu",
    family="encoder-decoder",
    embedding_norm=True,
)

ENCODER_DECODER_CARDS = [
    ModelCard(
        name="T5-small",
        year=2019,
        config=T5,
        published_parameters=60_506_624,
        quoted="60M",
        source="raffel2020t5",
        training_tokens=1e12,
        note="Six layers in each stack. The paper calls RMSNorm a simplified layer normalization.",
    ),
    ModelCard(
        name="T5-base",
        year=2019,
        config=wider(T5, 768, 12, 12),
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
        config=wider(T5, 1024, 24, 16),
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
        config=BART,
        published_parameters=139_420_416,
        quoted="140M",
        source="lewis2020bart",
        note="Six layers in each stack. The paper prints no size; this is the release's.",
    ),
    ModelCard(
        name="BART-large",
        year=2019,
        config=wider(BART, 1024, 12, 16),
        published_parameters=406_291_456,
        quoted="400M",
        source="lewis2020bart",
        note="Twelve layers in each stack. The paper prints no size; this is the release's.",
        difference="Rounded to one digit.",
    ),
]
