"""What the chapters' Markdown must hold: it is read in JupyterLab too, not only as pages."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*(ROOT / "chapters").glob("*.ipynb"), *(ROOT / "chapters").glob("*.md")])
CODE = re.compile(r"(?ms)^(`{3,}|~{3,}).*?^\1[ \t]*$|`[^`\n]*`")
# MyST fills these in where the book is built; anywhere else the words are missing.
EMPTY_LINK = re.compile(r"(?<!!)\[\s*\]\([^)]*\)|<a\s[^>]*>\s*</a>|(?<!\S)\[\]\[[^\]]+\]")
ROLE = re.compile(r"\{([a-z:]+)\}`")
SHOWN_AS_WRITTEN = {"cite:p", "cite:t", "cite:yearpar"}


def texts(path: Path) -> list[str]:
    """The Markdown of a page: the whole file, or a notebook's Markdown cells and its tables."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return [text]
    found = []
    for cell in json.loads(text)["cells"]:
        if cell["cell_type"] == "markdown":
            found.append("".join(cell["source"]))
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            found += ["".join(data[kind]) for kind in ("text/markdown",) if kind in data]
    return found


def prose(path: Path) -> str:
    """A page's Markdown without its code."""
    return "\n\n".join(CODE.sub("", text) for text in texts(path))


@pytest.mark.parametrize("path", PAGES, ids=[path.name for path in PAGES])
def test_links_carry_their_words(path: Path) -> None:
    assert [found[0] for found in EMPTY_LINK.finditer(prose(path))] == []


@pytest.mark.parametrize("path", PAGES, ids=[path.name for path in PAGES])
def test_only_citations_are_written_as_roles(path: Path) -> None:
    """JupyterLab shows a role as it is written: of a citation its key, as the intro says."""
    assert {role for text in texts(path) for role in ROLE.findall(text)} <= SHOWN_AS_WRITTEN


@pytest.mark.parametrize(
    "text",
    ["of [](kv_cache.ipynb).", "see [ ](a.md)", "as [][target] says", "<a href='x'></a>"],
)
def test_an_empty_link_is_seen(text: str) -> None:
    assert EMPTY_LINK.search(text)
    assert not EMPTY_LINK.search(
        "[words](a.md), ![](img.svg), [a][b], `x[][0]` and x[][0], - [ ] to do"
    )
