"""Claims, figures, tables, listings and widgets: what every notebook relies on."""

import json
import math

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from llmlib.book import (
    ClaimError,
    checks,
    claim,
    less_than,
    more_than,
    show,
    show_source,
    show_table,
    use_style,
)
from llmlib.book.claim import CLAIM_MIME
from llmlib.book.widgets import Bars, Choice, HeatMap, Lines, Panel, Series, Slider
from llmlib.book.widgets.base import rounded, static_script


@pytest.fixture(autouse=True)
def shell():
    """`display` gives rich output only inside an IPython shell."""
    return InteractiveShell.instance()


def outputs(call, *arguments, **options):
    with capture_output() as captured:
        call(*arguments, **options)
    return [output.data for output in captured.outputs]


HOLDS = [
    (1.0, 1.0, 0),
    (1.0004, 1.0, 1e-3),
    (torch.tensor([1.0, 2.0]), [1, 2], 1e-6),
    (torch.zeros(3, 4), 0, 1e-9),
    (torch.tensor([1, 2]), np.array([1, 2]), 0),
    (float("inf"), float("inf"), 0),
    (True, True, 0),
    (" Redemption", " Redemption", 0),
    (1.5, more_than(1), 0),
    (torch.tensor([0.5, -3]), less_than(1), 0),
    (["a", "b"], ["a", "b"], 0),
    (torch.ones(2, dtype=torch.bfloat16), 1, 0),
]
FAILS = [
    (1.002, 1.0, 1e-3),
    (float("nan"), float("nan"), 1e9),
    (torch.tensor([1.0, float("nan")]), 1, 1e9),
    (torch.tensor([1.0, 2.0]), [1, 3], 0.5),
    (float("inf"), 1.0, 1e9),
    (float("inf"), -float("inf"), 1e9),
    (torch.zeros(2), torch.zeros(3), 1),
    (1.0, [1.0, 1.0], 1),
    (True, False, 0),
    ("a", "b", 0),
    (1.0, more_than(1), 0),
    ([2, 0.5], more_than(1), 0),
    ([2, math.nan], more_than(1), 0),
    (math.nan, less_than(1), 0),
]


@pytest.mark.parametrize(("measured", "expected", "tolerance"), HOLDS)
def test_true_claim_shows_one_line(measured, expected, tolerance):
    (data,) = outputs(claim, "chapter.topic", "it is so", measured, expected, tolerance)
    assert data["text/plain"].startswith("✓ chapter.topic: it is so: measured ")
    assert 'id="claim-chapter-topic"' in data["text/html"]
    assert data[CLAIM_MIME]["holds"] is True


@pytest.mark.parametrize(("measured", "expected", "tolerance"), FAILS)
def test_false_claim_raises_and_says_both_sides(measured, expected, tolerance):
    with capture_output() as captured, pytest.raises(ClaimError, match=r"chapter\.topic.*expected"):
        claim("chapter.topic", "it is so", measured, expected, tolerance)
    assert captured.outputs[0].data["text/plain"].startswith("✗")


def fold(*claims):
    with checks():
        for arguments in claims:
            claim(*arguments)


def test_checks_are_one_line_and_keep_their_data():
    (data,) = outputs(fold, ("a.b", "one", 1, 1, 0), ("a.c", "two", 2.0, 2, 0.1))
    assert "<summary>2 more checks passed</summary>" in data["text/html"]
    assert data["text/html"].startswith('<details class="lm-checks"><')
    assert 'id="claim-a-c"' in data["text/html"]
    assert [(one["id"], one["holds"]) for one in data[CLAIM_MIME]] == [("a.b", True), ("a.c", True)]


def test_a_false_check_raises_and_opens_the_fold():
    with capture_output() as captured, pytest.raises(ClaimError, match=r"a\.c"):
        fold(("a.b", "one", 1, 1, 0), ("a.c", "two", 2, 3, 0), ("a.d", "never run", 1, 1, 0))
    (data,) = [output.data for output in captured.outputs]
    assert data["text/html"].startswith('<details class="lm-checks" open>')
    assert "2 more checks: 1 failed" in data["text/html"]
    assert outputs(claim, "a.e", "in the open again", 1, 1, 0)


