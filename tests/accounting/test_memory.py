"""Bytes of llmlib.accounting, held against filled caches, built weights and training runs."""

import dataclasses
import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import sympy
import torch

import llmlib.architecture as arch
from llmlib.accounting import (
    LETTERS,
    in_letters,
    kv_cache_bytes,
    number_bytes,
    parameters,
    training_bytes,
    training_moments,
    weight_bytes,
)
from llmlib.attention import Attention
from llmlib.decoder import Decoder, DecoderConfig
from llmlib.kv_cache import (
    FixedKVCache,
    KVCache,
    LatentKVCache,
    QuantizedKVCache,
    RollingKVCache,
)
from llmlib.model_cards import MILESTONES, card
from tests.accounting.numbers import numbers_of
from tests.training_peak import ENVIRONMENT

HERE = Path(__file__).resolve().parent.parent
BATCH, PROMPT, SEQ = 3, 9, 11  # tokens: a prompt, then one by one
GROUPS = {"multi-head": 6, "grouped": 3, "multi-query": 1}
LATENT = arch.Latent(6, kv_rank=14, rope_dim=4, plain_dim=6, value_dim=5)


def small(**changes: Any) -> arch.ModelConfig:
    """Sizes of which no two are equal."""
    sizes = {"vocab_size": 97, "dim": 48, "n_layers": 2, "n_heads": 6, "ffn_dim": 40}
    return DecoderConfig(**{**sizes, "context": 64, **changes})


def filled(config: arch.ModelConfig, cache: KVCache, dtype: torch.dtype = torch.float32) -> KVCache:
    """The cache after a prompt and a few tokens."""
    model, ids = Decoder(config).to(dtype), torch.randint(0, 97, (BATCH, SEQ))
    with torch.no_grad():
        model(ids[:, :PROMPT], cache)
        for i in range(PROMPT, SEQ):
            model(ids[:, i : i + 1], cache)
    return cache


# --- caches -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("n_kv_heads", GROUPS.values(), ids=GROUPS)
def test_a_full_cache(n_kv_heads: int, dtype: torch.dtype) -> None:
    config = small(n_kv_heads=n_kv_heads)
    cache = filled(config, KVCache(), dtype)
    expected = kv_cache_bytes(config, BATCH, SEQ, dtype)
    assert cache.n_bytes == expected == 2 * BATCH * 2 * n_kv_heads * 8 * SEQ * dtype.itemsize


def test_allocated_tensors_are_as_many_where_the_length_is_known() -> None:
    config = small(n_kv_heads=3)
    expected = kv_cache_bytes(config, BATCH, SEQ, torch.float32)
    for cache in (KVCache(SEQ), FixedKVCache(SEQ)):
        assert filled(config, cache).allocated_bytes == expected
    grown = filled(config, KVCache(4))  # 4, 8, 16 tokens
    assert grown.n_bytes == expected
    assert grown.allocated_bytes == kv_cache_bytes(config, BATCH, 16, torch.float32)


@pytest.mark.parametrize("window", [4, 8, 64])
def test_a_rolling_cache_holds_the_window(window: int) -> None:
    config = small(n_kv_heads=2, window=window)
    cache = filled(config, RollingKVCache(window))
    assert cache.n_bytes == kv_cache_bytes(config, BATCH, SEQ, torch.float32, rolling=True)
    held = min(SEQ, window)
    assert cache.n_bytes == kv_cache_bytes(config, BATCH, held, torch.float32)


@pytest.mark.parametrize("latent", [LATENT, arch.Latent(6, 8, 2, 4, 3, query_rank=5)])
def test_latents(latent: arch.Latent) -> None:
    config = small(latent=latent)
    cache = filled(config, LatentKVCache(SEQ))
    assert cache.n_bytes == kv_cache_bytes(config, BATCH, SEQ, torch.float32)
    assert cache.n_bytes == cache.allocated_bytes == BATCH * 2 * latent.row * SEQ * 4


@pytest.mark.parametrize("changes", [{}, {"n_kv_heads": 2}, {"latent": LATENT}])
def test_quantized_caches_have_scales(changes: dict[str, Any]) -> None:
    config = small(**changes)
    cache = filled(config, QuantizedKVCache())
    assert cache.n_bytes == kv_cache_bytes(config, BATCH, SEQ, torch.int8)
    assert kv_cache_bytes(config, BATCH, SEQ, 1) < cache.n_bytes


