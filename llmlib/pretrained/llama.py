"""Llama and its relatives on Hugging Face: Mistral, Qwen2, Qwen3."""

from typing import Any

from llmlib.decoder import DecoderConfig
from llmlib.pretrained.assemble import Rule
from llmlib.pretrained.family import EVERYWHERE, Family, activation, both, head, head_width
from llmlib.pretrained.rope_settings import ROPE, context, rope
from llmlib.pretrained.settings import (
    COUNT,
    FLAG,
    POSITIVE,
    SIZE,
    TEXT,
    TEXTS,
    Settings,
    Table,
    Used,
    harmless,
)

SETTINGS: Table = {
    **EVERYWHERE,
    **ROPE,
    "vocab_size": Used(SIZE),
    "hidden_size": Used(SIZE),
    "intermediate_size": Used(SIZE),
    "num_hidden_layers": Used(SIZE),
    "num_attention_heads": Used(SIZE),
    "num_key_value_heads": Used(SIZE, None, null=True),  # None: as many as attention heads
    "head_dim": Used(SIZE, None, null=True),  # None: hidden_size / num_attention_heads
    "hidden_act": Used(TEXT, "silu"),
    "rms_norm_eps": Used(POSITIVE, 1e-6),
    "attention_bias": Used(FLAG, False),
    "mlp_bias": Used(FLAG, False),
    "tie_word_embeddings": Used(FLAG, False),
    **harmless("an old name of a limit that no version reads", "max_sequence_length"),
}
_WITHOUT_BIASES = {key: EVERYWHERE[key] for key in ("attention_bias", "mlp_bias")}
MISTRAL_SETTINGS: Table = {
    **SETTINGS,
    **_WITHOUT_BIASES,
    "num_key_value_heads": Used(SIZE, 8, null=True),
    "max_position_embeddings": Used(SIZE, 131_072),
    "sliding_window": Used(SIZE, 4096, null=True),
}
QWEN2_SETTINGS: Table = {
    **SETTINGS,
    **_WITHOUT_BIASES,  # those of queries, keys and values are there whatever the settings say
    "num_key_value_heads": Used(SIZE, 32, null=True),
    "head_dim": Used(SIZE, None),
    "max_position_embeddings": Used(SIZE, 32_768),
    "use_sliding_window": Used(FLAG, False),
    "sliding_window": Used(COUNT, 4096, null=True),
    "max_window_layers": Used(COUNT, 28),
    "layer_types": Used(TEXTS, None, null=True),
}
QWEN3_SETTINGS: Table = {
    **QWEN2_SETTINGS,
    "head_dim": Used(SIZE, 128),
    "attention_bias": Used(FLAG, False),
}


def llama_config(settings: Settings, **changes: Any) -> DecoderConfig:
    """Llama's; in `changes` what a relative does differently."""
    base, scaling = rope(settings)
    heads = settings["num_attention_heads"]
    biases = bool(settings.get("attention_bias"))
    fields: dict[str, Any] = {
        "vocab_size": settings["vocab_size"],
        "dim": settings["hidden_size"],
        "n_layers": settings["num_hidden_layers"],
        "n_heads": heads,
        **_key_value_heads(settings),
        "ffn_dim": settings["intermediate_size"],
        "context": context(settings["max_position_embeddings"], scaling),
        "norm": "rms",
        "norm_eps": settings["rms_norm_eps"],
        "activation": activation(settings, "hidden_act"),
        "gated": True,
        "qkv_bias": biases,
        "out_bias": biases,
        "ffn_bias": bool(settings.get("mlp_bias")),
        "position": "rope",
        "rope_base": base,
        "rope_scaling": scaling,
        "tied": settings["tie_word_embeddings"],
    }
    return DecoderConfig(**{**fields, **changes})


def _key_value_heads(settings: Settings) -> dict[str, int]:
    """Their number, and the width of every head."""
    heads = settings["num_attention_heads"]
    kv_heads = settings["num_key_value_heads"] or heads
    if heads % kv_heads:
        raise ValueError(
            f"num_key_value_heads is {kv_heads}, expected a divisor of num_attention_heads, {heads}"
        )
    width = settings["head_dim"] or head_width(settings, "hidden_size", "num_attention_heads")
    if width % 2:
        raise ValueError(
            f"head_dim (or hidden_size / num_attention_heads) is {width}, expected an even number: "
            "RoPE rotates pairs"
        )
    return {"n_kv_heads": kv_heads, "head_dim": width}


