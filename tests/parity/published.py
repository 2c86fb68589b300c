"""Released configurations, in the names that transformers has: what their config.json says.

Written down, and not made from the cards, so that a slip in a card shows.
"""

from typing import Any


def llama(
    dim: int, n_layers: int, heads: int, groups: int, ffn: int, **more: Any
) -> dict[str, Any]:
    """The names that nearly all configurations share."""
    return {
        "hidden_size": dim, "num_hidden_layers": n_layers, "num_attention_heads": heads,
        "num_key_value_heads": groups, "intermediate_size": ffn, **more,
    }  # fmt: skip


def neox(dim: int, n_layers: int, heads: int, vocabulary: int) -> dict[str, Any]:
    """Pythia's."""
    return {
        "hidden_size": dim, "num_hidden_layers": n_layers, "num_attention_heads": heads,
        "intermediate_size": 4 * dim, "vocab_size": vocabulary, "hidden_act": "gelu",
        "rotary_pct": 0.25, "use_parallel_residual": True, "max_position_embeddings": 2048,
        "tie_word_embeddings": False, "layer_norm_eps": 1e-5,
    }  # fmt: skip


LINEAR = {"rope_type": "linear", "factor": 8.0}
YARN = {
    "rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 8192,
    "attention_factor": 1.2079441541679836, "beta_fast": 32, "beta_slow": 1,
}  # fmt: skip


def by_kind(near: float, far: float, scaling: dict[str, Any]) -> dict[str, Any]:
    """RoPE of layers with a window and of layers that see all, as transformers 5 has it."""
    return {
        "sliding_attention": {"rope_type": "default", "rope_theta": near},
        "full_attention": {"rope_theta": far, **scaling},
    }


def gemma2(dim: int, n_layers: int, heads: int, groups: int, ffn: int, **more: Any) -> Any:
    sizes = {"vocab_size": 256_000, "head_dim": 256, "query_pre_attn_scalar": 256}
    caps = {"final_logit_softcapping": 30.0, "attn_logit_softcapping": 50.0, "sliding_window": 4096}
    return llama(dim, n_layers, heads, groups, ffn, **{**sizes, **caps, **more})


def gemma3(dim: int, n_layers: int, heads: int, groups: int, ffn: int, **more: Any) -> Any:
    sizes = {"vocab_size": 262_208, "head_dim": 256, "query_pre_attn_scalar": 256}
    windows = {"sliding_window": 1024, "rope_parameters": by_kind(1e4, 1e6, LINEAR)}
    windows |= {"max_position_embeddings": 131_072}
    return llama(dim, n_layers, heads, groups, ffn, **{**sizes, **windows, **more})


def starcoder2(dim: int, n_layers: int, heads: int, groups: int, base: float, tied: bool) -> Any:
    rest = {"vocab_size": 49_152, "use_bias": True, "sliding_window": 4096, "rope_theta": base}
    rest |= {"tie_word_embeddings": tied, "max_position_embeddings": 16_384}
    rest |= {"hidden_act": "gelu_pytorch_tanh", "norm_epsilon": 1e-5}
    return llama(dim, n_layers, heads, groups, 4 * dim, **rest)


def granite(dim: int, ffn: int, scale: float, logits: float) -> Any:
    return llama(
        dim, 40, 32, 8, ffn, vocab_size=49_155, tie_word_embeddings=True, rms_norm_eps=1e-5,
        attention_multiplier=scale, embedding_multiplier=12.0, residual_multiplier=0.22,
        logits_scaling=logits, max_position_embeddings=4096,
    )  # fmt: skip


def olmo(dim: int, n_layers: int, heads: int, ffn: int, vocabulary: int, **more: Any) -> Any:
    return llama(
        dim, n_layers, heads, heads, ffn, vocab_size=vocabulary,
        **{"tie_word_embeddings": False, "rms_norm_eps": 1e-6, "max_position_embeddings": 4096,
           **more},
    )  # fmt: skip


def gpt_oss(n_layers: int, experts: int) -> Any:
    return llama(
        2880, n_layers, 64, 8, 2880, head_dim=64, vocab_size=201_088, num_local_experts=experts,
        num_experts_per_tok=4, sliding_window=128, tie_word_embeddings=False,
    )  # fmt: skip


