"""The calculators without a browser: the printed JavaScript, the rules, the presets.

What the JavaScript computes is compared with Python in tests/browser/test_calculators.py.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import sympy

from llmlib.accounting import LETTERS, SWITCHES, parameters
from llmlib.book import calculators
from llmlib.book.calculators import shared
from llmlib.book.calculators.flops import letters_flops
from llmlib.book.calculators.memory import letters_moments
from llmlib.book.calculators.parameters import letters_parameters
from llmlib.book.javascript import to_javascript
from llmlib.book.widgets.calculator import (
    Bar,
    Calculator,
    Check,
    Field,
    Follow,
    Largest,
    Pick,
    Result,
    Toggle,
    products,
)
from llmlib.model_cards import CARDS, card
from tests.calculator_twins import TWINS, inputs, part_names
from tests.folding import for_each

d, L, H, G = (LETTERS[name] for name in ("dim", "n_layers", "n_heads", "n_kv_heads"))
TIED = SWITCHES["tied"]
x = sympy.Symbol("x", positive=True)


@pytest.fixture(scope="module")
def built() -> dict[str, Calculator]:
    """Every calculator of the book."""
    return {name: getattr(calculators, name)() for name in TWINS}


# --- JavaScript ---------------------------------------------------------------------------------


def printed(formula: Any, *letters: Any) -> str:
    """One formula as JavaScript."""
    body = to_javascript({"y": formula}, letters)
    assert body.startswith("const [")
    return body.split('"y": ')[1].removesuffix(",\n};")


@for_each(
    ("formula", "code"),
    [
        (d * L, "L*d"),
        (d**2, "(d*d)"),
        (d**4, "(d*d*d*d)"),
        (d**7, "Math.pow(d, 7)"),
        (L / d**2, "L/(d*d)"),
        (d**-2, "1/(d*d)"),
        (sympy.sqrt(d), "Math.sqrt(d)"),
        (sympy.Rational(1, 3) * d, "((1/3))*d"),
        (2**53 * d, "9007199254740992*d"),
        (2**80 * d, "1.2089258196146292e+24*d"),
        (sympy.Max(d, L), "Math.max(L, d)"),
        (sympy.Min(d, L), "Math.min(L, d)"),
        (sympy.floor(d / L), "Math.floor(d/L)"),
        (sympy.ceiling(d / L), "Math.ceil(d/L)"),
        (d > L, "(d > L)"),
        (sympy.true, "true"),
        (sympy.false, "false"),
    ],
)
def test_a_formula_is_printed(formula: Any, code: str) -> None:
    assert printed(formula, d, L) == code


def test_a_remainder_is_never_negative() -> None:
    """As in Python: JavaScript's own has the sign of the left side."""
    assert printed(sympy.Eq(sympy.Mod(H, G), 0), H, G) == "(((((H) % (G)) + (G)) % (G)) == 0)"


def test_cases_become_a_choice() -> None:
    formula = sympy.Piecewise((d, sympy.Eq(TIED, 0)), (2 * d, True))
    assert printed(formula, d, TIED) == "(((tied == 0)) ? ( d ) : ( 2*d ))"


def test_what_formulas_share_is_computed_once() -> None:
    body = to_javascript({"a": (d + L) ** 2 + 1, "b": (d + L) ** 2 + 2}, [d, L])
    assert body.count("(L + d)*(L + d)") == 1
    assert body.splitlines()[0] == "const [d, L] = given;"


def test_names_are_those_that_javascript_takes() -> None:
    letters = [sympy.Symbol(name) for name in ("class", "d ff", "d_ff", "Math", "2x", "λ", "t0")]
    body = to_javascript({"sum": sum(letters), "again": 3 * sum(letters)}, letters)
    names = body.splitlines()[0].removeprefix("const [").removesuffix("] = given;").split(", ")
    assert len(set(names)) == len(letters)
    assert not set(names) & {"class", "Math", "2x", "λ"}
    shared = [line.split()[1] for line in body.splitlines()[1:] if line.startswith("const")]
    assert not set(shared) & set(names), "a shared formula may not take a letter's name"


