"""Every setting of config.json, changed in turn: transformers' logits, or an error that names it.

A folder of each model type is written by transformers; then one key after the other gets another
value, is taken out, becomes null or of another type, and keys are added that other families or the
configurations on the hub have. What our loader then makes of the same weights must give the logits
that transformers computes from the folder. It may refuse instead, if it says why. It may never give
other numbers in silence, and it may not load what transformers cannot.
"""

import dataclasses
import functools
import json
import logging
import math
import tempfile
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file

from llmlib.encoder import Encoder
from llmlib.pretrained import load
from llmlib.pretrained.huggingface import FAMILIES
from llmlib.pretrained.settings import NUMBER, POSITIVE, Harmless, SameAs, Used

SIZES = {
    "vocab_size": 31, "hidden_size": 24, "intermediate_size": 20, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
    "initializer_range": 0.3, "bos_token_id": None, "eos_token_id": None,
    "pad_token_id": None,
}  # fmt: skip
OLD_SIZES = {"vocab_size": 31, "n_layer": 2, "n_head": 4, "initializer_range": 0.3}
MPT_SIZES = {"vocab_size": 31, "d_model": 24, "n_heads": 4, "n_layers": 2, "max_seq_len": 64}
NARROW = {**SIZES, "head_dim": 8}
WINDOW = {"sliding_window": 6}
MODELS = {
    "gpt2": {**OLD_SIZES, "n_embd": 24, "n_positions": 64, "bos_token_id": 0, "eos_token_id": 0},
    "llama": SIZES,
    "mistral": {**SIZES, **WINDOW},
    "ministral": {**NARROW, **WINDOW, "layer_types": ["sliding_attention", "full_attention"]},
    "qwen2": SIZES,
    "qwen3": NARROW,
    "smollm3": {**SIZES, **WINDOW, "no_rope_layers": [1, 0]},
    "granite": {**SIZES, "residual_multiplier": 0.7},
    "gemma": NARROW,
    "gemma2": {**NARROW, **WINDOW, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0},
    "gemma3_text": {**NARROW, **WINDOW, "layer_types": ["sliding_attention", "full_attention"]},
    "olmo2": SIZES,
    "olmo3": {**SIZES, **WINDOW, "layer_types": ["sliding_attention", "full_attention"]},
    "phi3": {**SIZES, **WINDOW, "original_max_position_embeddings": 64},
    "glm": NARROW,
    "glm4": NARROW,
    "starcoder2": {**SIZES, **WINDOW},
    "cohere": SIZES,
    "gpt_neox": {**SIZES, "hidden_size": 32},
    "falcon": SIZES,
    "mpt": {**MPT_SIZES, "initializer_range": 0.3},
    "bloom": {**OLD_SIZES, "hidden_size": 24, "bos_token_id": 0, "eos_token_id": 0},
    "deepseek_v2": {
        **SIZES, "num_key_value_heads": 4, "kv_lora_rank": 10, "q_lora_rank": 12,
        "qk_nope_head_dim": 6, "qk_rope_head_dim": 4, "v_head_dim": 5,
        "first_k_dense_replace": 2, "n_routed_experts": 4, "num_experts_per_tok": 2,
    },
}  # fmt: skip
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
ROPES = [
    {"rope_type": "default"}, {"rope_type": "linear", "factor": 4.0}, {"type": "linear",
    "factor": 3}, {"rope_type": "linear"}, {"rope_type": "dynamic", "factor": 4.0},
    {"rope_type": "ntk", "factor": 2.0}, {"rope_type": "linear", "type": "yarn", "factor": 2.0},
    {"rope_type": "default", "factor": 4.0}, {"rope_type": "default", "mrope_section": [1, 1, 1]},
    {"rope_type": "default", "partial_rotary_factor": 0.5}, {"full_attention": {"factor": 4.0}},
    YARN, {**YARN, "attention_factor": 1.7}, {**YARN, "beta_fast": 4.0, "beta_slow": 0.2},
    {**YARN, "mscale": 0.7, "mscale_all_dim": 0.4}, {**YARN, "truncate": False},
    {**YARN, "mscale_all_dim": 0.4}, {**YARN, "mscale": 0.7}, {**YARN, "attn_factor": 2.0},
    {**YARN, "rope_theta": 77.0}, {**YARN, "factor": None}, {"type": "yarn", "factor": 2.0},
    {**YARN, "attention_factor": 1.7, "mscale_all_dim": 0.4},
    {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
     "original_max_position_embeddings": 24},
    {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0},
    {"rope_type": "longrope", "factor": 2.0, "short_factor": [1.0] * 3, "long_factor": [2.0] * 3},
    {"rope_type": "proportional", "partial_rotary_factor": 0.5}, {"rope_theta": 77.0}, [], "yarn",
]  # fmt: skip
ACTIVATIONS = [
    "relu", "gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "gelu_python", "gelu_accurate",
    "gelu_python_tanh", "silu", "swish", "quick_gelu", "gelu_10", "relu2", "linear", "mish", "tanh",
]  # fmt: skip
VALUES = {  # what a key is changed to, where the rules of `others` would miss what matters
    "hidden_act": ACTIVATIONS,
    "activation_function": ACTIVATIONS,
    "rope_parameters": ROPES,
    "rope_scaling": ROPES,
    "rope_theta": [10_000.0, 500, 0.0, -1.0, 1e400, math.nan],
    "layer_types": [["full_attention"] * 2, ["sliding_attention"] * 2, ["full_attention"],
                    ["sliding_attention", "full_attention"], ["chunked_attention"] * 2],
    "sliding_window": [0, 1, 5, 64],
    "original_max_position_embeddings": [16, 64],
    "is_causal": [True, False, None],
    "quantization_config": [None, {"quant_method": "bitsandbytes", "load_in_4bit": True}],
    "model_type": list(MODELS),
    "per_layer_config": [{"0": {"hidden_act": "relu"}}],
    "partial_rotary_factor": [1.0, 0.5],
    "pruned_heads": [{}, {"0": [1]}],
    "n_routed_experts": [4, 0],
    "first_k_dense_replace": [0, 1, 2, 3],
    "max_position_embeddings": [60, 128],  # shorter ones are refused when the text is read
    "max_seq_len": [60, 128],
    "final_logit_softcapping": [None, 2.0, 30.0],
    "logits_scaling": [0.4, 8.0],
    "attn_config": [{"alibi": False}, {"alibi_bias_max": 4}, {"attn_type": "multiquery_attention"},
                    {"clip_qkv": 6.0}, {"prefix_lm": True}, {"qk_ln": True}, {"softmax_scale": 0.3},
                    {"attn_impl": "flash"}, {"attn_uses_sequence_id": True}, {}, None],
    "no_rope_layers": [None, [], [1, 1], [0, 0], [0, 1, 1]],
    "rope_local_base_freq": [None, 50.0],
    "sliding_window_pattern": [1, 2],
    "rotary_pct": [None, 0.25, 1.0],
    "rotary_emb_base": [None, 50.0],
    "num_ln_in_parallel_attn": [None, 1, 2, 3],
}  # fmt: skip
ON_THE_HUB = (  # keys of configurations on the hub, of other families, and of nobody
    "is_causal", "rope_scaling", "rope_theta", "original_max_position_embeddings",
    "quantization_config", "per_layer_config", "partial_rotary_factor", "pruned_heads", "alibi",
    "logit_scale", "logits_scaling", "residual_multiplier", "embedding_multiplier",
    "attention_multiplier", "final_logit_softcapping", "attn_logit_softcapping",
    "query_pre_attn_scalar", "attention_chunk_size", "no_rope_layers", "clip_qkv", "use_qk_norm",
    "rope_interleaved", "use_mrope", "num_experts", "attention_scale", "a_key_of_nobody",
    "torch_dtype", "auto_map", "_name_or_path", "task_specific_params", "n_ctx", "seq_length",
    "attn_implementation", "gradient_checkpointing", "max_sequence_length", "transformers_weights",
    "n_special", "model_max_length", "neftune_noise_alpha", "use_flash_attention",
    "trust_remote_code", "unsloth_fixed", "attn_factor",
)  # fmt: skip
IDS = torch.arange(60).remainder(31)[None]
TOLERANCE = 1e-4


