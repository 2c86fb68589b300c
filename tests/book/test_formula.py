"""Formulas in the page: the book's letters, their order, and LaTeX that says the same."""

from typing import Any

import pytest
import sympy
from IPython.utils.capture import CapturedIO

from llmlib.accounting import LETTERS, SWITCHES, in_letters, parameters
from llmlib.book import formula_table, math_table, show_formula
from llmlib.book.formula import Math, formula_latex
from llmlib.model_cards import card
from tests.accounting.numbers import numbers_of

V, d, L, H, G = (LETTERS[x] for x in ("vocab_size", "dim", "n_layers", "n_heads", "n_kv_heads"))
d_head, d_ff, n_ctx = (LETTERS[x] for x in ("head_dim", "ffn_dim", "context"))
b, s = LETTERS["batch"], LETTERS["seq"]
GPT = parameters(in_letters(card("GPT-2").config, ffn_dim=4 * d, head_dim=d / H))


@pytest.mark.parametrize(
    ("expression", "shown"),
    [
        (d_head * H, r"H \, d_{\text{head}}"),
        (2 * n_ctx * d, r"2 n_{\text{ctx}} \, d"),
        (d_ff * d * L * 3, r"3 L \, d \, d_{\text{ff}}"),
        (12 * d**2 + 13 * d, r"12 d^{2} + 13 d"),
        (2 * d * d_head * G + 2 * d + 2 * H * d * d_head,
         r"2 d \, H \, d_{\text{head}} + 2 d \, G \, d_{\text{head}} + 2 d"),
        (L * (12 * d**2 + 13 * d), r"L \left(12 d^{2} + 13 d\right)"),
        ((1 - SWITCHES["tied"]) * V * d, r"V \, d \left(1 - \text{tied}\right)"),
        (SWITCHES["qkv_bias"] * d, r"d \, \text{qkv bias}"),
        (d**2 - d, r"d^{2} - d"),
        (-d, "-d"),
        (s * (s + 1) / 2, r"\frac{s \left(s + 1\right)}{2}"),
        (V / d, r"\frac{V}{d}"),
        (LETTERS["query_rank"] * LETTERS["source_seq"], r"s_{\text{src}} \, r_q"),
        (H * sympy.Symbol("d_ff,2") * L, r"L \, H \, d_{\text{ff,2}}"),
        (sympy.Symbol("H_2") * d, r"d \, H_2"),
        (sympy.Integer(38597376) * d, r"38{,}597{,}376 d"),
        (124439808, r"124{,}439{,}808"),
        (0, "0"),
    ],
)  # fmt: skip
def test_latex_in_the_books_letters(expression: Any, shown: str) -> None:
    assert formula_latex(expression) == shown


def test_order_collects_what_each_letter_has() -> None:
    shown = formula_latex(GPT.total, order=(V, n_ctx, L))
    assert shown == r"V \, d + n_{\text{ctx}} \, d + L \left(12 d^{2} + 13 d\right) + 2 d"


def test_order_passes_over_letters_that_are_not_there() -> None:
    assert formula_latex(2 * d + V * d, order=(G, V)) == r"V \, d + 2 d"
    assert formula_latex(V * d, order=(V, L)) == r"V \, d"


@pytest.mark.parametrize("name", ["GPT-2", "LLaMA-7B", "Mistral-7B-v0.1", "Qwen2-7B"])
def test_what_is_printed_equals_what_was_counted(name: str) -> None:
    """Read back as arithmetic, the LaTeX gives the model's published total."""
    config = card(name).config
    shown = formula_latex(parameters(in_letters(config)).total, order=(V, n_ctx, L))
    values = ("V", "d_head", "d_ff", "n_ctx", "d", "L", "H", "G")
    plain = shown.replace(r"_{\text{", "_").replace("}}", "").replace(r"\left(", "(")
    plain = (
        plain.replace(r"\right)", ")").replace(r"\, ", "").replace("^{2}", "**2").replace(" ", "*")
    )
    plain = plain.replace("*+*", "+").replace("*-*", "-")
    given = {str(letter): int(number) for letter, number in numbers_of(config).items()}
    total = eval(plain, {letter: given.get(letter, 0) for letter in values})
    assert total == card(name).published_parameters


def shown_by(capture: CapturedIO) -> dict[str, str]:
    """What the last display put out, as a MIME bundle."""
    return dict(capture.outputs[-1].data)


def test_formula_is_a_line_of_math(displayed: CapturedIO) -> None:
    show_formula("N", GPT.total, order=(V, n_ctx, L))
    text = shown_by(displayed)["text/latex"]
    assert text.startswith("$$\nN ={} V \\, d + ")
    assert text.endswith(" + 2 d\n$$")


def test_long_formula_is_broken(displayed: CapturedIO) -> None:
    show_formula("N", V * d - d_ff - d + 2, per_line=2)
    text = shown_by(displayed)["text/latex"]
    assert "\\begin{aligned}\nN ={} & V \\, d + 2 \\\\\n& {} - d - d_{\\text{ff}}\n" in text


def test_table_has_a_row_for_each_component_and_the_total(displayed: CapturedIO) -> None:
    counts = parameters(card("GPT-2").config)
    formula_table(
        GPT, {"GPT-2": counts}, caption="A < B", order=(V, n_ctx, L), names={"norms": "two norms"}
    )
    page = shown_by(displayed)["text/html"]
    assert page.count("<tr>") == 1 + sum(x != 0 for x in GPT.values()) + 1
    assert "A &lt; B" in page
    assert '<th scope="row">attention, query</th>' in page
    assert '<th scope="row">two norms</th>' in page
    assert r"\(V \, d\)" in page
    assert "38,597,376" in page
    assert "124,439,808</td></tr></tbody>" in page


def test_table_without_the_formula_of_its_total(displayed: CapturedIO) -> None:
    counts = parameters(card("GPT-2").config)
    formula_table(GPT, {"GPT-2": counts}, caption="Parts", total=False)
    page = shown_by(displayed)["text/html"]
    assert '<th scope="row">total</th><td></td><td class="lm-number">124,439,808</td>' in page


def test_table_of_formulas_and_text(displayed: CapturedIO) -> None:
    rows = [[d_ff, "a < b", 1000, 1000], [Math(r"\frac12"), "c", 2, "2"]]
    math_table(["letter", "meaning", "number", "mixed"], rows, caption="Letters")
    page = shown_by(displayed)["text/html"]
    assert r'<th scope="row"><span class="math notranslate nohighlight">\(d_{\text{ff}}\)' in page
    assert r"\(\frac12\)</span></th><td>c</td>" in page
    assert '<td>a &lt; b</td><td class="lm-number">1,000</td><td>1,000</td></tr>' in page


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("rows", "caption", "message"),
    [([["a"]], " ", "caption"), ([["a"], ["b", "c"]], "x", "has 2 cells")],
)
def test_table_with_a_ragged_row(rows: Any, caption: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        math_table(["letter"], rows, caption=caption)


@pytest.mark.bad_input
def test_table_without_caption_or_rows() -> None:
    for formulas, caption in ((GPT, " "), ({}, "nothing")):
        with pytest.raises(ValueError, match="caption"):
            formula_table(formulas, caption=caption)