def test_result_names_may_be_any_text() -> None:
    assert '"say \\"a.b\\"": d,' in to_javascript({'say "a.b"': d}, [d])
    assert to_javascript({}, []) == "return {\n};"


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("formulas", "letters", "message"),
    [
        ({"y": d * L}, [d], "'y' holds L, expected letters among d"),
        ({"y": L}, [], "expected letters among none"),
        ({"y": d}, [d, d], "expected each letter once"),
        ({"y": sympy.gamma(x)}, [x], "'y' is gamma"),
        ({"z": x, "y": sympy.Function("f")(x)}, [x], "'y' is f"),
        ({"y": sympy.oo}, [x], "'y' holds oo, expected finite numbers"),
        ({"y": x + sympy.nan}, [x], "'y' holds nan"),
        ({"y": sympy.Integer(10) ** 400 * x}, [x], "JavaScript cannot compute"),
    ],
)
def test_what_javascript_cannot_compute_is_named(formulas: Any, letters: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        to_javascript(formulas, letters)


# --- the widget's rules -------------------------------------------------------------------------


def test_a_sum_of_products_keeps_its_powers() -> None:
    assert products(2 * d * (L * d + 3)) == [[2, {"L": 1, "d": 2}], [6, {"d": 1}]]
    assert products(d / H / 2) == [[0.5, {"H": -1, "d": 1}]]
    assert products(sympy.Integer(5)) == [[5, {}]]
    assert products(sympy.Integer(0)) == []


def small(**changes: Any) -> Calculator:
    """A calculator of d L, with a change."""
    parts: dict[str, Any] = {
        "fields": [Field(d, "width", 4), Field(L, "layers", 2)],
        "toggles": [Toggle(TIED, "tied")],
        "picks": [Pick("kind", {"one": {x: 1}, "two": {x: 2}}, "one")],
        "bars": [Bar("bar", "All", "count", {"A": {"a": ("a", d * L)}})],
        "results": [Result("total", "total", d * L * x, "count")],
        "presets": {"big": {d: 4096, L: 32}},
        "note": "{total}",
        "alt": "A calculator.",
    }
    return Calculator(**(parts | changes))


def test_a_calculator_holds_its_formulas_and_its_start() -> None:
    made = small(preset="big", checks=[Check(d, d > L, "is {d}: expected more than L = {L}")])
    assert made.spec["letters"] == ["d", "L", "tied", "x"]
    assert made.state["text"] == {"d": "4", "L": "2"}
    assert (made.state["preset"], made.state["pick"], made.state["on"]) == (1, [0], {"tied": 0})
    assert made.spec["presets"][0]["text"] == {"d": "4,096", "L": "32"}
    assert "lm-widget" in made.static_html()
    assert made.spec["conditions"] == to_javascript({"0": d > L}, [d, L, TIED, x])


def test_a_preset_lets_a_box_follow_where_its_number_does() -> None:
    fields = [Field(d, "width", 4), Field(L, "layers", 2, follows=Follow(2 * d, "d is {d}"))]
    presets = {"follows": {d: 8, L: 16}, "does not": {d: 8, L: 15}}
    first, second = small(fields=fields, presets=presets).spec["presets"]
    assert (first["follow"], second["follow"]) == ({"L": True}, {"L": False})


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alt": " "}, "alt text"),
        ({"toggles": [Toggle(d, "again")]}, "d: expected one control for each letter"),
        ({"results": [Result("a", "a", d, "count")]}, "a: expected each name once"),
        ({"results": [Result("y", "y", H, "count")]}, "'y' holds H"),
        ({"checks": [Check(d, H > 1, "")]}, "'0' holds H"),
        ({"bars": [Bar("b", "b", "count", {"A": {"a": ("a", sympy.sqrt(d))}})]}, "sqrt"),
        ({"bars": [Bar("b", "b", "count", {str(k): {} for k in range(7)})]}, "7 groups"),
        ({"fields": [Field(d, "d", 4, follows=Follow(L + 1, ""))]}, "expected a product"),
        ({"picks": [Pick("kind", {"one": {x: 1}, "two": {H: 2}}, "one")]}, "2 lists of letters"),
        ({"picks": [Pick("kind", {"one": {x: 1}}, "three")]}, "starts at 'three'"),
        ({"presets": {"big": {x: 3}}}, "big needs"),
        ({"preset": "small"}, "starts with 'small', expected one of big"),
    ],
)
def test_a_bad_definition_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**changes)


def test_the_largest_decides_which_products_are_shown() -> None:
    k = sympy.Symbol("k", integer=True)
    cases = sympy.Piecewise((d * L, sympy.Eq(k, 0)), (d, True))
    bar = Bar("bar", "All", "count", {"A": {"a": ("a", cases)}}, largest=True)
    made = small(bars=[bar], largest=Largest(k, {"many": d * L, "one": d}, "with {}"))
    [part] = made.spec["bars"][0]["groups"][0]["parts"]
    assert part["cases"] == [[[1, {"L": 1, "d": 1}]], [[1, {"d": 1}]]]
    assert made.spec["largest"] == {"letter": "k", "names": ["many", "one"], "shown": "with {}"}