@functools.cache
def folder(kind):
    """A random model of the type as transformers saves it: path, settings, tensors."""
    transformers.logging.set_verbosity_error()
    logging.getLogger("transformers").setLevel(logging.CRITICAL)
    torch.manual_seed(3)
    known = {field.name for field in dataclasses.fields(transformers.AutoConfig.for_model(kind))}
    sizes = {key: x for key, x in MODELS[kind].items() if key in known or key not in SIZES}
    config = transformers.AutoConfig.for_model(kind, **sizes)
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    path = Path(tempfile.mkdtemp())
    model.save_pretrained(path)
    tensors = load_file(path / "model.safetensors")
    return path, json.loads((path / "config.json").read_text()), tensors


@torch.no_grad()
def theirs(path, tensors):
    """transformers' logits, or None where it cannot read the settings or fill the model."""
    try:
        config = transformers.AutoConfig.from_pretrained(path)
        model = transformers.AutoModelForCausalLM.from_config(config).eval()
        if "embed_out.weight" in tensors:  # GPT-NeoX's head in files, renamed in memory
            tensors = {n.replace("embed_out", "lm_head"): x for n, x in tensors.items()}
        missing, unexpected = model.load_state_dict(tensors, strict=False)
        tied = {"lm_head.weight"} if config.tie_word_embeddings else set()
        if set(missing) - tied or unexpected:
            return None
        model.tie_weights()
        return model(IDS).logits
    except Exception:  # whatever stops it: a type, a shape, a key
        return None


