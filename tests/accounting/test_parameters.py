"""Parameters from a configuration: against built models, in letters, with bad input."""

import dataclasses
from typing import Any

import pytest
import sympy
import torch

from llmlib.accounting import LETTERS, SWITCHES, Breakdown, in_letters, parameters
from llmlib.attention import LatentSizes
from llmlib.decoder import Decoder, DecoderConfig, decoder_config
from llmlib.model_cards import Experts, card, like

SMALL = {"vocab_size": 97, "dim": 48, "n_layers": 3, "n_heads": 6}
LATENT = LatentSizes(kv_rank=20, rope_dim=4, plain_dim=8, value_dim=10, query_rank=12)
CONFIGS = {
    "llama": DecoderConfig(**SMALL),
    "grouped": DecoderConfig(**SMALL, n_kv_heads=2, head_dim=16, ffn_dim=100, tied=False),
    "gpt2": DecoderConfig(
        **SMALL, norm="layer", gated=False, bias=True, position="learned", activation="gelu"
    ),
    "post norm": DecoderConfig(**SMALL, norm_position="post", norm="layer"),
    "qwen2": DecoderConfig(**SMALL, n_kv_heads=3, qkv_bias=True),
    "qwen3": DecoderConfig(**SMALL, qk_norm=True, head_dim=12),
    "bloom": DecoderConfig(**SMALL, position="alibi", embedding_norm=True, norm="layer", bias=True),
    "biases apart": DecoderConfig(**SMALL, out_bias=True, ffn_bias=True),
    "latent": DecoderConfig(**SMALL, latent=LATENT),
    "latent, whole queries": DecoderConfig(
        **SMALL, latent=dataclasses.replace(LATENT, query_rank=None), bias=True
    ),
}


def built(config: DecoderConfig) -> dict[str, int]:
    """Parameters of the built model by component, named as in a breakdown."""
    with torch.device("meta"):
        model = Decoder(config)
    counts: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        counts[component(name)] = counts.get(component(name), 0) + parameter.numel()
    return counts


def component(name: str) -> str:
    """blocks.0.attention.sublayer.query.weight -> attention.query"""
    parts = name.split(".")
    if parts[0] != "blocks":
        return {"norm": "final_norm", "output": "head"}.get(parts[0], parts[0])
    if parts[3] == "norm":
        return "norms"
    inner = parts[4]
    inner = "latent_norms" if inner == "latent_norm" else inner
    return f"{parts[2]}.{inner}"


def renamed(counts: dict[str, int], config: DecoderConfig) -> dict[str, int]:
    """The norms inside attention, which a breakdown adds up."""
    norms = {"attention.query_norm", "attention.key_norm", "attention.latent_norms"} & set(counts)
    total = sum(counts.pop(name) for name in norms)
    name = "attention.latent_norms" if config.latent else "attention.head_norms"
    return counts | ({name: total} if total else {})


@pytest.mark.parametrize("name", CONFIGS)
def test_every_row_equals_the_built_model(name: str) -> None:
    counted = {key: x for key, x in parameters(CONFIGS[name]).items() if x}
    assert counted == renamed(built(CONFIGS[name]), CONFIGS[name])


def test_a_tied_head_is_counted_once_and_an_own_one_twice() -> None:
    tied = parameters(CONFIGS["llama"])
    own = parameters(dataclasses.replace(CONFIGS["llama"], tied=False))
    assert tied["head"] == 0
    assert own.total - tied.total == own["head"] == 97 * 48


def test_experts_count_in_total_and_a_part_of_them_is_active() -> None:
    dense = like(card("LLaMA-7B").config, n_kv_heads=8, ffn_dim=14336)
    mixed = like(dense, experts=Experts(n_experts=8, n_active=2, ffn_dim=14336))
    one = parameters(dense)["feed_forward"]
    total, active = parameters(mixed), parameters(mixed, active=True)
    assert total["feed_forward.experts"] == 8 * one
    assert active["feed_forward.experts"] == 2 * one
    assert total["feed_forward.router"] == active["feed_forward.router"] == 32 * 4096 * 8
    same = like(dense, experts=Experts(n_experts=1, n_active=1, ffn_dim=14336, n_dense_layers=2))
    assert parameters(same).total == parameters(dense).total + 30 * 4096


def sizes(holder: Any) -> dict[sympy.Symbol, int]:
    """The number behind each letter."""
    found = {LETTERS[name]: getattr(holder, name, None) for name in LETTERS}
    return {letter: size for letter, size in found.items() if size is not None}


