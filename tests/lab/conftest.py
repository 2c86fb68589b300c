"""JupyterLab as `make lab` starts it, for a reader who has never used it, over two chapters."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.conftest import browser

__all__ = ["browser"]  # the Chromium of the browser tests, a fixture

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = ("parameters", "normalization")
TOKEN = "lab"
# A reader's settings that a test must not have, whoever runs it.
OWN = ("JUPYTER", "IPYTHON", "XDG_", "MPL", "PYTHONSTARTUP")
PANEL = "const panel = window.jupyterapp.shell.currentWidget, cells = panel?.content.widgets"
# Lab draws a cell when it comes into view.
DRAW = """async (type) => {
  const notebook = window.jupyterapp.shell.currentWidget.content;
  for (let k = 0; k < notebook.widgets.length; k++) {
    if (notebook.widgets[k].model.type !== type) continue;
    await notebook.scrollToItem(k);
    await notebook.widgets[k].ready;
  }
}"""


def git(folder: Path, *arguments: str) -> str:
    """What git prints in `folder`."""
    names = ("-c", "user.name=reader", "-c", "user.email=reader@example.org")
    command = ["git", *names, *arguments]
    return subprocess.run(command, cwd=folder, check=True, text=True, capture_output=True).stdout


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of two chapters, in a folder with a blank and an umlaut."""
    folder = tmp_path_factory.mktemp("lab") / "my bücher"
    (folder / "chapters").mkdir(parents=True)
    for chapter in CHAPTERS:
        shutil.copy(ROOT / "chapters" / f"{chapter}.ipynb", folder / "chapters")
    shutil.copy(ROOT / ".gitignore", folder)
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "as cloned")
    return folder


def recipe() -> list[str]:
    """What `make lab` runs, with the Python of the tests."""
    lines = (ROOT / "Makefile").read_text(encoding="utf-8").splitlines()
    line = lines[next(k for k, text in enumerate(lines) if text.startswith("lab:")) + 1]
    words = line.replace("$(PY)", sys.executable).replace("$(ARGS)", "").lstrip("\t@").split()
    assert words[:2] == [sys.executable, "-m"], line
    return words


@pytest.fixture(scope="session")
def address(repository: Path) -> Iterator[str]:
    """Where Lab listens."""
    home, log = repository.parent / "home", repository.parent / "lab.log"
    home.mkdir()
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    kept = {key: text for key, text in os.environ.items() if not key.startswith(OWN)}
    variables = {**kept, "HOME": str(home), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    options = ["--no-browser", f"--ServerApp.port={port}", f"--IdentityProvider.token={TOKEN}"]
    # The page's own commands, such as "run all cells", can then be called by name.
    command = [*recipe(), *options, "--expose-app-in-browser"]
    with log.open("w") as said:
        server = subprocess.Popen(command, cwd=repository, env=variables, stdout=said, stderr=said)
    base = f"http://localhost:{port}"
    try:
        wait_for(base, server, log)
        yield base
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=60)


def wait_for(base: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    """Returns when Lab answers; fails with what it printed where it stops."""
    while server.poll() is None:
        try:
            urllib.request.urlopen(f"{base}/api", timeout=5).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"JupyterLab did not start:\n{log.read_text()[-2000:]}", pytrace=False)


@dataclass
class Notebook:
    """A notebook, open in Lab, and what the browser said about it."""

    page: Page
    base: str
    repository: Path
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        here = (self.base, self.base.replace("http", "ws"), "data:", "blob:")

        def request(sent: Any) -> None:
            if not sent.url.startswith(here):
                self.complaints.append(f"request: {sent.url}")

        def console(message: Any) -> None:
            if message.type == "error":
                self.complaints.append(f"console: {message.text}")

        self.page.on("request", request)
        self.page.on("console", console)
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))

    def open(self, chapter: str) -> None:
        """Opens a chapter, waits for its kernel, and draws every output."""
        self.page.goto(f"{self.base}/lab/tree/{chapter}.ipynb?token={TOKEN}&reset")
        self.wait("cells?.length && panel.sessionContext.session?.kernel?.status === 'idle'")
        self.draw()

    def draw(self, kind: str = "code") -> None:
        """Brings every cell of a kind into view, as a reader does who reads on."""
        self.page.evaluate(DRAW, kind)
        self.page.wait_for_timeout(500)

    def wait(self, condition: str) -> None:
        """Waits until a condition holds, in JavaScript, where `panel` has `cells`."""
        self.page.wait_for_function(f"() => {{ {PANEL}; return {condition}; }}", timeout=120_000)

    def command(self, name: str) -> None:
        """Runs one of Lab's commands, as a menu would, to its end."""
        self.page.evaluate(f"async () => {{ await window.jupyterapp.commands.execute('{name}') }}")

    def outputs(self) -> list[str]:
        """What a reader sees below each cell, as text."""
        return list(
            self.page.evaluate(
                "[...document.querySelectorAll('.jp-CodeCell .jp-Cell-outputArea')]"
                ".map(area => area.innerText)"
            )
        )

    def changes(self) -> str:
        """What git says about the folder."""
        return git(self.repository, "status", "--short") + git(
            self.repository, "diff", "--unified=0"
        )


@pytest.fixture(scope="session", params=CHAPTERS)
def chapter(request: pytest.FixtureRequest) -> str:
    """Each of the two chapters."""
    return str(request.param)


@pytest.fixture(scope="session")
def notebook(browser: Browser, address: str, repository: Path) -> Iterator[Notebook]:
    """A page of a reader's browser; the tests of a chapter use it one after the other."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    yield Notebook(context.new_page(), address, repository)
    context.close()
