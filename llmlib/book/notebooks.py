"""Executes the book's notebooks and stores outputs that are the same on every run.

    python -m llmlib.book.notebooks                    # every notebook of chapters/
    python -m llmlib.book.notebooks normalization      # one of them

Each notebook runs in a kernel (a process) of its own, several at a time. What differs from run
to run (time stamps, widget ids, the patch version of Python) is dropped before the file is
written. A notebook with a failing cell stays as it was.

It does not compare: `make test` does that, with nbval.
"""

import argparse
import asyncio
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

CHAPTERS = Path("chapters")
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
CELL_TIMEOUT = 300
ANSI = re.compile(r"\x1b\[[0-9;]*m")


class Failed(Exception):
    """A notebook that could not be executed; the text names the cell and the error."""


def normalize(notebook: NotebookNode) -> list[str]:
    """Drops from `notebook` what differs from run to run; returns complaints about what is left."""
    complaints = []
    for number, cell in enumerate(notebook.cells, start=1):
        cell.metadata.pop("execution", None)  # time stamps
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "text/html" in data:
                data.pop(WIDGET_VIEW, None)  # carries a random model id
            elif WIDGET_VIEW in data:
                complaints.append(
                    f"cell {number}: a widget without text/html; the page shows nothing"
                )
            if output.get("name") == "stderr":
                complaints.append(f"cell {number}: writes to stderr: {output.text.strip()[:120]}")
    notebook.metadata.pop("widgets", None)  # state of the views dropped above
    notebook.metadata["language_info"] = {"name": "python"}
    notebook.metadata["kernelspec"] = {
        "display_name": "Python 3",
        "language": "python",
        "name": "python3",
    }
    return complaints


def write_atomically(path: Path, text: str) -> bool:
    """Writes `text` to `path` in one step; returns whether anything changed."""
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False  # an untouched file does not trigger a new build
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=".tmp")
    with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)
    os.chmod(name, path.stat().st_mode & 0o777 if path.exists() else 0o644)
    os.replace(name, path)
    return True


def error_text(notebook: NotebookNode, error: Exception) -> str:
    """Names the cell that failed, its first line and the error, in a few lines."""
    for number, cell in enumerate(notebook.cells, start=1):
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                trace = ANSI.sub("", "\n".join(output.traceback)).strip().splitlines()
                first = next((line for line in cell.source.splitlines() if line.strip()), "")
                return "\n".join([f"cell {number}: {first}", *trace[-12:]])
    return f"{type(error).__name__}: {ANSI.sub('', str(error)).strip()[-800:]}"


async def execute(path: Path) -> list[str]:
    """Executes the notebook at `path` and stores it normalized; returns complaints."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT,
        kernel_name="python3",
        coalesce_streams=True,
        extra_arguments=["--IPKernelApp.log_level=40"],  # errors only
        resources={"metadata": {"path": str(path.parent)}},
    )
    try:
        await client.async_execute()
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        raise Failed(error_text(notebook, error)) from error
    complaints = normalize(notebook)
    nbformat.validate(notebook)
    text = nbformat.writes(notebook, version=4)
    write_atomically(path, text if text.endswith("\n") else text + "\n")
    return complaints


async def execute_all(paths: list[Path], jobs: int) -> int:
    """Executes all notebooks, `jobs` at a time; prints a line for each; returns how many failed."""
    slots, failed, done = asyncio.Semaphore(jobs), 0, 0

    async def one(path: Path) -> None:
        nonlocal failed, done
        async with slots:
            start = time.perf_counter()
            try:
                complaints, verdict = await execute(path), "stored"
            except Failed as error:
                complaints, verdict = str(error).splitlines(), "FAILED, left as it was"
                failed += 1
            done += 1
            seconds = time.perf_counter() - start
            print(f"[{done}/{len(paths)}] {path.stem:<24} {seconds:6.1f} s  {verdict}", flush=True)
            for line in complaints:
                print(f"      {path.stem}: {line}", flush=True)

    await asyncio.gather(*(one(path) for path in paths))
    return failed


def find(names: list[str]) -> list[Path]:
    """The notebooks with these names (chapter names or paths), or all of them."""
    if not names:
        return sorted(CHAPTERS.glob("*.ipynb"))
    paths = [CHAPTERS / f"{Path(name).stem}.ipynb" for name in names]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        known = ", ".join(path.stem for path in sorted(CHAPTERS.glob("*.ipynb"))) or "none"
        raise SystemExit(f"no such chapter: {missing[0].stem} (there are: {known})")
    return paths


def set_environment(jobs: int) -> None:
    """Makes kernels use this Python, share the cores, and ignore the reader's own settings."""
    cores = os.cpu_count() or 1
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"
    os.environ["PYTHONPATH"] = os.pathsep.join(
        part for part in (str(Path.cwd()), os.environ.get("PYTHONPATH", "")) if part
    )
    # More threads than cores make torch several times slower.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores // jobs)))
    settings = Path("_build/ipython").absolute()
    settings.mkdir(parents=True, exist_ok=True)  # IPython warns when its parent is missing
    os.environ["IPYTHONDIR"] = str(settings)
    os.environ.pop("PYTHONSTARTUP", None)  # kernels run it too


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Execute notebooks and store their outputs.")
    parser.add_argument("names", nargs="*", help="chapters; all when none is named")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many at a time")
    options = parser.parse_args(arguments)
    paths = find(options.names)
    if not paths:
        print("no notebooks in chapters/")
        return 1
    jobs = max(1, min(options.jobs, len(paths)))
    set_environment(jobs)
    return 1 if asyncio.run(execute_all(paths, jobs)) else 0


if __name__ == "__main__":
    sys.exit(main())
