"""The form of a page, as far as a test can hold it: CONTRIBUTING.md says what the form is for."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from llmlib.book.claim import CLAIM_MIME
from llmlib.book.listing import COLUMNS

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = sorted((ROOT / "chapters").glob("*.ipynb"))
WORDS = 3_000
OPEN_CLAIMS = 12
# What a page says of its makers and not of its matter.
NOT_FOR_READERS = re.compile(r"source text|(quoted )?from memory", re.I)
FENCE = re.compile(r"(?ms)^```\w*\n(.*?)^```")

FRONT = ROOT / "chapters/intro.ipynb"

every_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=[path.stem for path in CHAPTERS])
Cell = dict[str, Any]


def cells(path: Path, kind: str) -> list[Cell]:
    found = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [
        {**cell, "source": "".join(cell["source"])} for cell in found if kind in cell["cell_type"]
    ]


def prose(path: Path) -> str:
    return "\n\n".join(cell["source"] for cell in cells(path, "markdown"))


def outputs(cell: Cell) -> list[dict[str, Any]]:
    """What a cell shows: an output of nothing, as `use_style()` leaves, is not seen."""
    data = [out.get("data", {"text/plain": out.get("text")}) for out in cell.get("outputs", [])]
    return [one for one in data if "".join(one.get("text/html", "something")).strip()]


@every_chapter
def test_it_opens_with_a_question(path: Path) -> None:
    text = re.sub(r"(?m)^(#.*|\(.*\)=)$", "", prose(path)).strip()
    assert "?" in text.split("\n\n")[0]


@every_chapter
def test_it_is_one_sitting_long(path: Path) -> None:
    assert len(FENCE.sub("", prose(path)).split()) <= WORDS


@every_chapter
def test_few_claims_stand_in_the_open(path: Path) -> None:
    stored = [data.get(CLAIM_MIME) for cell in cells(path, "code") for data in outputs(cell)]
    assert len([claim for claim in stored if isinstance(claim, dict)]) <= OPEN_CLAIMS


@every_chapter
def test_a_claim_in_the_open_shows_its_number(path: Path) -> None:
    """A truth value, or a distance that could be nothing or all that was allowed, shows none."""
    for cell in cells(path, "code"):
        for data in outputs(cell):
            if isinstance(claim := data.get(CLAIM_MIME), dict):
                assert claim["measured"] not in ("yes", "no"), claim["id"]
                rough = claim["measured"].startswith("under") and claim["tolerance"] >= 1e-3
                assert not rough, claim["id"]


@every_chapter
def test_no_line_of_code_is_wider_than_the_column(path: Path) -> None:
    for cell in cells(path, "code"):
        shown = ["".join(data.get("text/markdown", "")) for data in outputs(cell)]
        listings = [text for markdown in shown for text in FENCE.findall(markdown)]
        for line in "\n".join([cell["source"], *listings]).splitlines():
            assert len(line) <= COLUMNS, line


def bars(path: Path) -> list[str]:
    """What a reader meets, in order: "bar" for a folded line, "page" for all else."""
    met = []
    for cell in cells(path, ""):
        tags = cell["metadata"].get("tags", [])
        if cell["cell_type"] == "markdown":
            met.append("page")
            continue
        if "remove-cell" in tags:
            continue
        if "remove-input" not in tags:
            met.append("bar" if "hide-input" in tags else "page")
        for data in outputs(cell):
            met.append("bar" if isinstance(data.get(CLAIM_MIME), list) else "page")
    return met


@every_chapter
def test_no_two_folded_lines_in_a_row(path: Path) -> None:
    met = bars(path)
    assert ["bar", "bar"] not in [met[k : k + 2] for k in range(len(met))]


@every_chapter
def test_it_speaks_to_its_readers(path: Path) -> None:
    assert [found[0] for found in NOT_FOR_READERS.finditer(prose(path))] == []


@every_chapter
def test_it_ends_with_exercises_takeaways_and_references(path: Path) -> None:
    if path == FRONT:
        return
    headings = re.findall(r"(?m)^## (.*)$", prose(path))
    assert headings[-3:] == ["Exercises", "Takeaways", "References"]
    graded = re.findall(r"\bexercise\(", "\n".join(cell["source"] for cell in cells(path, "code")))
    assert 3 <= len(graded) <= 6


@every_chapter
def test_it_is_found_from_the_front_page_and_the_overview(path: Path) -> None:
    if path == FRONT:
        return
    assert f'href="{path.name}"' in "".join(shown_html(FRONT)), "it is not on the map"
    assert f"({path.name}" in prose(FRONT), "no path of the front page leads to it"
    if path.stem != "overview":
        assert f"({path.name}" in prose(ROOT / "chapters/overview.ipynb")


def shown_html(path: Path) -> list[str]:
    return [
        "".join(data.get("text/html", "")) for cell in cells(path, "code") for data in outputs(cell)
    ]
