"""What counting returns for letters, put to numbers, is what it returns for those numbers."""

import dataclasses
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sympy

import llmlib.architecture as arch
from llmlib.accounting import (
    ALPHABET,
    LETTERS,
    activation_bytes,
    elementwise_operations,
    forward_flops,
    in_letters,
    kv_cache_bytes,
    moved_bytes,
    parameters,
    training_bytes,
    training_flops,
)
from llmlib.model_cards import CARDS, card
from tests.accounting.numbers import numbers_of
from tests.folding import for_each

COUNTS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "parameters": lambda c, b, s: parameters(c),
    "active": lambda c, b, s: parameters(c, active=True),
    "prompt": forward_flops,
    "visible": lambda c, b, s: forward_flops(c, b, s, pairs="visible", logits="last"),
    "training": lambda c, b, s: training_flops(c, b, s, checkpointing=True),
    "moved": moved_bytes,
    "cache": kv_cache_bytes,
    "elementwise": elementwise_operations,
    "activations": activation_bytes,
    "step": training_bytes,
}


def total(counted: Any) -> Any:
    """A number or a formula."""
    return sympy.sympify(getattr(counted, "total", counted))


@pytest.mark.parametrize("kind", COUNTS)
@for_each("name", CARDS)
def test_every_card_in_letters(name: str, kind: str) -> None:
    c, count = CARDS[name].config, COUNTS[kind]
    b, s = LETTERS["batch"], LETTERS["seq"]
    try:
        expected = total(count(c, 2, 5))
    except ValueError as refused:
        with pytest.raises(ValueError, match=str(refused)[:12]):
            count(in_letters(c), b, s)
        return
    values = numbers_of(c) | {b: sympy.Integer(2), s: sympy.Integer(5)}
    found = total(count(in_letters(c), b, s)).xreplace(values)
    # How many experts are reached is a power of a fraction: exact in letters, rounded in numbers.
    rounded = kind == "moved" and "Experts" in repr(c)
    assert float(found) == pytest.approx(float(expected), rel=1e-12 if rounded else 0)


OWN = {
    "bare": sympy.Symbol("x"),
    "positive": sympy.Symbol("x", positive=True),
    "integer": sympy.Symbol("x", integer=True, positive=True),
}
FIELDS: dict[str, type[arch.Described] | None] = {
    "dim": arch.ModelConfig, "vocab_size": arch.ModelConfig, "times": arch.Run,
    "ffn_dim": arch.FeedForward, "n_heads": arch.Attention, "head_dim": arch.Attention,
    "batch": None, "seq": None,
}  # fmt: skip
FAMILIES = ("GPT-2", "Mistral-7B-v0.1", "BERT-base", "T5-small", "Mixtral-8x7B-v0.1")


@for_each("x", OWN.values(), ids=OWN)
@for_each("field", FIELDS)
@pytest.mark.parametrize("name", FAMILIES)
def test_one_letter_of_the_caller_among_numbers(name: str, field: str, x: sympy.Symbol) -> None:
    c, kind = CARDS[name].config, FIELDS[field]
    given: dict[str, Any] = {"batch": 2, "seq": 5}
    letters = given | ({field: x} if field in given else {})
    config = c if kind is None else arch.changed(c, kind, **{field: x})
    holder = {arch.Run: c.stack.runs[0], arch.FeedForward: feed_forward(c), None: None}
    owner = holder.get(kind, c if kind is arch.ModelConfig else c.block.mixer)
    for count in COUNTS.values():
        try:
            expected = total(count(c, 2, 5))
        except ValueError:
            continue
        formula = total(count(config, letters["batch"], letters["seq"]))
        number = formula.subs(x, given.get(field, getattr(owner, field, None)))
        assert float(number) == pytest.approx(float(expected), rel=1e-12)


def feed_forward(c: arch.ModelConfig) -> Any:
    """The feed-forward block of a model whose layers are alike, or one of its experts."""
    return getattr(c.block.feed_forward, "expert", c.block.feed_forward)


@pytest.mark.parametrize("name", ["T5-small", "BART-base", "Mistral-7B-v0.1"])
@pytest.mark.parametrize("count", [forward_flops, moved_bytes])
def test_a_past_that_may_be_nothing(name: str, count: Callable[..., Any]) -> None:
    p = sympy.Symbol("p")
    formula = count(CARDS[name].config, 2, 5, past=p).total
    for past in (0, 3, 9000):
        assert formula.subs(p, past) == count(CARDS[name].config, 2, 5, past=past).total


# --- mixed stacks -----------------------------------------------------------------------------


def lettered(name: str, **values: Any) -> arch.ModelConfig:
    return in_letters(CARDS[name].config, **values)


@pytest.mark.parametrize(
    ("name", "lengths"),
    [
        ("GPT-2", ["L"]),
        ("DeepSeek-V3", ["L_dense", "L - L_dense"]),
        ("Gemma-3-27B", ["L - L_full", "L_full"]),
        ("Ministral-8B", ["L_full", "L - L_full"]),
        ("Qwen3-Next-80B-A3B", ["L - L_full", "L_full"]),
        ("SmolLM3-3B", ["L - L_2", "L_2"]),
    ],
)
def test_each_kind_of_layer_is_one_run(name: str, lengths: list[str]) -> None:
    runs = lettered(name).stack.runs
    assert [str(run.times) for run in runs] == lengths
    assert lettered(name).n_layers == LETTERS["n_layers"]


