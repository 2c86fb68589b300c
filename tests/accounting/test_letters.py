"""What counting returns for letters, put to numbers, is what it returns for those numbers."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import sympy

from llmlib.accounting import (
    LETTERS,
    forward_flops,
    in_letters,
    kv_cache_bytes,
    moved_bytes,
    parameters,
    training_bytes,
    training_flops,
)
from llmlib.decoder import DecoderConfig
from llmlib.model_cards import CARDS, Experts, ModelConfig, card
from tests.folding import for_each

COUNTS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "parameters": lambda c, b, s: parameters(c),
    "active": lambda c, b, s: parameters(c, active=True),
    "prompt": forward_flops,
    "visible": lambda c, b, s: forward_flops(c, b, s, pairs="visible", logits="last"),
    "training": lambda c, b, s: training_flops(c, b, s, checkpointing=True),
    "moved": moved_bytes,
    "cache": kv_cache_bytes,
    "step": training_bytes,
}


def total(counted: Any) -> Any:
    """A number or a formula."""
    return sympy.sympify(getattr(counted, "total", counted))


def numbers_of(c: ModelConfig) -> dict[sympy.Symbol, sympy.Integer]:
    """The size behind each letter, wherever the configuration holds it."""
    holders = [vars(part) for part in (c, c.latent, c.experts) if part is not None]
    found = {name: size for holder in reversed(holders) for name, size in holder.items()}
    if c.experts is not None:
        found["expert_dim"] = c.experts.ffn_dim
    return {
        letter: sympy.Integer(found[name])
        for name, letter in LETTERS.items()
        if found.get(name) is not None
    }


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
    assert float(found) == pytest.approx(float(expected), rel=1e-12 if c.experts else 0)


OWN = {
    "bare": sympy.Symbol("x"),
    "positive": sympy.Symbol("x", positive=True),
    "integer": sympy.Symbol("x", integer=True, positive=True),
}
FIELDS = ("dim", "n_layers", "ffn_dim", "vocab_size", "n_heads", "head_dim", "batch", "seq")
FAMILIES = ("GPT-2", "Mistral-7B-v0.1", "BERT-base", "T5-small", "Mixtral-8x7B-v0.1")


@for_each("x", OWN.values(), ids=OWN)
@for_each("field", FIELDS)
@pytest.mark.parametrize("name", FAMILIES)
def test_one_letter_of_the_caller_among_numbers(name: str, field: str, x: sympy.Symbol) -> None:
    c = CARDS[name].config
    given: dict[str, Any] = {"batch": 2, "seq": 5}
    letters = given | ({field: x} if field in given else {})
    config = c if field in given else dataclasses.replace(c, **{field: x})
    for count in COUNTS.values():
        try:
            expected = total(count(c, 2, 5))
        except ValueError:
            continue
        formula = total(count(config, letters["batch"], letters["seq"]))
        number = formula.subs(x, given.get(field, getattr(c, field, None)))
        assert float(number) == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize("name", ["T5-small", "BART-base", "Mistral-7B-v0.1"])
@pytest.mark.parametrize("count", [forward_flops, moved_bytes])
def test_a_past_that_may_be_nothing(name: str, count: Callable[..., Any]) -> None:
    p = sympy.Symbol("p")
    formula = count(CARDS[name].config, 2, 5, past=p).total
    for past in (0, 3, 9000):
        assert formula.subs(p, past) == count(CARDS[name].config, 2, 5, past=past).total


@pytest.mark.bad_input  # without the hook: an annotation of DecoderConfig says int
def test_a_decoder_config_may_hold_letters_too() -> None:
    V, d, L, H = (LETTERS[name] for name in ("vocab_size", "dim", "n_layers", "n_heads"))
    letters, numbers = DecoderConfig(V, d, L, H), DecoderConfig(97, 48, 3, 6)
    values = {V: 97, d: 48, L: 3, H: 6}
    for name, count in COUNTS.items():
        expected = total(count(numbers, 2, 5))
        assert total(count(letters, 2, 5)).subs(values) == expected, name


# --- what is refused --------------------------------------------------------------------------


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"dim": True}, TypeError, "dim must be an integer, got True"),
        ({"dim": sympy.Integer(0)}, ValueError, "dim must be positive, got 0"),
        ({"window": True}, TypeError, "window must be an integer, got True"),
        ({"tied": 3}, ValueError, "tied is 3, expected True or False"),
        ({"gated": "yes"}, ValueError, "gated is 'yes', expected True or False"),
        ({"family": "decodr"}, ValueError, "family is 'decodr', expected 'decoder' or"),
        ({"position": "lerned"}, ValueError, "position is 'lerned'"),
        ({"position_rows": -5}, ValueError, "position_rows must be positive, got -5"),
        ({"experts": Experts(0, 2, 64)}, ValueError, "n_experts must be positive, got 0"),
        ({"experts": Experts(8, 9, 64)}, ValueError, "n_active is 9, expected at most 8"),
        (
            {"experts": Experts(8, 2, 64, n_dense_layers=99)},
            ValueError,
            "n_dense_layers is 99, expected at most 12",
        ),
    ],
)
def test_a_configuration_that_cannot_be(
    changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        parameters(dataclasses.replace(card("GPT-2").config, **changes))


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