# --- the calculators of the book ----------------------------------------------------------------


@for_each("name", shared.plain_decoders())
def test_each_preset_of_parameters_is_its_cards_total(name: str) -> None:
    config = card(name).config
    counts = letters_parameters()
    assert counts.total.subs(shared.card_numbers(config)) == parameters(config).total


def test_presets_are_the_decoders_without_experts_or_latents(built: Any) -> None:
    names = [preset["label"] for preset in built["parameter_calculator"].spec["presets"]]
    assert {"GPT-2", "PaLM-540B", "BLOOM-176B", "Qwen3-8B", "Gemma-7B"} <= set(names)
    assert {"Gemma-3-27B", "Falcon-7B", "SmolLM3-3B", "Pythia-12B"} <= set(names)
    left_out = set(CARDS) - set(names)
    assert {"OLMo-2-7B", "gpt-oss-20b", "Qwen3-Next-80B-A3B"} <= left_out
    assert {"Mixtral-8x7B-v0.1", "DeepSeek-V2", "BERT-base", "T5-small"} <= left_out
    for calculator in built.values():
        assert [preset["label"] for preset in calculator.spec["presets"]] == names


def symbolic(name: str) -> dict[str, Any]:
    """The formulas with letters behind a calculator's parts."""
    if name == "parameter_calculator":
        return dict(letters_parameters())
    if name == "flop_calculator":
        both = zip(("prefill", "decode"), letters_flops(), strict=True)
        return {f"{bar}.{part}": x for bar, found in both for part, x in found.items()}
    moments = letters_moments()
    return {f"train.{part}": x for part, x in moments["loss"].items() if part in ALWAYS}


ALWAYS = ("weights", "optimizer")


@pytest.mark.parametrize("name", TWINS)
def test_formulas_with_letters_give_what_numbers_give(built: Any, name: str) -> None:
    """Exactly: both are whole numbers here."""
    spec, formulas = built[name].spec, symbolic(name)
    for one in inputs(spec, 8, seed=1):
        twin = TWINS[name](spec, one.numbers)
        for part, formula in formulas.items():
            numbers = {letter: one.numbers[str(letter)] for letter in formula.free_symbols}
            assert formula.subs(numbers) == twin[part], part


def test_inputs_reach_every_option(built: Any) -> None:
    """What the browser tries: 180 inputs are not all of one kind."""
    for name, calculator in built.items():
        tries = inputs(calculator.spec, 180)
        for k, pick in enumerate(calculator.spec["picks"]):
            assert {one.pick[k] for one in tries} == set(range(len(pick["options"]))), name
        for toggle in calculator.spec["toggles"]:
            assert {one.on[toggle["letter"]] for one in tries} == {0, 1}
        for letter in tries[0].follow:
            assert {one.follow[letter] for one in tries} == {False, True}


def test_every_part_has_its_own_name_and_starts_from_a_model(built: Any) -> None:
    for calculator in built.values():
        spec = calculator.spec
        names = [name for bar in range(len(spec["bars"])) for name in part_names(spec, bar)]
        assert len(set(names)) == len(names)
        chosen = spec["presets"][calculator.state["preset"] - 1]
        for letter, text in chosen["text"].items():
            assert calculator.state["text"][letter] == text
        for letter, follows in chosen["follow"].items():
            assert calculator.state["follow"][letter] == follows
        for letter, on in chosen["on"].items():
            assert calculator.state["on"][letter] == on
        for k, option in chosen["pick"].items():
            assert calculator.state["pick"][int(k)] == option


def test_another_process_makes_the_same_page(built: Any) -> None:
    """Stored outputs are compared to the byte, and sympy sorts by hash in places."""
    names = ("parameter_calculator", "memory_calculator")
    pages = ", ".join(f"c.{name}().static_html()" for name in names)
    other = subprocess.run(
        [sys.executable, "-c", f"from llmlib.book import calculators as c; print({pages})"],
        env={**os.environ, "PYTHONHASHSEED": "5", "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout.strip() == " ".join(built[name].static_html() for name in names)


def test_a_group_left_out_is_named() -> None:
    grouped: Callable[..., Any] = shared.grouped
    with pytest.raises(ValueError, match="no group holds other"):
        grouped({"kept": 1, "other": 2}, {"A": {"kept": "kept"}})
