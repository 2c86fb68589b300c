"""Tiny random Hugging Face models in folders, one for each model type that `load` knows."""

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers

SIZES = {
    "vocab_size": 97,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.2,  # the usual 0.02 gives logits too small to tell models apart
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,  # pairs from fast to slow within 24 positions, so that all cases occur
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 24,
}
LINEAR = {"rope_type": "linear", "rope_theta": 10_000.0, "factor": 4.0}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 500.0,
    "factor": 4.0,
    "original_max_position_embeddings": 24,
}
YARN_TUNED = {**YARN, "beta_fast": 16.0, "beta_slow": 2.0, "mscale": 1.0, "mscale_all_dim": 0.5}
WINDOW = 8


def _model(kind: str, **changes: Any) -> Callable[[], Any]:
    """What makes a random model of a type."""

    def make() -> Any:
        known = {
            field.name for field in dataclasses.fields(transformers.AutoConfig.for_model(kind))
        }
        sizes = {key: value for key, value in SIZES.items() if key in known}
        config = transformers.AutoConfig.for_model(kind, **{**sizes, **FAMILIES[kind], **changes})
        return transformers.AutoModelForCausalLM.from_config(config)

    return make


ROWS = {"vocab_size": 97, "n_layer": 3, "n_head": 6, "bos_token_id": 0, "eos_token_id": 0}
NARROW = {"head_dim": 6}  # not hidden_size / num_attention_heads
SIX = {"num_hidden_layers": 6}  # layers enough for every pattern of windows
FAMILIES: dict[str, dict[str, Any]] = {
    "gpt2": {**ROWS, "n_embd": 48, "n_positions": 128},
    "llama": {},
    "mistral": {"sliding_window": WINDOW},
    "ministral": {**NARROW, "sliding_window": WINDOW},
    "qwen2": {},
    "qwen3": {"head_dim": 16},
    "smollm3": SIX,
    "granite": {
        "embedding_multiplier": 3.0, "attention_multiplier": 0.2, "residual_multiplier": 0.7,
        "logits_scaling": 0.4,
    },
    "gemma": NARROW,
    "gemma2": {**NARROW, **SIX, "sliding_window": WINDOW, "query_pre_attn_scalar": 7,
               "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0},
    "gemma3_text": {**NARROW, "num_hidden_layers": 8, "sliding_window": WINDOW,
                    "query_pre_attn_scalar": 7},
    "gemma3": {
        "text_config": {**SIZES, **NARROW, "num_hidden_layers": 8, "sliding_window": WINDOW},
        "vision_config": {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
                          "num_attention_heads": 2, "image_size": 28, "patch_size": 14},
        "mm_tokens_per_image": 4, "image_token_index": 200,
    },
    "olmo2": {},
    "olmo3": {**SIX, "sliding_window": WINDOW},
    "phi3": {"original_max_position_embeddings": 128},
    "glm": {"head_dim": 12},
    "glm4": {"head_dim": 12},
    "starcoder2": {},
    "cohere": {"logit_scale": 0.6},
    "gpt_neox": {"rotary_pct": 0.5},
    "falcon": {"num_kv_heads": 2},
    "mpt": {"d_model": 48, "n_heads": 6, "n_layers": 3, "max_seq_len": 128},
    "bloom": ROWS,
    # Dense layers alone; widths that are all different, so that none can be mistaken.
    "deepseek_v2": {
        "num_key_value_heads": 6, "kv_lora_rank": 20, "q_lora_rank": 28, "qk_nope_head_dim": 10,
        "qk_rope_head_dim": 6, "v_head_dim": 14, "first_k_dense_replace": 3,
        "n_routed_experts": 4, "num_experts_per_tok": 2,
    },
}  # fmt: skip
"""Model types, and what each has beside SIZES."""

ALL_BIASES = {"attention_bias": True, "mlp_bias": True}
SCALED = {"rope_type": "linear", "rope_theta": 900.0, "factor": 4.0}
PLAIN = {"rope_type": "default", "rope_theta": 300.0}
MIXED = ["sliding_attention", "full_attention", "full_attention"]
LONGROPE = {
    "rope_type": "longrope", "short_factor": [1.0, 1.1, 1.3, 2.0],
    "long_factor": [1.0, 2.0, 4.0, 8.0],
}  # fmt: skip
VARIANTS: dict[str, dict[str, Any]] = {
    "llama with all biases": ALL_BIASES,
    "llama, tied": {"tie_word_embeddings": True},
    "llama, rope llama3": {"rope_parameters": LLAMA3},
    "llama, rope linear": {"rope_parameters": LINEAR},
    "llama, rope yarn": {"rope_parameters": YARN},
    "llama, rope yarn tuned": {"rope_parameters": YARN_TUNED},
    "mistral without a window": {"sliding_window": None},
    "ministral, windows in some layers": {"layer_types": MIXED},
    "qwen2 with a window": {
        "use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 0,
    },
    "qwen2, windows from a layer on": {
        "use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 2,
    },
    "qwen3, windows in some layers": {
        "use_sliding_window": True, "sliding_window": WINDOW, "layer_types": MIXED,
    },
    "qwen3 with biases": {"attention_bias": True},
    "smollm3, windows where there is no rope": {
        **ALL_BIASES, "use_sliding_window": True, "sliding_window": WINDOW,
        "no_rope_layers": [1, 0, 1, 1, 0, 0],
    },
    "granite with all biases": ALL_BIASES,
    "gemma2 without caps, with biases": {
        "attn_logit_softcapping": None, "final_logit_softcapping": None, "attention_bias": True,
    },
    "gemma3_text, scaled": {
        "final_logit_softcapping": 4.0, "attention_bias": True,
        "rope_parameters": {"full_attention": SCALED, "sliding_attention": PLAIN},
    },
    "olmo2 with biases": {"attention_bias": True},
    "olmo3, rope yarn": {
        "attention_bias": True,
        "rope_parameters": {"full_attention": YARN, "sliding_attention": PLAIN},
    },
    "phi3 with a window": {"sliding_window": WINDOW, "partial_rotary_factor": 0.75},
    "phi3, rope longrope": {"rope_parameters": LONGROPE, "max_position_embeddings": 512},
    "glm4 without biases": {"attention_bias": False, "partial_rotary_factor": 1.0},
    "starcoder2 with a window": {"sliding_window": WINDOW},
    "starcoder2 without biases": {"use_bias": False, "tie_word_embeddings": False},
    "cohere with biases": {"attention_bias": True, "tie_word_embeddings": False},
    "gpt_neox in turn": {"use_parallel_residual": False, "attention_bias": False},
    "gpt_neox, tied": {"tie_word_embeddings": True},
    "falcon, a key for each head": {"multi_query": False, "num_kv_heads": 6, "bias": True},
    "falcon in turn": {"parallel_attn": False, "tie_word_embeddings": False},
    "falcon, new": {"new_decoder_architecture": True, "bias": True, "ffn_hidden_size": 72},
    "falcon, new with one norm": {"new_decoder_architecture": True, "num_ln_in_parallel_attn": 1},
    "mpt with 8 heads": {"n_heads": 8, "attn_config": {"softmax_scale": 0.3}},
    "mpt, untied": {"tie_word_embeddings": False},
    "bloom with 12 heads": {"n_head": 12},
    "deepseek_v2 without query compression": {"q_lora_rank": None},
    "deepseek_v2 with all biases": ALL_BIASES,
    "deepseek_v2, rope yarn": {"rope_parameters": {**YARN, "mscale": 0.707, "mscale_all_dim": 0.5}},
}  # fmt: skip
"""A type's name, what is special, and the settings for it."""

MODELS: dict[str, Callable[[], Any]] = {kind: _model(kind) for kind in FAMILIES} | {
    name: _model(re.match(r"\w+", name)[0], **changes)  # type: ignore[index]
    for name, changes in VARIANTS.items()
}


def save(name: str, folder: Path, **options: Any) -> Any:
    """The model, random also where transformers starts with ones and zeros, and saved."""
    torch.manual_seed(7)
    model = MODELS[name]().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder, **options)
    return model
