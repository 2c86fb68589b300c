"""What is stored in a notebook: nothing that differs from run to run; an error says where."""

import asyncio
import json
import os
import re
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from llmlib.book import notebooks
from llmlib.book.notebooks import (
    CHAPTERS,
    WIDGET_VIEW,
    Failed,
    error_text,
    execute,
    find,
    normalize,
    write_atomically,
)

VIEW = {"model_id": "0123456789abcdef", "version_major": 2, "version_minor": 0}


def shown(**data):
    """A cell that shows one thing; a name's "__" stands for the slash of its type."""
    bundle = {name.replace("__", "/"): value for name, value in data.items()}
    return new_code_cell("x", outputs=[new_output("display_data", data=bundle)])


def code_cell(source: str, number: int = 1):
    return new_code_cell(source, execution_count=number)


def test_time_stamps_are_dropped_and_tags_are_kept():
    cell = new_code_cell("1", metadata={"tags": ["hide-input"], "execution": {"iopub": "12:00"}})
    book = new_notebook(cells=[cell])
    assert normalize(book) == []
    assert book.cells[0].metadata == {"tags": ["hide-input"]}


def test_a_widget_keeps_its_html_and_loses_its_random_id():
    cell = shown(text__html="<div>", text__plain="Lines('a plot')")
    cell.outputs[0].data[WIDGET_VIEW] = VIEW
    book = new_notebook(cells=[cell])
    assert normalize(book) == []
    assert cell.outputs[0].data == {"text/html": "<div>", "text/plain": "Lines('a plot')"}


def test_a_widget_without_html_is_complained_about_and_kept():
    cell = new_code_cell("x", outputs=[new_output("display_data", data={WIDGET_VIEW: VIEW})])
    (complaint,) = normalize(new_notebook(cells=[new_markdown_cell("text"), cell]))
    assert complaint.startswith("cell 2: a widget without text/html")
    assert WIDGET_VIEW in cell.outputs[0].data


def test_stderr_is_complained_about_with_its_text():
    cell = new_code_cell("x", outputs=[new_output("stream", name="stderr", text="  be careful\n")])
    assert normalize(new_notebook(cells=[cell])) == ["cell 1: writes to stderr: be careful"]


def test_printed_text_and_data_are_left_as_they_are():
    cell = new_code_cell("x", outputs=[new_output("stream", name="stdout", text="0.25\n")])
    other = shown(application__json={"a": 1}, text__plain="{'a': 1}")
    book = new_notebook(cells=[cell, other])
    before = [dict(item.outputs[0]) for item in book.cells]
    assert normalize(book) == []
    assert [dict(item.outputs[0]) for item in book.cells] == before


@pytest.mark.parametrize("version", ["3.11.2", "3.14.0"])
def test_the_reader_s_own_python_and_kernel_leave_no_trace(version):
    metadata = {
        "widgets": {"application/vnd.jupyter.widget-state+json": {"state": {}}},
        "language_info": {"name": "python", "version": version},
        "kernelspec": {"display_name": f"mine {version}", "language": "python", "name": "mine"},
    }
    book = new_notebook(cells=[], metadata=metadata)
    normalize(book)
    assert book.metadata == {
        "language_info": {"name": "python"},
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    }


def test_what_is_normalized_stays_as_it_is():
    cell = shown(text__html="<div>", text__plain="a")
    cell.outputs[0].data[WIDGET_VIEW] = VIEW
    cell.metadata["execution"] = {}
    book = new_notebook(cells=[cell])
    normalize(book)
    once = nbformat.writes(book)
    assert normalize(book) == []
    assert nbformat.writes(book) == once


