"""What a reader does between pages: follows links, reloads, sets figures, types numbers."""

import functools
import http.server
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.conftest import HTML, LOADS, SETTLED

pytestmark = pytest.mark.browser
PAGE = "chapters/parameters"  # calculators, exercises, formulas, claims in the open and folded
NEAR = 200  # px from the top of the window: the header covers the first 64
TOP = "id => document.getElementById(id).getBoundingClientRect().top"
# What a careful server allows: files of its own, nothing written into the page.
STRICT = "default-src 'self'; script-src 'self'; style-src 'self'"


@pytest.fixture(scope="module", params=["http", "file"])
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def page(browser: Browser, scheme: str) -> Iterator[Page]:
    """An empty page without Chromium's own way to hold the place, which Safari lacks."""
    context = browser.new_context(**LOADS[scheme])
    context.add_init_script(
        "addEventListener('DOMContentLoaded', () => {"
        " document.documentElement.style.overflowAnchor = 'none' })"
    )
    yield context.new_page()
    context.close()


def opened(page: Page, address: str) -> None:
    page.goto(address, wait_until="load")
    settle(page)


def settle(page: Page) -> None:
    page.evaluate("window.MathJax?.startup?.promise")
    page.wait_for_function(SETTLED)
    page.wait_for_timeout(300)  # the last scroll comes after the formulas


