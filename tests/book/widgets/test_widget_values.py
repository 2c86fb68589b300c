"""What Python may put into a widget: stops that its controls have, nothing else."""

import re

import numpy as np
import pytest

from llmlib.book.calculators import parameter_calculator
from llmlib.book.widgets import Choice, Column, ModelExplorer, Slider, TokenSteps

pytestmark = pytest.mark.bad_input


def steps():
    controls = [Slider("n", "layers", [1, 2, 4]), Choice("kind", "norm", ["pre", "post"])]
    return TokenSteps(controls=controls, frame=lambda n, kind: {"note": f"{n} {kind}"}, alt="rows")


def cards():
    columns = [
        Column(name, ["1", "2"], ["all"], values=[1, 2], axis=name) for name in ("d", "layers")
    ]
    start = {"columns": "all", "order": "d", "x": "d", "y": "layers"}
    rows = {"every card": [True, True]}
    return ModelExplorer(
        names=["a", "b"], columns=columns, filters=rows, kinds=rows, alt="cards", start=start
    )


@pytest.mark.parametrize(
    ("at", "error", "said"),
    [
        ([0], ValueError, "at is [0], expected a stop for each of 2 controls"),
        ([], ValueError, "at is [], expected a stop for each of 2 controls"),
        ([0, 0, 0], ValueError, "expected a stop for each of 2 controls"),
        ([3, 0], ValueError, "the stop of 'layers' is 3, expected 0 to 2"),
        ([-1, 0], ValueError, "the stop of 'layers' is -1, expected 0 to 2"),
        ([0, 2], ValueError, "the stop of 'norm' is 2, expected 0 to 1"),
        ([0.5, 0], TypeError, "the stop of 'layers' is 0.5, expected an integer"),
        (["two", 0], TypeError, "the stop of 'layers' is 'two', expected an integer"),
        ([None, 0], TypeError, "the stop of 'layers' is None, expected an integer"),
    ],
)
def test_a_stop_that_no_control_has_is_refused_and_nothing_moves(at, error, said):
    widget = steps()
    with pytest.raises(error, match=re.escape(said)):
        widget.at = at
    assert widget.at == [0, 0]


def test_a_stop_that_exists_is_taken_from_any_kind_of_integer():
    widget = steps()
    widget.at = [np.int64(2), True]
    assert widget.at == [2, 1]
    assert [type(stop) for stop in widget.at] == [int, int]  # what JSON can carry


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({0: 1}, ValueError),
        ({3: 2}, ValueError),
        ({5: 2}, ValueError),
        ({5: -2}, ValueError),
        ({6: 7}, TypeError),
        ({1: "every card"}, TypeError),
    ],
)
def test_a_table_of_cards_refuses_what_its_selects_lack(change, error):
    widget = cards()
    before = list(widget.at)
    with pytest.raises(error, match="at"):
        widget.at = [change.get(place, stop) for place, stop in enumerate(before)]
    assert widget.at == before
    with pytest.raises(ValueError, match="expected 5 stops, a column and a text"):
        widget.at = before[:5]


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"preset": 99}, ValueError, "preset is 99"),
        ({"preset": "GPT-2"}, ValueError, "preset is 'GPT-2'"),
        ({"pick": []}, ValueError, "pick is []"),
        ({"on": {}}, ValueError, "on has []"),
        ({"text": {"d": "768"}}, ValueError, "text has ['d']"),
        ({"more": 1}, ValueError, "state has"),
    ],
)
def test_a_calculator_refuses_what_its_boxes_cannot_show(change, error, said):
    widget = parameter_calculator()
    before = widget.state
    with pytest.raises(error, match=re.escape(said)):
        widget.state = {**before, **change}
    with pytest.raises(TypeError, match="expected a text"):
        widget.state = {**before, "text": dict.fromkeys(before["text"], 768)}
    assert widget.state == before
    widget.state = {**before, "preset": 0}
    assert widget.state["preset"] == 0