QWEN3_NEXT = llama(
    2048, 48, 16, 2, 5632, head_dim=256, vocab_size=151_936, linear_conv_kernel_dim=4,
    linear_key_head_dim=128, linear_value_head_dim=128, linear_num_key_heads=16,
    linear_num_value_heads=32, moe_intermediate_size=512, shared_expert_intermediate_size=512,
    num_experts=512, num_experts_per_tok=10, decoder_sparse_step=1, tie_word_embeddings=False,
)  # fmt: skip
DEEPSEEK_V3 = llama(
    7168, 61, 128, 128, 18_432, vocab_size=129_280, kv_lora_rank=512, q_lora_rank=1536,
    qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128, n_routed_experts=256,
    n_shared_experts=1, num_experts_per_tok=8, moe_intermediate_size=2048,
    first_k_dense_replace=3, tie_word_embeddings=False,
)  # fmt: skip
# Name of a card -> a class of transformers without its ending, and the configuration.
PUBLISHED: dict[str, tuple[str, dict[str, Any]]] = {
    "Pythia-70M": ("GPTNeoX", neox(512, 6, 8, 50_304)),
    "Pythia-2.8B": ("GPTNeoX", neox(2560, 32, 32, 50_304)),
    "Pythia-12B": ("GPTNeoX", neox(5120, 36, 40, 50_688)),
    "Falcon-7B": ("Falcon", {
        "vocab_size": 65_024, "hidden_size": 4544, "num_hidden_layers": 32,
        "num_attention_heads": 71, "multi_query": True, "parallel_attn": True, "bias": False,
        "new_decoder_architecture": False, "alibi": False}),
    "Falcon-40B": ("Falcon", {
        "vocab_size": 65_024, "hidden_size": 8192, "num_hidden_layers": 60,
        "num_attention_heads": 128, "num_kv_heads": 8, "parallel_attn": True, "bias": False,
        "new_decoder_architecture": True, "alibi": False}),
    "MPT-7B": ("Mpt", {
        "d_model": 4096, "n_heads": 32, "n_layers": 32, "expansion_ratio": 4,
        "vocab_size": 50_432, "no_bias": True, "max_seq_len": 2048}),
    "StarCoder": ("GPTBigCode", {
        "vocab_size": 49_152, "n_embd": 6144, "n_layer": 40, "n_head": 48, "n_inner": 24_576,
        "n_positions": 8192, "multi_query": True}),
    "StarCoder2-3B": ("Starcoder2", starcoder2(3072, 30, 24, 2, 999_999.4420358813, True)),
    "StarCoder2-7B": ("Starcoder2", starcoder2(4608, 32, 36, 4, 1_000_000.0, True)),
    "StarCoder2-15B": ("Starcoder2", starcoder2(6144, 40, 48, 4, 100_000.0, False)),
    "Command R": ("Cohere", llama(8192, 40, 64, 64, 22_528, vocab_size=256_000,
                                  logit_scale=0.0625, rope_theta=8_000_000.0,
                                  layer_norm_eps=1e-5, tie_word_embeddings=True)),
    "Nemotron-4-15B": ("Nemotron", llama(6144, 32, 48, 8, 24_576, vocab_size=256_000,
                                         hidden_act="relu2", tie_word_embeddings=False)),
    "OLMo-2-7B": ("Olmo2", olmo(4096, 32, 32, 11_008, 100_352, rope_theta=5e5)),
    "OLMo-2-13B": ("Olmo2", olmo(5120, 40, 40, 13_824, 100_352, rope_theta=5e5)),
    "OLMo-3-7B": ("Olmo3", olmo(4096, 32, 32, 11_008, 100_278, sliding_window=4096,
                                max_position_embeddings=65_536,
                                rope_parameters=by_kind(5e5, 5e5, YARN))),
    "Gemma-2-2B": ("Gemma2", gemma2(2304, 26, 8, 4, 9216)),
    "Gemma-2-9B": ("Gemma2", gemma2(3584, 42, 16, 8, 14_336)),
    "Gemma-2-27B": ("Gemma2", gemma2(4608, 46, 32, 16, 36_864, head_dim=128,
                                     query_pre_attn_scalar=144)),
    "Gemma-3-1B": ("Gemma3", gemma3(1152, 26, 4, 1, 6912, vocab_size=262_144,
                                    sliding_window=512, max_position_embeddings=32_768,
                                    rope_parameters=by_kind(1e4, 1e6, {}))),
    "Gemma-3-4B": ("Gemma3", gemma3(2560, 34, 8, 4, 10_240)),
    "Gemma-3-12B": ("Gemma3", gemma3(3840, 48, 16, 8, 15_360)),
    "Gemma-3-27B": ("Gemma3", gemma3(5376, 62, 32, 16, 21_504, head_dim=128,
                                     query_pre_attn_scalar=168)),
    "SmolLM3-3B": ("SmolLM3", llama(2048, 36, 16, 4, 11_008, vocab_size=128_256,
                                    no_rope_layer_interval=4, rope_theta=5_000_000.0,
                                    max_position_embeddings=65_536, tie_word_embeddings=True)),
    "Phi-3-mini": ("Phi3", llama(3072, 32, 32, 32, 8192, vocab_size=32_064, sliding_window=2047,
                                 tie_word_embeddings=False)),
    "Granite-3.0-2B": ("Granite", granite(2048, 8192, 0.015625, 8.0)),
    "Granite-3.0-8B": ("Granite", granite(4096, 12_800, 0.0078125, 16.0)),
    "GLM-4-9B": ("Glm", llama(4096, 40, 32, 2, 13_696, head_dim=128, vocab_size=151_552,
                              max_position_embeddings=8192, attention_bias=True,
                              tie_word_embeddings=False)),
    "Ministral-8B": ("Ministral", llama(4096, 36, 32, 8, 12_288, head_dim=128,
                                        vocab_size=131_072, rope_theta=100_000_000.0,
                                        rms_norm_eps=1e-5, sliding_window=32_768,
                                        max_position_embeddings=131_072,
                                        layer_types=["full_attention",
                                                     *["sliding_attention"] * 3] * 9,
                                        tie_word_embeddings=False)),
    "DeepSeek-V3": ("DeepseekV3", DEEPSEEK_V3),
    "gpt-oss-20b": ("GptOss", gpt_oss(24, 32)),
    "gpt-oss-120b": ("GptOss", gpt_oss(36, 128)),
    "Qwen3-Next-80B-A3B": ("Qwen3Next", QWEN3_NEXT),
}  # fmt: skip
