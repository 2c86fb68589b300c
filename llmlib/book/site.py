"""Builds the book's pages, and is the Sphinx extension that makes them whole without a network.

    python -m llmlib.book.site             # what changed, into _build/html
    python -m llmlib.book.site --strict    # everything, a warning is an error

The extension copies MathJax (one script and its fonts) from the package sphinx-mathjax-offline
and the book's typefaces into the build, makes the pages the book's own (pages.py), and deletes what
no page loads.
"""

import argparse
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from llmlib.book.fonts import cut_icons, write_fonts
from llmlib.book.pages import (
    complete_context,
    finish_pages,
    index_prose_alone,
    mend_search,
)
from llmlib.book.widgets.base import STYLE, static_script

MATHJAX_PACKAGE = "sphinx-mathjax-offline"
MATHJAX_SCRIPT = "tex-chtml-full.js"
MATHJAX_FONTS = "output/chtml/fonts/woff-v2"
# Files of the theme and of Sphinx that no page of this book loads.
UNUSED = [
    "**/*.map",
    "_static/sphinx-thebe.*",
    "_static/locales",
    "_static/webpack-macros.html",
    "_static/scripts/fontawesome.js*",  # pages.py says why
    "objects.inv",
]
# The first chapter lies in a folder. The empty icon keeps a browser from asking the server for one.
INDEX = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8"><title>{title}</title>
<link rel="icon" href="data:,">
<meta http-equiv="refresh" content="0; url={page}">
</head>
<body><a href="{page}">{title}</a></body>
</html>
"""
PROGRESS = re.compile(r"(reading sources|writing output)\.*\s*\[\s*(\d+)%\]\s*(\S*)")
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def mathjax_folder() -> Path:
    """Where the package keeps MathJax. Its folder's name has hyphens, so it cannot be imported."""
    for file in importlib.metadata.distribution(MATHJAX_PACKAGE).files or []:
        if file.name == MATHJAX_SCRIPT:
            return Path(str(file.locate())).parent
    raise FileNotFoundError(f"{MATHJAX_PACKAGE} is installed but carries no {MATHJAX_SCRIPT}")


def copy_mathjax(static: Path) -> None:
    """Puts MathJax's one script and its fonts into `static`/mathjax."""
    source, target = mathjax_folder(), static / "mathjax"
    target.mkdir(parents=True, exist_ok=True)
    if not (target / MATHJAX_SCRIPT).exists():
        shutil.copyfile(source / MATHJAX_SCRIPT, target / MATHJAX_SCRIPT)
    if not (target / MATHJAX_FONTS).exists():
        shutil.copytree(source / MATHJAX_FONTS, target / MATHJAX_FONTS)


def write_own_files(app: Any) -> None:
    """Puts the style of the outputs and the script of the widgets into the pages' folder.

    It runs first, so that Sphinx finds the files when it adds their checksums to the links.
    """
    static = Path(app.outdir) / "_static"
    static.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(STYLE, static / "lm-style.css")
    write_fonts(static / "fonts")
    (static / "lm-widgets.js").write_text(static_script(), encoding="utf-8")
    first = INDEX.format(title=app.config.html_title, page=f"{app.config.root_doc}.html")
    (Path(app.outdir) / "index.html").write_text(first, encoding="utf-8")


def remove_unused(pages: Path) -> None:
    """Deletes what no page loads from the built folder."""
    for pattern in UNUSED:
        for path in list(pages.glob(pattern)):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def finish(app: Any, exception: Exception | None) -> None:
    """Sphinx's last event: completes and slims an HTML build that went well."""
    if exception is None and app.builder.format == "html":
        folder = Path(app.outdir)
        copy_mathjax(folder / "_static")
        finish_pages(folder, app.config.html_title, app.config.html_baseurl)
        mend_search(folder / "_static")
        remove_unused(folder)
        cut_icons(folder)


def setup(app: Any) -> dict[str, bool]:
    """Registers the extension with Sphinx."""
    app.connect("html-page-context", complete_context)
    app.connect("builder-inited", write_own_files)
    app.connect("builder-inited", index_prose_alone)
    app.connect("build-finished", finish)
    app.add_css_file("lm-style.css")
    # Before the formulas' script, ten times as large, for which the page asks at the same time.
    app.add_js_file("lm-widgets.js", loading_method="defer", fetchpriority="high")
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def shell_changed() -> bool:
    """Whether what every page is made with is newer than the last build; then all are made anew."""
    last = Path("_build/html/.buildinfo")
    if not last.exists():
        return True
    own = [
        Path(__file__).parent / name
        for name in ("site.py", "pages.py", "fonts.py", "widgets/base.py")
    ]
    shell = [Path("_config.yml"), Path("_toc.yml"), *own, *Path("_assets").iterdir()]
    return any(path.stat().st_mtime > last.stat().st_mtime for path in shell)


def build(strict: bool) -> int:
    """Runs Jupyter Book on the current folder, one line a page; returns its exit status."""
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build", "."]
    if strict or shell_changed():
        command += ["--all"]
    if strict:
        command += ["-W", "--keep-going", "-n"]
    start, shown, log = time.perf_counter(), set[str](), []
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"}
    print("Building the book", flush=True)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        for line in process.stdout or []:
            line = ANSI.sub("", line).rstrip()
            log.append(line)
            match = PROGRESS.search(line)
            if match and (text := f"  {match[1]}  {match[2]:>3}%  {match[3]}") not in shown:
                shown.add(text)
                print(text, flush=True)
            elif re.search(r"\b(WARNING|ERROR|CRITICAL)\b", line):
                print(line, flush=True)
    if process.returncode:
        print("\n".join(log[-25:]))
        print(
            f"error: the build stopped (exit status {process.returncode}); the lines above say why."
        )
    else:
        print(f"Built in {time.perf_counter() - start:.1f} s", flush=True)
    return process.returncode


def main(arguments: list[str] | None = None) -> int:
    """Reads the command line and builds."""
    parser = argparse.ArgumentParser(description="Build the book's pages into _build/html.")
    parser.add_argument("--strict", action="store_true", help="everything; a warning is an error")
    return build(parser.parse_args(arguments).strict)


if __name__ == "__main__":
    sys.exit(main())
