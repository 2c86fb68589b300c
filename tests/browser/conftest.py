"""A headless Chromium without a network, a local web server, and the list of pages."""

import contextlib
import functools
import http.server
import json
import re
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from playwright.sync_api import Browser, Error, Page, sync_playwright
from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).resolve().parents[2]
HTML = ROOT / "_build" / "html"
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MAC_CHROME = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE localhost",  # no network but this machine
]
SETTLED = """[...document.querySelectorAll('.lm-widget')]
    .every(widget => widget.dataset.ready || widget.dataset.error)"""
# What opens or turns may fade in, and is faint for as long.
STILL = "Promise.all(document.getAnimations().map(animation => animation.finished))"
# A page is opened twice, which serves all its checks: on a desktop that reads from a web server,
# and on a phone that reads from a folder, in the dark and without motion. A test that wants the
# desktop's page in the dark turns it (`Visit.show`).
LOADS: dict[str, dict[str, Any]] = {
    "http": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"},
    "file": {
        "viewport": {"width": 375, "height": 900},
        "color_scheme": "dark",
        "reduced_motion": "reduce",
    },
}
SCHEMES = tuple(LOADS)
DRIVE = (Path(__file__).parent / "drive.js").read_text(encoding="utf-8")
THEME = "mode => document.documentElement.dataset.theme === mode"
TOTALS: Counter[str] = Counter()
WEIGHTS: dict[str, int] = {}


def chapters() -> list[str]:
    """The pages that _toc.yml lists, in order."""
    found: list[str] = []

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            found.extend(str(node[key]) for key in ("root", "file") if key in node)
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8")))
    return found


def stored_html(chapter: str) -> str:
    """Every HTML output that a chapter's notebook stores; empty for a Markdown page."""
    path = ROOT / f"{chapter}.ipynb"
    if not path.exists():
        return ""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    return "".join("".join(output.get("data", {}).get("text/html", "")) for output in outputs)


@dataclass
class Visit:
    """One page, opened, and what the browser said about it."""

    page: Page
    chapter: str
    complaints: list[str] = field(default_factory=list)
    external: list[str] = field(default_factory=list)
    requested: set[str] = field(default_factory=set)

    def watch(self, base: str) -> None:
        """Collects console messages, errors and requests from now on."""

        def request(sent: Any) -> None:
            self.requested.add(sent.url.split("?")[0].split("#")[0])
            if not sent.url.startswith((base, "data:", "blob:")):
                self.external.append(sent.url)

        def console(message: Any) -> None:
            if message.type in ("error", "warning"):
                self.complaints.append(f"console {message.type}: {message.text}")

        def refused(answer: Any) -> str:
            return f"{answer.status}: {answer.url}"

        page = self.page
        page.on("request", request)
        page.on("console", console)
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on("requestfailed", lambda sent: self.complaints.append(f"not loaded: {sent.url}"))
        page.on("response", lambda answer: answer.ok or self.complaints.append(refused(answer)))

    def settle(self) -> None:
        """Waits until the page has drawn itself: formulas set, widgets started, folds open."""
        self.page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
        self.page.evaluate("window.MathJax?.startup?.promise")
        self.page.evaluate(STILL)
        try:
            self.page.wait_for_function(SETTLED, timeout=30_000)
        except Error:
            self.complaints.append("a widget did not start within 30 s")
        self.page.evaluate(DRIVE)

    def show(self, mode: str) -> str:
        """Asks for "light" or "dark"; returns the theme that the page then has, settled."""
        self.page.emulate_media(color_scheme=mode)  # type: ignore[arg-type]
        with contextlib.suppress(Error):
            self.page.wait_for_function(THEME, arg=mode, timeout=5_000)
        self.page.evaluate(STILL)
        return str(self.page.evaluate("document.documentElement.dataset.theme"))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """An installed Chromium or Chrome, else Playwright's own."""
    installed = next(filter(None, map(shutil.which, (*CHROMIUMS, MAC_CHROME))), None)
    with sync_playwright() as playwright:
        try:
            chromium = playwright.chromium.launch(executable_path=installed, args=ARGUMENTS)
        except Error as error:
            first = str(error).strip().splitlines()[0]
            pytest.fail(
                "no Chromium to test the pages with: install Debian's package `chromium` "
                f"(apt-get install chromium) or run `playwright install chromium` ({first})",
                pytrace=False,
            )
        yield chromium
        chromium.close()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


