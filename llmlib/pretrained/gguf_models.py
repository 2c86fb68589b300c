"""Models from GGUF files, and SmolLM2, the real language model that comes inside a package.

llama.cpp rotates adjacent pairs of features, so its converter reorders the rows of Llama's query
and key matrices; here they are put back. Left as they are, short prompts still look right.
"""

from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from llmlib.decoder import Decoder, DecoderConfig
from llmlib.formats.gguf import GGUFFile
from llmlib.formats.packaged import smollm2_gguf
from llmlib.pretrained.assemble import (
    Rule,
    check_sizes,
    empty_decoder,
    fill,
    weights_dtype,
)
from llmlib.pretrained.gguf_settings import model_settings, rope_scaling
from llmlib.pretrained.rope_settings import context
from llmlib.pretrained.settings import Settings
from llmlib.tokenization import ByteLevelBPETokenizer

ARCHITECTURES = ("llama", "qwen2", "qwen3")


def smollm2(dtype: torch.dtype | str = torch.float32) -> tuple[Decoder, ByteLevelBPETokenizer]:
    """SmolLM2-135M-Instruct and its tokenizer: 134,515,008 weights, 30 layers, Apache-2.0.

    Raises:
        FileNotFoundError: the package is not installed; the text says which command installs it.

    Source: allal2025smollm2
    """
    return load_gguf(smollm2_gguf(), dtype)


def load_gguf(
    path: str | Path, dtype: torch.dtype | str = torch.float32
) -> tuple[Decoder, ByteLevelBPETokenizer]:
    """The model and the tokenizer of a GGUF file.

    Args:
        path: the file; architectures llama (Mistral too), qwen2, qwen3; numbers in F32, F16, Q8_0,
            Q4_0 or Q4_1.
        dtype: type of the weights in memory, whatever the file holds, or its name: float64,
            float32, float16, bfloat16.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not GGUF, cut off or damaged, one of several files of a model, an architecture,
            setting, storage type or tokenizer that is not known, a setting that the models here do
            not have, tensors that are missing, left over or of another shape, another dtype.
    """
    file = GGUFFile(path)
    model = gguf_model(file, dtype)
    return model, ByteLevelBPETokenizer.from_gguf_metadata(file.settings, file.path)


def gguf_model(file: GGUFFile, dtype: torch.dtype | str = torch.float32) -> Decoder:
    """The model of a GGUF file, whatever its tokenizer; it raises what `load_gguf` raises."""
    dtype, config = weights_dtype(dtype), gguf_config(file)
    try:
        check_sizes(config, file)
        model = empty_decoder(config)
    except (TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise ValueError(f"{file.path}: {error}") from None
    rules = gguf_rules(config, permuted=file.settings["general.architecture"] == "llama")
    return fill(model, file, rules, lambda name: False, dtype)


@runtime_checkable
class Described(Protocol):
    """What a model's configuration is read from: a `GGUFFile`, or its tables without the file."""

    settings: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]

    @property
    def path(self) -> Path | str:
        """The file, for the errors."""


def gguf_config(file: Described) -> DecoderConfig:
    """The decoder's configuration, from the file's settings.

    Raises:
        ValueError: a setting that is not known, lacks, or is not supported; the text names the
            file, the setting, its value and what was expected.
    """
    kind = file.settings.get("general.architecture")
    if kind not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise ValueError(f"{file.path}: the architecture is {kind!r}, expected one of {known}")
    try:
        return _config(model_settings(file.settings, kind), file, kind)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{file.path}: {error}") from None


