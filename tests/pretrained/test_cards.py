"""What a folder's settings describe is what the card of the model says.

The settings are those of the folders on the hub, without what changes no number and what is as
usual. How many positions a model may see is each one's own choice.
"""

from dataclasses import replace

import pytest

from llmlib.model_cards import CARDS
from llmlib.pretrained.huggingface import configure

LLAMA31 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
           "original_max_position_embeddings": 8192}  # fmt: skip
LINEAR = {"rope_type": "linear", "factor": 8.0}
YARN = {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 8192,
        "attention_factor": 1.2079441541679836, "beta_fast": 32.0, "beta_slow": 1.0}  # fmt: skip


def sizes(vocab, dim, ffn, layers, heads, kv_heads=None, **more):
    """Llama's names for the widths."""
    found = {
        "vocab_size": vocab, "hidden_size": dim, "intermediate_size": ffn,
        "num_hidden_layers": layers, "num_attention_heads": heads,
    }  # fmt: skip
    return found | ({} if kv_heads is None else {"num_key_value_heads": kv_heads}) | more


def text(dim, ffn, layers, **more):
    """The settings of a Gemma 3 within those of one that also sees pictures."""
    inner = {"hidden_size": dim, "intermediate_size": ffn, "num_hidden_layers": layers,
             "sliding_window": 1024, "rope_scaling": LINEAR, **more}  # fmt: skip
    return {"text_config": inner, "vision_config": {"hidden_size": 1152}}


FOLDERS = {
    "GPT-2": ("gpt2", {"vocab_size": 50_257, "n_embd": 768, "n_layer": 12, "n_head": 12}),
    "BLOOM-560M": (
        "bloom", {"vocab_size": 250_880, "n_embed": 1024, "n_layer": 24, "num_attention_heads": 16},
    ),
    "Pythia-70M": ("gpt_neox", sizes(50_304, 512, 2048, 6, 8, rotary_pct=0.25)),
    "MPT-7B": ("mpt", {"vocab_size": 50_432, "d_model": 4096, "n_layers": 32, "n_heads": 32}),
    "Falcon-7B": (
        "falcon", {"vocab_size": 65_024, "hidden_size": 4544, "num_hidden_layers": 32,
                   "num_attention_heads": 71, "multi_query": True, "parallel_attn": True},
    ),
    "Falcon-40B": (
        "falcon", {"vocab_size": 65_024, "hidden_size": 8192, "num_hidden_layers": 60,
                   "num_attention_heads": 128, "num_kv_heads": 8,
                   "new_decoder_architecture": True},
    ),
    "Mistral-7B-v0.1": (
        "mistral", sizes(32_000, 4096, 14_336, 32, 32, 8, rms_norm_eps=1e-5, sliding_window=4096),
    ),
    "SmolLM2-135M": (
        "llama", sizes(49_152, 576, 1536, 30, 9, 3, rms_norm_eps=1e-5, rope_theta=100_000,
                       tie_word_embeddings=True),
    ),
    "Llama-3.1-405B": (
        "llama", sizes(128_256, 16_384, 53_248, 126, 128, 8, rms_norm_eps=1e-5,
                       rope_theta=500_000.0, rope_scaling=LLAMA31, max_position_embeddings=131_072),
    ),
    "Qwen2-0.5B": (
        "qwen2", sizes(151_936, 896, 4864, 24, 14, 2, rope_theta=1e6, tie_word_embeddings=True,
                       max_window_layers=24, use_sliding_window=False, sliding_window=131_072),
    ),
    "Qwen3-8B": ("qwen3", sizes(151_936, 4096, 12_288, 36, 32, 8, head_dim=128, rope_theta=1e6)),
    "SmolLM3-3B": ("smollm3", sizes(128_256, 2048, 11_008, 36, 16, 4, rope_theta=5e6)),
    "Granite-3.0-2B": (
        "granite", sizes(49_155, 2048, 8192, 40, 32, 8, rms_norm_eps=1e-5, tie_word_embeddings=True,
                         embedding_multiplier=12.0, attention_multiplier=0.015625,
                         residual_multiplier=0.22, logits_scaling=8.0),
    ),
    "Gemma-2B": ("gemma", sizes(256_000, 2048, 16_384, 18, 8, 1, head_dim=256)),
    "GLM-4-9B": ("glm", sizes(151_552, 4096, 13_696, 40, 32, 2, head_dim=128)),
    "Gemma-2-2B": ("gemma2", sizes(256_000, 2304, 9216, 26, 8, 4, head_dim=256)),
    "Gemma-2-27B": (
        "gemma2", sizes(256_000, 4608, 36_864, 46, 32, 16, head_dim=128, query_pre_attn_scalar=144),
    ),
    "Gemma-3-1B": (
        "gemma3_text", sizes(262_144, 1152, 6912, 26, 4, 1, head_dim=256, sliding_window=512,
                             rope_theta=1_000_000, rope_local_base_freq=10_000),
    ),
    "Gemma-3-4B": ("gemma3", text(2560, 10_240, 34)),
    "Gemma-3-27B": (
        "gemma3", text(5376, 21_504, 62, num_attention_heads=32, num_key_value_heads=16,
                       head_dim=128, query_pre_attn_scalar=168),
    ),
    "OLMo-2-7B": (
        "olmo2", sizes(100_352, 4096, 11_008, 32, 32, rms_norm_eps=1e-6, rope_theta=500_000),
    ),
    "OLMo-3-7B": (
        "olmo3", sizes(100_278, 4096, 11_008, 32, 32, rms_norm_eps=1e-6, rope_theta=500_000,
                       rope_scaling=YARN, max_position_embeddings=65_536),
    ),
    "Phi-3-mini": ("phi3", sizes(32_064, 3072, 8192, 32, 32, 32, sliding_window=2047)),
    "StarCoder2-7B": (
        "starcoder2", sizes(49_152, 4608, 18_432, 32, 36, 4, rope_theta=1_000_000,
                            sliding_window=4096),
    ),
    "Command R": ("cohere", sizes(256_000, 8192, 22_528, 40, 64, rope_theta=8e6)),
}  # fmt: skip


@pytest.mark.parametrize("name", FOLDERS)
def test_settings_describe_what_the_card_says(name):
    card = CARDS[name].config
    assert replace(configure(*FOLDERS[name]), context=card.context) == card
