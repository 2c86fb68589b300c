"""What is stored has digits that another CPU gives: noise in the last bits changes nothing."""

import json
import math
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from llmlib.book import claim, less_than, more_than, show, use_style
from llmlib.book.claim import CLAIM_MIME
from llmlib.book.claim_values import Bound, power
from llmlib.book.digits import to_decimals, to_significant
from llmlib.book.exercise import Mistake, Number
from llmlib.book.widgets.base import rounded

LAST_BITS = [0.0, 1e-15, -1e-15, 4e-13, -4e-13]  # relative: what float64 loses in long sums


@pytest.fixture(autouse=True)
def shell():
    InteractiveShell.instance()
    with capture_output():
        use_style()


def shown(call, *arguments, **options):
    with capture_output() as captured:
        call(*arguments, **options)
    return captured.outputs[0].data


# Halves are exact on paper and on the border of two roundings.
@pytest.mark.parametrize("value", [0.125, 2.675, -0.005, 1e-9 + 0.5, 12345.5, 1 / 3, 0.0])
@pytest.mark.parametrize("noise", LAST_BITS)
def test_a_tie_is_rounded_alike_on_every_machine(value: float, noise: float):
    noisy = value * (1 + noise)
    assert to_decimals(noisy, 2) == to_decimals(value, 2)
    assert abs(to_decimals(noisy, 2) - value) <= 0.005 + 1e-5
    assert to_significant(noisy, 2) == to_significant(value, 2)


@pytest.mark.parametrize("value", [9.9999999999999, 99.95, 1e300, 1e-300, -7.0])
def test_significant_digits_are_a_close_number(value: float):
    assert math.isclose(to_significant(value, 4), value, rel_tol=5.1e-4)


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_infinities_pass(value: float):
    assert to_decimals(value, 3) == to_significant(value, 3) == value


def test_zero_has_no_sign():
    assert str(to_decimals(-1e-9, 2)) == "0.0"


NUMBERS = np.array([0.12345, 0.5, 0.25, 1.0005, 3.0, 1e-7, 250.5, -0.00125, 77.775, 1e6 + 0.5])


@pytest.mark.parametrize("noise", LAST_BITS)
def test_a_widget_s_frame_is_the_same(noise: float):
    assert json.dumps(rounded(NUMBERS * (1 + noise))) == json.dumps(rounded(NUMBERS))


@pytest.mark.parametrize("residue", [0.0, 4.4e-16, -1.7e-16, -0.0])
def test_what_cancels_is_zero_in_a_widget_s_frame(residue: float):
    frame = {"series": [[[-6.0, residue, 6.0], [1e-9, 3e-5]]], "note": "x", "alone": [1e-30]}
    assert json.dumps(rounded(frame)) == (
        '{"series": [[[-6, 0, 6], [1e-09, 3e-05]]], "note": "x", "alone": [1e-30]}'
    )


def figure(noise: float):
    fig, (left, right) = plt.subplots(1, 2)
    left.plot(np.arange(10) * (1 + noise), NUMBERS * (1 + noise), marker="o", label="line")
    left.set(xlim=(0, 10), ylim=(-1, 300))
    right.bar(range(10), NUMBERS * (1 + noise), hatch="/")
    right.set_yscale("log")
    right.fill_between(range(10), NUMBERS * (1 + noise))
    left.legend()
    return shown(show, fig, alt="a line and bars")["text/html"]


@pytest.mark.parametrize("noise", LAST_BITS)
def test_a_figure_is_the_same(noise: float):
    assert figure(noise) == figure(0.0)


def test_names_in_a_figure_are_its_own_and_all_used():
    pictures = [figure(0.0)]
    fig, axes = plt.subplots()
    axes.plot([0, 1], [2, 3], "o-")
    axes.set_title("##ing")  # a token's name is no name of a shape
    pictures.append(shown(show, fig, alt="##a")["text/html"])
    names = [re.findall(r' id="([^"]*)"', picture) for picture in pictures]
    for picture, own in zip(pictures, names, strict=True):
        used = set(re.findall(r'(?:url\(|href=")#([^")]*)', picture))
        assert len(set(own)) == len(own)
        assert set(own) == used
    assert not set(names[0]) & set(names[1])
    assert ">##ing<" in pictures[1]