def _heads(settings: Settings, kind: str) -> tuple[int, int, int]:
    """Query heads, key heads and their width, which fit together."""
    heads, dim = settings["attention.head_count"], settings["embedding_length"]
    kv_heads, head_dim = settings["attention.head_count_kv"], settings["attention.key_length"]
    kv_heads = kv_heads or heads
    if heads % kv_heads:
        raise ValueError(
            f"{kind}.attention.head_count_kv is {kv_heads}, expected a divisor of {heads} heads"
        )
    if head_dim is None and dim % heads:
        raise ValueError(
            f"{kind}.attention.head_count is {heads}, expected a divisor of embedding_length "
            f"{dim}: there is no attention.key_length"
        )
    head_dim = head_dim or dim // heads
    for key in ("attention.value_length", "rope.dimension_count"):
        if settings[key] not in (None, head_dim):
            raise ValueError(
                f"{kind}.{key} is {settings[key]}, expected {head_dim} as the keys have: values "
                "of another width, or RoPE that turns a part of each head, is not supported"
            )
    return heads, kv_heads, head_dim


def _config(settings: Settings, file: Described, kind: str) -> DecoderConfig:
    heads, kv_heads, head_dim = _heads(settings, kind)
    shape = file.shapes.get("token_embd.weight", ())
    if len(shape) != 2:
        raise ValueError(
            f"tensor 'token_embd.weight' is missing, or not a matrix: its shape is {shape}"
        )
    scaling = rope_scaling(settings)
    return DecoderConfig(
        vocab_size=shape[0],
        dim=settings["embedding_length"],
        n_layers=settings["block_count"],
        n_heads=heads,
        n_kv_heads=kv_heads,
        head_dim=head_dim,
        ffn_dim=settings["feed_forward_length"],
        context=context(settings["context_length"], scaling),
        # The file has it in float32: 9.99999974e-06 is meant as 1e-05.
        norm_eps=float(f"{settings['attention.layer_norm_rms_epsilon']:.6g}"),
        qkv_bias="blk.0.attn_q.bias" in file.shapes,
        qk_norm=kind == "qwen3",
        rope_base=settings["rope.freq_base"],
        rope_scaling=scaling,
        window=settings["attention.sliding_window"] or None,
        tied="output.weight" not in file.shapes,
    )


def gguf_rules(config: DecoderConfig, permuted: bool) -> list[Rule]:
    """Which tensor of the file becomes which parameter; permuted: rows of queries and keys are."""
    heads = {"query": config.n_heads, "key": config.n_kv_heads or config.n_heads}
    rules = [
        Rule("embedding.weight", "token_embd.weight"),
        Rule("norm.weight", "output_norm.weight"),
    ]
    if not config.tied:
        rules.append(Rule("output.weight", "output.weight"))
    for i in range(config.n_layers):
        attention, stored = f"blocks.{i}.attention.sublayer", f"blk.{i}"
        for name, short in (("query", "q"), ("key", "k"), ("value", "v"), ("output", "output")):
            tensor, parameter = f"{stored}.attn_{short}", f"{attention}.{name}"
            kinds = ("weight", "bias") if config.qkv_bias and name != "output" else ("weight",)
            for kind in kinds:
                whole = Rule(f"{parameter}.{kind}", f"{tensor}.{kind}")
                if permuted and name in heads:
                    n = heads[name]
                    whole = Rule(whole.parameter, whole.tensor, partial(unpermute, n_heads=n))
                rules.append(whole)
            if config.qk_norm and name in heads:
                rules.append(Rule(f"{parameter}_norm.weight", f"{tensor}_norm.weight"))
        for name in ("gate", "up", "down"):
            parameter = f"blocks.{i}.feed_forward.sublayer.{name}.weight"
            rules.append(Rule(parameter, f"{stored}.ffn_{name}.weight"))
        rules.append(Rule(f"blocks.{i}.attention.norm.weight", f"{stored}.attn_norm.weight"))
        rules.append(Rule(f"blocks.{i}.feed_forward.norm.weight", f"{stored}.ffn_norm.weight"))
    return rules


def unpermute(rows: Tensor, n_heads: int) -> Tensor:
    """Query or key rows as Hugging Face has them: feature i turns with i + head_dim/2.

    In GGUF the rows of a pair lie side by side, (head, pair, 2): that is read as it lies and turned
    into (head, 2, pair).
    """
    return rows.unflatten(0, (n_heads, -1, 2)).transpose(1, 2).flatten(0, 2)
