"""The memory of two levels: what it counts, what fits, and which tiles a mask leaves to do."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmlib.attention import reference_attention, visible_keys
from llmlib.book.labs.flash_attention import tile_traffic as traffic
from llmlib.book.labs.flash_attention.tile_traffic import (
    Chip,
    keys_only,
    keys_outside,
    naive_traffic,
    queries_outside,
    rewritten_traffic,
    run,
    three_passes,
    tile_map,
    tile_sizes,
    tiled_traffic,
)
from llmlib.book.listing import show_file_source
from llmlib.book.widgets import Slider, TileMap
from llmlib.flash_attention.strips import Mask
from tests.folding import for_each

ORDERS = {three_passes: (), keys_only: (24,), keys_outside: (16, 24), queries_outside: (16, 24)}


@pytest.mark.parametrize(
    ("order", "sizes"), ORDERS.items(), ids=lambda x: getattr(x, "__name__", "")
)
def test_every_order_computes_attention(order, sizes):
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(70, 8, generator=generator).double() for _ in range(3))
    expected = reference_attention(*(x[None, None] for x in (q, k, v)))[0, 0]
    assert torch.allclose(order(Chip(), q, k, v, *sizes), expected, atol=1e-12)


@pytest.mark.parametrize("seq", [32, 70])
@pytest.mark.parametrize("dim", [8, 16])
@pytest.mark.parametrize("sizes", [(16, 16), (7, 20), (100, 100)])
def test_formulas_count_what_the_loops_move(seq, dim, sizes):
    assert run(three_passes, seq, dim).moved == naive_traffic(seq, dim)
    assert run(queries_outside, seq, dim, *sizes).moved == tiled_traffic(seq, dim, sizes[0])
    assert run(keys_outside, seq, dim, *sizes).moved == rewritten_traffic(seq, dim, sizes[1])


def test_tensors_without_data_count_the_same():
    counted, ran = (run(keys_only, 40, 8, 16, device=device) for device in ("meta", "cpu"))
    assert (counted.loaded, counted.stored) == (ran.loaded, ran.stored)


@given(st.integers(10, 14), st.integers(3, 6))
@settings(deadline=None, max_examples=20)
def test_tiles_fit_and_use_most_of_the_room(power, dim_power):
    room, dim = 2**power, 2**dim_power
    if room < 64 * dim:
        return
    n_queries, n_keys = tile_sizes(room, dim)
    chip = run(queries_outside, n_queries, dim, n_queries, 1, room=room)
    assert chip.most == n_queries * (2 * dim + 2) + 2 * dim + n_queries
    assert n_queries * (2 * dim + 2) + n_keys * (2 * dim + n_queries) <= room
    assert n_queries * (2 * dim + 2) + (n_keys + 1) * (2 * dim + n_queries) > room


def test_a_tile_that_is_too_large_does_not_fit():
    with pytest.raises(MemoryError, match="room for 100"):
        run(queries_outside, 32, 8, 16, 16, room=100)


@pytest.mark.bad_input
def test_no_room_for_one_query():
    with pytest.raises(ValueError, match="room is 100 numbers, expected at least 512"):
        tile_sizes(100, 64)


@for_each("sizes", [(48, 48), (20, 48), (48, 20), (1, 33), (33, 1)])
@for_each("causal", [False, True])
@for_each("window", [None, 1, 7, 100])
@for_each("tile", [(1, 1), (4, 8), (5, 3), (16, 16)])
def test_tile_map_is_the_dense_mask(sizes, causal, window, tile):
    seen = visible_keys(*sizes, causal=causal, window=window)
    expected = [
        "".join(
            "f" if seen[rows, keys].all() else "p" if seen[rows, keys].any() else "."
            for keys in traffic.tiles(sizes[1], tile[1])
        )
        for rows in traffic.tiles(sizes[0], tile[0])
    ]
    assert tile_map(Mask(*sizes, causal, window), *tile) == expected


# --- what the page shows ----------------------------------------------------------------------


def shown_by(capture):
    """The Markdown of what was displayed."""
    (output,) = capture.outputs
    return output.data["text/markdown"]


def test_source_of_a_file_is_shown_without_importing_it(displayed):
    show_file_source("flash_attention/triton_kernels.py", "attend")
    text = shown_by(displayed)
    assert text.startswith("```python\n@triton.jit\ndef attend(")
    assert "HIDDEN" in text


def test_brief_source_leaves_parameters_out(displayed):
    show_file_source("flash_attention/triton_kernels.py", "attend", "finish", brief=True)
    text = shown_by(displayed)
    assert text.startswith('```python\ndef attend(...):\n    """')
    assert "\n\n\ndef finish(...):" in text
    assert "constexpr" not in text


def test_a_piece_of_a_function(displayed):
    show_file_source(
        "book/labs/flash_attention/tile_trace.py", "absorb", first="m_new =", last="factor"
    )
    lines = shown_by(displayed).splitlines()
    assert len(lines) == 5
    assert lines[1].startswith("m_new = ")
    assert lines[2].startswith("shift = ")
    assert lines[3].startswith("factor, P")


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "nothing"}, "has no"),
        ({"name": "absorb", "first": "nothing"}, "no line holds"),
        ({"name": "absorb", "first": "m_new =", "last": "nothing"}, "no line after"),
    ],
)
def test_source_that_is_not_there(options, message):
    name = options.pop("name")
    with pytest.raises(ValueError, match=message):
        show_file_source("book/labs/flash_attention/tile_trace.py", name, **options)


def tile_picture(tiles):
    return TileMap(
        controls=[Slider("side", "tile", [2])],
        frame=lambda side: {"tiles": tiles, "tile": [side, side], "visible": ["xx."] * 3},
        alt="a map",
    )


def test_tile_map_holds_its_frames():
    assert tile_picture(["f.", "f."]).frames[0]["tile"] == [2, 2]


@pytest.mark.bad_input
def test_tile_map_of_another_size():
    with pytest.raises(ValueError, match="expected 2 rows of 2"):
        tile_picture(["f."])
