"""The clock faces: what Python hands to the page, and what it refuses."""

import pytest

from llmlib.book.widgets import Dials, Hand, Slider


def dials(hands):
    def frame(turn):
        points = [(0.5, turn / 10)] * hands
        return {"dials": [{"title": "one", "hands": points, "text": "t"}], "note": f"{turn}"}

    return Dials(controls=[Slider("turn", "turn", [1, 2, 3])], frame=frame, alt="two hands",
                 hands=[Hand("query"), Hand("key", 2, dash=True)], across=3)  # fmt: skip


def test_a_frame_for_each_stop_and_a_hand_for_each_label():
    widget = dials(hands=2)
    assert [frame["note"] for frame in widget.frames] == ["1", "2", "3"]
    assert widget.frames[2]["dials"][0]["hands"] == [[0.5, 0.3], [0.5, 0.3]]
    assert [hand["label"] for hand in widget.spec["hands"]] == ["query", "key"]
    assert widget.spec["across"] == 3
    assert 'data-kind="dials"' in widget.static_html()


@pytest.mark.bad_input
def test_a_dial_with_a_hand_too_many():
    with pytest.raises(ValueError, match="frame 0: expected 2 hands"):
        dials(hands=3)
