"""Opens the chapters in JupyterLab, such that reading and running them leaves git clean.

    python -m llmlib.book.lab                     # `make lab`
    python -m llmlib.book.lab --no-browser        # any option of JupyterLab
    LLMLIB_MODEL=path python -m llmlib.book.lab   # `make lab MODEL=path`: over the reader's model

A reader who has run nothing yet sees figures and styled claims: the book's notebooks are trusted,
and the book's style is there before a cell has run. What is saved is what `make notebooks` would
store: a notebook with live widgets in it would show errors where it is opened next.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import nbformat
from jupyterlab.labapp import LabApp
from nbformat.sign import NotebookNotary

from llmlib.architecture import ribbon
from llmlib.book.notebooks import CHAPTERS, normalize, set_environment
from llmlib.book.real_model import SMOLLM2, VARIABLE, readers_model, readers_path
from llmlib.book.widgets.base import STYLE

CUSTOM = Path("_build/lab")
"""The folder from which Lab takes its custom.css and, below `labconfig`, its first settings."""
OWN = Path("own")
"""The folder, which git does not see, of the chapters over a reader's models."""
SETTINGS = {
    # Else it asks to fetch news, the one thing that needs a network.
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}
}
MEASURED = "nbval-ignore-output"
LAB_STYLE = Path(__file__).with_name("lab.css")


def as_stored(
    model: dict[str, Any], path: str = "", contents_manager: Any = None, **_: Any
) -> None:
    """Jupyter's hook before a save: makes a notebook what `make notebooks` stores of it.

    Args:
        model: of the file that is to be written.
        path: where, below the folder that Lab shows.
        contents_manager: Jupyter's, which knows that folder.
    """
    if model["type"] != "notebook" or model["content"]["nbformat"] != 4:
        return
    notebook = nbformat.from_dict(model["content"])
    normalize(notebook)
    number_cells(notebook)
    file = None if contents_manager is None else Path(contents_manager.root_dir, path.lstrip("/"))
    if file is not None and file.is_file():
        keep_measured(notebook, nbformat.read(file, as_version=4))
    model["content"] = notebook


def keep_measured(notebook: nbformat.NotebookNode, stored: nbformat.NotebookNode) -> None:
    """Leaves what a cell measured of a machine, such as a time, as the file has it.

    No two runs agree on it, so each would be a change of the file. A cell whose source was changed
    keeps what it gave.
    """
    known = {cell.source: cell.outputs for cell in stored.cells if measures(cell)}
    for cell in notebook.cells:
        if measures(cell) and cell.outputs and known.get(cell.source):
            cell.outputs = known[cell.source]


def measures(cell: nbformat.NotebookNode) -> bool:
    """Whether a cell's output is another on every run, as its tag says."""
    return cell.cell_type == "code" and MEASURED in cell.metadata.get("tags", [])


def number_cells(notebook: nbformat.NotebookNode) -> None:
    """Counts the cells that were run 1, 2, 3, ..., as in a kernel that ran each of them once."""
    count = 0
    for cell in notebook.cells:
        if cell.cell_type != "code" or cell.execution_count is None:
            continue
        count += 1
        cell.execution_count = count
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = count


def trust(folder: Path) -> None:
    """Signs the chapters as the reader's own: Lab shows a stranger's figures as bare text."""
    notary = NotebookNotary()
    for path in sorted(folder.glob("*.ipynb")):
        notary.sign(nbformat.read(path, as_version=4))


def write_settings(folder: Path) -> None:
    """Writes what a reader who has set nothing gets: the style of the book's outputs, no news."""
    texts = [path.read_text(encoding="utf-8") for path in (STYLE, LAB_STYLE)]
    first = folder / "labconfig" / "default_setting_overrides.json"
    first.parent.mkdir(parents=True, exist_ok=True)
    first.write_text(json.dumps(SETTINGS), encoding="utf-8")
    (folder / "custom.css").write_text("\n".join(texts), encoding="utf-8")


def copies(path: Path, own: Path = OWN) -> Path:
    """The chapters that take a real model, without outputs, in a folder of that model's own.

    The book's own stay as they are: what they show are numbers of another model. A copy that is
    there already is the reader's, and stays too.
    """
    folder = own / path.name
    folder.mkdir(parents=True, exist_ok=True)
    for chapter in sorted(CHAPTERS.glob("*.ipynb")):
        notebook = nbformat.read(chapter, as_version=4)
        taken = any("real_model(" in cell.source for cell in notebook.cells)
        if taken and not (folder / chapter.name).exists():
            for cell in notebook.cells:
                if cell.cell_type == "code":
                    cell.outputs, cell.execution_count = [], None
            nbformat.write(notebook, folder / chapter.name)
    return folder


def opened(path: Path) -> str:
    """What the reader's model is, in a line.

    Raises:
        SystemExit: it cannot be read; the text says why.
    """
    try:
        model, _ = readers_model(path)
    except (OSError, ValueError) as error:
        raise SystemExit(f"MODEL: {error}") from None
    numbers = sum(p.numel() for p in model.parameters())
    return f"{path.name}: {numbers:,} parameters, {model.config.n_layers} layers: " + ribbon(
        model.config.stack
    )


def options(arguments: list[str], chapters: Path = CHAPTERS) -> list[str]:
    """The command line of JupyterLab: ours, then the reader's."""
    ours = [
        str(chapters),
        "--FileContentsManager.pre_save_hook=llmlib.book.lab.as_stored",
        "--LabApp.custom_css=True",
        f"--ServerApp.tornado_settings=static_custom_path={CUSTOM.absolute()}",
    ]
    # Jupyter refuses a superuser, whom a container and WSL often know alone.
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        ours.append("--allow-root")
    return [*ours, *arguments]


def main() -> None:
    set_environment(jobs=1)
    path, chapters = readers_path(), CHAPTERS
    if path is not None:
        print(opened(path))
        chapters = copies(path)
        names = ", ".join(sorted(file.stem for file in chapters.glob("*.ipynb")))
        print(f"In its place in {names}. Claims about {SMOLLM2}'s own numbers step aside.")
        os.environ[VARIABLE] = str(path)
    trust(chapters)
    write_settings(CUSTOM)
    paths = (str(CUSTOM.absolute()), os.environ.get("JUPYTER_CONFIG_PATH", ""))
    os.environ["JUPYTER_CONFIG_PATH"] = os.pathsep.join(filter(None, paths))
    LabApp.launch_instance(options(sys.argv[1:], chapters))


if __name__ == "__main__":
    main()