@pytest.mark.parametrize("name", ["GPT-2", "LLaMA-7B", "Mistral-7B-v0.1", "BERT-base", "T5-small"])
def test_letters_give_the_formula_and_it_gives_the_number(name: str) -> None:
    config = card(name).config
    formula, number = parameters(in_letters(config)), parameters(config)
    assert list(formula) == list(number)
    values = sizes(config)
    for row, expression in formula.items():
        assert sympy.sympify(expression).subs(values) == number[row], row


def test_latent_attention_in_letters() -> None:
    config = CONFIGS["latent"]
    values = sizes(config) | sizes(LATENT)
    assert parameters(in_letters(config)).total.subs(values) == parameters(config).total


def test_switches_may_be_letters() -> None:
    """One formula for tied and own heads, gated and plain blocks, with and without biases."""
    letters = in_letters(card("GPT-2").config, **SWITCHES)
    base = card("GPT-2").config
    for on in range(2 ** len(SWITCHES)):
        chosen = {name: bool(on >> k & 1) for k, name in enumerate(SWITCHES)}
        switches = {SWITCHES[name]: int(value) for name, value in chosen.items()}
        expected = parameters(dataclasses.replace(base, **chosen)).total
        assert parameters(letters).total.subs(sizes(base) | switches) == expected


def test_the_formula_of_a_classic_decoder() -> None:
    """V d + n_ctx d + L (12 d² + 13 d) + 2 d: the final norm and the positions are in it."""
    V, d, L, H, n = (LETTERS[x] for x in ("vocab_size", "dim", "n_layers", "n_heads", "context"))
    classic = in_letters(card("GPT-2").config, ffn_dim=4 * d, head_dim=d / H)
    expected = V * d + n * d + L * (12 * d**2 + 13 * d) + 2 * d
    assert sympy.expand(parameters(classic).total - expected) == 0


def test_the_formula_of_a_llama() -> None:
    """2 V d + L (2 d H d_head + 2 d G d_head + 3 d d_ff + 2 d) + d."""
    V, d, L, H = (LETTERS[x] for x in ("vocab_size", "dim", "n_layers", "n_heads"))
    G, d_head, d_ff = (LETTERS[x] for x in ("n_kv_heads", "head_dim", "ffn_dim"))
    block = 2 * d * H * d_head + 2 * d * G * d_head + 3 * d * d_ff + 2 * d
    total = parameters(in_letters(card("Mistral-7B-v0.1").config)).total
    assert sympy.expand(total - (2 * V * d + L * block + d)) == 0


def test_breakdown_is_a_table_of_groups() -> None:
    table = Breakdown({"a.x": 1, "a.y": 2, "b": 0, "c": 3, "d": 0}, keep=("d",))
    assert (list(table), table.total, table["a"], table["d"]) == (["a.x", "a.y", "c", "d"], 6, 3, 0)
    assert dict(table.groups()) == {"a": 3, "c": 3, "d": 0}
    assert table.share("a") == 0.5
    assert dict(table + Breakdown({"a.x": 1, "e": 5})) == {"a.x": 2, "a.y": 2, "c": 3, "e": 5}
    assert "a.x    1" in repr(table)
    with pytest.raises(KeyError, match="no component 'b'"):
        table["b"]


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"dim": 0}, ValueError, "dim must be positive, got 0"),
        ({"n_layers": -1}, ValueError, "n_layers must be positive, got -1"),
        ({"vocab_size": 1.5}, TypeError, "vocab_size must be an integer, got 1.5"),
        ({"ffn_dim": "4d"}, TypeError, "ffn_dim must be an integer, got '4d'"),
        ({"n_kv_heads": 5}, ValueError, "n_kv_heads is 5, expected a divisor of 12"),
        ({"window": 0}, ValueError, "window must be positive, got 0"),
    ],
)
def test_nonsense_is_refused(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        parameters(dataclasses.replace(card("GPT-2").config, **changes))


@pytest.mark.bad_input
def test_what_is_no_configuration_is_refused() -> None:
    with pytest.raises(TypeError, match="dict has no vocab_size"):
        parameters({"dim": 4})


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("BERT-base", {}, "family is 'encoder', expected 'decoder'"),
        ("GPT-2", {"position": "sinusoidal"}, "position is 'sinusoidal'"),
        ("LLaMA-7B", {"experts": Experts(8, 2, 64)}, "experts is Experts"),
        ("LLaMA-7B", {"norms_per_block": 1}, "norms_per_block is 1, expected 2"),
        ("GPT-2", {"position_rows": 1026}, "position_rows is 1026, expected 1024"),
    ],
)
def test_decoders_that_cannot_be_built(name: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decoder_config(dataclasses.replace(card(name).config, **changes))
