"""Attention tile by tile: the numbers behind the picture, and the picture's own checks."""

import math

import pytest
import torch

from llmlib.attention import reference_attention
from llmlib.book.labs.flash_attention.tile_trace import Trace, absorb
from llmlib.book.widgets import Choice, Slider, TileStepper
from llmlib.book.widgets.base import static_script

SEQ, TILE, WIDTH = 12, 4, 2


def trace(causal):
    q, k, v = torch.randn(3, SEQ, WIDTH, dtype=torch.float64, generator=torch.manual_seed(0))
    return Trace(q, k, v, TILE, causal)


@pytest.mark.parametrize("causal", [False, True])
def test_the_last_frame_is_attention(causal):
    run = trace(causal)
    exact = reference_attention(*(x[None, None] for x in (run.q, run.k, run.v)), causal=causal)
    shown = torch.tensor([row[3:] for row in run.frames[-1]["rows"]]).double()
    assert torch.allclose(shown, exact[0, 0], atol=1e-6)
    assert run.frames[-1]["finished"] == SEQ


def test_bytes_follow_the_formulas():
    strips, tiles = SEQ // TILE, {False: 9, True: 6}
    for causal in (False, True):
        run = trace(causal)
        assert run.naive == 4 * (4 * SEQ * WIDTH + 4 * SEQ * SEQ)
        assert run.tiled == 4 * (2 * SEQ * WIDTH + SEQ + tiles[causal] * 2 * TILE * WIDTH)
        assert len(run.frames) == 1 + strips * strips + strips


def test_nothing_seen_and_nothing_to_see():
    m, ell, o = torch.tensor([-math.inf]), torch.zeros(1), torch.zeros(1, 2)
    hidden, V = torch.full((1, 3), -math.inf), torch.randn(3, 2)
    state = absorb(m, ell, o, hidden, V)
    assert state[0] == -math.inf
    assert (state[1], state[2].abs().sum()) == (0, 0)
    full = absorb(*state, torch.tensor([[1.0, 2.0, 3.0]]), V)
    again = absorb(*full, hidden, V)
    assert all(torch.equal(a, b) for a, b in zip(full, again, strict=True))


@pytest.mark.bad_input
def test_tiles_that_do_not_divide_the_text():
    with pytest.raises(ValueError, match="12 tokens in tiles of 5"):
        Trace(*torch.randn(3, 12, 2), 5, False)


def stepper(frames, tile=TILE):
    return TileStepper(
        controls=[Choice("order", "keys", ["all"]), Slider("step", "step", range(len(frames)))],
        seq=SEQ, tile=tile, frame=lambda order, step: frames[step], alt="tiles",
    )  # fmt: skip


def test_widget_carries_what_the_page_draws():
    widget = stepper(trace(True).frames)
    assert len(widget.frames) == 13
    assert widget.spec["most"] == 4 * (4 * SEQ * WIDTH + 4 * SEQ * SEQ)
    assert widget.frames[2]["marks"] == ["#x.", "...", "..."]
    assert widget.frames[0]["rows"][0][0] is None, "minus infinity is a gap, drawn as such"
    assert '"tile_stepper"' in static_script()


@pytest.mark.bad_input
def test_frames_of_another_size():
    with pytest.raises(ValueError, match=r"frame 0, marks: expected 4 texts"):
        stepper(trace(False).frames, tile=3)
    frames = trace(False).frames
    frames[0]["rows"] = frames[0]["rows"][:5]
    with pytest.raises(ValueError, match="frame 0 has 5 rows, expected 12"):
        stepper(frames)
