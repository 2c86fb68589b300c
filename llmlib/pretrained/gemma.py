"""Gemma on Hugging Face; 2 and 3 have norms before and after each part, windows in most layers."""

import math

import llmlib.architecture as arch
from llmlib.pretrained.everywhere import EVERYWHERE
from llmlib.pretrained.family import (
    ANGLES,
    DECODER,
    FULL,
    WINDOW,
    Family,
    activation,
    attention,
    feed_forward,
    layer_kinds,
    model,
    rms,
    windows,
)
from llmlib.pretrained.llama import NAMES as LLAMA_NAMES
from llmlib.pretrained.names import Names, with_prefix
from llmlib.pretrained.rope_settings import ROPE, rope, ropes
from llmlib.pretrained.settings import (
    FLAG,
    OBJECT,
    POSITIVE,
    SIZE,
    TEXT,
    TEXTS,
    Only,
    Settings,
    Table,
    harmless,
)

SETTINGS: Table = {
    **DECODER,
    **ROPE,
    "num_key_value_heads": SIZE(16),
    "head_dim": SIZE(256),
    "hidden_act": TEXT("gelu_pytorch_tanh"),
    "hidden_activation": TEXT(None, null=True),
    "max_position_embeddings": SIZE(8192),
    "attention_bias": FLAG(False),
    "tie_word_embeddings": FLAG(True),
}
GEMMA2_SETTINGS: Table = {
    **SETTINGS,
    "num_key_value_heads": SIZE(4),
    "hidden_activation": TEXT("gelu_pytorch_tanh"),
    "query_pre_attn_scalar": SIZE(256),
    "sliding_window": SIZE(4096, null=True),
    "layer_types": TEXTS(None, null=True),
    "attn_logit_softcapping": POSITIVE(50.0, null=True),
    "final_logit_softcapping": POSITIVE(30.0, null=True),
    **harmless("an older name of hidden_activation that no version reads", "hidden_act"),
}
GEMMA3_SETTINGS: Table = {
    **GEMMA2_SETTINGS,
    "max_position_embeddings": SIZE(131_072),
    "rope_local_base_freq": POSITIVE(None, null=True),
    "sliding_window_pattern": SIZE(6),
    "attn_logit_softcapping": Only((None,)),
    "final_logit_softcapping": POSITIVE(None, null=True),
    "use_bidirectional_attention": FLAG(None, null=True),  # true: EmbeddingGemma
    **harmless("what layer_types was made of", "_sliding_window_pattern"),
}

NAMES: Names = {
    **LLAMA_NAMES,  # the rest, q_proj among it, as Llama's
    "blocks.{i}.norms.mixer_output.weight": "model.layers.{i}.post_attention_layernorm.weight",
    "blocks.{i}.norms.feed_forward_input.weight": (
        "model.layers.{i}.pre_feedforward_layernorm.weight"
    ),
    "blocks.{i}.norms.feed_forward_output.weight": (
        "model.layers.{i}.post_feedforward_layernorm.weight"
    ),
}


def configure(settings: Settings) -> arch.ModelConfig:
    """What the settings of the first Gemma describe.

    Its first folders say "gelu" where they mean what it was trained with, the tanh form.
    """
    read, other = settings["hidden_act"], settings["hidden_activation"]
    meant = "gelu_pytorch_tanh" if read == "gelu" else read
    if other not in (None, meant):
        raise ValueError(f"hidden_activation is {other!r} beside hidden_act {read!r}, expected one")
    settings = {**settings, "hidden_act": meant}
    block = arch.Block(attention(settings, rope(settings)), feed_forward(settings), _norm(settings))
    blocks = [block] * settings["num_hidden_layers"]
    return model(settings, blocks, embedding_scale=math.sqrt(settings["hidden_size"]))


def configure_gemma2(settings: Settings) -> arch.ModelConfig:
    """What the settings of Gemma 2 describe: every second layer has a window."""
    kinds, turning = layer_kinds(settings, lambda i: i % 2 == 0), rope(settings)
    turned = {WINDOW: turning, FULL: turning}
    return _configure(settings, kinds, turned, softcap=settings["attn_logit_softcapping"])


def configure_gemma3(settings: Settings) -> arch.ModelConfig:
    """What the settings of Gemma 3 describe: every sixth layer has no window, and another RoPE.

    max_position_embeddings is what the scaling reaches. Where attention goes both ways,
    sliding_window is the span on both sides together.
    """
    if settings["use_bidirectional_attention"]:
        half = (settings["sliding_window"] or 0) // 2
        settings = {**settings, "is_causal": False, "sliding_window": half}
    every = settings["sliding_window_pattern"]
    kinds = layer_kinds(settings, lambda i: (i + 1) % every != 0)
    bases = {
        WINDOW: settings["rope_local_base_freq"] or 10_000.0,
        FULL: settings["rope_theta"] or 1_000_000.0,
    }
    longest = settings["max_position_embeddings"]
    return _configure(settings, kinds, ropes(settings, bases), _norm(settings), context=longest)


def _norm(settings: Settings) -> arch.Norm:
    return rms(settings, gain="1 + weight")


def _configure(
    settings: Settings, kinds: list[str], turning: dict[str, arch.Rope],
    qk_norm: arch.Norm | None = None, softcap: float | None = None, context: int | None = None,
) -> arch.ModelConfig:  # fmt: skip
    width = settings["query_pre_attn_scalar"]
    scale = None if width == settings["head_dim"] else width**-0.5
    feeding = feed_forward(settings, activation=activation(settings, "hidden_activation"))
    blocks = [
        arch.Block(
            attention(
                settings, turning[kind],
                window=window, scale=scale, softcap=softcap, qk_norm=qk_norm,
            ),
            feeding,
            _norm(settings),
            "sandwich",
        )
        for kind, window in zip(kinds, windows(settings, kinds), strict=True)
    ]  # fmt: skip
    return model(
        settings,
        blocks,
        context,
        embedding_scale=math.sqrt(settings["hidden_size"]),
        softcap=settings["final_logit_softcapping"],
    )


GEMMA = Family(SETTINGS, configure, LLAMA_NAMES, no_weights=ANGLES)
GEMMA2 = Family(GEMMA2_SETTINGS, configure_gemma2, NAMES, no_weights=ANGLES)
GEMMA3_TEXT = Family(GEMMA3_SETTINGS, configure_gemma3, NAMES, no_weights=ANGLES)


# --- Gemma 3 that also sees pictures ------------------------------------------------------------

OUTER: Table = {
    **EVERYWHERE,
    "text_config": OBJECT(),
    "tie_word_embeddings": FLAG(True),
    **harmless(
        "of pictures, which are not read here",
        "vision_config", "mm_tokens_per_image", "boi_token_index", "eoi_token_index",
        "image_token_index",
    ),
}  # fmt: skip
WITHIN: Table = {  # whose folders leave out what is as usual
    **GEMMA3_SETTINGS,
    "vocab_size": SIZE(262_208),
    "hidden_size": SIZE(2304),
    "intermediate_size": SIZE(9216),
    "num_hidden_layers": SIZE(26),
    "num_attention_heads": SIZE(8),
}
GEMMA3 = Family(
    WITHIN,
    configure_gemma3,
    with_prefix("language_model.", NAMES),
    prefix="language_model.",
    no_weights={
        **ANGLES,
        r"(model\.)?(vision_tower|multi_modal_projector)\..+": "turns pictures into embeddings",
    },
    outer=OUTER,
)
"""The text of a Gemma 3; what turns pictures into embeddings is passed over."""
