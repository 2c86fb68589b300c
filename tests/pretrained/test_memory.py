"""How much memory loading takes: little more than the weights, whatever lies together in a file."""

import subprocess
import sys

import pytest
import torch

from tests.pretrained_files import LLAMA, folder

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
def test_parts_of_larger_matrices_do_not_keep_them_in_memory(tmp_path):
    """200 MB, most of it in matrices of which several parameters are parts."""
    settings = {"model_type": "phi3", "vocab_size": 61, "hidden_size": 768,
                "intermediate_size": 2048, "num_hidden_layers": 7, "num_attention_heads": 6,
                "original_max_position_embeddings": 40, "max_position_embeddings": 40}  # fmt: skip
    shapes = {"model.embed_tokens": (61, 768), "model.norm": (768,), "lm_head": (61, 768)}
    for i in range(7):
        layer = f"model.layers.{i}"
        shapes |= {f"{layer}.self_attn.qkv_proj": (2304, 768),
                   f"{layer}.self_attn.o_proj": (768, 768),
                   f"{layer}.mlp.gate_up_proj": (4096, 768),
                   f"{layer}.mlp.down_proj": (768, 2048), f"{layer}.input_layernorm": (768,),
                   f"{layer}.post_attention_layernorm": (768,)}  # fmt: skip
    weights = {f"{name}.weight": torch.ones(shape) for name, shape in shapes.items()}
    assert 0.9 < loading_peak(folder(tmp_path, settings, weights)) <= 1.3


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