def verdict(kind, changes, without=()):
    """What is wrong with our reading of the changed folder, or None."""
    path, settings, tensors = folder(kind)
    changed = {key: value for key, value in {**settings, **changes}.items() if key not in without}
    (path / "config.json").write_text(json.dumps(changed))
    try:
        with torch.no_grad():
            model = load(path)
            ours = model.head(model(IDS)) if isinstance(model, Encoder) else model(IDS)
    except ValueError as error:
        text = str(error)
        named = any(key in text for key in (*changes, *without)) or "model_type" in changes
        return None if str(path) in text and (named or "tensor" in text) else f"unclear: {text}"
    expected = theirs(path, tensors)
    if expected is None:  # a label that is no label stops transformers, and has no part in logits
        table = FAMILIES[kind].settings
        harmless = all(isinstance(table.get(key), Harmless) for key in (*changes, *without))
        return None if harmless else "loaded, though transformers cannot"
    difference = float((ours - expected).abs().max())
    return None if difference < TOLERANCE else f"other logits, by {difference:.3g}"


def others(value):
    """Values of the same kind."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, 2 * value, 1]
    if isinstance(value, float):
        return [3 * value + 0.5, 1e-3]
    if isinstance(value, str):
        return [value + "x"]
    return [1, True, "x"]


def fields(kind):
    """Every key of the type's configuration class, and its default there."""
    return transformers.AutoConfig.for_model(kind).to_dict()


every_kind = pytest.mark.parametrize("kind", MODELS)


WRONG_THERE = (
    # DeepSeek's own code reads null as "no experts"; that of transformers stops.
    ("deepseek_v2", ({"n_routed_experts": None},)),
    # To show attention, it adds a mask of true and false to the scores.
    ("falcon", ({"output_attentions": True},)),
    # It makes ALiBi's table for all positions beforehand.
    ("mpt", ({"max_seq_len": 2**40},)),
)
"""Cases in which transformers stops, or computes what its own words do not say."""


def judged(kind, cases):
    """The cases that go wrong."""
    found = {repr(c): verdict(kind, *c) for c in cases if (kind, c) not in WRONG_THERE}
    return {case: wrong for case, wrong in found.items() if wrong}


@every_kind
def test_a_folder_as_it_was_saved(kind):
    assert verdict(kind, {}) is None


@every_kind
def test_another_value(kind):
    known = {**fields(kind), **folder(kind)[1]}
    cases = [({key: v},) for key in known for v in VALUES.get(key, others(known[key]))]
    assert not judged(kind, cases)


@every_kind
def test_a_key_of_another_family(kind):
    own = fields(kind)
    foreign = {k: v for other in MODELS for k, v in fields(other).items() if k not in own}
    cases = [({key: v},) for key in foreign for v in VALUES.get(key, [foreign[key], 1, True])]
    assert not judged(kind, cases)


@every_kind
def test_a_key_from_the_hub(kind):
    cases = [({key: v},) for key in ON_THE_HUB for v in VALUES.get(key, [None, 1.0, 0.5, True])]
    assert not judged(kind, cases)


@every_kind
def test_two_keys_that_say_the_same(kind):
    """rope_scaling takes the place of rope_parameters; widths have two names."""
    aliases = {"hidden_size": 30, "num_attention_heads": 2, "n_embed": 30, "num_hidden_layers": 1}
    cases = [({"rope_scaling": a, "rope_parameters": b},) for a in ROPES for b in ROPES[:2]]
    cases += [({"rope_theta": 77.0, "rope_parameters": a},) for a in ROPES]
    cases += [({"rope_theta": 77.0, "rope_scaling": a}, ["rope_parameters"]) for a in ROPES]
    cases += [({key: value},) for key, value in aliases.items()]
    window = {"use_sliding_window": True, "max_window_layers": 0}
    cases += [({**window, "sliding_window": n}, ["layer_types"]) for n in (None, 0, 5)]
    cases += [({**window, "sliding_window": 5, "max_window_layers": n}, ["layer_types"])
              for n in (0, 1, 2)]  # fmt: skip
    assert not judged(kind, cases)


@every_kind
def test_a_key_that_lacks(kind):
    assert not judged(kind, [({}, [key]) for key in folder(kind)[1]])


@every_kind
def test_a_key_of_another_type(kind):
    cases = []
    for key, entry in FAMILIES[kind].settings.items():
        if isinstance(entry, Used):
            # An integer where a number is expected is read here, and stops transformers.
            integers = () if entry.kind in (POSITIVE, NUMBER) else (0, -1, 2**40)
            for value in (None, True, "7", 7.5, math.nan, math.inf, [7], {"a": 7}, *integers):
                cases.append(({key: value},))
    assert not judged(kind, cases)


