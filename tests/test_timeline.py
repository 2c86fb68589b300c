"""The timeline: complete rows, known classes, a citable source for each."""

import re
from pathlib import Path

import pytest

from llmlib.book.timeline import Release, read_timeline, release
from llmlib.model_cards import CARDS

ROWS = read_timeline()
BIB = Path(__file__).resolve().parent.parent / "chapters" / "references.bib"


def test_rows_are_in_order_and_named_once() -> None:
    assert len(ROWS) >= 20
    assert [row.date for row in ROWS] == sorted(row.date for row in ROWS)
    assert len({row.name for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_row_is_complete_and_plausible(row: Release) -> None:
    assert re.fullmatch(r"20(18|19|2[0-4])-(0[1-9]|1[0-2])", row.date)
    assert row.openness in ("open weights", "closed")
    assert row.family in ("decoder", "encoder", "encoder-decoder", "unpublished")
    assert row.parameters is None or 0.1 < row.parameters < 1000
    assert row.tokens is None or 100 < row.tokens < 20_000
    assert row.openness == "closed" or row.parameters is not None
    assert f"{{{row.source}," in BIB.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "card"),
    [("GPT-3", "GPT-3 175B"), ("Mistral 7B", "Mistral-7B-v0.1")],
)
def test_sizes_agree_with_the_model_cards(name: str, card: str) -> None:
    published = CARDS[card].published_parameters
    size = release(name).parameters
    assert size is not None
    assert abs(size * 1e9 / published - 1) < 0.01


def test_training_flops_needs_both_numbers() -> None:
    assert release("GPT-3").training_flops == pytest.approx(3.15e23)
    assert release("GPT-4").training_flops is None


@pytest.mark.bad_input
def test_unknown_name_lists_the_rows() -> None:
    with pytest.raises(ValueError, match=r"no row for 'GPT-9'.*SmolLM2-135M"):
        release("GPT-9")