@pytest.mark.parametrize("path", sorted(CHAPTERS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_every_stored_notebook_is_normalized(path: Path):
    text = path.read_text(encoding="utf-8")
    book = nbformat.reads(text, as_version=4)
    assert normalize(book) == []
    assert nbformat.writes(book).rstrip("\n") == text.rstrip("\n")


def fractions(value) -> list[float]:
    """Every number with digits after the point in what a widget stores."""
    if isinstance(value, dict):
        return [number for item in value.values() for number in fractions(item)]
    if isinstance(value, list):
        return [number for item in value for number in fractions(item)]
    return [value] if isinstance(value, float) and not value.is_integer() else []


@pytest.mark.parametrize("path", sorted(CHAPTERS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_no_widget_stores_the_last_bits_of_one_machine(path: Path):
    """A float that nobody rounded has 15 to 17 digits."""
    text = path.read_text(encoding="utf-8")
    found = []
    for cell in nbformat.reads(text, as_version=4).cells:
        for output in cell.get("outputs", []):
            page = output.get("data", {}).get("text/html", "")
            for state in re.findall(r'<script type="application/json">(.*?)</script>', page):
                found += fractions(json.loads(state))
    long = [number for number in found if len(repr(number).split("e")[0].strip("-0.")) > 12]
    assert long == []


def test_an_equal_file_is_not_touched(tmp_path: Path):
    path = tmp_path / "a.ipynb"
    assert write_atomically(path, "one\n")
    path.chmod(0o640)
    written = path.stat()
    assert not write_atomically(path, "one\n")
    assert path.stat().st_mtime_ns == written.st_mtime_ns
    assert write_atomically(path, "two\n")
    assert path.read_text(encoding="utf-8") == "two\n"
    assert path.stat().st_mode & 0o777 == 0o640
    assert [item.name for item in tmp_path.iterdir()] == ["a.ipynb"]


def test_an_error_names_the_cell_its_first_line_and_the_end_of_the_trace():
    trace = [f"\x1b[31mline {number}\x1b[0m" for number in range(20)]
    failing = new_code_cell(
        "\n1 / 0",
        outputs=[new_output("error", ename="ZeroDivisionError", evalue="x", traceback=trace)],
    )
    text = error_text(new_notebook(cells=[new_markdown_cell("a"), failing]), ValueError("y"))
    assert text.splitlines()[0] == "cell 2: 1 / 0"
    assert text.splitlines()[-1] == "line 19"
    assert "\x1b" not in text
    assert len(text.splitlines()) == 13


def test_an_error_without_a_cell_says_itself():
    assert error_text(new_notebook(), RuntimeError("the kernel died")) == (
        "RuntimeError: the kernel died"
    )


def test_find_knows_names_and_paths_and_lists_what_there_is():
    everything = find([])
    assert everything == sorted(everything)
    stem = everything[0].stem
    assert find([stem]) == find([f"chapters/{stem}.ipynb"]) == [everything[0]]
    with pytest.raises(SystemExit, match=rf"no such chapter: nowhere .*{stem}"):
        find(["nowhere"])


def stored(tmp_path: Path, *sources: str) -> Path:
    path = tmp_path / "small.ipynb"
    nbformat.write(new_notebook(cells=[code_cell(source) for source in sources]), path)
    return path


def test_two_executions_write_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "environ", dict(os.environ))
    notebooks.set_environment(1)
    path = stored(tmp_path, "import sys\nprint('a')\nprint('b')", "{'b': 1, 'a': 2}")
    assert asyncio.run(execute(path)) == []
    first = path.read_bytes()
    assert asyncio.run(execute(path)) == []
    assert path.read_bytes() == first
    book = nbformat.read(path, as_version=4)
    assert [output.output_type for cell in book.cells for output in cell.outputs] == [
        "stream",  # two prints, one stream: how they arrive depends on time
        "execute_result",
    ]


def test_a_failing_notebook_stays_as_it_was(tmp_path: Path):
    path = stored(tmp_path, "print('a')", "raise KeyError('here')")
    before = path.read_bytes()
    with pytest.raises(Failed, match=r"cell 2: raise KeyError"):
        asyncio.run(execute(path))
    assert path.read_bytes() == before