@every_kind
def test_defaults_are_those_of_the_class(kind):
    """Of each key that a folder may lack; None here is what the class works out."""
    known = {f.name: f.default for f in dataclasses.fields(transformers.AutoConfig.for_model(kind))}
    table, wrong = FAMILIES[kind].settings, {}
    for key, entry in table.items():
        entry = table[entry.key] if isinstance(entry, SameAs) else entry
        ours = entry.default if isinstance(entry, Used) else None
        if key in known and ours is not None and not entry.required and ours != known[key]:
            wrong[key] = (ours, known[key])
    assert not wrong


FROM_THE_HUB = {  # keys and values that folders on the hub have: these must load, not only be named
    "gpt2": {
        "n_special": 0, "predict_special_tokens": True, "n_ctx": 64, "output_past": True,
        "summary_type": "cls_index", "task_specific_params": {"text-generation": {"top_k": 50}},
    },
    "llama": {
        "rope_theta": None, "unsloth_fixed": True, "is_llama_config": True, "pretraining_tp": 1,
        "rope_interleaved": False, "transformers.js_config": {"kv_cache_dtype": {}},
        "max_sequence_length": 64, "model_max_length": 64, "trust_remote_code": True,
    },
    "mistral": {"neftune_noise_alpha": 5, "use_flash_attention": True, "torch_dtype": "bfloat16"},
    "qwen2": {"use_mrope": False, "max_window_layers": 21, "rope_theta": None},
    "qwen3": {"rope_theta": None, "rope_scaling": None, "max_window_layers": 28},
    "bloom": {
        "n_inner": None, "offset_alibi": 100, "skip_bias_add": True, "skip_bias_add_qkv": False,
        "masked_softmax_fusion": True, "bias_dropout_fusion": True, "pretraining_tp": 1,
    },
    "ministral": {"rope_theta": None, "torch_dtype": "bfloat16"},
    "smollm3": {"max_window_layers": 28, "no_rope_layer_interval": 4, "pretraining_tp": 2},
    "granite": {"rope_scaling": None, "torch_dtype": "bfloat16"},
    "gemma": {"rope_theta": 10_000.0, "hidden_activation": None},
    "gemma2": {"hidden_act": "gelu_pytorch_tanh", "cache_implementation": "hybrid"},
    "gemma3_text": {
        "cache_implementation": "hybrid", "sliding_window_pattern": 6, "rope_scaling": None,
        "attn_logit_softcapping": None, "rope_local_base_freq": 10_000, "rope_theta": 1_000_000,
    },
    "olmo2": {"rope_scaling": None, "rope_theta": None, "clip_qkv": None},
    "olmo3": {"rope_scaling": None, "rope_theta": 500_000},
    "phi3": {
        "attention_bias": False, "full_attn_mod": 1, "interpolate_factor": 1, "lm_head_bias": False,
        "mlp_bias": False, "partial_rotary_factor": 1.0, "auto_map": {}, "resid_pdrop": 0.0,
    },
    "glm": {"partial_rotary_factor": 0.5, "rope_theta": 10_000.0},
    "glm4": {"partial_rotary_factor": 0.5, "rope_theta": 10_000.0},
    "starcoder2": {
        "activation_function": "gelu", "mlp_type": "default", "norm_type": "layer_norm",
        "residual_dropout": 0.1, "embedding_dropout": 0.1, "rope_scaling": None,
    },
    "cohere": {"model_max_length": 131_072, "pretraining_tp": 1, "use_qk_norm": False},
    "gpt_neox": {
        "rotary_pct": 0.25, "rotary_emb_base": 10_000, "use_parallel_residual": True,
        "classifier_dropout": 0.1, "rope_scaling": None,
    },
    "falcon": {
        "apply_residual_connection_post_layernorm": False, "alibi": False, "ff_factor": 4,
        "num_ln_in_parallel_attn": 1,
    },
    "mpt": {
        "init_config": {"name": "kaiming_normal_"}, "verbose": 0, "tokenizer_name": "gpt-neox",
        "attn_config": {"attn_impl": "torch", "attn_pdrop": 0, "qk_ln": False, "alibi": True},
    },
    "deepseek_v2": {
        "auto_map": {"AutoConfig": "configuration_deepseek.DeepseekV2Config"}, "seq_aux": True,
        "scoring_func": "softmax", "moe_layer_freq": 1, "ep_size": 1, "aux_loss_alpha": 0.001,
    },
}  # fmt: skip


@every_kind
def test_a_folder_as_the_hub_has_it_is_not_refused(kind):
    assert verdict(kind, FROM_THE_HUB[kind]) is None
    load(folder(kind)[0])  # the folder as it was changed
