"""axe's rules, and text that can be read in light and dark."""

from typing import Any

import pytest

from tests.browser import checks
from tests.browser.conftest import SCHEMES

pytestmark = pytest.mark.browser
MODES = ("light", "dark")
# axe's own rules on color need a quarter of a minute a page: they keep ours honest on two of them,
# one without its thousands of colored words of code.
TWO_PAGES = {"chapters/intro": "", "chapters/parameters": ".cell_input"}


def test_axe_finds_nothing_serious(visit: Any, chapter: str) -> None:
    opened = visit("http", chapter)
    assert opened.show("light") == "light"
    assert checks.axe_faults(opened.page, checks.AXE_RULES) == []


@pytest.mark.parametrize("mode", MODES)
def test_all_text_can_be_read(visit: Any, mode: str, chapter: str) -> None:
    opened = visit("http", chapter)
    assert opened.show(mode) == mode
    report = checks.contrast(opened.page)
    has_outputs = opened.page.locator(".bd-article .cell_output").count() > 0
    assert (report["outputs"] > 0) == has_outputs, "text was found wherever there are outputs"
    assert report["checked"] > 0
    assert report["faint"] == []


def test_all_text_can_be_read_on_a_phone_in_the_dark(visit: Any, chapter: str) -> None:
    opened = visit("file", chapter)
    assert opened.page.evaluate("document.documentElement.dataset.theme") == "dark", "as it opened"
    report = checks.contrast(opened.page)
    assert report["checked"] > 0
    assert report["faint"] == []


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("chapter", "without"), TWO_PAGES.items())
def test_axe_finds_no_color_that_ours_overlook(
    visit: Any, mode: str, chapter: str, without: str
) -> None:
    opened = visit("http", chapter)
    assert opened.show(mode) == mode
    assert checks.axe_faults(opened.page, checks.AXE_COLORS, without) == []


def test_links_are_told_from_text_by_more_than_color(visit: Any, chapter: str) -> None:
    assert checks.links_like_text(visit("http", chapter).page) == []


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_icon_is_drawn(visit: Any, scheme: str, chapter: str) -> None:
    assert checks.missing_icons(visit(scheme, chapter).page) == []
