"""The front page: the map of the chapters, and the ladder of a model's guesses."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from llmlib.book.labs.intro.chapter_map import CHAPTERS, minutes, parts, show_map
from llmlib.book.labs.intro.guesses import arrivals, rungs
from llmlib.book.labs.intro.thumbnails import THUMBNAILS

pytestmark = pytest.mark.unchecked  # small stand-ins take the places of model and tokenizer

ROOT = Path(__file__).parents[3]


def best(*tokens: int) -> Any:
    """The three best tokens at one rung, as topk gives them."""
    return SimpleNamespace(indices=torch.tensor(tokens), values=torch.tensor([0.704, 0.2, 0.05]))


FOUND = {
    "early": [best(1, 2, 3), best(7, 1, 2), best(7, 1, 2), best(7, 2, 1)],
    "late": [best(1, 2, 3), best(1, 2, 3), best(1, 2, 3), best(7, 2, 1)],
    "there and back": [best(7, 2, 3), best(7, 2, 3), best(5, 7, 3), best(7, 2, 1)],
}


class Words:
    """A tokenizer that only decodes."""

    @staticmethod
    def decode(ids: list[int]) -> str:
        return f"w{ids[0]}"


def test_the_map_describes_every_chapter_and_no_other() -> None:
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    listed = [Path(c["file"]).name for part in toc["parts"] for c in part["chapters"]]
    listed.remove("references")  # a list, not a chapter to read
    assert sorted(listed) == sorted(CHAPTERS) == sorted(THUMBNAILS)
    assert [name for _, names in parts(ROOT) for name in names] == listed


def test_the_map_is_shown_wherever_the_notebook_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    InteractiveShell.instance()  # `display` gives rich output only inside one
    with capture_output() as shown:
        show_map()
    assert shown.outputs[0].data["text/html"].count("lm-card-title") == len(CHAPTERS)


def test_what_a_chapter_needs_is_a_chapter_and_there_is_no_circle() -> None:
    def depth(name: str, above: tuple[str, ...] = ()) -> int:
        assert name not in above, f"{name} needs itself"
        return 1 + max((depth(n, (*above, name)) for n in CHAPTERS[name].needs), default=0)

    assert all(1 <= depth(name) <= len(CHAPTERS) for name in CHAPTERS)
    assert all(chapter.question.endswith("?") for chapter in CHAPTERS.values())


@pytest.mark.parametrize(("words", "expected"), [(0, 5), (150, 5), (1_500, 10), (3_000, 20)])
def test_minutes_count_the_words_and_not_the_code(
    tmp_path: Path, words: int, expected: int
) -> None:
    cells = [
        {"cell_type": "markdown", "source": ["word " * words]},
        {"cell_type": "code", "source": ["x = 1 " * 5_000]},
    ]
    file = tmp_path / "chapter.ipynb"
    file.write_text(json.dumps({"cells": cells}), encoding="utf-8")
    assert minutes(file) == expected


def test_a_guess_arrives_where_it_stays() -> None:
    assert arrivals(FOUND) == [1, 3, 3]


def test_a_rung_has_its_words_shares_and_a_sentence() -> None:
    frame = rungs(FOUND, Words())  # type: ignore[arg-type]
    before, after = frame("early", 0), frame("early", 3)
    assert before["note"].startswith("Before the first block the best guess is “w1” 0.70; then")
    assert after["words"] == ["w7", "w2", "w1"]
    assert after["shares"] == [0.7, 0.2, 0.05]
    assert after["note"] == (
        "After block 3 of 3 the best guess is “w7” 0.70; then “w2” 0.20, “w1” 0.05."
    )
