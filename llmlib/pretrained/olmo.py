"""OLMo 2 and 3 on Hugging Face: norms after each part, and over queries and keys of all heads."""

import llmlib.architecture as arch
from llmlib.pretrained.family import (
    ANGLES,
    DECODER,
    FULL,
    WINDOW,
    Family,
    attention,
    feed_forward,
    layer_kinds,
    model,
    rms,
    windows,
)
from llmlib.pretrained.llama import NAMES as LLAMA_NAMES
from llmlib.pretrained.names import Names
from llmlib.pretrained.rope_settings import ROPE, rope, ropes
from llmlib.pretrained.settings import FLAG, POSITIVE, SIZE, TEXTS, Only, Settings, Table

SETTINGS: Table = {
    **DECODER,
    **ROPE,
    "rms_norm_eps": POSITIVE(1e-5),
    "attention_bias": FLAG(False),
}
OLMO3_SETTINGS: Table = {
    **SETTINGS,
    # transformers gives it to the layers without a window alone; the older OLMo 3 to all
    "rope_theta": Only((None, 500_000.0)),
    "sliding_window": SIZE(4096, null=True),
    "layer_types": TEXTS(None, null=True),
}

NAMES: Names = {
    **LLAMA_NAMES,
    "blocks.{i}.norms.mixer_output.weight": "model.layers.{i}.post_attention_layernorm.weight",
    "blocks.{i}.norms.feed_forward_output.weight": (
        "model.layers.{i}.post_feedforward_layernorm.weight"
    ),
}


def configure_olmo2(settings: Settings) -> arch.ModelConfig:
    """What the settings of OLMo 2 describe."""
    block = _block(settings, rope(settings), None)
    return model(settings, [block] * settings["num_hidden_layers"])


def configure_olmo3(settings: Settings) -> arch.ModelConfig:
    """What the settings of OLMo 3 describe: every fourth layer has no window."""
    kinds = layer_kinds(settings, lambda i: (i + 1) % 4 != 0)
    turning = ropes(settings, {WINDOW: 500_000.0, FULL: 500_000.0})
    blocks = [
        _block(settings, turning[kind], window)
        for kind, window in zip(kinds, windows(settings, kinds), strict=True)
    ]
    return model(settings, blocks)


def _block(settings: Settings, turning: arch.Rope, window: int | None) -> arch.Block:
    norm = rms(settings)
    mixer = attention(settings, turning, window=window, qk_norm=norm, qk_norm_over="all heads")
    return arch.Block(mixer, feed_forward(settings), norm, "output")


OLMO2 = Family(SETTINGS, configure_olmo2, NAMES, no_weights=ANGLES)
OLMO3 = Family(OLMO3_SETTINGS, configure_olmo3, NAMES, no_weights=ANGLES)
