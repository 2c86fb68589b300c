"""Tiny random Hugging Face models in folders, one for each model type that `load` knows."""

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


def _llama(**changes: Any) -> Any:
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**{**SIZES, **changes}))


def _gpt2() -> Any:
    config = transformers.GPT2Config(
        vocab_size=97, n_embd=48, n_layer=3, n_head=6, n_positions=128, initializer_range=0.2,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    return transformers.GPT2LMHeadModel(config)


def _bloom(n_head: int = 6) -> Any:
    config = transformers.BloomConfig(
        vocab_size=97, hidden_size=48, n_layer=3, n_head=n_head, initializer_range=0.2
    )
    return transformers.BloomForCausalLM(config)


def _qwen2(**changes: Any) -> Any:
    return transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**{**SIZES, **changes}))


def _deepseek_v2(**changes: Any) -> Any:
    """Dense layers alone; widths that are all different, so that none can be mistaken."""
    sizes = {
        **SIZES, "num_key_value_heads": 6, "kv_lora_rank": 20, "q_lora_rank": 28,
        "qk_nope_head_dim": 10, "qk_rope_head_dim": 6, "v_head_dim": 14,
        "first_k_dense_replace": 3, "n_routed_experts": 4, "num_experts_per_tok": 2,
    }  # fmt: skip
    config = transformers.DeepseekV2Config(**{**sizes, **changes})
    return transformers.DeepseekV2ForCausalLM(config)


MODELS = {
    "gpt2": _gpt2,
    "llama": _llama,
    "llama with all biases": lambda: _llama(attention_bias=True, mlp_bias=True),
    "llama, tied": lambda: _llama(tie_word_embeddings=True),
    "llama, rope llama3": lambda: _llama(rope_parameters=LLAMA3),
    "llama, rope linear": lambda: _llama(rope_parameters=LINEAR),
    "llama, rope yarn": lambda: _llama(rope_parameters=YARN),
    "llama, rope yarn tuned": lambda: _llama(rope_parameters=YARN_TUNED),
    "mistral": lambda: transformers.MistralForCausalLM(
        transformers.MistralConfig(**SIZES, sliding_window=WINDOW)
    ),
    "qwen2": _qwen2,
    "qwen2 with a window": lambda: _qwen2(
        use_sliding_window=True, sliding_window=WINDOW, max_window_layers=0
    ),
    "qwen3": lambda: transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**SIZES, head_dim=16)),
    "bloom": _bloom,
    "bloom with 12 heads": lambda: _bloom(n_head=12),
    "deepseek_v2": _deepseek_v2,
    "deepseek_v2 without query compression": lambda: _deepseek_v2(q_lora_rank=None),
    "deepseek_v2 with all biases": lambda: _deepseek_v2(attention_bias=True, mlp_bias=True),
    "deepseek_v2, rope yarn": lambda: _deepseek_v2(
        rope_parameters={**YARN, "mscale": 0.707, "mscale_all_dim": 0.5}
    ),
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
