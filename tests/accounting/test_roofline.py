"""What a step moves, and the roofline: against built models, filled caches and enumeration."""

import dataclasses
import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import sympy
import torch

import llmlib.architecture as arch
from llmlib.accounting import (
    CHIPS,
    LETTERS,
    Breakdown,
    Chip,
    StepTime,
    forward_flops,
    in_letters,
    intensity,
    kv_cache_bytes,
    moved_bytes,
    parameters,
    step_time,
    weight_bytes,
)
from llmlib.decoder import Decoder, DecoderConfig
from llmlib.kv_cache import KVCache, LatentKVCache, RollingKVCache
from llmlib.model_cards import card
from tests.accounting.numbers import numbers_of

BATCH, PAST = 3, 9
LATENT = arch.Latent(6, kv_rank=14, rope_dim=4, plain_dim=6, value_dim=5)
GPT: dict[str, Any] = {"norm": "layer", "gated": False, "bias": True, "position": "learned"}


def small(**changes: Any) -> arch.ModelConfig:
    """Sizes of which no two are equal."""
    sizes = {"vocab_size": 97, "dim": 48, "n_layers": 2, "n_heads": 6, "ffn_dim": 40}
    return DecoderConfig(**{**sizes, "context": 64, **changes})


# --- weights ----------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, {"tied": False}, GPT, {"latent": LATENT}])
def test_weights_are_read_once(changes: dict[str, Any]) -> None:
    """All of a built model's but the tables, of which only the tokens' rows are read."""
    model, seq = Decoder(small(**changes)), 5
    moved = moved_bytes(model.config, BATCH, seq, dtype=torch.float32)
    tables = [model.embedding] + ([] if model.positions is None else [model.positions])
    outside = {x for table in tables for x in table.parameters()}
    weights = sum(x.nbytes for x in model.parameters() if x not in outside)
    weights += model.embedding.weight.nbytes if model.config.tied else 0  # the head reads all of it
    rows = BATCH * seq * model.embedding.weight[0].nbytes
    rows += 0 if model.positions is None else seq * model.positions.weight[0].nbytes
    cached = moved["cache"]
    assert moved.total - cached == weights + rows
    assert moved["embedding"] == BATCH * seq * 48 * 4


@pytest.mark.parametrize("tokens", [1, 2, 3])
def test_experts_that_are_reached(tokens: int) -> None:
    """The expected number of distinct experts, by going through all choices of all tokens."""
    experts = arch.Experts(5, 2, arch.FeedForward(7), n_shared=1)
    config = arch.changed(card("LLaMA-7B").config, arch.Block, feed_forward=experts)
    one = 3 * config.dim * 7 * config.n_layers
    choices = list(itertools.combinations(range(5), 2))
    draws = [len(set().union(*draw)) for draw in itertools.product(choices, repeat=tokens)]
    always = parameters(config)["feed_forward.router"] + one  # the shared one
    moved = moved_bytes(config, 1, tokens, dtype=1)
    expected = always + one * math.fsum(draws) / len(draws)
    assert moved["feed_forward"] == pytest.approx(expected, rel=1e-12)
    if tokens == 1:
        active = parameters(config, active=True)
        assert moved["feed_forward"] == pytest.approx(active["feed_forward"], rel=1e-12)


def test_an_encoder_reads_everything_but_the_table() -> None:
    config = card("BERT-base").config
    moved, stored = moved_bytes(config, 1, 10, dtype=2), parameters(config)
    tables = stored["embedding"] + stored["positions"]
    assert moved.total == 2 * (stored.total - tables + 2 * 10 * config.dim)
    assert "cache" not in {name.split(".")[0] for name in moved}


def test_an_encoder_decoder_reads_its_source_once() -> None:
    """The prompt's pass reads both stacks and keeps what cross-attention needs; later ones do not
    read the encoder, nor make the source's keys and values again."""
    config, source = card("T5-small").config, 7
    stored, row = parameters(config), config.dim * 2
    first = moved_bytes(config, 1, 1, source_seq=source)
    head = config.vocab_size * row  # tied: the table is read whole, as the head
    assert first.total == 2 * stored.total - head + (1 + source) * row + head + first["cache"]
    assert first["cache.written"] == kv_cache_bytes(config, 1, 1, source_seq=source)
    later = moved_bytes(config, 1, 1, past=4, source_seq=source)
    assert later["cache.read"] == kv_cache_bytes(config, 1, 4, source_seq=source)
    assert later["cache.written"] == kv_cache_bytes(config, 1, 1, source_seq=0)
    assert later["attention"] == first["attention"] / 2
    assert later["cross_attention"] == first["cross_attention"] / 2


