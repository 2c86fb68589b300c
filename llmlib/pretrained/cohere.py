"""Cohere's Command R on Hugging Face: attention and feed-forward block read one norm."""

import llmlib.architecture as arch
from llmlib.pretrained.family import ANGLES, Family, attention, feed_forward, model, without
from llmlib.pretrained.llama import NAMES
from llmlib.pretrained.rope_settings import ROPE, rope
from llmlib.pretrained.settings import FLAG, POSITIVE, SIZE, Settings, Table

SETTINGS: Table = {
    **without("rms_norm_eps"),
    **ROPE,
    "max_position_embeddings": SIZE(8192),
    "layer_norm_eps": POSITIVE(1e-5),
    "logit_scale": POSITIVE(0.0625),
    "attention_bias": FLAG(False),
    "tie_word_embeddings": FLAG(True),
}


def configure(settings: Settings) -> arch.ModelConfig:
    """What the settings of Cohere's Command R describe: both parts read one norm."""
    mixer = attention(settings, rope(settings, 500_000.0, layout="interleaved"))
    norm = arch.Norm("layer", settings["layer_norm_eps"])
    block = arch.Block(mixer, feed_forward(settings), norm, order="parallel, one norm")
    blocks = [block] * settings["num_hidden_layers"]
    return model(settings, blocks, output_scale=settings["logit_scale"])


COHERE = Family(SETTINGS, configure, NAMES, no_weights=ANGLES)
