"""MPT on Hugging Face: ALiBi, LayerNorm without a shift."""

import llmlib.architecture as arch
from llmlib.pretrained.everywhere import EVERYWHERE
from llmlib.pretrained.family import Family, attention, feed_forward, model
from llmlib.pretrained.names import Names, third
from llmlib.pretrained.settings import (
    FLAG,
    OBJECT,
    POSITIVE,
    SIZE,
    Only,
    SameAs,
    Settings,
    Table,
    harmless,
    read_settings,
)

SETTINGS: Table = {
    **EVERYWHERE,
    "vocab_size": SIZE(),
    "hidden_size": SIZE(),
    "d_model": SameAs("hidden_size"),
    "num_hidden_layers": SIZE(),
    "n_layers": SameAs("num_hidden_layers"),
    "num_attention_heads": SIZE(),
    "n_heads": SameAs("num_attention_heads"),
    "max_seq_len": SIZE(2048),
    "layer_norm_epsilon": POSITIVE(1e-5),
    "attn_config": OBJECT(None, null=True),
    "tie_word_embeddings": FLAG(True),
    "expansion_ratio": Only((4,)),
    "no_bias": Only((True,)),
    "embedding_fraction": Only((1.0,)),
    "logit_scale": Only((None,)),
    **harmless("no table is stored where there is ALiBi", "learned_pos_emb"),
    **harmless("how precisely a kernel computes", "norm_type"),
    **harmless("how weights were drawn", "init_device", "init_config", "verbose"),
    **harmless("names the tokenizer", "tokenizer_name"),
}
ATTENTION: Table = {
    **EVERYWHERE,
    "alibi": Only((True,)),
    "alibi_bias_max": Only((8,)),
    "attn_type": Only(("multihead_attention",)),
    "clip_qkv": Only((None,)),
    "prefix_lm": Only((False,)),
    "qk_ln": Only((False,)),
    "attn_uses_sequence_id": Only((False,)),
    "softmax_scale": POSITIVE(None, null=True),
    **harmless("another way to compute the same numbers", "attn_impl"),
}
"""Keys of attn_config. transformers reads neither alibi nor prefix_lm, qk_ln, alibi_bias_max."""

NAMES: Names = {
    "embedding.weight": "transformer.wte.weight",
    "norm.weight": "transformer.norm_f.weight",
    "output.weight": "lm_head.weight",
    "blocks.{i}.norms.mixer_input.weight": "transformer.blocks.{i}.norm_1.weight",
    "blocks.{i}.mixer.query.weight": ("transformer.blocks.{i}.attn.Wqkv.weight", third(0)),
    "blocks.{i}.mixer.key.weight": ("transformer.blocks.{i}.attn.Wqkv.weight", third(1)),
    "blocks.{i}.mixer.value.weight": ("transformer.blocks.{i}.attn.Wqkv.weight", third(2)),
    "blocks.{i}.mixer.output.weight": "transformer.blocks.{i}.attn.out_proj.weight",
    "blocks.{i}.norms.feed_forward_input.weight": "transformer.blocks.{i}.norm_2.weight",
    "blocks.{i}.feed_forward.up.weight": "transformer.blocks.{i}.ffn.up_proj.weight",
    "blocks.{i}.feed_forward.down.weight": "transformer.blocks.{i}.ffn.down_proj.weight",
}


def configure(settings: Settings) -> arch.ModelConfig:
    """What the settings of MPT describe."""
    try:
        inner = read_settings(settings["attn_config"] or {}, ATTENTION, "an attention of mpt")
    except ValueError as error:
        raise ValueError(f"in attn_config, {error}") from None
    block = arch.Block(
        attention(settings, None, alibi=True, scale=inner["softmax_scale"]),
        feed_forward(settings, activation="gelu", gated=False),
        arch.Norm("layer", settings["layer_norm_epsilon"]),
    )
    return model(settings, [block] * settings["num_hidden_layers"], settings["max_seq_len"])


MPT = Family(SETTINGS, configure, NAMES, prefix="transformer.")