def test_a_link_a_reload_and_back_find_the_place(
    page: Page, scheme: str, bases: dict[str, str]
) -> None:
    address = f"{bases[scheme]}{PAGE}.html"
    opened(page, address)
    named = "section[id], .lm-claim[id], .lm-widget[id]"
    ids = page.evaluate(f"[...document.querySelectorAll('{named}')].map(e => e.id)")
    assert len(ids) > 30
    for id in ids[:: len(ids) // 8]:
        page.goto("about:blank")
        opened(page, f"{address}#{id}")
        from_top = page.evaluate(TOP, id)
        is_last = page.evaluate(
            "scrollY + innerHeight + 2 >= document.documentElement.scrollHeight"
        )
        assert 0 <= from_top < NEAR or is_last, (id, from_top)
    page.evaluate("id => document.getElementById(id).scrollIntoView()", ids[len(ids) // 2])
    page.mouse.wheel(0, 137)
    page.wait_for_timeout(300)
    before = page.evaluate(TOP, ids[len(ids) // 2])
    page.reload()
    settle(page)
    assert abs(page.evaluate(TOP, ids[len(ids) // 2]) - before) < 2
    page.goto(f"{bases[scheme]}chapters/references.html")
    page.go_back()
    settle(page)
    assert abs(page.evaluate(TOP, ids[len(ids) // 2]) - before) < 2


# As Firefox has it: what cuts a picture's lines is visible, and a long page starts at its top.
LIKE_FIREFOX = """{
  history.scrollRestoration = "manual";
  const isVisible = Element.prototype.checkVisibility;
  Element.prototype.checkVisibility = function () {
    return isVisible.call(this.closest("svg") ?? this);
  };
}"""
CLIPPED = "document.querySelector('.lm-figure svg:has(clipPath)')"


def test_a_reload_finds_the_place_inside_a_picture(
    page: Page, scheme: str, bases: dict[str, str]
) -> None:
    """The names in a picture are new with each drawing, so none of them is a place."""
    page.add_init_script(LIKE_FIREFOX)
    opened(page, f"{bases[scheme]}chapters/activations.html")
    page.evaluate(f"{CLIPPED}.scrollIntoView({{ behavior: 'instant' }})")
    page.mouse.wheel(0, -137)
    page.wait_for_timeout(300)
    top = f"{CLIPPED}.getBoundingClientRect().top"
    before = page.evaluate(top)
    page.reload()
    settle(page)
    assert abs(page.evaluate(top) - before) < 2


def test_a_search_finds_pages_without_an_error(
    page: Page, scheme: str, bases: dict[str, str]
) -> None:
    complaints: list[str] = []
    page.on("console", lambda said: said.type == "error" and complaints.append(said.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(f"{bases[scheme]}search.html?q=attention")
    found = page.locator("#search-results li a[href*='attention.html']")
    found.first.wait_for()
    page.wait_for_timeout(500)  # the excerpts come after the list
    assert complaints == []
    excerpts = page.locator("#search-results li p.context")
    assert (excerpts.count() > 0) == (scheme == "http"), "from disk no page can be read"


def test_a_notebook_is_saved(page: Page, scheme: str, bases: dict[str, str]) -> None:
    opened(page, f"{bases[scheme]}{PAGE}.html")
    link = page.locator(".btn-download-source-button")
    assert link.get_attribute("download") is not None
    if scheme == "http":  # from disk browsers show it all the same
        with page.expect_download() as waiting:
            link.dispatch_event("click")
        assert waiting.value.suggested_filename == "parameters.ipynb"


def test_answers_and_settings_survive_a_reload(
    page: Page, scheme: str, bases: dict[str, str]
) -> None:
    opened(page, f"{bases[scheme]}{PAGE}.html")
    box = page.locator(".lm-exercise input[type=text]").first
    box.fill("12,345")
    box.press("Enter")
    calculator = page.locator(".lm-calculator input[type=text]").first
    calculator.fill("1234")
    page.reload()
    settle(page)
    assert page.locator(".lm-exercise input[type=text]").first.input_value() == "12,345"
    assert "✗" in page.locator(".lm-exercise .lm-verdict").first.inner_text()
    number = page.locator(".lm-calculator input[type=text]").first.input_value()
    assert number.replace(",", "") == "1234"


def test_a_verdict_goes_with_the_answer_it_judged(
    page: Page, scheme: str, bases: dict[str, str]
) -> None:
    opened(page, f"{bases[scheme]}{PAGE}.html")
    box = page.locator(".lm-exercise input[type=text]").first
    box.fill("1")
    box.press("Enter")
    verdict = page.locator(".lm-exercise .lm-verdict").first
    assert verdict.inner_text()
    box.fill("12")
    assert not verdict.inner_text()


def test_a_cell_is_read_without_hovering(page: Page, scheme: str, bases: dict[str, str]) -> None:
    opened(page, f"{bases[scheme]}chapters/overview.html")
    figure = page.locator(".lm-explorer:has(.lm-scroll > svg)").first
    said, box = figure.locator(".lm-reading"), figure.locator(".lm-scroll:has(> svg)")
    cells = box.locator("rect:has(title)")
    values = [text.split()[-1] for text in cells.locator("title").all_text_contents()]
    across = cells.evaluate_all("cells => new Set(cells.map(cell => cell.getAttribute('x'))).size")
    assert said.inner_text() == ""
    box.focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight", "ArrowRight", "ArrowLeft"):
        box.press(key)  # the first one comes to the first cell
    assert said.inner_text().split()[-1] == values[across + 1]
    assert page.evaluate("document.activeElement.className") == "lm-scroll"
    cells.nth(across - 1).click(force=True)  # on its word
    first = said.inner_text()
    assert first.split()[-1] == values[across - 1]
    figure.locator("input[type=range]").first.press("ArrowRight")
    assert said.inner_text().split(":")[0] == first.split(":")[0], "the same cell of the next frame"


def test_letters_of_a_wide_grid_stay_large(page: Page, scheme: str, bases: dict[str, str]) -> None:
    opened(page, f"{bases[scheme]}chapters/model_cards.html")
    shown = page.locator(".lm-scroll > svg").evaluate_all(
        "all => all.map(svg => svg.getBoundingClientRect().width / svg.viewBox.baseVal.width)"
    )
    assert min(shown) > 0.89
    assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")


def test_a_figure_s_setting_has_an_address(page: Page, scheme: str, bases: dict[str, str]) -> None:
    address = f"{bases[scheme]}chapters/normalization.html"
    opened(page, address)
    figure = page.locator(".lm-explorer:has(input[type=range])").first
    figure.locator("input[type=range]").first.press("ArrowRight")
    stops = "e => [...e.querySelectorAll('input[type=range], select')].map(i => i.value)"
    note, target = figure.evaluate(stops), figure.locator(".lm-link").get_attribute("href")
    page.evaluate("sessionStorage.clear()")
    page.goto("about:blank")
    opened(page, f"{address}{target}")
    assert page.locator(".lm-explorer:has(input[type=range])").first.evaluate(stops) == note


WRITTEN = [
    ("0,966", [0.966]),
    ("4,096", [4096, 4.096]),
    ("13.824", [13.824, 13824]),
    ("13_824", [13824]),
    ("13'824", [13824]),
    ("13 824,5", [13824.5]),
    ("−0,320", [-0.32]),
    ("+3", [3]),
    ("３.5", [3.5]),  # full-width
    ("1/2", [0.5]),
    ("25%", [0.25]),
    ("2e-3", [0.002]),
    ("12.345.678", [12345678]),
    ("1,2,3", []),
    ("1/0", []),
    ("three", []),
    ("", []),
]


def test_numbers_are_read_as_people_write_them(browser: Browser) -> None:
    source = (HTML.parents[1] / "llmlib/book/widgets/draw.js").read_text(encoding="utf-8")
    page = browser.new_page()
    found = page.evaluate(
        f"texts => {{ {source}\n return texts.map(readings); }}", [typed for typed, _ in WRITTEN]
    )
    assert found == [expected for _, expected in WRITTEN]
    page.close()


def test_widgets_run_under_a_strict_policy(browser: Browser) -> None:
    """No eval, no blob, no script or style in the page. The theme's own scripts stay out there."""

    class Strict(http.server.SimpleHTTPRequestHandler):
        def end_headers(self) -> None:
            self.send_header("Content-Security-Policy", STRICT)
            super().end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    handler = functools.partial(Strict, directory=str(HTML))
    server = http.server.ThreadingHTTPServer(("localhost", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    page = browser.new_page()
    page.goto(f"http://localhost:{server.server_port}/{PAGE}.html", wait_until="load")
    page.wait_for_timeout(500)
    count = "selector => document.querySelectorAll(selector).length"
    assert page.evaluate(count, ".lm-calculator") > 0
    assert page.evaluate(count, ".lm-widget:not([data-ready])") == 0
    page.close()
    server.shutdown()


def test_a_figure_that_cannot_start_keeps_its_sentence(
    browser: Browser, bases: dict[str, str]
) -> None:
    page = browser.new_page()
    page.route(
        f"**/{PAGE}.html",
        lambda route: route.fulfill(
            body=route.fetch().text().replace('{"spec":', '{"broken":', 1), content_type="text/html"
        ),
    )
    page.goto(f"{bases['http']}{PAGE}.html", wait_until="load")
    broken = page.locator(".lm-widget[data-error]")
    assert broken.count() == 1
    assert "could not start" in broken.inner_text()
    assert len(broken.locator("p").all()) == 2
    assert page.evaluate("document.querySelectorAll('.lm-widget[data-ready]').length") > 0
    page.close()


def test_there_is_a_page_for_wrong_addresses(browser: Browser, bases: dict[str, str]) -> None:
    page = browser.new_page()
    page.goto(f"{bases['file']}404.html")
    page.click("#home")
    page.wait_for_url("**/chapters/intro.html")
    assert (HTML / ".nojekyll").exists()
    page.close()
