"""BERT and RoBERTa on Hugging Face: a norm over each sum, learned positions, segments."""

import llmlib.architecture as arch
from llmlib.pretrained.everywhere import EVERYWHERE
from llmlib.pretrained.family import Family, activation, attention, feed_forward
from llmlib.pretrained.names import Names
from llmlib.pretrained.settings import (
    COUNT,
    FLAG,
    POSITIVE,
    SIZE,
    TEXT,
    Only,
    Settings,
    Table,
    harmless,
)

SETTINGS: Table = {
    **EVERYWHERE,
    "vocab_size": SIZE(30_522),
    "hidden_size": SIZE(768),
    "intermediate_size": SIZE(3072),
    "num_hidden_layers": SIZE(12),
    "num_attention_heads": SIZE(12),
    "hidden_act": TEXT("gelu"),
    "layer_norm_eps": POSITIVE(1e-12),
    "max_position_embeddings": SIZE(512),
    "type_vocab_size": SIZE(2),
    "tie_word_embeddings": FLAG(True),
    "position_embedding_type": Only(("absolute",)),
    "is_decoder": Only((False,)),
    **harmless("used in training alone", "hidden_dropout_prob", "attention_probs_dropout_prob"),
}
ROBERTA_SETTINGS: Table = {
    **SETTINGS,
    "vocab_size": SIZE(50_265),
    "pad_token_id": COUNT(1),  # positions begin after it
}
HAS = {
    "pooler": r"(bert\.)?pooler\.dense\.weight",
    "head": r"cls\.predictions\.transform\.dense\.weight",
}
ROBERTA_HAS = {"pooler": r"(roberta\.)?pooler\.dense\.weight", "head": r"lm_head\.dense\.weight"}
BLOCK: Names = {
    "blocks.{i}.mixer.query.{kind}": "encoder.layer.{i}.attention.self.query.{kind}",
    "blocks.{i}.mixer.key.{kind}": "encoder.layer.{i}.attention.self.key.{kind}",
    "blocks.{i}.mixer.value.{kind}": "encoder.layer.{i}.attention.self.value.{kind}",
    "blocks.{i}.mixer.output.{kind}": "encoder.layer.{i}.attention.output.dense.{kind}",
    "blocks.{i}.norms.mixer_sum.{kind}": "encoder.layer.{i}.attention.output.LayerNorm.{kind}",
    "blocks.{i}.feed_forward.up.{kind}": "encoder.layer.{i}.intermediate.dense.{kind}",
    "blocks.{i}.feed_forward.down.{kind}": "encoder.layer.{i}.output.dense.{kind}",
    "blocks.{i}.norms.feed_forward_sum.{kind}": "encoder.layer.{i}.output.LayerNorm.{kind}",
    "embedding.weight": "embeddings.word_embeddings.weight",
    "positions.weight": "embeddings.position_embeddings.weight",
    "segments": "embeddings.token_type_embeddings.weight",
    "embedding_norm.{kind}": "embeddings.LayerNorm.{kind}",
    "pooler.{kind}": "pooler.dense.{kind}",
}
NAMES: Names = {
    **{mine: f"bert.{stored}" for mine, stored in BLOCK.items()},
    "transform.dense.{kind}": "cls.predictions.transform.dense.{kind}",
    "transform.norm.{kind}": "cls.predictions.transform.LayerNorm.{kind}",
    "output.weight": "cls.predictions.decoder.weight",
    "output_bias": "cls.predictions.bias",
}
ROBERTA_NAMES: Names = {
    **{mine: f"roberta.{stored}" for mine, stored in BLOCK.items()},
    "transform.dense.{kind}": "lm_head.dense.{kind}",
    "transform.norm.{kind}": "lm_head.layer_norm.{kind}",
    "output.weight": "lm_head.decoder.weight",
    "output_bias": "lm_head.bias",
}
NO_WEIGHTS = {r"(\w+\.)?embeddings\.(position_ids|token_type_ids)": "0, 1, 2, ... or zeros"}


def configure(settings: Settings) -> arch.ModelConfig:
    """What the settings of a BERT describe."""
    return _configure(settings, 0, activation(settings, "hidden_act"))


def configure_roberta(settings: Settings) -> arch.ModelConfig:
    """What the settings of a RoBERTa describe.

    Position 0 comes after padding's row, and the head has GELU whatever the blocks have.
    """
    return _configure(settings, settings["pad_token_id"] + 1, "gelu")


def _configure(settings: Settings, first: int, in_head: arch.Activation) -> arch.ModelConfig:
    rows = settings["max_position_embeddings"]
    norm = arch.Norm("layer", settings["layer_norm_eps"], bias=True)
    if rows <= first:
        raise ValueError(f"max_position_embeddings is {rows}, expected more than {first}, the row "
                         "of the first position")  # fmt: skip
    block = arch.Block(
        attention(settings, None, qkv_bias=True, out_bias=True),
        feed_forward(settings, gated=False, bias=True),
        norm,
        "post",
    )
    stack = arch.Stack(
        arch.runs_of([block] * settings["num_hidden_layers"]),
        last_norm=None, causal=False, positions=arch.Learned(rows, first), first_norm=norm,
    )  # fmt: skip
    head = settings["has head"]
    return arch.ModelConfig(
        settings["hidden_size"],
        settings["vocab_size"],
        rows - first,
        stack,
        tied=settings["tie_word_embeddings"],
        segments=settings["type_vocab_size"],
        head="tokens" if head else "none",
        transform=arch.Transform(in_head, norm) if head else None,
        head_bias=head,
        pooler=settings["has pooler"],
    )


BERT = Family(
    SETTINGS,
    configure,
    NAMES,
    prefix="bert.",
    no_weights={
        **NO_WEIGHTS,
        r"cls\.seq_relationship\.(weight|bias)": "guesses whether one sentence follows another",
    },
    has=HAS,
    copies={"cls.predictions.decoder.bias": "cls.predictions.bias"},
)
ROBERTA = Family(
    ROBERTA_SETTINGS,
    configure_roberta,
    ROBERTA_NAMES,
    prefix="roberta.",
    no_weights=NO_WEIGHTS,
    has=ROBERTA_HAS,
    copies={"lm_head.decoder.bias": "lm_head.bias"},
)
