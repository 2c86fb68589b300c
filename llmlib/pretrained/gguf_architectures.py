"""The architectures of GGUF files that are read: names of their tensors, and what each does.

llama.cpp rotates adjacent pairs of features, so its converter reorders the rows of Llama's query
and key matrices; here they are put back. Left as they are, short prompts still look right.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from torch import Tensor

import llmlib.architecture as arch
from llmlib.pretrained.gguf_settings import MODEL
from llmlib.pretrained.names import Names, attention_of
from llmlib.pretrained.settings import COUNT, POSITIVE, SIZE, Settings, Table


def unpermute(x: Tensor, n_heads: int) -> Tensor:
    """Query or key rows as Hugging Face has them: feature i turns with i + head_dim/2.

    In GGUF the rows of a pair lie side by side, (head, pair, 2): that is read as it lies and turned
    into (head, 2, pair).
    """
    return x.unflatten(0, (n_heads, -1, 2)).transpose(1, 2).flatten(0, 2)


def queries(block: arch.Block, x: Tensor) -> Tensor:
    """Query rows in order."""
    return unpermute(x, attention_of(block).n_heads)


def keys(block: arch.Block, x: Tensor) -> Tensor:
    """Key rows in order."""
    return unpermute(x, attention_of(block).n_kv_heads)


NAMES: Names = {
    "embedding.weight": "token_embd.weight",
    "norm.weight": "output_norm.weight",
    "output.weight": "output.weight",
    "blocks.{i}.norms.mixer_input.weight": "blk.{i}.attn_norm.weight",
    "blocks.{i}.mixer.query.{kind}": "blk.{i}.attn_q.{kind}",
    "blocks.{i}.mixer.key.{kind}": "blk.{i}.attn_k.{kind}",
    "blocks.{i}.mixer.value.{kind}": "blk.{i}.attn_v.{kind}",
    "blocks.{i}.mixer.query_norm.weight": "blk.{i}.attn_q_norm.weight",
    "blocks.{i}.mixer.key_norm.weight": "blk.{i}.attn_k_norm.weight",
    "blocks.{i}.mixer.output.{kind}": "blk.{i}.attn_output.{kind}",
    "blocks.{i}.norms.feed_forward_input.weight": "blk.{i}.ffn_norm.weight",
    "blocks.{i}.feed_forward.gate.weight": "blk.{i}.ffn_gate.weight",
    "blocks.{i}.feed_forward.up.weight": "blk.{i}.ffn_up.weight",
    "blocks.{i}.feed_forward.down.weight": "blk.{i}.ffn_down.weight",
}
LLAMA_NAMES: Names = {
    **NAMES,
    "blocks.{i}.mixer.query.{kind}": ("blk.{i}.attn_q.{kind}", queries),
    "blocks.{i}.mixer.key.{kind}": ("blk.{i}.attn_k.{kind}", keys),
}
GEMMA_NAMES: Names = {
    **NAMES,
    "blocks.{i}.norms.mixer_output.weight": "blk.{i}.post_attention_norm.weight",
    "blocks.{i}.norms.feed_forward_output.weight": "blk.{i}.post_ffw_norm.weight",
}


class Architecture(NamedTuple):
    """How one architecture of GGUF files becomes a model."""

    names: Names
    settings: Table = MODEL
    qk_norm: bool = False  # over each head's query and key
    change: Callable[[Settings, arch.ModelConfig], arch.ModelConfig] | None = None  # from a Llama


# --- Gemma --------------------------------------------------------------------------------------

GEMMA2_SETTINGS: Table = {
    **MODEL,
    "attention.sliding_window": COUNT(4096),
    "attention.sliding_window_pattern": SIZE(2),
    "rope.freq_base_swa": POSITIVE(None),  # None: as in the layers without a window
    "attn_logit_softcapping": POSITIVE(50.0),
    "final_logit_softcapping": POSITIVE(30.0),
}
GEMMA3_SETTINGS: Table = {
    **MODEL,
    "attention.sliding_window_pattern": SIZE(6),
    "rope.freq_base_swa": POSITIVE(10_000.0),
    "final_logit_softcapping": POSITIVE(None),
}
OF_27B = (46, 62)
"""Layers of Gemma 2 and 3 of 27 billion parameters, which llama.cpp knows by this number."""


def gemma2(settings: Settings, config: arch.ModelConfig) -> arch.ModelConfig:
    """Gemma 2: every second layer has no window."""
    return _gemma(settings, config, settings["attn_logit_softcapping"])


def gemma3(settings: Settings, config: arch.ModelConfig) -> arch.ModelConfig:
    """Gemma 3: every sixth layer has no window; the others turn by another base, not scaled."""
    return _gemma(settings, config, None)


def _gemma(settings: Settings, config: arch.ModelConfig, softcap: float | None) -> arch.ModelConfig:
    """Norms before and after each part, whose gains the converter has written as 1 + weight."""
    mixer = attention_of(config.block)
    width = mixer.head_dim
    if config.n_layers in OF_27B:  # its scores are scaled by what a head would be of the stream
        width = config.dim // mixer.n_heads
    far = replace(mixer, window=None, softcap=softcap, scale=1 / math.sqrt(width))
    base = settings["rope.freq_base_swa"]
    window = settings["attention.sliding_window"] or None
    turning = mixer.rope if base is None or window is None else arch.Rope(base)
    near = replace(far, window=window, rope=turning)
    every = settings["attention.sliding_window_pattern"]
    feeding = arch.changed(config.block.feed_forward, arch.FeedForward, activation="gelu_tanh")
    blocks = {
        kind: replace(config.block, mixer=kind, feed_forward=feeding, norms="sandwich")
        for kind in (near, far)
    }
    layers = [blocks[near if (i + 1) % every else far] for i in range(config.n_layers)]
    return replace(
        config,
        context=settings["context_length"],  # what the scaling reaches
        stack=replace(config.stack, runs=arch.runs_of(layers)),
        embedding_scale=math.sqrt(config.dim),
        softcap=settings["final_logit_softcapping"],
    )


ARCHITECTURES: dict[str, Architecture] = {
    "llama": Architecture(LLAMA_NAMES),
    "qwen2": Architecture(NAMES),
    "qwen3": Architecture(NAMES, qk_norm=True),
    "gemma2": Architecture(GEMMA_NAMES, GEMMA2_SETTINGS, change=gemma2),
    "gemma3": Architecture(GEMMA_NAMES, GEMMA3_SETTINGS, qk_norm=True, change=gemma3),
}