@pytest.mark.bad_input
def test_malformed_checks():
    with pytest.raises(ValueError, match="no claim"):
        fold()
    with pytest.raises(ValueError, match="inside"), checks():
        fold(("a.b", "one", 1, 1, 0))


def test_claim_prints_no_digit_beyond_its_tolerance():
    (data,) = outputs(claim, "chapter.topic", "about one", 0.99991234, 1, 1e-3)
    assert "measured 1.000, expected 1.000 ± 0.001" in data["text/plain"]


def test_claim_escapes_html():
    (data,) = outputs(claim, "chapter.topic", "a < b & c", True, True, 0)
    assert "a &lt; b &amp; c" in data["text/html"]


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("id", "statement", "tolerance", "message"),
    [
        ("nodot", "x", 0, "nodot"),
        ("Upper.case", "x", 0, "Upper"),
        ("a.b", " ", 0, "empty"),
        ("a.b", "x", -1, "-1"),
        ("a.b", "x", math.nan, "nan"),
    ],
)
def test_malformed_claim(id, statement, tolerance, message):
    with pytest.raises(ValueError, match=message):
        claim(id, statement, 1, 1, tolerance)


@pytest.mark.bad_input
def test_malformed_bound():
    with pytest.raises(ValueError, match=r"nan.*finite"):
        more_than(math.nan)
    with pytest.raises(ValueError, match=r"tolerance 0, got 0.1"):
        claim("a.b", "x", 1, more_than(0), 0.1)
    with pytest.raises(ValueError, match="for numbers"):
        claim("a.b", "x", "text", more_than(0), 0)


def test_figure_follows_the_page():
    outputs(use_style)
    figure, axes = plt.subplots()
    axes.plot([0, 1], [0, 1], label="line")
    axes.set_title("0.1234567")
    (data,) = outputs(show, figure, alt="a line of slope 0.98765")
    svg = data["text/html"]
    assert 'role="img" aria-label="a line of slope 0.98765"' in svg
    assert "currentColor" in svg
    assert "var(--series-1, #0b5fa5)" in svg
    for left_over in ("#010203", "<metadata>", ' id="axes_1"'):
        assert left_over not in svg
    assert ">0.1234567<" in svg, "text is no coordinate: it must not be rounded"
    assert not plt.get_fignums()


def test_figures_repeat_to_the_byte():
    def draw():
        figure, axes = plt.subplots()
        axes.plot([0, 1], [0, 1])
        return outputs(show, figure, alt="a line")

    assert draw() == draw()


@pytest.mark.bad_input
def test_figure_without_alt():
    with pytest.raises(ValueError, match="alt"):
        show(plt.figure(), alt=" ")


def test_table_aligns_numbers_and_escapes():
    (data,) = outputs(show_table, ["name", "n"], [["<b>", 1234], ["c", 5]], caption="Two rows.")
    assert "&lt;b&gt;" in data["text/html"]
    assert "<caption>Two rows.</caption>" in data["text/html"]
    assert '<td class="lm-number">1,234</td>' in data["text/html"]


@pytest.mark.bad_input
def test_table_with_a_short_row():
    with pytest.raises(ValueError, match="expected 2"):
        show_table(["a", "b"], [["only one"]], caption="Short.")


def test_source_is_shown_with_the_docstring_s_first_line():
    (data,) = outputs(show_source, show_table)
    assert data["text/markdown"].startswith("```python\ndef show_table(")
    assert "Raises:" not in data["text/markdown"]


def of_a_sum(x: torch.Tensor, weights: torch.Tensor | None = None, *, scale: float = 1.0) -> float:
    """The sum of x, weighted: a docstring that is too long for a column of eighty-four letters."""
    check_nothing(x)
    if weights is None:
        raise ValueError("no weights")
    return float((x * weights).sum() * scale)  # type: ignore[operator]


def check_nothing(x):
    pass


