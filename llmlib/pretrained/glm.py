"""GLM on Hugging Face: RoPE over adjacent features of a half of each head."""

from typing import Literal

import llmlib.architecture as arch
from llmlib.pretrained.family import ANGLES, DECODER, Family, attention, feed_forward, model, rms
from llmlib.pretrained.llama import NAMES as LLAMA_NAMES
from llmlib.pretrained.names import Names
from llmlib.pretrained.phi import GATE_AND_UP
from llmlib.pretrained.rope_settings import PARTIAL, ROPE, rope
from llmlib.pretrained.settings import FLAG, POSITIVE, SIZE, Settings, Table

SETTINGS: Table = {
    **DECODER,
    **ROPE,
    **PARTIAL,
    "num_key_value_heads": SIZE(2),
    "head_dim": SIZE(128),
    "max_position_embeddings": SIZE(131_072),
    "rms_norm_eps": POSITIVE(1.5625e-07),
    "attention_bias": FLAG(True),
}
NAMES: Names = {**LLAMA_NAMES, **GATE_AND_UP}
GLM4_NAMES: Names = {
    **NAMES,
    "blocks.{i}.norms.mixer_output.weight": "model.layers.{i}.post_self_attn_layernorm.weight",
    "blocks.{i}.norms.feed_forward_output.weight": "model.layers.{i}.post_mlp_layernorm.weight",
}


def configure(settings: Settings, norms: Literal["pre", "sandwich"] = "pre") -> arch.ModelConfig:
    """What the settings of GLM describe."""
    turning = rope(settings, share=0.5, layout="interleaved")
    mixer = attention(settings, turning, out_bias=False)
    block = arch.Block(mixer, feed_forward(settings), rms(settings), norms)
    return model(settings, [block] * settings["num_hidden_layers"])


def configure_glm4(settings: Settings) -> arch.ModelConfig:
    """What the settings of GLM-4 of 2025 describe: norms before and after each part."""
    return configure(settings, "sandwich")


GLM = Family(SETTINGS, configure, NAMES, no_weights=ANGLES)
GLM4 = Family(SETTINGS, configure_glm4, GLM4_NAMES, no_weights=ANGLES)
