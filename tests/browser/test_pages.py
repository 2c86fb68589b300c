"""Every page: silent, self-contained, whole links, on a phone, and still for who wants it so."""

import functools
import gzip
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urlsplit

import pytest

from tests.browser import checks
from tests.browser.conftest import HTML, SCHEMES, TOTALS, WEIGHTS, stored_html

pytestmark = pytest.mark.browser
HIGHEST = 20_000  # px on a page 1,280 px wide
HEAVIEST = 1_000_000  # bytes that a page loads, as a web server compresses them


@functools.cache
def compressed(path: Path) -> int:
    """The bytes of a file on their way: text is compressed, fonts and pictures are already."""
    data = path.read_bytes()
    return min(len(data), len(gzip.compress(data)))


def inspect(visit: Any, bases: Any, scheme: str, name: str) -> None:
    """Reads the page to its end; nothing may be asked of another machine, nothing go wrong."""
    opened = visit(scheme, name)
    opened.page.mouse.wheel(0, 100_000)  # what loads late loads now
    opened.page.wait_for_load_state("networkidle")
    TOTALS["pages opened"] += 1
    TOTALS["console and page errors"] += len(opened.complaints)
    if scheme == "http":
        files = [HTML / unquote(url.removeprefix(bases["http"])) for url in opened.requested]
        WEIGHTS[name] = sum(path.stat().st_size for path in files if path.is_file())
        assert sum(compressed(path) for path in files if path.is_file()) <= HEAVIEST
    assert checks.external_requests(opened) == []
    assert opened.complaints == []


@pytest.mark.parametrize("scheme", SCHEMES)
def test_chapter_is_quiet_and_self_contained(
    visit: Any, bases: Any, scheme: str, chapter: str
) -> None:
    inspect(visit, bases, scheme, chapter)


@pytest.mark.parametrize("name", ["index", "search", "404"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_other_page_is_quiet_and_self_contained(
    visit: Any, bases: Any, scheme: str, name: str
) -> None:
    inspect(visit, bases, scheme, name)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_formulas_are_set(visit: Any, scheme: str, chapter: str) -> None:
    assert checks.unset_formulas(visit(scheme, chapter).page) == []


def test_phone_does_not_scroll_sideways(visit: Any, chapter: str) -> None:
    assert checks.too_wide(visit("file", chapter).page) == []


def test_phone_with_letters_twice_as_large_does_not_scroll_sideways(
    visit: Any, chapter: str
) -> None:
    page = visit("file", chapter).page
    page.evaluate("document.documentElement.style.fontSize = '200%'")
    try:
        assert checks.too_wide(page) == []
    finally:
        page.evaluate("document.documentElement.style.fontSize = ''")


def test_nothing_moves_for_who_prefers_it_so(visit: Any, chapter: str) -> None:
    assert checks.movement(visit("file", chapter).page) == []


def test_a_page_is_one_sitting_high(visit: Any, chapter: str) -> None:
    """As a reader meets it, with every fold closed."""
    assert checks.height(visit("http", chapter).page) <= HIGHEST


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_stored_figure_reaches_the_page(visit: Any, scheme: str, chapter: str) -> None:
    stored = stored_html(chapter)
    opened = visit(scheme, chapter)
    for name in ("lm-widget", "lm-plot", "lm-claim", "lm-checks", "lm-table"):
        # The opening tag, since scripts and styles name these classes too; a widget may draw more.
        expected = stored.count(f'class="{name}"') + stored.count(f'class="{name} ')
        assert opened.page.locator(f".{name}:not(.lm-widget *)").count() == expected, name


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_picture_has_a_name(visit: Any, scheme: str, chapter: str) -> None:
    assert checks.nameless_pictures(visit(scheme, chapter).page) == []


class _Anchors(HTMLParser):
    """Collects the targets and the links of one page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.ids.update(value for key in ("id", "name") if (value := values.get(key)))
        if tag in ("a", "link", "script", "img", "source"):
            self.links += [value for key in ("href", "src") if (value := values.get(key))]


@functools.cache
def anchors(page: Path) -> _Anchors:
    """A page's targets and links, read once."""
    return _Anchors(page)


def test_internal_links_resolve(chapter: str) -> None:
    page = HTML / f"{chapter}.html"
    broken = []
    for link in anchors(page).links:
        address, fragment = urldefrag(link)
        if urlsplit(address).scheme or address.startswith("//"):
            continue
        target = (page.parent / unquote(urlsplit(address).path)).resolve() if address else page
        known = target.is_file() and (
            not fragment or target.suffix != ".html" or unquote(fragment) in anchors(target).ids
        )
        if not known:
            broken.append(link)
    assert broken == []
