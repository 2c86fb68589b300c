"""Llama and its nearest relatives on Hugging Face: Mistral, Qwen2 and 3, SmolLM3, Granite."""

from typing import Any

import llmlib.architecture as arch
from llmlib.pretrained.family import (
    ANGLES,
    DECODER,
    FULL,
    WINDOW,
    Family,
    attention,
    feed_forward,
    layer_kinds,
    model,
    rms,
    windows,
)
from llmlib.pretrained.names import Names
from llmlib.pretrained.rope_settings import ROPE, rope
from llmlib.pretrained.settings import (
    COUNT,
    COUNTS,
    FLAG,
    POSITIVE,
    SIZE,
    TEXTS,
    Settings,
    Table,
    harmless,
)

RELATIVE: Table = {**DECODER, **ROPE}
"""Keys of a relative of Llama that has no biases."""
SETTINGS: Table = {
    **RELATIVE,
    "head_dim": SIZE(None, null=True),
    "attention_bias": FLAG(False),
    "mlp_bias": FLAG(False),
    **harmless("an old name of a limit that no version reads", "max_sequence_length"),
}

NAMES: Names = {
    "embedding.weight": "model.embed_tokens.weight",
    "norm.{kind}": "model.norm.{kind}",
    "output.weight": "lm_head.weight",
    "blocks.{i}.norms.mixer_input.{kind}": "model.layers.{i}.input_layernorm.{kind}",
    "blocks.{i}.mixer.query.{kind}": "model.layers.{i}.self_attn.q_proj.{kind}",
    "blocks.{i}.mixer.key.{kind}": "model.layers.{i}.self_attn.k_proj.{kind}",
    "blocks.{i}.mixer.value.{kind}": "model.layers.{i}.self_attn.v_proj.{kind}",
    "blocks.{i}.mixer.query_norm.weight": "model.layers.{i}.self_attn.q_norm.weight",
    "blocks.{i}.mixer.key_norm.weight": "model.layers.{i}.self_attn.k_norm.weight",
    "blocks.{i}.mixer.output.{kind}": "model.layers.{i}.self_attn.o_proj.{kind}",
    "blocks.{i}.norms.feed_forward_input.{kind}": (
        "model.layers.{i}.post_attention_layernorm.{kind}"
    ),
    "blocks.{i}.feed_forward.gate.{kind}": "model.layers.{i}.mlp.gate_proj.{kind}",
    "blocks.{i}.feed_forward.up.{kind}": "model.layers.{i}.mlp.up_proj.{kind}",
    "blocks.{i}.feed_forward.down.{kind}": "model.layers.{i}.mlp.down_proj.{kind}",
}


def configure(settings: Settings) -> arch.ModelConfig:
    """What the settings of Llama describe."""
    return _in_layers(settings, [{}] * settings["num_hidden_layers"])


def _in_layers(
    settings: Settings, differing: list[dict[str, Any]], base: float = 10_000.0,
    residual_scale: float = 1.0, **of_model: Any,
) -> arch.ModelConfig:  # fmt: skip
    """A Llama; in `differing` what the attention of each layer does differently."""
    turning = rope(settings, base)
    blocks = [
        arch.Block(
            attention(settings, **{"rope": turning, **changes}),
            feed_forward(settings),
            rms(settings),
            residual_scale=residual_scale,
        )
        for changes in differing
    ]
    return model(settings, blocks, **of_model)


LLAMA = Family(SETTINGS, configure, NAMES, no_weights=ANGLES)


# --- Mistral and Ministral ------------------------------------------------------------------------

MISTRAL_SETTINGS: Table = {
    **RELATIVE,
    "num_key_value_heads": SIZE(8, null=True),
    "head_dim": SIZE(None, null=True),
    "max_position_embeddings": SIZE(131_072),
    "sliding_window": SIZE(4096, null=True),
    "layer_types": TEXTS(None, null=True),
    **harmless("an old name of a limit that no version reads", "max_sequence_length"),
}
MINISTRAL_SETTINGS: Table = {**MISTRAL_SETTINGS, "head_dim": SIZE()}


def configure_ministral(settings: Settings) -> arch.ModelConfig:
    """What the settings of Ministral describe: layers with and without a window."""
    kinds = layer_kinds(settings, lambda i: settings["sliding_window"] is not None)
    return _in_layers(settings, [{"window": n} for n in windows(settings, kinds)])


def configure_mistral(settings: Settings) -> arch.ModelConfig:
    """What the settings of Mistral describe: the same window for all layers, or none."""
    window = settings["sliding_window"]
    kinds = layer_kinds(settings, lambda i: window is not None)
    if set(kinds) != {FULL if window is None else WINDOW}:
        raise ValueError(
            f"layer_types is {settings['layer_types']} with sliding_window {window}, expected the "
            "same for all layers of a mistral: layers that differ are model_type ministral's"
        )
    return _in_layers(settings, [{"window": window}] * settings["num_hidden_layers"])


