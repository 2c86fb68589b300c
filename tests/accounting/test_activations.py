"""Activation bytes of llmlib.accounting: what saved-tensor hooks see of the library's decoder."""

import dataclasses
from typing import Any

import pytest
import sympy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

import llmlib.architecture as arch
from llmlib.accounting import (
    LETTERS,
    activation_bytes,
    fused_activation_bytes,
    in_letters,
    parameters,
)
from llmlib.decoder import Decoder, DecoderConfig
from llmlib.model_cards import card
from llmlib.training import next_token_loss
from tests.accounting.numbers import numbers_of
from tests.folding import for_each
from tests.training_peak import checkpoint_blocks

GPT: dict[str, Any] = {"norm": "layer", "gated": False, "bias": True, "position": "learned"}
LATENT = arch.Latent(6, kv_rank=14, rope_dim=4, plain_dim=6, value_dim=5)
SETTINGS: dict[str, dict[str, Any]] = {
    "llama": {"n_kv_heads": 3},
    "llama, untied, interleaved": {"tied": False, "rope_layout": "interleaved"},
    "multi-query, window": {"n_kv_heads": 1, "window": 4},
    "gpt-2": {**GPT, "activation": "gelu_tanh"},
    "gpt-2, untied, exact gelu": {**GPT, "activation": "gelu", "tied": False},
    "gpt-1": {**GPT, "activation": "gelu_tanh", "norm_position": "post"},
    "post-norm rms": {"norm_position": "post", "gated": False, "activation": "relu",
                      "position": "none"},
    "bloom": {**GPT, "position": "alibi", "embedding_norm": True, "activation": "gelu_tanh"},
    "alibi, embedding norm": {"position": "alibi", "embedding_norm": True},
    "qwen3": {"n_kv_heads": 2, "head_dim": 10, "qk_norm": True},
    "latent": {"latent": LATENT},
    "latent, queries too": {"latent": dataclasses.replace(LATENT, query_rank=9), "tied": False},
    "reglu": {"activation": "relu"},
    "geglu": {"activation": "gelu"},
    "geglu, tanh": {"activation": "gelu_tanh"},
    "glu": {"activation": "sigmoid"},
    "bilinear": {"activation": "identity"},
}  # fmt: skip
KINDS = {"flash": "auto", "reference": "reference"}


def config(**changes: Any) -> arch.ModelConfig:
    """Sizes of which no two are equal, so that mixed-up letters show."""
    sizes = {"vocab_size": 97, "dim": 48, "n_layers": 3, "n_heads": 6, "ffn_dim": 40}
    return DecoderConfig(**{**sizes, "context": 64, **changes})


def kept(model: Decoder, batch: int, seq: int) -> int:
    """Bytes that autograd saves: each storage once, without parameters and single numbers."""
    ids = torch.randint(0, model.config.vocab_size, (2, batch, seq)).unbind()
    ids = [one.clone() for one in ids]
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    saved: dict[int, torch.Tensor] = {}  # holds them, so that no address is used twice

    def pack(x: torch.Tensor) -> torch.Tensor:
        if x.untyped_storage().data_ptr() not in own and x.numel() > 1:
            saved[x.untyped_storage().data_ptr()] = x
        return x

    with saved_tensors_hooks(pack, lambda x: x):
        loss = next_token_loss(model(ids[0]), ids[1])
    assert loss.requires_grad
    return sum(x.untyped_storage().nbytes() for x in saved.values())


# --- what autograd keeps ----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@for_each("kind", KINDS)
@for_each("changes", SETTINGS.values(), ids=SETTINGS)
def test_to_the_byte(changes: dict[str, Any], kind: Any, dtype: torch.dtype) -> None:
    model = Decoder(config(**changes), engine=KINDS[kind]).to(dtype)
    expected = activation_bytes(model.config, 3, 11, dtype, attention=kind)
    assert kept(model, 3, 11) == expected.total


