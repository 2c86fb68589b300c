"""Models from GGUF files, and SmolLM2, the real language model that comes inside a package."""

from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

import llmlib.architecture as arch
from llmlib.decoder import Decoder
from llmlib.formats.gguf import GGUFFile
from llmlib.formats.packaged import smollm2_gguf
from llmlib.pretrained.assemble import check_layers, check_sizes, fill, weights_dtype
from llmlib.pretrained.gguf_architectures import ARCHITECTURES
from llmlib.pretrained.gguf_settings import model_settings, rope_scaling
from llmlib.pretrained.names import rules_of
from llmlib.pretrained.rope_settings import reach
from llmlib.pretrained.settings import Settings
from llmlib.tokenization import AnyTokenizer, gguf_tokenizer

FACTORS = "rope_freqs.weight"
"""Llama 3's scaling, worked out: what each pair's frequency is divided by."""


def smollm2(dtype: torch.dtype | str = torch.float32) -> tuple[Decoder, AnyTokenizer]:
    """SmolLM2-135M-Instruct and its tokenizer: 134,515,008 weights, 30 layers, Apache-2.0.

    Raises:
        FileNotFoundError: the package is not installed; the text says which command installs it.

    Source: allal2025smollm2
    """
    return load_gguf(smollm2_gguf(), dtype)


def load_gguf(
    path: str | Path, dtype: torch.dtype | str = torch.float32
) -> tuple[Decoder, AnyTokenizer]:
    """The model and the tokenizer of a GGUF file.

    Args:
        path: the file, or any of the files of one model; architectures llama (Mistral too), qwen2,
            qwen3, gemma2, gemma3; numbers in F32, F16, BF16, Q8_0, Q4_0 to Q5_1, or Q2_K to Q6_K.
        dtype: type of the weights in memory, whatever the file holds, or its name: float64,
            float32, float16, bfloat16.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not GGUF, cut off or damaged, one of several files missing, an architecture,
            setting, storage type or tokenizer that is not known, a setting that the models here do
            not have, tensors that are missing, left over or of another shape, another dtype.
    """
    file = GGUFFile(path)
    model = gguf_model(file, dtype)
    return model, gguf_tokenizer(file.settings, file.path)


def gguf_model(file: GGUFFile, dtype: torch.dtype | str = torch.float32) -> Decoder:
    """The model of a GGUF file, whatever its tokenizer; it raises what `load_gguf` raises."""
    dtype, config = weights_dtype(dtype), gguf_config(file)
    try:
        check_sizes(config, file)
        with torch.device("meta"):
            model = Decoder(config)
    except (TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise ValueError(f"{file.path}: {error}") from None
    rules = rules_of(model, config, ARCHITECTURES[file.settings["general.architecture"]].names)
    return fill(model, file, rules, lambda name: name == FACTORS, dtype)


@runtime_checkable
class Described(Protocol):
    """What a model's configuration is read from: a `GGUFFile`, or its tables without the file."""

    settings: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]

    def read(self, name: str) -> Tensor:
        """A tensor of the file."""

    @property
    def path(self) -> Path | str:
        """The file, for the errors."""


def gguf_config(file: Described) -> arch.ModelConfig:
    """What the file's settings describe.

    Raises:
        ValueError: a setting that is not known, lacks, or is not supported; the text names the
            file, the setting, its value and what was expected.
    """
    kind = file.settings.get("general.architecture")
    if kind not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise ValueError(f"{file.path}: the architecture is {kind!r}, expected one of {known}")
    try:
        settings = model_settings(file.settings, kind, ARCHITECTURES[kind].settings)
        config = _config(settings, file, kind)
        change = ARCHITECTURES[kind].change
        if change is not None:
            check_layers(f"{kind}.block_count", config.n_layers, file.shapes)
            config = change(settings, config)
        return config
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


def _config(settings: Settings, file: Described, kind: str) -> arch.ModelConfig:
    shape = file.shapes.get("token_embd.weight", ())
    if len(shape) != 2:
        raise ValueError(
            f"tensor 'token_embd.weight' is missing, or not a matrix: its shape is {shape}"
        )
    # The file has it in float32: 9.99999974e-06 is meant as 1e-05.
    norm = arch.Norm("rms", float(f"{settings['attention.layer_norm_rms_epsilon']:.6g}"))
    heads = _heads(settings, kind)
    turning = arch.Rope(settings["rope.freq_base"], scaling=_scaling(settings, file, heads[2]))
    mixer = arch.Attention(
        *heads,
        turning,
        settings["attention.sliding_window"] or None,
        qkv_bias="blk.0.attn_q.bias" in file.shapes,
        qk_norm=norm if ARCHITECTURES[kind].qk_norm else None,
    )
    block = arch.Block(mixer, arch.FeedForward(settings["feed_forward_length"]), norm)
    return arch.ModelConfig(
        settings["embedding_length"],
        shape[0],
        reach(settings["context_length"], turning),
        arch.Stack((arch.repeat(settings["block_count"], block),), norm),
        tied="output.weight" not in file.shapes,
    )


def _scaling(settings: Settings, file: Described, head_dim: int) -> arch.Scaling | None:
    """Of the settings, or a factor for each pair of features where the file has them."""
    scaling = rope_scaling(settings)
    if FACTORS not in file.shapes:
        return scaling
    if scaling is not None:
        raise ValueError(
            f"tensor {FACTORS!r} is there beside rope.scaling.type {scaling.kind}, expected one of "
            "them"
        )
    if file.shapes[FACTORS] != (head_dim // 2,):
        raise ValueError(
            f"tensor {FACTORS!r} has shape {file.shapes[FACTORS]}, expected ({head_dim // 2},): a "
            "factor for each pair of features"
        )
    return arch.Scaling("factors", more=(("factors", tuple(file.read(FACTORS).tolist())),))
