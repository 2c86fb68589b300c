"""ModernBERT on Hugging Face: RoPE, a gate, hardly a bias, two windows to each full layer."""

import llmlib.architecture as arch
from llmlib.pretrained.everywhere import EVERYWHERE
from llmlib.pretrained.family import (
    ANGLES,
    FULL,
    WINDOW,
    Family,
    activation,
    attention,
    feed_forward,
    layer_kinds,
)
from llmlib.pretrained.names import Names, half, third
from llmlib.pretrained.rope_settings import ROPE, ropes
from llmlib.pretrained.settings import (
    FLAG,
    POSITIVE,
    SIZE,
    TEXT,
    TEXTS,
    Settings,
    Table,
    harmless,
)

SETTINGS: Table = {
    **EVERYWHERE,
    **ROPE,
    "vocab_size": SIZE(50_368),
    "hidden_size": SIZE(768),
    "intermediate_size": SIZE(1152),
    "num_hidden_layers": SIZE(22),
    "num_attention_heads": SIZE(12),
    "hidden_activation": TEXT("gelu"),
    "max_position_embeddings": SIZE(8192),
    "norm_eps": POSITIVE(1e-5),
    "norm_bias": FLAG(False),
    "attention_bias": FLAG(False),
    "mlp_bias": FLAG(False),
    "layer_types": TEXTS(None, null=True),
    "global_attn_every_n_layers": SIZE(3),
    "local_attention": SIZE(128),
    "global_rope_theta": POSITIVE(160_000.0),
    "local_rope_theta": POSITIVE(10_000.0, null=True),
    "tie_word_embeddings": FLAG(True),
    "decoder_bias": FLAG(True),
    "classifier_bias": FLAG(False),
    "classifier_activation": TEXT("gelu"),
    **harmless("used in training alone", "initializer_cutoff_factor", "mlp_dropout"),
    **harmless("of another head", "classifier_pooling"),
    **harmless(
        "another way to compute the same numbers",
        "deterministic_flash_attn", "reference_compile", "repad_logits_with_grad",
        "sparse_prediction", "sparse_pred_ignore_index",
    ),
    **harmless("the name of what norm_eps is", "layer_norm_eps"),
}  # fmt: skip
NAMES: Names = {
    "embedding.weight": "model.embeddings.tok_embeddings.weight",
    "embedding_norm.{kind}": "model.embeddings.norm.{kind}",
    "norm.{kind}": "model.final_norm.{kind}",
    "transform.dense.{kind}": "head.dense.{kind}",
    "transform.norm.{kind}": "head.norm.{kind}",
    "output.weight": "decoder.weight",
    "output_bias": "decoder.bias",
    "blocks.{i}.norms.mixer_input.{kind}": "model.layers.{i}.attn_norm.{kind}",
    "blocks.{i}.mixer.query.{kind}": ("model.layers.{i}.attn.Wqkv.{kind}", third(0)),
    "blocks.{i}.mixer.key.{kind}": ("model.layers.{i}.attn.Wqkv.{kind}", third(1)),
    "blocks.{i}.mixer.value.{kind}": ("model.layers.{i}.attn.Wqkv.{kind}", third(2)),
    "blocks.{i}.mixer.output.{kind}": "model.layers.{i}.attn.Wo.{kind}",
    "blocks.{i}.norms.feed_forward_input.{kind}": "model.layers.{i}.mlp_norm.{kind}",
    "blocks.{i}.feed_forward.gate.{kind}": ("model.layers.{i}.mlp.Wi.{kind}", half(0)),
    "blocks.{i}.feed_forward.up.{kind}": ("model.layers.{i}.mlp.Wi.{kind}", half(1)),
    "blocks.{i}.feed_forward.down.{kind}": "model.layers.{i}.mlp.Wo.{kind}",
}


def configure(settings: Settings) -> arch.ModelConfig:
    """What the settings describe.

    local_attention is the span of a window, half of it on either side of the token.
    """
    every = settings["global_attn_every_n_layers"]
    kinds = layer_kinds(settings, lambda i: i % every != 0)
    norm = arch.Norm("layer", settings["norm_eps"], bias=settings["norm_bias"])
    full = settings["global_rope_theta"]
    turning = ropes(settings, {FULL: full, WINDOW: settings["local_rope_theta"] or full})
    windows = {FULL: None, WINDOW: settings["local_attention"] // 2 + 1}
    feeding = feed_forward(settings, activation=activation(settings, "hidden_activation"))
    blocks = [
        arch.Block(
            attention(settings, turning[kind], window=windows[kind]), feeding, norm,
            mixer_norm=i > 0,
        )
        for i, kind in enumerate(kinds)
    ]  # fmt: skip
    head = settings["has head"]
    before = arch.Transform(
        activation(settings, "classifier_activation"), norm, settings["classifier_bias"]
    )
    return arch.ModelConfig(
        settings["hidden_size"],
        settings["vocab_size"],
        settings["max_position_embeddings"],
        arch.Stack(arch.runs_of(blocks), last_norm=norm, causal=False, first_norm=norm),
        tied=settings["tie_word_embeddings"],
        head="tokens" if head else "none",
        transform=before if head else None,
        head_bias=head and settings["decoder_bias"],
    )


MODERNBERT = Family(
    SETTINGS, configure, NAMES, no_weights=ANGLES, has={"head": r"head\.dense\.weight"}
)
