"""Unit tests of llmlib.pretrained: settings, what does not fit, damaged files, memory."""

import json
import pickle
import subprocess
import sys

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from llmlib.attention import LatentSizes
from llmlib.decoder import Decoder, DecoderConfig
from llmlib.gguf_format import GGUFFile
from llmlib.pretrained import load, load_gguf
from llmlib.pretrained.assemble import assemble
from llmlib.pretrained.gguf_models import gguf_config, gguf_rules, unpermute
from llmlib.pretrained.huggingface import configure

LLAMA = {
    "model_type": "llama", "vocab_size": 61, "hidden_size": 24, "num_hidden_layers": 2,
    "num_attention_heads": 6, "num_key_value_heads": 2, "intermediate_size": 32,
    "max_position_embeddings": 40, "rms_norm_eps": 1e-5, "rope_theta": 500.0,
}  # fmt: skip


def llama_weights(settings=LLAMA):
    """Random tensors under Hugging Face's names."""
    torch.manual_seed(0)
    dim, kv, ffn = settings["hidden_size"], 8, settings["intermediate_size"]
    shapes = {"model.embed_tokens": (61, dim), "model.norm": (dim,), "lm_head": (61, dim)}
    for i in range(settings["num_hidden_layers"]):
        layer = f"model.layers.{i}"
        shapes |= {
            f"{layer}.self_attn.q_proj": (dim, dim), f"{layer}.self_attn.k_proj": (kv, dim),
            f"{layer}.self_attn.v_proj": (kv, dim), f"{layer}.self_attn.o_proj": (dim, dim),
            f"{layer}.mlp.gate_proj": (ffn, dim), f"{layer}.mlp.up_proj": (ffn, dim),
            f"{layer}.mlp.down_proj": (dim, ffn), f"{layer}.input_layernorm": (dim,),
            f"{layer}.post_attention_layernorm": (dim,),
        }  # fmt: skip
    return {f"{name}.weight": torch.randn(shape) for name, shape in shapes.items()}


def folder(path, settings=LLAMA, weights=None, **changes):
    """A Hugging Face folder."""
    settings = {key: value for key, value in {**settings, **changes}.items() if value != "gone"}
    (path / "config.json").write_text(json.dumps(settings))
    save_file(llama_weights() if weights is None else weights, path / "model.safetensors")
    return path


# --- settings --------------------------------------------------------------------------------


def test_llama_settings(tmp_path):
    found = load(folder(tmp_path)).config
    assert found == DecoderConfig(
        61, 24, 2, 6, 2, 4, 32, 40, norm_eps=1e-5, rope_base=500.0, tied=False
    )


@pytest.mark.parametrize(
    ("settings", "base", "scaling"),
    [
        ({"rope_theta": 7.0}, 7.0, None),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 9.0}}, 9.0, None),
        ({"rope_theta": 7.0, "rope_scaling": None}, 7.0, None),
        ({"rope_theta": 7.0, "rope_scaling": {"type": "linear", "factor": 2.0}}, 7.0,
         {"rope_type": "linear", "factor": 2.0}),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 9.0, "factor": 2.0}}, 9.0,
         {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 40,
          "truncate": True}),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 9.0, "factor": None,
                              "original_max_position_embeddings": 10}}, 9.0,
         {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 10,
          "truncate": True}),
        ({}, 10_000.0, None),
    ],
)  # fmt: skip
def test_rope_of_both_generations(settings, base, scaling):
    plain = {key: value for key, value in LLAMA.items() if key != "rope_theta"}
    found = configure("llama", {**plain, **settings})
    assert (found.rope_base, found.rope_scaling) == (base, scaling)


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
    assert configure(kind, {**LLAMA, **settings}).window == window


def test_deepseek_settings():
    plain = {**LLAMA, "q_lora_rank": None, "kv_lora_rank": 8, "qk_rope_head_dim": 2,
             "qk_nope_head_dim": 6, "v_head_dim": 5}  # fmt: skip
    dense = ({"n_routed_experts": None}, {"first_k_dense_replace": 2})
    for settings in dense:
        found = configure("deepseek_v2", {**plain, **settings})
        assert found.latent == LatentSizes(8, 2, 6, 5, None)
        assert (found.rope_layout, found.head_dim, found.n_kv_heads) == ("interleaved", 8, 6)