MISTRAL = Family(MISTRAL_SETTINGS, configure_mistral, NAMES, no_weights=ANGLES)
MINISTRAL = Family(MINISTRAL_SETTINGS, configure_ministral, NAMES, no_weights=ANGLES)


# --- Qwen -----------------------------------------------------------------------------------------

QWEN2_SETTINGS: Table = {  # queries, keys and values have biases whatever the settings say
    **RELATIVE,
    "num_key_value_heads": SIZE(32, null=True),
    "max_position_embeddings": SIZE(32_768),
    "use_sliding_window": FLAG(False),
    "sliding_window": COUNT(4096, null=True),
    "max_window_layers": COUNT(28),
    "layer_types": TEXTS(None, null=True),
    **harmless("an old name of a limit that no version reads", "max_sequence_length"),
}
QWEN3_SETTINGS: Table = {
    **QWEN2_SETTINGS,
    "head_dim": SIZE(128),
    "attention_bias": FLAG(False),
}


def _qwen_windows(settings: Settings) -> list[int | None]:
    """Without layer_types, layers from max_window_layers on have the window."""
    on = settings["use_sliding_window"]
    first = settings["max_window_layers"]
    has_one = on and settings["sliding_window"] is not None
    kinds = layer_kinds(settings, lambda i: has_one and i >= first)
    return windows(settings, kinds, on)


def configure_qwen2(settings: Settings) -> arch.ModelConfig:
    """What the settings of Qwen2 describe."""
    biases = {"qkv_bias": True, "out_bias": False}
    return _in_layers(settings, [{"window": n, **biases} for n in _qwen_windows(settings)])


def configure_qwen3(settings: Settings) -> arch.ModelConfig:
    """What the settings of Qwen3 describe: a norm over each head's query and key."""
    norm = rms(settings)
    return _in_layers(settings, [{"window": n, "qk_norm": norm} for n in _qwen_windows(settings)])


QWEN2 = Family(QWEN2_SETTINGS, configure_qwen2, NAMES, no_weights=ANGLES)
QWEN3 = Family(QWEN3_SETTINGS, configure_qwen3, NAMES, no_weights=ANGLES)


# --- SmolLM3 --------------------------------------------------------------------------------------

SMOLLM3_SETTINGS: Table = {
    **RELATIVE,
    "num_key_value_heads": SIZE(4, null=True),
    "max_position_embeddings": SIZE(32_768),
    "attention_bias": FLAG(False),
    "mlp_bias": FLAG(False),
    "tie_word_embeddings": FLAG(True),
    "no_rope_layers": COUNTS(None, null=True),
    "no_rope_layer_interval": SIZE(4),
    "use_sliding_window": FLAG(False),
    "sliding_window": SIZE(None, null=True),
    "layer_types": TEXTS(None, null=True),
    **harmless("of Qwen's windows, which it does not read", "max_window_layers"),
}


def configure_smollm3(settings: Settings) -> arch.ModelConfig:
    """What the settings of SmolLM3 describe: every fourth layer without RoPE."""
    layers, turned = settings["num_hidden_layers"], settings["no_rope_layers"]
    if turned is None:
        turned = [(i + 1) % settings["no_rope_layer_interval"] for i in range(layers)]
    if len(turned) != layers:
        raise ValueError(
            f"no_rope_layers is {turned}, expected a number for each of the {layers} layers "
            "(num_hidden_layers): 0 where there is no RoPE"
        )
    on = settings["use_sliding_window"]
    has_one = on and settings["sliding_window"] is not None
    kinds = layer_kinds(settings, lambda i: has_one and not turned[i])
    differing: list[dict[str, Any]] = [{"window": n} for n in windows(settings, kinds, on)]
    for changes, turns in zip(differing, turned, strict=True):
        if not turns:
            changes["rope"] = None
    return _in_layers(settings, differing, base=2_000_000.0)


SMOLLM3 = Family(SMOLLM3_SETTINGS, configure_smollm3, NAMES, no_weights=ANGLES)


# --- Granite --------------------------------------------------------------------------------------

GRANITE_SETTINGS: Table = {
    **RELATIVE,
    "attention_bias": FLAG(False),
    "mlp_bias": FLAG(False),
    "embedding_multiplier": POSITIVE(1.0),
    "attention_multiplier": POSITIVE(1.0),
    "residual_multiplier": POSITIVE(1.0),
    "logits_scaling": POSITIVE(1.0),
}


def configure_granite(settings: Settings) -> arch.ModelConfig:
    """What the settings of Granite describe: a Llama with four multipliers."""
    changes = {"scale": settings["attention_multiplier"]}
    scales = {
        "embedding_scale": settings["embedding_multiplier"],
        "output_scale": 1 / settings["logits_scaling"],
    }
    of_model = {name: scale for name, scale in scales.items() if scale != 1}
    differing = [changes] * settings["num_hidden_layers"]
    return _in_layers(
        settings, differing, residual_scale=settings["residual_multiplier"], **of_model
    )


GRANITE = Family(GRANITE_SETTINGS, configure_granite, NAMES, no_weights=ANGLES)