def test_coordinates_have_one_spelling():
    places = re.findall(r' d="([^"]*)"', figure(0.0))
    numbers = [number for place in places for number in re.findall(r"-?\d+\.?\d*", place)]
    assert numbers
    assert [n for n in numbers if n == "-0" or re.search(r"\.$|\.\d*0$|\.\d{3}", n)] == []


def number(answer: float, tolerance: float):
    return Number(
        "a.n", level="easy", hint="h", solution="s", answer=lambda: answer, tolerance=tolerance,
        mistakes=[Mistake(answer / 3, "a third")],
    )  # fmt: skip


@pytest.mark.parametrize(("answer", "tolerance"), [(math.pi, 0.6), (22.5 / 7, 0.002), (1e-4, 1e-6)])
@pytest.mark.parametrize("noise", LAST_BITS)
def test_an_exercise_stores_what_its_tolerance_needs(answer: float, tolerance: float, noise: float):
    spec = number(answer, tolerance).card().spec
    assert number(answer * (1 + noise), tolerance).card().spec == spec
    assert abs(spec["answer"] - answer) <= tolerance / 100
    assert abs(spec["mistakes"][0][0] - answer / 3) <= tolerance / 100
    assert len(f"{spec['answer']:g}") < 10


@pytest.mark.parametrize("answer", [124_439_808, 7, 0])
@pytest.mark.parametrize("tolerance", [0, 0.5, 1000])
def test_an_exercise_keeps_whole_numbers_whole(answer: int, tolerance: float):
    assert number(answer, tolerance).card().spec["answer"] == answer


def test_page_and_notebook_grade_by_the_same_number():
    item = number(math.pi, 0.05)
    stored = item.card().spec["answer"]
    edges = [stored + sign * 0.05 * factor for sign in (1, -1) for factor in (0.999, 1.001)]
    assert [item.grade(edge)[0] for edge in edges] == [True, False, True, False]


@pytest.mark.parametrize(
    ("error", "tolerance"), [(0.0051, 0.01), (0.0049, 0.01), (4e-7, 1e-6), (6e-7, 1e-6), (0, 1e-6)]
)
def test_an_error_of_one_unit_of_the_last_digit_is_bounded(error: float, tolerance: float):
    for measured in (error, np.full(8, error)):
        data = shown(claim, "a.b", "it is so", measured, 0, tolerance)[CLAIM_MIME]
        assert data["measured"] == f"under {power(tolerance)}"
        assert data["expected"] == "0"


@pytest.mark.parametrize(
    ("measured", "expected", "text"),
    [
        (1.3949, more_than(0.8), "1.4"),
        (0.80031, more_than(0.8), "0.8003"),  # as many digits as tell it from the limit
        (3.06e-7, less_than(1e-3), "3.1e−07"),
        (1_234_567, less_than(2_000_000), "1,200,000"),
        ([3, 5.23], more_than(0.8), "least of 2: 3.0"),
        (-12.3, less_than(0), "−12"),
    ],
)
def test_a_claim_shows_what_lies_beyond_its_bound(measured, expected: Bound, text: str):
    data = shown(claim, "a.b", "it is so", measured, expected, 0)[CLAIM_MIME]
    assert (data["measured"], data["expected"]) == (text, str(expected))


@pytest.mark.parametrize(
    ("measured", "expected", "tolerance", "text"),
    [(255.93, 256, 0.1, "255.9"), (3.0149, 3, 0.02, "3.01"), (0.031, 0, 0.05, "0.03")],
)
def test_a_claim_shows_what_was_measured(
    measured: float, expected: float, tolerance: float, text: str
):
    data = shown(claim, "a.b", "it is so", measured, expected, tolerance)[CLAIM_MIME]
    assert data["measured"] == text


def test_a_claim_shows_the_difference_that_its_tolerance_allows():
    data = shown(claim, "a.b", "about a half", 0.531, 0.5, 0.05)[CLAIM_MIME]
    assert (data["measured"], data["expected"]) == ("0.53", "0.50")


@pytest.mark.parametrize("noise", LAST_BITS)
def test_a_claim_shows_the_same_digits(noise: float):
    def data(factor: float):
        values = np.array([0.125, 2.675, 0.1, 40.5]) * factor
        return [
            shown(claim, "a.b", "near", values, values + 0.04, 0.05)[CLAIM_MIME]["measured"],
            shown(claim, "a.b", "equal", values, values, 0)[CLAIM_MIME]["measured"],
        ]

    assert data(1 + noise) == data(1.0)