class _QuietServer(http.server.ThreadingHTTPServer):
    def handle_error(self, *_: Any) -> None:
        """A browser that leaves a page hangs up; that is no error."""


@pytest.fixture(scope="session")
def bases() -> Iterator[dict[str, str]]:
    """Where the book is for a reader with a web server, and for one with a folder."""
    if not (HTML / "index.html").exists():
        pytest.fail("the book is not built: run `make book` first", pytrace=False)
    handler = functools.partial(_Quiet, directory=str(HTML))
    server = _QuietServer(("localhost", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield {"http": f"http://localhost:{server.server_port}/", "file": HTML.as_uri() + "/"}
    server.shutdown()


@pytest.fixture(scope="session", params=chapters())
def chapter(request: pytest.FixtureRequest) -> str:
    """Each page of the book; for the whole session, so that all tests of one page run together."""
    return str(request.param)


def open_page(browser: Browser, name: str, scheme: str) -> Visit:
    """An empty page of the size and the preferences of one of the two readers."""
    return Visit(browser.new_context(**LOADS[scheme]).new_page(), name)


class Visits:
    """Opens pages, and keeps those of one chapter open while its tests run."""

    def __init__(self, browser: Browser, bases: dict[str, str]) -> None:
        self.browser, self.bases = browser, bases
        self.opened: dict[str, Visit] = {}

    def __call__(self, scheme: str, chapter: str) -> Visit:
        """The page by "http" or "file", settled; opened once for all tests."""
        if any(visit.chapter != chapter for visit in self.opened.values()):
            self.close()
        if scheme not in self.opened:
            opened = self.opened[scheme] = open_page(self.browser, chapter, scheme)
            opened.watch(self.bases[scheme])
            opened.page.goto(f"{self.bases[scheme]}{chapter}.html", wait_until="load")
            opened.page.wait_for_url("**/*.html*")
            if chapter == "index":  # sends the reader on to the first chapter
                opened.page.wait_for_url(f"**/{chapters()[0]}.html*")
            opened.settle()
            TOTALS["pages loaded"] += 1
        return self.opened[scheme]

    def close(self) -> None:
        """Closes every page."""
        for visit in self.opened.values():
            visit.page.context.close()
        self.opened.clear()


@pytest.fixture(scope="session")
def visit(browser: Browser, bases: dict[str, str]) -> Iterator[Visits]:
    """Opens a page of the book: `visit("http", chapter)`."""
    visits = Visits(browser, bases)
    yield visits
    visits.close()


class ByPage(LoadScopeScheduling):  # type: ignore[misc]
    """All tests of one page go to the same of several workers, which keeps it open.

    Groups by name of the test: xdist's own groups, set by marks, do not reach its scheduler with
    the pytest that is pinned, and each page was opened by both workers.
    """

    def _split_scope(self, nodeid: str) -> str:
        page = re.search(r"\[.*?(chapters/\w+)", nodeid)
        return page[1] if page else nodeid.split("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByPage:
    """What shares the tests out over the workers."""
    return ByPage(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The heaviest pages first, so that no worker is left with one when the others are done."""

    def lightness(item: pytest.Item) -> int:
        parameters = getattr(item, "callspec", None)
        path = HTML / f"{parameters.params.get('chapter') if parameters else None}.html"
        return -path.stat().st_size if path.exists() else 0

    items.sort(key=lightness)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker sends what its browser saw."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["browser"] = (dict(TOTALS), WEIGHTS)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Adds up what the workers sent."""
    totals, weights = getattr(node, "workeroutput", {}).get("browser", ({}, {}))
    TOTALS.update(totals)
    WEIGHTS.update(weights)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """What the browser saw, in numbers."""
    if not TOTALS:
        return
    size = sum(path.stat().st_size for path in HTML.rglob("*") if path.is_file())
    heaviest, weight = max(WEIGHTS.items(), key=lambda item: item[1], default=("none", 0))
    counts = ", ".join(f"{name} {number}" for name, number in TOTALS.items())
    terminalreporter.write_line(f"browser: {counts}")
    terminalreporter.write_line(
        f"size: {size / 1e6:.1f} MB in all; heaviest page {heaviest}, "
        f"{weight / 1e6:.2f} MB with all it loads (not compressed)"
    )
