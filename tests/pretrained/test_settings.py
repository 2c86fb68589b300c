"""Unit tests of llmlib.pretrained: what the settings of each family describe, or are refused."""

import pytest

import llmlib.architecture as arch
from llmlib.pretrained import load
from llmlib.pretrained.huggingface import FAMILIES, configure
from tests.pretrained_files import LLAMA, folder


@pytest.mark.parametrize(
    ("settings", "base", "scaling"),
    [
        ({"rope_theta": 7.0}, 7.0, None),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 9.0}}, 9.0, None),
        ({"rope_theta": 7.0, "rope_scaling": None}, 7.0, None),
        ({"rope_theta": 7.0, "rope_scaling": {"type": "linear", "factor": 2.0}}, 7.0,
         {"rope_type": "linear", "factor": 2.0}),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 9.0, "factor": 2.0}}, 9.0,
         {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 40}),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 9.0, "factor": None,
                              "original_max_position_embeddings": 10}}, 9.0,
         {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 10}),
        ({}, 10_000.0, None),
    ],
)  # fmt: skip
def test_rope_of_both_generations(settings, base, scaling):
    plain = {key: value for key, value in LLAMA.items() if key != "rope_theta"}
    found = configure("llama", {**plain, **settings})
    expected = None if scaling is None else arch.Scaling.of(scaling)
    assert found.block.mixer.rope == arch.Rope(base, scaling=expected)


@pytest.mark.parametrize(
    ("kind", "settings", "window"),
    [
        ("mistral", {"sliding_window": 5}, 5),
        ("mistral", {"sliding_window": None}, None),
        ("mistral", {}, 4096),
        ("qwen2", {"sliding_window": 5, "use_sliding_window": False}, None),
        ("qwen2", {"sliding_window": 5, "use_sliding_window": True, "max_window_layers": 0}, 5),
        ("qwen3", {"sliding_window": 5, "use_sliding_window": True}, None),
    ],
)
def test_windows(kind, settings, window):
    assert configure(kind, {**LLAMA, **settings}).block.mixer.window == window


@pytest.mark.parametrize(
    ("kind", "settings", "runs"),
    [
        ("qwen2", {"use_sliding_window": True, "max_window_layers": 3}, "3 A, 5 B"),
        ("ministral", {"layer_types": ["full_attention", "sliding_attention"] * 4, "head_dim": 4},
         "4 × (A, B)"),
        ("smollm3", {}, "2 × (3 A, B)"),
        ("gemma2", {}, "4 × (A, B)"),
        ("gemma3_text", {"num_hidden_layers": 26}, "4 × (5 A, B), 2 A"),
        ("gemma3_text", {"sliding_window_pattern": 4}, "2 × (3 A, B)"),
        ("olmo3", {"rope_theta": None}, "2 × (3 A, B)"),
    ],
)  # fmt: skip
def test_windows_in_some_layers(kind, settings, runs):
    known = {key: x for key, x in LLAMA.items() if key in FAMILIES[kind].settings}
    found = configure(kind, {**known, "num_hidden_layers": 8, **settings})
    assert arch.ribbon(found.stack) == runs


def test_gemma_3_turns_by_two_ropes():
    """As version 4 of transformers wrote them."""
    scaled = {"rope_theta": 7.0, "rope_local_base_freq": 5.0,
              "rope_scaling": {"rope_type": "linear", "factor": 8.0}}  # fmt: skip
    found = configure("gemma3_text", {**LLAMA, "num_hidden_layers": 6, "head_dim": 4, **scaled})
    blocks = arch.layers(found.stack.runs)
    assert {block.mixer.rope for block in blocks[:5]} == {arch.Rope(5.0)}
    assert blocks[5].mixer.rope == arch.Rope(7.0, scaling=arch.Scaling("linear", 8.0))
    assert found.context == 40


def test_longrope_ends_with_the_context_of_its_short_factors():
    scaling = {"type": "longrope", "short_factor": [1.0, 1.5], "long_factor": [2.0, 3.0]}
    settings = {**LLAMA, "rope_scaling": scaling, "max_position_embeddings": 40,
                "original_max_position_embeddings": 10}  # fmt: skip
    found = configure("phi3", settings)
    assert found.context == 10
    assert found.block.mixer.rope.scaling.settings()["factors"] == (1.0, 1.5)