def test_an_encoder_decoder_has_two() -> None:
    """One attention of each kind is a layer's: `config` has two of them."""
    config = card("T5-small").config
    width, heads = config.dim, config.block.mixer.n_heads
    target, source = torch.randn(BATCH, SEQ, width), torch.randn(BATCH, 7, width)
    own, cross = Attention(width, heads, causal=True), Attention(width, heads)
    cache = KVCache()
    with torch.no_grad():
        own(target, cache=cache.layer(0))
        kept = sum(x.nbytes for x in cross.keys_values(source))
    expected = kv_cache_bytes(config, BATCH, SEQ, torch.float32, source_seq=7)
    assert config.n_layers * (cache.n_bytes + kept) == expected
    same = kv_cache_bytes(config, BATCH, SEQ, torch.float32, source_seq=SEQ)
    assert kv_cache_bytes(config, BATCH, SEQ, torch.float32) == same


def test_numbers_of_any_size() -> None:
    assert [number_bytes(x) for x in (torch.float32, torch.int8, 2)] == [4, 1, 2]
    half = kv_cache_bytes(small(), 1, 8, Fraction(1, 2))  # four bits
    assert half * 4 == kv_cache_bytes(small(), 1, 8, torch.float16)
    assert half * 4 == kv_cache_bytes(small(), 1, 8)  # bfloat16 is the default


def test_a_cache_in_letters() -> None:
    b, s, w = LETTERS["batch"], LETTERS["seq"], sympy.Symbol("w", positive=True)
    L, G, d_head, W = (LETTERS[x] for x in ("n_layers", "n_kv_heads", "head_dim", "window"))
    config = in_letters(card("Mistral-7B-v0.1").config)
    assert sympy.expand(kv_cache_bytes(config, b, s, w) - 2 * b * L * G * d_head * s * w) == 0
    rolled = kv_cache_bytes(config, b, s, w, rolling=True)
    assert sympy.expand(rolled - 2 * b * L * G * d_head * sympy.Min(s, W) * w) == 0
    latent = in_letters(small(latent=LATENT))
    row = LETTERS["kv_rank"] + LETTERS["rope_dim"]
    assert sympy.expand(kv_cache_bytes(latent, b, s, w) - b * L * row * s * w) == 0


# --- mixed stacks -----------------------------------------------------------------------------


def mixed(window: int) -> arch.ModelConfig:
    """Two windows and a layer that sees all, whose heads are of another width."""
    config = small(n_kv_heads=2)
    near = arch.changed(config.block, arch.Attention, window=window)
    far = arch.changed(config.block, arch.Attention, n_kv_heads=3)
    return dataclasses.replace(config, stack=arch.Stack((arch.repeat(1, near, near, far),)))


@pytest.mark.parametrize("window", [4, 64])
def test_a_mixed_stack_rolls_where_it_has_windows(window: int) -> None:
    config = mixed(window)
    cache = filled(config, Decoder(config).new_cache())
    expected = 4 * BATCH * 2 * 8 * (2 * 2 * min(SEQ, window) + 3 * SEQ)
    assert cache.n_bytes == kv_cache_bytes(config, BATCH, SEQ, torch.float32) == expected
    everything = kv_cache_bytes(config, BATCH, SEQ, torch.float32, rolling=False)
    assert everything == filled(config, KVCache()).n_bytes == 4 * BATCH * 2 * 8 * 7 * SEQ


@pytest.mark.parametrize(
    ("name", "first", "later"),
    [("Gemma-3-27B", 62, 10), ("gpt-oss-120b", 36, 18), ("OLMo-3-7B", 32, 8)],
)
def test_only_layers_that_see_all_grow_beyond_the_window(name: str, first: int, later: int) -> None:
    """Gemma 3 27B: 496 KiB a token at first, and 80 KiB beyond the window."""
    config = card(name).config
    attention = arch.layers(config.stack.runs)[0].mixer
    assert isinstance(attention, arch.Attention)
    row = 2 * attention.n_kv_heads * attention.head_dim * 2
    window = attention.window or 0

    def grows(seq: int) -> int:
        return kv_cache_bytes(config, 1, seq + 1) - kv_cache_bytes(config, 1, seq)

    assert (grows(1), grows(window - 1), grows(window)) == (first * row, first * row, later * row)
    if name == "Gemma-3-27B":
        assert (grows(1), grows(window)) == (496 * 1024, 80 * 1024)