# --- the cache --------------------------------------------------------------------------------


@pytest.mark.parametrize("new", [1, 4])
@pytest.mark.parametrize(
    ("changes", "cache"),
    [
        ({"n_kv_heads": 2}, KVCache()),
        ({"latent": LATENT}, LatentKVCache()),
        ({"window": 4}, RollingKVCache(4)),
        ({"window": 64}, RollingKVCache(64)),
    ],
    ids=["grouped", "latent", "window", "wide window"],
)
def test_a_step_with_a_filled_cache(changes: dict[str, Any], cache: KVCache, new: int) -> None:
    """Read is what the queries see beside themselves, written what a longer cache holds more."""
    cache.reset()
    model = Decoder(small(**changes))
    ids = torch.randint(0, 97, (BATCH, PAST + new))
    window = getattr(model.config.block.mixer, "window", None)
    seen = PAST if window is None else min(PAST, window - 1)
    with torch.no_grad():
        model(ids[:, :PAST], cache)
        assert len(cache.key_positions(new)) == seen + new
        before = cache.n_bytes
        model(ids[:, PAST:], cache)
    moved = moved_bytes(model.config, BATCH, new, past=PAST, dtype=torch.float32)
    assert moved["cache.read"] == kv_cache_bytes(model.config, BATCH, seen, torch.float32)
    assert moved["cache.written"] == kv_cache_bytes(model.config, BATCH, new, torch.float32)
    if not isinstance(cache, RollingKVCache):
        assert moved["cache.read"] == before
        assert moved["cache.written"] == cache.n_bytes - before


def test_each_layer_reads_what_its_window_holds() -> None:
    """A mixed stack: two windows read three tokens each, the layer that sees all reads nine."""
    near = small(n_kv_heads=2, window=4).block
    far = arch.changed(near, arch.Attention, window=None)
    config = dataclasses.replace(small(), stack=arch.Stack((arch.repeat(1, near, near, far),)))
    moved = moved_bytes(config, BATCH, 1, past=PAST, dtype=torch.float32)
    row = 4 * 2 * 2 * 8
    assert moved["cache.read"] == BATCH * row * (3 + 3 + PAST)
    assert moved["cache.written"] == BATCH * row * 3


def test_a_state_is_read_and_written_whole() -> None:
    config = card("Qwen3-Next-80B-A3B").config
    state = kv_cache_bytes(config, 1, 0)
    first, later = (moved_bytes(config, 1, 1, past=past) for past in (0, 7))
    row = kv_cache_bytes(config, 1, 1) - state
    assert first.get("cache.read", 0) == 0
    assert first["cache.written"] == later["cache.written"] == state + row
    assert later["cache.read"] == state + 7 * row


def test_a_cache_of_its_own_type() -> None:
    moved = moved_bytes(small(), 1, 1, past=8, dtype=torch.bfloat16, cache_dtype=torch.int8)
    assert moved["cache.read"] == kv_cache_bytes(small(), 1, 8, torch.int8)
    assert moved["head"] == 2 * 97 * 48


def test_letters_give_the_formula() -> None:
    b, s, p = (LETTERS[x] for x in ("batch", "seq", "past"))
    for name in ("GPT-2", "LLaMA-7B", "Mistral-7B-v0.1"):
        config = card(name).config
        formula = moved_bytes(in_letters(config), b, s, past=p)
        given = {b: sympy.Integer(4), s: sympy.Integer(2), p: sympy.Integer(5000)}
        numbers = numbers_of(config) | given
        assert formula.total.xreplace(numbers) == moved_bytes(config, 4, 2, past=5000).total
    E, k = LETTERS["n_experts"], LETTERS["n_active"]
    experts = arch.Experts(8, 2, arch.FeedForward(11_008))
    sparse = in_letters(arch.changed(card("LLaMA-7B").config, arch.Block, feed_forward=experts))
    reached = moved_bytes(sparse, b, s, dtype=1)["feed_forward"]
    d, d_ff, L = (LETTERS[x] for x in ("dim", "ffn_dim", "n_layers"))
    expected = L * d * E + 3 * L * d * d_ff * E * (1 - (1 - k / E) ** (b * s))
    assert sympy.simplify(reached - expected) == 0


