"""BLOOM on Hugging Face: ALiBi, and a norm after the embedding."""

import llmlib.architecture as arch
from llmlib.pretrained.everywhere import EVERYWHERE
from llmlib.pretrained.family import Family, attention, feed_forward, model
from llmlib.pretrained.names import Names, in_groups
from llmlib.pretrained.settings import (
    FLAG,
    POSITIVE,
    SIZE,
    Only,
    SameAs,
    Settings,
    Table,
    harmless,
)

SETTINGS: Table = {
    **EVERYWHERE,
    "vocab_size": SIZE(),
    "hidden_size": SIZE(),
    "n_embed": SameAs("hidden_size"),
    "num_hidden_layers": SIZE(),
    "n_layer": SameAs("num_hidden_layers"),
    "num_attention_heads": SIZE(),
    "n_head": SameAs("num_attention_heads"),
    "seq_length": SIZE(2048),  # trained with 2048; ALiBi sets no limit
    "layer_norm_epsilon": POSITIVE(1e-5),
    "tie_word_embeddings": FLAG(True),
    "apply_residual_connection_post_layernorm": Only((False,)),
    **harmless("always 4 * hidden_size, or the tensors would not fit", "n_inner"),
    **harmless(
        "settings of the kernels it was trained with, which compute the same",
        "slow_but_exact", "attention_softmax_in_fp32", "masked_softmax_fusion",
        "bias_dropout_fusion", "skip_bias_add", "skip_bias_add_qkv", "offset_alibi",
    ),
}  # fmt: skip

NAMES: Names = {
    "embedding.weight": "transformer.word_embeddings.weight",
    "embedding_norm.{kind}": "transformer.word_embeddings_layernorm.{kind}",
    "norm.{kind}": "transformer.ln_f.{kind}",
    "output.weight": "lm_head.weight",
    "blocks.{i}.norms.mixer_input.{kind}": "transformer.h.{i}.input_layernorm.{kind}",
    "blocks.{i}.mixer.query.{kind}": (
        "transformer.h.{i}.self_attention.query_key_value.{kind}", in_groups(0)
    ),
    "blocks.{i}.mixer.key.{kind}": (
        "transformer.h.{i}.self_attention.query_key_value.{kind}", in_groups(1)
    ),
    "blocks.{i}.mixer.value.{kind}": (
        "transformer.h.{i}.self_attention.query_key_value.{kind}", in_groups(2)
    ),
    "blocks.{i}.mixer.output.{kind}": "transformer.h.{i}.self_attention.dense.{kind}",
    "blocks.{i}.norms.feed_forward_input.{kind}": (
        "transformer.h.{i}.post_attention_layernorm.{kind}"
    ),
    "blocks.{i}.feed_forward.up.{kind}": "transformer.h.{i}.mlp.dense_h_to_4h.{kind}",
    "blocks.{i}.feed_forward.down.{kind}": "transformer.h.{i}.mlp.dense_4h_to_h.{kind}",
}  # fmt: skip


def configure(settings: Settings) -> arch.ModelConfig:
    """What the settings of BLOOM describe."""
    norm = arch.Norm("layer", settings["layer_norm_epsilon"], bias=True)
    block = arch.Block(
        attention(settings, None, alibi=True, qkv_bias=True, out_bias=True),
        feed_forward(settings, activation="gelu_tanh", gated=False, bias=True),
        norm,
    )
    blocks = [block] * settings["num_hidden_layers"]
    return model(settings, blocks, settings["seq_length"], first_norm=norm)


BLOOM = Family(SETTINGS, configure, NAMES, prefix="transformer.")