def test_deepseek_settings():
    plain = {**LLAMA, "num_key_value_heads": 6, "q_lora_rank": None, "kv_lora_rank": 8,
             "qk_rope_head_dim": 2, "qk_nope_head_dim": 6, "v_head_dim": 5}  # fmt: skip
    dense = ({"n_routed_experts": None}, {"first_k_dense_replace": 2})
    for settings in dense:
        found = configure("deepseek_v2", {**plain, **settings})
        rope = arch.Rope(500.0, layout="interleaved")
        assert found.block.mixer == arch.Latent(6, 8, 2, 6, 5, None, rope)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("kind", "settings", "named"),
    [
        ("mistral", {"layer_types": ["sliding_attention", "full_attention"]},
         "layer_types is .*, expected the same for all layers of a mistral: .* ministral's"),
        ("qwen2", {"layer_types": ["sliding_attention"] * 2},
         "'use_sliding_window': False.* gives layers a window, expected a sliding_window above"),
        ("qwen3", {"layer_types": ["full_attention"]}, "expected sliding_attention or full_"),
        ("smollm3", {"no_rope_layers": [1]}, r"no_rope_layers is \[1\], expected a number for"),
        ("falcon", {"alibi": True}, "alibi is true, expected null or false: nothing else is"),
        ("falcon", {"multi_query": False, "num_kv_heads": 2}, "num_kv_heads is 2, expected 6 as"),
        ("falcon", {"num_ln_in_parallel_attn": 2}, "num_ln_in_parallel_attn 2 and new_decoder"),
        ("falcon", {"parallel_attn": False, "new_decoder_architecture": True}, "or in turn"),
        ("mpt", {"attn_config": {"clip_qkv": 6.0}}, "in attn_config, clip_qkv is 6.0, expected nu"),
        ("mpt", {"attn_config": {"prefix_lm": True}}, "in attn_config, prefix_lm is true"),
        ("mpt", {"attn_config": {"alibi": False}}, "in attn_config, alibi is false, expected true"),
        ("mpt", {"attn_config": {"attn_type": "multiquery_attention"}}, "attn_type is 'multiquery"),
        ("cohere", {"use_qk_norm": True}, "use_qk_norm is true, expected null or false"),
        ("phi3", {"rope_scaling": {"type": "yarn", "factor": 2.0}}, "expected one of default, lo"),
        ("gemma3_text", {"rope_parameters": {"rope_type": "linear", "factor": 8.0}},
         "with factor, rope_type; expected an object for each of sliding_attention, full"),
        ("gemma3_text", {"rope_scaling": {"type": "linear", "factor": 8.0}}, "expected rope_type"),
        ("gemma3_text", {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping is 50.0"),
        ("gemma", {"hidden_act": "silu", "hidden_activation": "gelu_pytorch_tanh"},
         "hidden_activation is 'gelu_pytorch_tanh' beside hidden_act 'silu', expected one"),
        ("gemma3", {}, "text_config is missing, expected an object with keys"),
        ("gemma3", {"text_config": {"hidden_act": 1, "bits": 4}}, "in text_config, bits is 4"),
        ("gemma3", {"text_config": {"tie_word_embeddings": False}},
         "tie_word_embeddings is True, and False in text_config, expected one"),
        ("olmo3", {"rope_theta": 10_000.0}, "rope_theta is 10000.0, expected null or 500000.0"),
        ("gpt_neox", {"rotary_pct": 0.3, "rope_parameters": {"partial_rotary_factor": 0.5}},
         "rotary_pct is 0.3, and 0.5 in rope_parameters, expected one value"),
        ("gpt2", {"n_embd": 25, "n_layer": 2, "n_head": 6},
         r"hidden_size is 25, expected a .* \(hidden_size is this file's n_embd, num_attention_he"),
        ("gpt2", {"n_layer": 2, "n_head": 6}, "hidden_size or n_embd is missing"),
        ("deepseek_v2", {"first_k_dense_replace": 1, "n_routed_experts": 4},
         r"layers from 1 on \(first_k_dense_replace\) have routed experts, expected dense"),
        ("deepseek_v2", {}, "layers from 0 on .* have routed experts"),
        ("deepseek_v2", {"first_k_dense_replace": 2, "kv_lora_rank": 0},
         "kv_lora_rank is 0, expected a positive integer"),
    ],
)  # fmt: skip
def test_settings_of_other_families(kind, settings, named):
    table = FAMILIES[kind].outer or FAMILIES[kind].settings
    known = {key: x for key, x in LLAMA.items() if key in table}
    others = {"gpt2": ["hidden_size", "num_hidden_layers", "num_attention_heads"],
              "falcon": ["intermediate_size"], "olmo3": ["rope_theta"],
              "gpt_neox": ["rope_theta"]}  # fmt: skip
    for key in others.get(kind, []):
        known.pop(key)
    with pytest.raises(ValueError, match=named):
        configure(kind, {**known, **settings})


def test_yarn_reaches_beyond_the_length_of_the_training(tmp_path):
    scaling = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 40}
    assert load(folder(tmp_path, rope_scaling=scaling)).config.context == 160
    longer = {**scaling, "factor": 0.5}
    assert load(folder(tmp_path, rope_scaling=longer)).config.context == 40
    linear = {"type": "linear", "factor": 2.0}
    assert load(folder(tmp_path, rope_scaling=linear)).config.context == 80
