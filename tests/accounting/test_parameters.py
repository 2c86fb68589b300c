"""Parameters from a configuration: against built models, in letters, with bad input."""

import dataclasses

import pytest
import sympy
import torch

import llmlib.architecture as arch
from llmlib.accounting import LETTERS, SWITCHES, Breakdown, in_letters, parameters
from llmlib.decoder import Decoder, DecoderConfig
from llmlib.model_cards import card
from tests.accounting.numbers import numbers_of

SMALL = {"vocab_size": 97, "dim": 48, "n_layers": 3, "n_heads": 6}
LATENT = arch.Latent(6, kv_rank=20, rope_dim=4, plain_dim=8, value_dim=10, query_rank=12)
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


# What a description can say beside: each is the small Llama with one thing changed.
NORM = arch.Norm(gain="1 + weight")
OTHERS = {
    "sandwich": arch.changed(CONFIGS["llama"], arch.Block, norms="sandwich", norm=NORM),
    "output norms, over all heads": arch.changed(
        arch.changed(CONFIGS["grouped"], arch.Block, norms="output"), arch.Attention,
        qk_norm=NORM, qk_norm_over="all heads",
    ),
    "parallel": arch.changed(CONFIGS["gpt2"], arch.Block, order="parallel"),
    "parallel, one norm": arch.changed(CONFIGS["gpt2"], arch.Block, order="parallel, one norm"),
    "sinks and gate": arch.changed(CONFIGS["grouped"], arch.Attention, sinks=True, gate=True),
    "wide values": arch.changed(CONFIGS["grouped"], arch.Attention, value_dim=12),
    "LayerNorm without shift": arch.changed(CONFIGS["gpt2"], arch.Norm, bias=False),
}  # fmt: skip


def mixed() -> arch.ModelConfig:
    """Twice two windows and a wider layer that sees all, then one window more."""
    far = CONFIGS["grouped"].block
    near = arch.changed(far, arch.Attention, window=4)
    wide = arch.changed(far, arch.FeedForward, ffn_dim=30)
    runs = (arch.repeat(2, arch.repeat(2, near), wide), arch.repeat(1, near))
    return dataclasses.replace(CONFIGS["grouped"], stack=arch.Stack(runs))


def built(config: arch.ModelConfig) -> dict[str, int]:
    """Parameters of the built model by component, named as in a breakdown."""
    with torch.device("meta"):
        model = Decoder(config)
    counts: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        counts[component(name)] = counts.get(component(name), 0) + parameter.numel()
    return counts


def component(name: str) -> str:
    """blocks.0.mixer.query.weight -> attention.query"""
    parts = name.split(".")
    if parts[0] != "blocks":
        return {"norm": "final_norm", "output": "head"}.get(parts[0], parts[0])
    if parts[2] == "norms":
        return "norms"
    inner = "latent_norms" if parts[3] == "latent_norm" else parts[3]
    return f"{'attention' if parts[2] == 'mixer' else parts[2]}.{inner}"


def renamed(counts: dict[str, int], config: arch.ModelConfig) -> dict[str, int]:
    """The norms inside attention, which a breakdown adds up."""
    norms = {"attention.query_norm", "attention.key_norm", "attention.latent_norms"} & set(counts)
    total = sum(counts.pop(name) for name in norms)
    mixer = arch.layers(config.stack.runs)[0].mixer
    latent = isinstance(mixer, arch.Latent)
    name = "attention.latent_norms" if latent else "attention.head_norms"
    return counts | ({name: total} if total else {})


EVERY = {**CONFIGS, **OTHERS, "mixed": mixed()}


@pytest.mark.parametrize("name", EVERY)
def test_every_row_equals_the_built_model(name: str) -> None:
    counted = {key: x for key, x in parameters(EVERY[name]).items() if x}
    assert counted == renamed(built(EVERY[name]), EVERY[name])