def _mistral_config(settings: Settings) -> DecoderConfig:
    return llama_config(settings, window=settings["sliding_window"])


def _qwen2_config(settings: Settings) -> DecoderConfig:
    biases = {"qkv_bias": True, "out_bias": False}
    return llama_config(settings, window=_qwen_window(settings), **biases)


def _qwen3_config(settings: Settings) -> DecoderConfig:
    return llama_config(settings, window=_qwen_window(settings), qk_norm=True)


def _qwen_window(settings: Settings) -> int | None:
    """The window of all layers; Qwen's configurations may give one to some layers only."""
    layers, kinds = settings["num_hidden_layers"], settings["layer_types"]
    window = settings["sliding_window"] if settings["use_sliding_window"] else None
    if kinds is None:  # then layers from max_window_layers on have the window
        first = layers if window is None else settings["max_window_layers"]
        kinds = ["sliding_attention"] * (first < layers) + ["full_attention"] * (first > 0)
    elif len(kinds) != layers or set(kinds) - {"sliding_attention", "full_attention"}:
        raise ValueError(
            f"layer_types is {kinds}, expected sliding_attention or full_attention for each of the "
            f"{layers} layers (num_hidden_layers)"
        )
    if len(set(kinds)) > 1:
        raise ValueError(
            f"layer_types is {settings['layer_types']} and max_window_layers is "
            f"{settings['max_window_layers']}: some layers have a window and others none, expected "
            f"the same for all {layers}"
        )
    if kinds[0] == "full_attention":
        return None
    if not window:
        found = {key: settings[key] for key in ("layer_types", "sliding_window")}
        raise ValueError(
            f"{found} with use_sliding_window {settings['use_sliding_window']}, expected a "
            "sliding_window above 0"
        )
    return int(window)


def _rules(config: DecoderConfig, prefix: str) -> list[Rule]:
    rules = around_attention(config, prefix)
    for i in range(config.n_layers):
        attention, stored = f"blocks.{i}.attention.sublayer", f"{prefix}layers.{i}"
        for name, short in (("query", "q"), ("key", "k"), ("value", "v"), ("output", "o")):
            bias = bool(config.out_bias if name == "output" else config.qkv_bias)
            rules += both(f"{attention}.{name}", f"{stored}.self_attn.{short}_proj", bias)
            if config.qk_norm and name in ("query", "key"):
                norm = f"{stored}.self_attn.{short}_norm.weight"
                rules.append(Rule(f"{attention}.{name}_norm.weight", norm))
    return rules


def around_attention(config: DecoderConfig, prefix: str) -> list[Rule]:
    """The rules of everything else: embedding, norms, feed-forward blocks, head."""
    rules = [
        Rule("embedding.weight", f"{prefix}embed_tokens.weight"),
        Rule("norm.weight", f"{prefix}norm.weight"),
    ]
    for i in range(config.n_layers):
        stored, feed_forward = f"{prefix}layers.{i}", f"blocks.{i}.feed_forward.sublayer"
        for name in ("gate", "up", "down"):
            tensor = f"{stored}.mlp.{name}_proj"
            rules += both(f"{feed_forward}.{name}", tensor, bool(config.ffn_bias))
        for name, norm in (
            ("attention", "input_layernorm"),
            ("feed_forward", "post_attention_layernorm"),
        ):
            rules.append(Rule(f"blocks.{i}.{name}.norm.weight", f"{stored}.{norm}.weight"))
    return rules + head(config)


PREFIX = "model."
NO_WEIGHTS = {
    r"(model\.)?(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq": (
        "RoPE's angles, which follow from the settings"
    ),
}

LLAMA = Family(SETTINGS, llama_config, _rules, PREFIX, NO_WEIGHTS)
MISTRAL = Family(MISTRAL_SETTINGS, _mistral_config, _rules, PREFIX, NO_WEIGHTS)
QWEN2 = Family(QWEN2_SETTINGS, _qwen2_config, _rules, PREFIX, NO_WEIGHTS)
QWEN3 = Family(QWEN3_SETTINGS, _qwen3_config, _rules, PREFIX, NO_WEIGHTS)