def test_tied_head_may_be_stored_twice(tmp_path):
    found = load(folder(tmp_path, tie_word_embeddings=True))
    assert found.output is None


def test_masks_and_angles_are_no_weights(tmp_path):
    extra = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(2)}
    load(folder(tmp_path, weights=llama_weights() | extra))


def test_weights_are_in_memory_of_their_own(tmp_path):
    """Overwriting the file must not change the model."""
    found = load(folder(tmp_path))
    before = found.embedding.weight.clone()
    (tmp_path / "model.safetensors").write_bytes(bytes(100))
    assert torch.equal(found.embedding.weight, before)
    assert not found.training


# --- what does not fit -----------------------------------------------------------------------


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model_type": "mamba"}, "model_type is 'mamba', expected one of gpt2, llama"),
        ({"model_type": "gone"}, "model_type is None"),
        ({"hidden_size": "gone"}, "'hidden_size' is missing"),
        ({"hidden_act": "mish"}, "the activation is 'mish'"),
        ({"rope_scaling": {"rope_type": "longrope", "factor": 2.0}}, "'longrope'"),
        ({"rope_scaling": {"rope_type": "linear"}}, "factor of the linear scaling"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor is 0.5"),
        ({"quantization_config": {"bits": 4}}, "quantization_config is"),
        ({"num_hidden_layers": 0}, "n_layers must be positive"),
        ({"num_hidden_layers": "two"}, "n_layers must be an integer"),
    ],
)
def test_settings_that_are_not_supported(tmp_path, changes, named):
    with pytest.raises(ValueError, match=named) as caught:
        load(folder(tmp_path, **changes))
    assert "config.json" in str(caught.value) or "scaling" in named


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("kind", "settings", "named"),
    [
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
        ("bloom", {"apply_residual_connection_post_layernorm": True}, "apply_residual"),
        ("qwen2", {"sliding_window": 5, "use_sliding_window": True, "max_window_layers": 1},
         "some layers have a window"),
        ("deepseek_v2", {"first_k_dense_replace": 1, "n_routed_experts": 4},
         r"layers from 1 on \(first_k_dense_replace\) have routed experts, expected dense"),
        ("deepseek_v2", {}, "layers from 0 on .* have routed experts"),
        ("deepseek_v2", {"first_k_dense_replace": 2, "kv_lora_rank": 0},
         "kv_rank must be positive"),
    ],
)  # fmt: skip
def test_settings_of_other_families(kind, settings, named):
    with pytest.raises(ValueError, match=named):
        configure(kind, {**LLAMA, **settings})


@pytest.mark.bad_input
@pytest.mark.parametrize("name", ["lm_head.weight", "model.layers.1.self_attn.k_proj.weight"])
def test_missing_tensor(tmp_path, name):
    weights = llama_weights()
    del weights[name]
    with pytest.raises(ValueError, match=f"model.safetensors: tensor '{name}' is missing"):
        load(folder(tmp_path, weights=weights))


@pytest.mark.bad_input
def test_tensor_that_is_left_over(tmp_path):
    extra = {"model.layers.2.mlp.up_proj.weight": torch.ones(32, 24)}
    with pytest.raises(ValueError, match=r"tensor 'model.layers.2.mlp.up_proj.weight' belongs to"):
        load(folder(tmp_path, weights=llama_weights() | extra))


@pytest.mark.bad_input
def test_bias_that_the_settings_do_not_announce(tmp_path):
    extra = {"model.layers.0.self_attn.q_proj.bias": torch.ones(24)}
    with pytest.raises(ValueError, match=r"q_proj\.bias' belongs to no part"):
        load(folder(tmp_path, weights=llama_weights() | extra))


@pytest.mark.bad_input
def test_tensor_of_another_shape(tmp_path):
    named = (
        r"model.safetensors: tensor 'model.layers.0.self_attn.k_proj.weight' has shape \(8, 24\); "
        r"the configuration asks for \(12, 24\)"
    )
    with pytest.raises(ValueError, match=named):
        load(folder(tmp_path, num_key_value_heads=3))


@pytest.mark.bad_input
def test_tensor_of_integers(tmp_path):
    weights = llama_weights() | {"model.norm.weight": torch.ones(24, dtype=torch.int64)}
    with pytest.raises(ValueError, match=r"tensor 'model\.norm\.weight' has type I64"):
        load(folder(tmp_path, weights=weights))