@pytest.mark.parametrize("name", EVERY)
def test_letters_give_every_row(name: str) -> None:
    config = EVERY[name]
    formula, number, values = parameters(in_letters(config)), parameters(config), numbers_of(config)
    assert list(formula) == list(number)
    for row, x in formula.items():
        assert sympy.sympify(x).subs(values) == number[row], row


def test_a_shared_run_has_one_set_of_weights() -> None:
    block = CONFIGS["llama"].block
    runs = (arch.Run(5, (arch.repeat(2, block),), shared=True),)
    shared = dataclasses.replace(CONFIGS["llama"], stack=arch.Stack(runs))
    two = dataclasses.replace(CONFIGS["llama"], stack=arch.Stack((arch.repeat(2, block),)))
    assert dict(parameters(shared)) == dict(parameters(two))
    letters = parameters(in_letters(shared))
    assert letters.total.subs(numbers_of(shared)) == parameters(shared).total


def test_a_tied_head_is_counted_once_and_an_own_one_twice() -> None:
    tied = parameters(CONFIGS["llama"])
    own = parameters(dataclasses.replace(CONFIGS["llama"], tied=False))
    assert tied["head"] == 0
    assert own.total - tied.total == own["head"] == 97 * 48


def test_experts_count_in_total_and_a_part_of_them_is_active() -> None:
    dense, expert = card("Mistral-7B-v0.1").config, arch.FeedForward(14_336)
    mixed = arch.changed(dense, arch.Block, feed_forward=arch.Experts(8, 2, expert))
    one = parameters(dense)["feed_forward"]
    total, active = parameters(mixed), parameters(mixed, active=True)
    assert total["feed_forward.experts"] == 8 * one
    assert active["feed_forward.experts"] == 2 * one
    assert total["feed_forward.router"] == active["feed_forward.router"] == 32 * 4096 * 8
    single = dataclasses.replace(dense.block, feed_forward=arch.Experts(1, 1, expert))
    runs = (arch.repeat(2, dense.block), arch.repeat(30, single))
    same = dataclasses.replace(dense, stack=arch.Stack(runs))
    assert parameters(same).total == parameters(dense).total + 30 * 4096
    shared = arch.Experts(8, 2, expert, n_shared=1, shared_gate=True, router=arch.Router(bias=True))
    more = parameters(arch.changed(dense, arch.Block, feed_forward=shared))
    assert more["feed_forward.shared_experts"] == one
    assert more["feed_forward.shared_gate"] == 32 * 4096
    assert more["feed_forward.router"] == 32 * (4096 * 8 + 8)


def with_switches(config: arch.ModelConfig, **on: bool) -> arch.ModelConfig:
    """The model with its switches as given."""
    config = dataclasses.replace(config, tied=on["tied"])
    biases = {"qkv_bias": on["qkv_bias"], "out_bias": on["out_bias"]}
    config = arch.changed(config, arch.Attention, **biases)
    config = arch.changed(config, arch.FeedForward, gated=on["gated"], bias=on["ffn_bias"])
    changed: arch.ModelConfig = arch.changed(config, arch.Norm, bias=on["norm_bias"])
    return changed


def test_switches_may_be_letters() -> None:
    """One formula for tied and own heads, gated and plain blocks, with and without biases."""
    letters = in_letters(card("GPT-2").config, **SWITCHES)
    base = card("GPT-2").config
    for on in range(2 ** len(SWITCHES)):
        chosen = {name: bool(on >> k & 1) for k, name in enumerate(SWITCHES)}
        switches = {SWITCHES[name]: int(value) for name, value in chosen.items()}
        expected = parameters(with_switches(base, **chosen)).total
        assert parameters(letters).total.subs(numbers_of(base) | switches) == expected


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
@pytest.mark.parametrize("found", [{"dim": 4}, None, card("GPT-2")])
def test_what_is_no_description_is_refused(found: object) -> None:
    with pytest.raises(TypeError, match=f"config is a {type(found).__name__}, expected a ModelCon"):
        parameters(found)  # type: ignore[arg-type]