NEAR = arch.changed(config(n_kv_heads=3).block, arch.Attention, window=4, rope=arch.Rope(5.0))
RUNS = (arch.repeat(2, arch.repeat(2, NEAR), config(n_kv_heads=3).block),)
GAIN = arch.Norm(gain="1 + weight")
OTHERS: dict[str, arch.ModelConfig] = {
    name: arch.changed(config(n_kv_heads=3), kind, **changes)
    for name, (kind, changes) in {
        "sandwich, 1 + weight": (arch.Block, {"norms": "sandwich", "norm": GAIN}),
        "output norms": (arch.Block, {"norms": "output"}),
        "norms over all heads": (arch.Attention, {"qk_norm": GAIN, "qk_norm_over": "all heads"}),
        "LayerNorm of heads": (arch.Attention, {"qk_norm": arch.LAYER}),
        "parallel": (arch.Block, {"order": "parallel", "norm": arch.LAYER}),
        "parallel, one norm": (arch.Block, {"order": "parallel, one norm"}),
        "wide values": (arch.Attention, {"value_dim": 12}),
        "partial RoPE": (arch.Attention, {"rope": arch.Rope(share=0.5)}),
        "first norm left out": (arch.Block, {"mixer_norm": False}),
        "capped and scaled": (arch.ModelConfig, {"softcap": 30.0, "embedding_scale": 3.0}),
        "residuals scaled": (arch.Block, {"residual_scale": 0.5}),
        "mixed": (arch.ModelConfig, {"stack": arch.Stack(RUNS)}),
    }.items()
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@for_each("kind", KINDS)
@for_each("c", OTHERS.values(), ids=OTHERS)
def test_other_descriptions_to_the_byte(c: arch.ModelConfig, kind: Any, dtype: torch.dtype) -> None:
    model = Decoder(c, engine=KINDS[kind]).to(dtype)
    assert kept(model, 3, 11) == activation_bytes(c, 3, 11, dtype, attention=kind).total


@given(
    batch=st.integers(2, 4), seq=st.integers(2, 24), n_layers=st.integers(1, 3),
    groups=st.sampled_from([1, 2, 4]), ffn_dim=st.integers(1, 60), gated=st.booleans(),
    norm=st.sampled_from(["rms", "layer"]), kind=st.sampled_from(list(KINDS)),
)  # fmt: skip
@settings(max_examples=25)
def test_any_sizes(
    batch: int, seq: int, n_layers: int, groups: int, ffn_dim: int, gated: bool, norm: str,
    kind: Any,
) -> None:  # fmt: skip
    sizes: dict[str, Any] = {"n_layers": n_layers, "n_heads": 4, "n_kv_heads": groups, "dim": 32}
    choices: dict[str, Any] = {"ffn_dim": ffn_dim, "gated": gated, "norm": norm}
    model = Decoder(config(**sizes, **choices), engine=KINDS[kind])
    assert kept(model, batch, seq) == activation_bytes(model.config, batch, seq,
                                                       attention=kind).total  # fmt: skip


@pytest.mark.parametrize("name", ["llama", "gpt-2", "bloom", "latent"])
@pytest.mark.parametrize("kind", KINDS)
def test_one_text_alone(name: str, kind: Any) -> None:
    """A few copies of values are views then: up to 5% less, never more."""
    model = Decoder(config(**SETTINGS[name]), engine=KINDS[kind])
    expected = activation_bytes(model.config, 1, 24, attention=kind).total
    assert 0.95 * expected <= kept(model, 1, 24) <= expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@for_each("kind", KINDS)
@for_each("name", ["llama", "gpt-2", "gpt-1", "bloom", "qwen3", "latent"])
def test_checkpointed_blocks(name: str, kind: Any, dtype: torch.dtype) -> None:
    """What positions make for all layers goes to each block by name, where no hook sees it."""
    model = Decoder(config(**SETTINGS[name]), engine=KINDS[kind]).to(dtype)
    checkpoint_blocks(model)
    expected = activation_bytes(model.config, 3, 11, dtype, attention=kind, checkpointing=True)
    tables = expected.get("embedding.positions", 0) if model.positions is None else 0
    assert kept(model, 3, 11) == expected.total - tables
    assert expected["blocks.input"] == 3 * (3 * 11 * 48 * dtype.itemsize)


def test_a_checkpoint_is_one_input() -> None:
    """A function of one tensor, whatever it computes, keeps that tensor."""
    saved = []
    x = torch.randn(5, 7, requires_grad=True)
    with saved_tensors_hooks(lambda t: saved.append(t.nbytes) or t, lambda t: t):
        checkpoint(lambda t: t.exp().sin().exp(), x, use_reentrant=False)
    assert sum(saved) == x.nbytes


# --- as formulas ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["GPT-2", "LLaMA-7B", "Mistral-7B-v0.1", "Qwen2-7B"])
def test_letters_give_the_formula(name: str, kind: Any) -> None:
    exact = card(name).config
    formula = activation_bytes(in_letters(exact), LETTERS["batch"], LETTERS["seq"], attention=kind)
    given = {LETTERS["batch"]: sympy.Integer(4), LETTERS["seq"]: sympy.Integer(1024)}
    numbers = numbers_of(exact) | given
    expected = activation_bytes(exact, 4, 1024, attention=kind)
    assert {name: x.xreplace(numbers) for name, x in formula.items()} == dict(expected)


def test_only_the_formula_of_attention_grows_as_the_square() -> None:
    c = in_letters(card("LLaMA-7B").config)
    b, s, H, L = (LETTERS[x] for x in ("batch", "seq", "n_heads", "n_layers"))
    square = {
        kind: sympy.expand(activation_bytes(c, b, s, attention=kind).total).coeff(s, 2)
        for kind in KINDS
    }
    assert square["flash"] == 0
    assert sympy.expand(square["reference"] - (12 * b * H + 1) * L) == 0


def test_the_rule_of_thumb() -> None:
    """s b h (34 + 5 a s / h) bytes a layer of the classic block; for GPT-2 a s / h is 16."""
    b, s, d, H, L = (LETTERS[x] for x in ("batch", "seq", "dim", "n_heads", "n_layers"))
    classic = in_letters(card("GPT-2").config, ffn_dim=4 * d, head_dim=d / H)
    rule = fused_activation_bytes(classic, b, s).total
    assert sympy.simplify(rule - L * s * b * d * (34 + 5 * H * s / d)) == 0
    own = card("GPT-2").config
    assert fused_activation_bytes(own, 1, 1024).total == 12 * 1024 * 768 * (
        34 + 5 * 12 * 1024 // 768
    )


def test_a_block_keeps_more_than_its_weights_read() -> None:
    """At 2,048 tokens LLaMA-7B's activations in 16 bit outweigh its parameters."""
    c = card("LLaMA-7B").config
    assert activation_bytes(c, 1, 2048, torch.bfloat16).total > 2 * parameters(c).total


# --- bad input --------------------------------------------------------------------------------


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("options", "error", "named"),
    [
        ({"batch": 0}, ValueError, "batch"),
        ({"seq": 1.5}, TypeError, "1.5"),
        ({"dtype": -2}, ValueError, "-2"),
        ({"attention": "sdpa"}, ValueError, "'sdpa'"),
    ],
)
def test_bad_arguments(options: dict[str, Any], error: type[Exception], named: str) -> None:
    arguments = {"batch": 2, "seq": 8} | options
    with pytest.raises(error, match=named):
        activation_bytes(config(), **arguments)


@pytest.mark.bad_input
def test_models_that_are_not_counted() -> None:
    plain = card("LLaMA-7B").config
    refused = {
        "family": card("BERT-base").config,
        "experts": card("Mixtral-8x7B-v0.1").config,
        "mixer": arch.changed(plain, arch.Block, mixer=arch.GatedDelta(2, 4, 8, 8)),
        "sinks": arch.changed(plain, arch.Attention, sinks=True),
        "activation": arch.changed(plain, arch.FeedForward, activation="relu_squared"),
    }
    for named, one in refused.items():
        with pytest.raises(ValueError, match=named):
            activation_bytes(one, 2, 8)
        with pytest.raises(ValueError, match=named):
            fused_activation_bytes(one, 2, 8)