def test_a_state_is_as_large_after_one_token_as_after_many() -> None:
    """36 layers keep 32 matrices of 128 by 128 and three inputs of a convolution."""
    config = card("Qwen3-Next-80B-A3B").config
    state = 36 * (32 * 128 * 128 + 3 * (2 * 16 * 128 + 32 * 128))
    for seq in (1, 1000):
        expected = 2 * (state + 12 * 2 * 2 * 256 * seq)
        assert kv_cache_bytes(config, 1, seq) == expected


# --- weights ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("changes", [{}, {"tied": False, "n_kv_heads": 2}, {"latent": LATENT}])
def test_weights_of_a_built_model(changes: dict[str, Any], dtype: torch.dtype) -> None:
    model = Decoder(small(**changes)).to(dtype)
    assert weight_bytes(model.config, dtype) == sum(x.nbytes for x in model.parameters())


# --- a training step --------------------------------------------------------------------------

LLAMA = {"vocab_size": 16384, "dim": 384, "n_layers": 6, "n_heads": 6, "n_kv_heads": 3,
         "ffn_dim": 1024, "context": 512, "tied": False}  # fmt: skip
GPT = {"vocab_size": 4096, "dim": 512, "n_layers": 6, "n_heads": 8, "n_kv_heads": 8,
       "ffn_dim": 2048, "context": 512, "norm": "layer", "activation": "gelu_tanh",
       "gated": False, "bias": True, "position": "learned"}  # fmt: skip
WIDE = {"vocab_size": 512, "dim": 256, "n_layers": 4, "n_heads": 4, "n_kv_heads": 1,
        "ffn_dim": 6144, "context": 1024}  # fmt: skip
# config, batch, seq, attention, checkpointing, the moment that is the fullest
CASES: dict[str, tuple[dict[str, Any], int, int, str, bool, str]] = {
    "flash": (LLAMA, 5, 128, "flash", False, "loss"),
    "reference": (LLAMA, 2, 256, "reference", False, "loss"),
    "flash, checkpoints": (LLAMA, 5, 128, "flash", True, "loss"),
    "reference, checkpoints": (GPT, 2, 320, "reference", True, "first_layer.attention"),
    "few tokens": (GPT, 2, 48, "flash", False, "end"),
    "wide block, checkpoints": (WIDE, 2, 512, "flash", True, "first_layer.feed_forward"),
}


def told(name: str) -> dict[str, Any]:
    """What the process that is measured has to know of a case."""
    sizes, batch, seq, attention, checkpointing, _ = CASES[name]
    engine = "auto" if attention == "flash" else attention
    return {"config": sizes, "engine": engine, "batch": batch, "seq": seq,
            "checkpointing": checkpointing}  # fmt: skip


@pytest.fixture(scope="module")
def growth() -> dict[str, int]:
    """By how many bytes a process grew in each case; one import of PyTorch serves them all."""
    path = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, HERE / "training_peak.py"], input=json.dumps([told(x) for x in CASES]),
        env={**os.environ, **ENVIRONMENT, "PYTHONPATH": path}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(zip(CASES, map(int, done.stdout.split()), strict=True))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="resident memory of Linux")
@pytest.mark.parametrize("name", CASES)
def test_the_peak_of_a_training_step(name: str, growth: dict[str, int]) -> None:
    """Within 10% of what a process grows by: 20 to 22 million parameters, float32, AdamW."""
    _, batch, seq, attention, checkpointing, fullest = CASES[name]
    config = DecoderConfig(**told(name)["config"])
    options: dict[str, Any] = {"attention": attention, "checkpointing": checkpointing}
    expected = training_bytes(config, batch, seq, **options)
    moments = training_moments(config, batch, seq, **options)
    assert dict(expected) == dict(moments[fullest])
    assert growth[name] == pytest.approx(expected.total, rel=0.1)