# --- the roofline -----------------------------------------------------------------------------


def test_the_slower_of_two_times() -> None:
    chip = Chip("toy", {torch.bfloat16: 100}, bandwidth=10, memory=1, source="none")
    assert chip.ridge() == 10
    slow, fast = step_time(1000, 50, chip), step_time(100, 50, chip)
    assert (slow.seconds, slow.bound) == (10, "compute")
    assert (fast.seconds, fast.bound) == (5, "memory")
    assert intensity(1000, 50) == 20
    assert intensity(Breakdown({"a": 30, "b": 20}), Breakdown({"c": 10})) == 5
    assert step_time(Breakdown({"a": 1000}), Breakdown({"b": 50}), chip) == slow
    x = sympy.Symbol("x", positive=True)
    formula = step_time(1000, x, chip).seconds
    assert [float(formula.subs(x, n)) for n in (50, 100, 200)] == [10, 10, 20]


@pytest.mark.parametrize("name", CHIPS)
def test_a_prompt_computes_and_a_token_moves(name: str) -> None:
    """LLaMA-7B in 16 bits: 2,048 tokens at once lie right of every chip's ridge, one far left."""
    config, chip = card("LLaMA-7B").config, CHIPS[name]
    half = torch.bfloat16 if torch.bfloat16 in chip.peak else torch.float16
    found = {}
    for seq, past in ((2048, 0), (1, 2047)):
        flops = forward_flops(config, 1, seq, past=past)
        moved = moved_bytes(config, 1, seq, past=past, dtype=half)
        time = step_time(flops, moved, chip, half)
        assert (time.bound == "compute") == (intensity(flops, moved) >= chip.ridge(half))
        found[seq] = time.bound
    assert found == {2048: "compute", 1: "memory"}
    floor = weight_bytes(config) / chip.bandwidth
    assert 0.95 * floor < time.seconds < 1.2 * floor  # weights, and the cache


def test_chips_of_the_book(root: Path) -> None:
    """The rates of dense products, as data sheets print them, and a source for each chip."""
    half = {name: chip.rate() for name, chip in CHIPS.items() if torch.bfloat16 in chip.peak}
    assert CHIPS["A100"].rate("float32") == CHIPS["A100"].peak[torch.float32] == 19.5e12
    assert list(CHIPS["V100"].peak) == ["float16", "float32"]
    assert (half["A100"], half["H100"], half["B200"]) == (312e12, 989.4e12, 2250e12)
    rates = [CHIPS[name].bandwidth for name in ("A100", "H100", "B200")]
    assert rates == [2.039e12, 3.35e12, 7.7e12]
    known = (root / "chapters" / "references.bib").read_text(encoding="utf-8")
    for chip in CHIPS.values():
        assert f"{{{chip.source}," in known
        assert chip.quoted


# --- bad input --------------------------------------------------------------------------------


@pytest.mark.bad_input
def test_bad_arguments() -> None:
    config = card("LLaMA-7B").config
    with pytest.raises(ValueError, match="past"):
        moved_bytes(config, 1, 1, past=-1)
    with pytest.raises(ValueError, match="source_seq"):
        moved_bytes(card("T5-small").config, 1, 1, source_seq=0)
    with pytest.raises(ValueError, match="'int9'"):
        moved_bytes(config, 1, 1, dtype="int9")
    with pytest.raises(ValueError, match="bfloat16"):
        step_time(1, 1, CHIPS["V100"])
    with pytest.raises(ValueError, match="moved is -1"):
        step_time(1, -1, CHIPS["A100"])
    with pytest.raises(ValueError, match="numbers"):
        _ = StepTime(sympy.Symbol("x"), 1).bound