def test_what_layers_share_is_counted_for_all_of_them() -> None:
    """Windows store nothing, so the formula of Gemma 3 knows but one kind of layer."""
    L, d, d_ff = (LETTERS[x] for x in ("n_layers", "dim", "ffn_dim"))
    counted = parameters(lettered("Gemma-3-27B"))
    assert counted["feed_forward.up"] == L * d * d_ff
    assert counted["norms"] == 4 * L * d


def test_the_cache_of_a_mixed_stack_is_a_sum_over_its_kinds() -> None:
    L, L_full, b, s, W = (
        LETTERS[x] for x in ("n_layers", "n_full_layers", "batch", "seq", "window")
    )
    row = 4 * LETTERS["n_kv_heads"] * LETTERS["head_dim"]
    formula = kv_cache_bytes(lettered("Gemma-3-27B"), b, s)
    expected = b * row * (L_full * s + (L - L_full) * sympy.Min(s, W))
    assert sympy.expand(formula - expected) == 0


def test_several_values_of_a_field_have_an_index() -> None:
    far = card("Mistral-7B-v0.1").config.block
    wide = arch.changed(far, arch.FeedForward, ffn_dim=20_000)
    few = arch.changed(far, arch.Attention, n_heads=16, window=None)
    runs = (arch.repeat(2, far), arch.repeat(3, wide), arch.repeat(4, few))
    config = dataclasses.replace(card("Mistral-7B-v0.1").config, stack=arch.Stack(runs))
    formula = parameters(in_letters(config))
    names = {str(x) for x in formula.total.free_symbols}
    assert {"d_ff,1", "d_ff,2", "H_1", "H_2", "L_1", "L_full"} <= names
    assert formula.total.subs(numbers_of(config)) == parameters(config).total


def test_experts_are_as_wide_as_blocks_where_there_are_none() -> None:
    assert "d_ff" in str(parameters(lettered("Mixtral-8x7B-v0.1"))["feed_forward.experts"])
    narrow = str(parameters(lettered("DeepSeek-V3"))["feed_forward.experts"])
    assert "d_expert" in narrow
    assert "d_ff" not in narrow


def test_the_caller_may_say_what_a_letter_stands_for() -> None:
    d, H = LETTERS["dim"], LETTERS["n_heads"]
    block = lettered("GPT-2", ffn_dim=4 * d, head_dim=d / H, bias=False, gated=True).block
    assert (block.feed_forward.ffn_dim, block.mixer.head_dim) == (4 * d, d / H)
    assert block.feed_forward.gated is True
    biases = (block.feed_forward.bias, block.mixer.qkv_bias, block.mixer.out_bias)
    assert biases == (False, False, False)
    assert lettered("GPT-2", n_layers=12).n_layers == 12
    assert lettered("GPT-2", tied=False).tied is False
    assert lettered("GPT-2", norm_bias=False).block.norm.bias is False


def test_the_alphabet_has_each_letter_and_each_field_once() -> None:
    assert len({row.name for row in ALPHABET}) == len({row.field for row in ALPHABET})
    assert len({row.name for row in ALPHABET}) == len(ALPHABET)
    places = [row.place for row in ALPHABET if row.kind == "size"]
    assert sorted(places) == list(range(1, len(LETTERS) + 1))


def test_numbers_are_counted_without_torch_and_sympy() -> None:
    code = (
        "import sys; from llmlib.accounting import *; from llmlib.model_cards import CARDS\n"
        "from llmlib.accounting import parameters, kv_cache_bytes, moved_bytes, training_bytes\n"
        "for one in CARDS.values(): parameters(one.config).total; moved_bytes(one.config, 1, 8)\n"
        "training_bytes(CARDS['GPT-2'].config, 1, 8); kv_cache_bytes(CARDS['GPT-2'].config, 1, 8)\n"
        "print({'torch', 'sympy'} & sys.modules.keys())"
    ).replace("from llmlib.accounting import *; ", "")
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"


# --- what is refused --------------------------------------------------------------------------


@pytest.mark.bad_input
def test_a_letter_that_there_is_not() -> None:
    with pytest.raises(TypeError, match="no letter for breadth, n_norms: expected fields of the"):
        in_letters(card("GPT-2").config, breadth=3, n_norms=2)
    with pytest.raises(TypeError, match="config is a dict"):
        in_letters({"dim": 3})  # type: ignore[arg-type]


@pytest.mark.bad_input
@pytest.mark.parametrize("seq", [0, -3, 2.5, sympy.Integer(0), sympy.Float(2.5), sympy.nan])
def test_a_length_that_cannot_be(seq: Any) -> None:
    for count in (forward_flops, moved_bytes, training_bytes):
        with pytest.raises((TypeError, ValueError), match="seq must be"):
            count(card("GPT-2").config, 1, seq)


@pytest.mark.bad_input
def test_an_encoder_has_no_past() -> None:
    for count in (forward_flops, moved_bytes):
        with pytest.raises(ValueError, match="past is 5, expected 0"):
            count(card("BERT-base").config, 1, 1, past=5)


def test_the_introduction_has_these_letters(root: Path) -> None:
    """Its table says letter, word in the code, meaning; every size that it names stands there."""
    page = json.loads((root / "chapters/intro.ipynb").read_text(encoding="utf-8"))
    text = "\n".join("".join(cell["source"]) for cell in page["cells"])
    rows = re.findall(r"\| \$([^$|]+)\$ \| `(\w+)` \| ([^|]+) (?=\|)", text)
    printed = {field: re.sub(r"\\text\{(\w+)\}", r"\1", letter) for letter, field, _ in rows}
    known = {row.field: str(row.symbol) for row in ALPHABET}
    sizes = {field: letter for field, letter in printed.items() if field in known}
    assert len(sizes) >= 16
    assert sizes == {field: known[field] for field in sizes}