def test_bytes_a_parameter() -> None:
    """Float32 with AdamW: 4 + 8, and 4 of gradients at the end; mixed 2 + 12 and 2."""
    config, n = card("LLaMA-7B").config, parameters(card("LLaMA-7B").config).total
    expected = {
        ("float32", "adamw"): (4, 8, 4), ("float32", "sgd"): (4, 0, 4),
        ("mixed", "adamw"): (2, 12, 2), ("mixed", "sgd"): (2, 4, 2),
    }  # fmt: skip
    for (precision, optimizer), sizes in expected.items():
        options: dict[str, Any] = {"precision": precision, "optimizer": optimizer}
        end = training_moments(config, 1, 1, **options)["end"]
        names = ("weights", "optimizer", "gradients")
        assert tuple(end[name] / n for name in names) == sizes
        assert set(end) == set(names)  # the head is a matrix of its own
    short, long = (training_bytes(config, 1, seq, precision="mixed") for seq in (16, 4096))
    assert short.total == 16 * n
    assert long["activations"] > long["gradients"]


def test_checkpointing_and_flash_attention_save_memory() -> None:
    config = card("GPT-2").config
    totals = {
        (attention, again): training_bytes(
            config, 8, 1024, attention=attention, checkpointing=again
        ).total
        for attention in ("flash", "reference") for again in (False, True)
    }  # fmt: skip
    assert totals["flash", True] < totals["flash", False] < totals["reference", False]
    # Where blocks are checkpointed the logits are the most, however attention is computed.
    assert totals["flash", True] == totals["reference", True]


@pytest.mark.parametrize("attention", ["flash", "reference"])
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("name", ["GPT-2", "LLaMA-7B", "Mistral-7B-v0.1", "Qwen2-7B"])
def test_a_step_in_letters(name: str, checkpointing: bool, attention: str) -> None:
    """With numbers in the letters' places the formula gives the same peak."""
    config = MILESTONES[name].config
    options: dict[str, Any] = {"attention": attention, "checkpointing": checkpointing}
    formula = training_bytes(in_letters(config), LETTERS["batch"], LETTERS["seq"], **options)
    assert set(formula) == {"weights", "optimizer", "step"}
    for batch, seq in ((1, 16), (4, 2048)):
        given = {LETTERS["batch"]: sympy.Integer(batch), LETTERS["seq"]: sympy.Integer(seq)}
        expected = training_bytes(config, batch, seq, **options).total
        assert formula.total.xreplace(numbers_of(config) | given) == expected


# --- bad input --------------------------------------------------------------------------------


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("options", "error", "named"),
    [
        ({"batch": 0}, ValueError, "batch"),
        ({"seq": -3}, ValueError, "-3"),
        ({"seq": 2.5}, TypeError, "2.5"),
        ({"dtype": 0}, ValueError, "dtype is 0"),
        ({"dtype": True}, TypeError, "True"),
        ({"dtype": "int9"}, ValueError, "'int9'"),
        ({"dtype": sympy.Integer(0)}, ValueError, "dtype is 0"),
        ({"rolling": True}, ValueError, "window"),
    ],
)
def test_bad_arguments_of_a_cache(
    options: dict[str, Any], error: type[Exception], named: str
) -> None:
    arguments = {"batch": 2, "seq": 8} | options
    with pytest.raises(error, match=named):
        kv_cache_bytes(small(), **arguments)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("options", "error", "named"),
    [
        ({"batch": 0}, ValueError, "batch"),
        ({"seq": 1.0}, TypeError, "1.0"),
        ({"precision": "float16"}, ValueError, "'float16'"),
        ({"optimizer": "adam"}, ValueError, "'adam'"),
        ({"attention": "sdpa"}, ValueError, "'sdpa'"),
    ],
)
def test_bad_arguments_of_a_step(
    options: dict[str, Any], error: type[Exception], named: str
) -> None:
    arguments = {"batch": 2, "seq": 8} | options
    with pytest.raises(error, match=named):
        training_bytes(small(), **arguments)


@pytest.mark.bad_input
def test_models_without_a_cache_or_a_known_step() -> None:
    with pytest.raises(ValueError, match="encoder"):
        kv_cache_bytes(card("BERT-base").config, 1, 8)
    for name in ("BERT-base", "T5-small"):
        with pytest.raises(ValueError, match="family"):
            training_bytes(card(name).config, 1, 8)
    with pytest.raises(TypeError, match="dict"):
        weight_bytes({"dim": 4})  # type: ignore[arg-type]
    state = card("Qwen3-Next-80B-A3B").config
    with pytest.raises(ValueError, match="rolling is True, expected a configuration with a window"):
        kv_cache_bytes(state, 1, 8, rolling=True)