@pytest.mark.bad_input
def test_cut_off_file_names_the_tensor(tmp_path):
    path = folder(tmp_path) / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    with pytest.raises(
        ValueError, match=r"model.safetensors is cut off: tensor 'model\..* ends 10"
    ):
        load(tmp_path)
    for length in (0, 5, 8, 100):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"model.safetensors"):
            load(tmp_path)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "header", [b"{}x", b"[1]", b'{"a": 3}', b'{"a": {"shape": [1]}}', b"\xff{"]
)
def test_damaged_header(tmp_path, header):
    path = folder(tmp_path) / "model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        load(tmp_path)


@pytest.mark.bad_input
def test_folders_without_a_model(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"config\.json is not there"):
        load(tmp_path / "nowhere")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json is no JSON"):
        load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    with pytest.raises(FileNotFoundError, match=r"neither model\.safetensors nor"):
        load(tmp_path)


class Trap:
    """What runs when it is unpickled."""

    def __reduce__(self):
        return (sys.exit, ("a pickle was read",))


@pytest.mark.bad_input
@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.pth"])
def test_pickled_weights_are_never_read(tmp_path, name):
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    (tmp_path / name).write_bytes(pickle.dumps(Trap()))
    with pytest.raises(FileNotFoundError, match=f"{name} but no model.safetensors: pickled"):
        load(tmp_path)


# --- shards ----------------------------------------------------------------------------------


def shards(path, changes=None):
    """A folder with one shard for each tensor, and changes to its index."""
    folder(path)
    weights = load_file(path / "model.safetensors")
    (path / "model.safetensors").unlink()
    listed = {name: f"part-{n}.safetensors" for n, name in enumerate(weights)}
    for name, shard in listed.items():
        save_file({name: weights[name]}, path / shard)
    listed |= changes or {}
    (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": listed}))
    return path, weights


def test_shards_are_read(tmp_path):
    path, weights = shards(tmp_path)
    assert torch.equal(load(path).embedding.weight, weights["model.embed_tokens.weight"])


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("changes", "error", "named"),
    [
        ({"model.norm.weight": "gone.safetensors"}, FileNotFoundError,
         "gone.safetensors is not there; model.safetensors.index.json lists it for tensor 'model"),
        ({"model.norm.weight": "part-0.safetensors"}, ValueError,
         "part-0.safetensors: tensor 'model.norm.weight' is missing"),
        ({"model.norm.weight": "../config.json"}, ValueError, "expected a file beside it"),
        ({"more": "part-0.safetensors"}, ValueError, "tensor 'more' is missing"),
    ],
)  # fmt: skip
def test_shards_that_do_not_fit(tmp_path, changes, error, named):
    path, _ = shards(tmp_path, changes)
    with pytest.raises(error, match=named):
        load(path)