def test_source_is_shown_without_annotations_and_checks():
    (data,) = outputs(show_source, of_a_sum)
    assert data["text/markdown"].splitlines()[1:-1] == [
        "def of_a_sum(x, weights=None, *, scale=1.0):",
        '    """The sum of x, weighted: a docstring that is too long for a column of',
        '    eighty-four letters."""',
        "    return float((x * weights).sum() * scale)",
    ]


def lines(**changes):
    panel = Panel(
        title="p",
        y_label="y",
        y_range=(0, 1),
        x=[0, 1],
        series=[Series("s"), Series("f", y=[1, 1])],
    )
    settings = {
        "controls": [Slider("a", "A", [1, 2]), Choice("b", "B", ["u", "v", "w"], 1)],
        "panels": [panel],
        "frame": lambda a, b: {"series": [[[a, math.pi]]], "note": f"{a}{b}"},
        "alt": "a plot",
    }
    return Lines(**(settings | changes))


def test_widget_precomputes_every_combination_last_control_fastest():
    widget = lines()
    assert [frame["note"] for frame in widget.frames] == ["1u", "1v", "1w", "2u", "2v", "2w"]
    assert widget.at == [0, 1]
    assert widget.frames[0]["series"] == [[[1, 3.142]]]


def test_a_logarithmic_panel_keeps_what_is_small():
    panel = Panel("p", "y", (1e-9, 1e9), [0, 1], series=[Series("s")], y_log=True)
    plain = Panel("p", "y", (0, 1), [0, 1], series=[Series("s")])
    rows = [[1e-8, 1e8]]
    widget = lines(panels=[panel, plain], frame=lambda a, b: {"series": [rows, rows]})
    assert widget.spec["panels"][0]["y_range"] == [1e-9, 1_000_000_000]
    assert widget.frames[0]["series"] == [[[1e-8, 100_000_000]], [[0, 100_000_000]]]


def test_widget_carries_both_views():
    data, _ = lines()._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    state = data["text/html"].split('<script type="application/json">')[1].split("</script>")[0]
    assert json.loads(state)["at"] == [0, 1]


def test_text_in_a_widget_cannot_close_its_script_element():
    widget = lines(alt="</script><script>alert(1)</script>")
    assert widget.static_html().count("</script>") == 1


def test_static_script_holds_every_kind():
    script = static_script()
    for kind in (Lines, Bars, HeatMap):
        assert f'"{kind.kind}"' in script


def test_rounded_makes_json_numbers():
    values = rounded({"a": [1.23456, math.nan, torch.tensor([2.0]), np.float64(1e-9)]})
    assert json.loads(json.dumps(values)) == {"a": [1.235, None, [2], 1e-9]}


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alt": ""}, "alt"),
        ({"controls": [Slider("a", "A", [1], start=3), Choice("b", "B", ["u"])]}, "stop 3"),
        ({"frame": lambda a, b: {"series": [[[1], [2]]]}}, r"\[2\] series.*expected \[1\]"),
        ({"frame": lambda a, b: {"series": [[[0.5] * 20_000]]}}, "120,0.* numbers"),
    ],
)
def test_malformed_widget(changes, message):
    with pytest.raises(ValueError, match=message):
        lines(**changes)


@pytest.mark.bad_input
def test_malformed_bars_and_matrix():
    panel = Panel(title="p", y_label="y", y_range=(0, 1), labels=["a", "b"])
    control = Slider("a", "A", [1])
    with pytest.raises(ValueError, match=r"\[1\] bars.*expected \[2\]"):
        Bars(controls=[control], panels=[panel], frame=lambda a: {"values": [[1]]}, alt="bars")
    with pytest.raises(ValueError, match="expected 2 rows of 3"):
        HeatMap(
            choice=Choice("m", "M", ["one"]),
            x=[1, 2, 3],
            y=[1, 2],
            x_label="x",
            y_label="y",
            value_label="v",
            matrix=lambda m: [[1, 2, 3]],
            start=(0, 0),
            alt="a map",
        )
