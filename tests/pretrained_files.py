"""Small folders and GGUF files with random weights, for the tests of llmlib.pretrained."""

import json

import gguf
import numpy as np
import torch
from safetensors.torch import load_file, save_file

import llmlib.architecture as arch
from llmlib.decoder import Decoder, DecoderConfig
from llmlib.pretrained.gguf_architectures import ARCHITECTURES, NAMES
from llmlib.pretrained.names import rules_of

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


def write_gguf(path, model, architecture="llama", change=lambda tensors: None, split=0, **settings):
    """A random model as llama.cpp stores it, without a tokenizer."""
    config, writer = model.config, gguf.GGUFWriter(path, architecture, split_max_tensors=split)
    block = arch.layers(config.stack.runs)[-1]  # of Gemma's, one without a window
    mixer = block.mixer
    numbers = {
        "block_count": config.n_layers, "context_length": config.context,
        "embedding_length": config.dim, "feed_forward_length": block.feed_forward.ffn_dim,
        "attention.head_count": mixer.n_heads, "attention.head_count_kv": mixer.n_kv_heads,
        **settings,
    }  # fmt: skip
    for name, value in numbers.items():
        if value is not None:
            add = writer.add_float32 if isinstance(value, float) else writer.add_uint32
            add(f"{architecture}.{name}", value)
    writer.add_float32(f"{architecture}.attention.layer_norm_rms_epsilon", block.norm.eps)
    writer.add_float32(f"{architecture}.rope.freq_base", mixer.rope.base)
    weights, tensors = model.state_dict(), {}
    # Llama's rows are put in their order below.
    known = ARCHITECTURES.get(architecture)
    names = NAMES if known is None or architecture == "llama" else known.names
    for rule in rules_of(model, config, names):
        x = weights[rule.parameter]
        if architecture == "llama" and rule.tensor.endswith(("attn_q.weight", "attn_k.weight")):
            heads = len(x) // mixer.head_dim
            x = x.unflatten(0, (heads, 2, -1)).transpose(1, 2).flatten(0, 2)  # as its converter
        if block.norm.gain == "1 + weight" and "norm" in rule.parameter:
            x = x + 1
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
