"""What JupyterLab saves is what is stored; what a reader has set does not reach in."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import matplotlib as mpl
import matplotlib.pyplot as plt
import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from llmlib.book import lab, show, use_style
from llmlib.book.notebooks import WIDGET_VIEW

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = sorted((ROOT / "chapters").glob("*.ipynb"))


def as_lab_has_it(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook after Run All Cells in a kernel that had run other cells before."""
    seen = copy.deepcopy(notebook)
    seen.metadata.language_info = {"name": "python", "version": "3.13.0", "pygments_lexer": "x"}
    seen.metadata.kernelspec.display_name = "Python 3 (ipykernel)"
    seen.metadata.widgets = {"application/vnd.jupyter.widget-state+json": {"state": {}}}
    for number, cell in enumerate(seen.cells):
        if cell.cell_type != "code":
            continue
        cell.execution_count = 100 + 2 * number
        cell.metadata.execution = {"iopub.execute_input": "2026-01-01T00:00:00Z"}
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = cell.execution_count
            if "lm-widget" in output.get("data", {}).get("text/html", ""):
                output.data[WIDGET_VIEW] = {"model_id": f"{number:032x}", "version_major": 2}
    return seen


@pytest.mark.parametrize("path", CHAPTERS, ids=[path.stem for path in CHAPTERS])
def test_what_lab_saves_is_what_is_stored(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    seen = as_lab_has_it(nbformat.reads(text, as_version=4))
    assert nbformat.writes(seen) + "\n" != text
    model = {"type": "notebook", "content": json.loads(nbformat.writes(seen))}
    lab.as_stored(model, path=path.name, contents_manager=None)
    assert nbformat.writes(nbformat.from_dict(model["content"])).rstrip("\n") + "\n" == text


def test_cells_that_were_not_run_stay_without_a_number() -> None:
    cells = [nbformat.v4.new_code_cell("1"), nbformat.v4.new_markdown_cell("2")]
    cells += [nbformat.v4.new_code_cell("3", execution_count=count) for count in (7, None, 4)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    lab.number_cells(notebook)
    assert [cell.get("execution_count") for cell in notebook.cells] == [None, None, 1, None, 2]


def test_what_a_cell_measured_stays_as_stored_until_the_cell_is_changed(tmp_path: Path) -> None:
    def timed(source: str, seconds: str, tags: list[str]) -> nbformat.NotebookNode:
        output = nbformat.v4.new_output("stream", text=seconds)
        cell = nbformat.v4.new_code_cell(source, metadata={"tags": tags}, outputs=[output])
        return nbformat.v4.new_notebook(cells=[cell])

    manager, tags = SimpleNamespace(root_dir=str(tmp_path)), ["nbval-ignore-output"]
    nbformat.write(timed("clock()", "3 s", tags), tmp_path / "a.ipynb")
    for source, tag, expected in (
        ("clock()", tags, "3 s"), ("clock()", [], "4 s"), ("clock(2)", tags, "4 s"),
    ):  # fmt: skip
        model = {"type": "notebook", "content": timed(source, "4 s", tag)}
        lab.as_stored(model, path="/a.ipynb", contents_manager=manager)
        assert model["content"].cells[0].outputs[0].text == expected, (source, tag)


@pytest.mark.parametrize(
    "model",
    [
        {"type": "file", "content": "text"},
        {"type": "directory", "content": []},
        {"type": "notebook", "content": {"nbformat": 3, "worksheets": []}},
    ],
)
def test_nothing_else_is_touched(model: dict) -> None:
    before = copy.deepcopy(model)
    lab.as_stored(model)
    assert model == before


def test_lab_gets_the_reader_s_options_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    ours = lab.options(["--no-browser", "--port", "8889"])
    assert ours[-3:] == ["--no-browser", "--port", "8889"]
    assert "--allow-root" not in ours
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert "--allow-root" in lab.options([])


# --- a reader's own settings ----------------------------------------------------------------

MATPLOTLIBRC = {
    "text.usetex": True,
    "font.family": ["monospace"],
    "font.size": 30.0,
    "svg.fonttype": "path",
    "figure.dpi": 300.0,
    "savefig.bbox": "tight",
    "savefig.facecolor": "black",
    "axes.xmargin": 0.4,
    "axes.facecolor": "black",
    "axes.formatter.useoffset": False,
    "axes.formatter.limits": [-1, 1],
    "lines.marker": "o",
    "legend.loc": "lower left",
    "image.cmap": "gray",
    "path.simplify": False,
}


def drawn() -> str:
    """A small figure as a chapter shows it."""
    InteractiveShell.instance()  # `display` gives rich output only inside a shell
    with capture_output() as captured:
        use_style()
        figure, axes = plt.subplots()
        axes.plot([0, 1000, 2000], [1e-3, 2e4, 3e4], label="a line")
        axes.legend()
        show(figure, alt="a line")
    return str(captured.outputs[-1].data["text/html"])


@pytest.mark.parametrize("name", MATPLOTLIBRC)
def test_a_reader_s_matplotlibrc_does_not_change_a_figure(name: str) -> None:
    with mpl.rc_context():
        mpl.rcdefaults()
        expected = drawn()
        mpl.rcdefaults()
        mpl.rcParams[name] = MATPLOTLIBRC[name]
        assert drawn() == expected


def test_a_reader_s_ipython_does_not_change_what_nbval_compares(tmp_path: Path) -> None:
    """`pytest --nbval` typed by hand, by a reader whose shell shows every line."""
    profile = tmp_path / ".ipython" / "profile_default"
    (profile / "startup").mkdir(parents=True)
    every_line = "c.InteractiveShell.ast_node_interactivity = 'all'\n"
    (profile / "ipython_kernel_config.py").write_text(every_line)
    (profile / "startup" / "mine.py").write_text("print('mine')\n")
    (tmp_path / "startup.py").write_text("print('also mine')\n")
    result = nbformat.v4.new_output("execute_result", {"text/plain": "2"}, execution_count=1)
    cell = nbformat.v4.new_code_cell("1\n2", execution_count=1, outputs=[result])
    notebook = nbformat.v4.new_notebook(cells=[cell])
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata["kernelspec"] = kernel
    folder = ROOT / "_build" / "tests"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"reader-{os.getpid()}.ipynb"
    nbformat.write(notebook, path)
    own = {"HOME": str(tmp_path), "IPYTHONDIR": str(tmp_path / ".ipython")}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbval", str(path)],
            cwd=tmp_path,
            env={**os.environ, **own, "PYTHONSTARTUP": str(tmp_path / "startup.py")},
            text=True,
            capture_output=True,
            check=False,
        )
    finally:
        path.unlink()
    assert "1 passed" in done.stdout, done.stdout[-2000:]
