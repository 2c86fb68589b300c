"""Phi-3 on Hugging Face: matrices that are stored as one."""

import llmlib.architecture as arch
from llmlib.pretrained.family import (
    ANGLES,
    DECODER,
    Family,
    attention,
    feed_forward,
    model,
    rms,
)
from llmlib.pretrained.llama import NAMES as LLAMA_NAMES
from llmlib.pretrained.names import Names, half, projection
from llmlib.pretrained.rope_settings import PARTIAL, PHI3_SCALINGS, ROPE, rope
from llmlib.pretrained.settings import POSITIVE, SIZE, Only, Settings, Table

SETTINGS: Table = {
    **DECODER,
    **ROPE,
    **PARTIAL,
    "rms_norm_eps": POSITIVE(1e-5),
    "max_position_embeddings": SIZE(4096),
    "original_max_position_embeddings": SIZE(4096),
    "sliding_window": SIZE(None, null=True),
    "full_attn_mod": Only((1,)),
    "interpolate_factor": Only((1,)),
}
GATE_AND_UP: Names = {
    "blocks.{i}.feed_forward.gate.weight": ("model.layers.{i}.mlp.gate_up_proj.weight", half(0)),
    "blocks.{i}.feed_forward.up.weight": ("model.layers.{i}.mlp.gate_up_proj.weight", half(1)),
}
NAMES: Names = {
    **LLAMA_NAMES,
    "blocks.{i}.mixer.query.weight": (
        "model.layers.{i}.self_attn.qkv_proj.weight", projection(0)
    ),
    "blocks.{i}.mixer.key.weight": ("model.layers.{i}.self_attn.qkv_proj.weight", projection(1)),
    "blocks.{i}.mixer.value.weight": (
        "model.layers.{i}.self_attn.qkv_proj.weight", projection(2)
    ),
    **GATE_AND_UP,
}  # fmt: skip


def configure(settings: Settings) -> arch.ModelConfig:
    """What the settings of Phi-3 describe."""
    turning = rope(settings, share=1.0, scalings=PHI3_SCALINGS)
    mixer = attention(settings, turning, window=settings["sliding_window"])
    block = arch.Block(mixer, feed_forward(settings), rms(settings))
    return model(settings, [block] * settings["num_hidden_layers"])


PHI3 = Family(SETTINGS, configure, NAMES, no_weights=ANGLES)