@pytest.mark.bad_input
@pytest.mark.parametrize("text", ["{", "{}", "[]", '{"weight_map": 3}'])
def test_damaged_index(tmp_path, text):
    path, _ = shards(tmp_path)
    (path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(ValueError, match=r"index.json: expected JSON with a weight_map"):
        load(path)


# --- GGUF ------------------------------------------------------------------------------------


def write_gguf(path, model, architecture="llama", change=lambda tensors: None, **settings):
    """A random model as llama.cpp stores it, without a tokenizer."""
    config, writer = model.config, gguf.GGUFWriter(path, architecture)
    numbers = {
        "block_count": config.n_layers, "context_length": config.context,
        "embedding_length": config.dim, "feed_forward_length": config.ffn_dim,
        "attention.head_count": config.n_heads, "attention.head_count_kv": config.n_kv_heads,
        **settings,
    }  # fmt: skip
    for name, value in numbers.items():
        if value is not None:
            writer.add_uint32(f"{architecture}.{name}", value)
    writer.add_float32(f"{architecture}.attention.layer_norm_rms_epsilon", config.norm_eps)
    writer.add_float32(f"{architecture}.rope.freq_base", config.rope_base)
    weights, tensors = model.state_dict(), {}
    for rule in gguf_rules(config, permuted=False):
        x = weights[rule.parameter]
        if architecture == "llama" and rule.tensor.endswith(("attn_q.weight", "attn_k.weight")):
            heads = len(x) // config.head_dim
            x = x.unflatten(0, (heads, 2, -1)).transpose(1, 2).flatten(0, 2)  # as its converter
        tensors[rule.tensor] = x.contiguous().numpy().astype(np.float32)
    change(tensors)
    for name, array in tensors.items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def small(**changes):
    torch.manual_seed(0)
    return Decoder(DecoderConfig(61, 24, 2, 6, 2, ffn_dim=32, context=40, **changes))


@pytest.mark.parametrize(
    ("architecture", "changes"),
    [
        ("llama", {}),
        ("llama", {"tied": False}),
        ("qwen2", {"qkv_bias": True}),
        ("qwen3", {"qk_norm": True}),
    ],
)
@torch.no_grad()
def test_models_in_gguf_files(tmp_path, architecture, changes):
    expected = small(**changes)
    file = GGUFFile(write_gguf(tmp_path / "small.gguf", expected, architecture))
    config = gguf_config(file)
    assert config == expected.config
    found = assemble(config, file, gguf_rules(config, architecture == "llama"))
    ids = torch.arange(20)[None]
    assert torch.equal(found(ids), expected(ids))


def test_rows_are_put_back_in_order():
    """One head of four features: stored (0, 2, 1, 3), since 0 turns with 2 and 1 with 3."""
    stored = torch.tensor([[0.0], [2.0], [1.0], [3.0]])
    assert unpermute(stored, 1).flatten().tolist() == [0, 1, 2, 3]


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"architecture": "mamba"}, "the architecture is 'mamba', expected one of llama"),
        ({"block_count": None}, "the setting llama.block_count is missing"),
        ({"change": lambda t: t.pop("blk.1.ffn_up.weight")}, "tensor 'blk.1.ffn_up.weight' is mis"),
        ({"change": lambda t: t.pop("token_embd.weight")}, "tensor 'token_embd.weight' is missing"),
        ({"change": lambda t: t.update({"rope_freqs.weight": np.ones(2, np.float32)})},
         "tensor 'rope_freqs.weight' belongs to no part"),
        ({"feed_forward_length": 48}, r"has shape \(32, 24\); the configuration asks for \(48, 24"),
        ({"rope.dimension_count": 2}, "RoPE turns a part of each head"),
        ({}, "tokenizer"),
    ],
)  # fmt: skip
def test_gguf_files_that_do_not_fit(tmp_path, options, named):
    path = write_gguf(tmp_path / "small.gguf", small(), **options)
    with pytest.raises(ValueError, match=named) as caught:
        load_gguf(path)
    assert "small.gguf" in str(caught.value)


# --- memory ----------------------------------------------------------------------------------

PEAK = """
import sys
from llmlib.pretrained import load, smollm2

def peak():  # of this process; getrusage would begin with what the one before it reached
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

before = peak()
model = smollm2()[0] if sys.argv[1] == "smollm2" else load(sys.argv[1])
print((peak() - before) / sum(p.nbytes for p in model.parameters()))
"""
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")


def loading_peak(what):
    """Peak memory of loading over the bytes of the weights, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(what)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return float(done.stdout)


@on_linux
def test_loading_the_packaged_model_needs_little_more_than_its_weights():
    assert 0.9 < loading_peak("smollm2") <= 1.3


@on_linux
def test_loading_a_folder_needs_little_more_than_its_weights(tmp_path):
    """200 MB in one file: a file that stays mapped while it is copied would count twice."""
    settings = {**LLAMA, "hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 7,
                "head_dim": 128, "num_key_value_heads": 6, "vocab_size": 61}  # fmt: skip
    shapes = {"model.embed_tokens": (61, 768), "model.norm": (768,), "lm_head": (61, 768)}
    for i in range(7):
        layer = f"model.layers.{i}"
        for name in ("q", "k", "v", "o"):
            shapes[f"{layer}.self_attn.{name}_proj"] = (768, 768)
        shapes |= {f"{layer}.mlp.gate_proj": (2048, 768), f"{layer}.mlp.up_proj": (2048, 768),
                   f"{layer}.mlp.down_proj": (768, 2048), f"{layer}.input_layernorm": (768,),
                   f"{layer}.post_attention_layernorm": (768,)}  # fmt: skip
    weights = {f"{name}.weight": torch.ones(shape) for name, shape in shapes.items()}
    assert 0.9 < loading_peak(folder(tmp_path, settings, weights)) <= 1.3
