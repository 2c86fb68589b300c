"""The checks of the pages catch what they are for: each fault is planted into a sound page."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.browser import checks, planted
from tests.browser.conftest import LOADS, SCHEMES, TOTALS, Visit, open_page
from tests.browser.planted import Plant

pytestmark = pytest.mark.browser
Open = Callable[..., Visit]


@pytest.fixture(autouse=True)
def no_totals() -> Iterator[None]:
    """A planted page is no page of the book: what is counted on it does not count."""
    before = dict(TOTALS)
    yield
    TOTALS.clear()
    TOTALS.update(before)


@pytest.fixture(scope="module")
def opened(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Open]:
    """Opens the sound page with a fault in it; one window of each size serves all of them."""
    folder = tmp_path_factory.mktemp("planted")
    visits = {scheme: open_page(browser, "planted", scheme) for scheme in SCHEMES}
    for visit in visits.values():
        visit.watch(folder.as_uri())

    def start(plant: Plant, scheme: str = "http") -> Visit:
        visit = visits[scheme]
        visit.page.emulate_media(color_scheme=LOADS[scheme]["color_scheme"])
        visit.page.goto("about:blank")
        for noted in (visit.complaints, visit.external):
            noted.clear()
        visit.page.goto(plant.write(folder).as_uri())
        visit.settle()
        if plant.after:
            visit.page.evaluate(plant.after)
        return visit

    yield start
    for visit in visits.values():
        visit.page.context.close()


def caught(faults: list[str], expected: str) -> None:
    """One of the faults is the planted one, with its page's part and its words."""
    assert any(re.search(expected, fault) for fault in faults), faults


CHECKS: dict[str, tuple[str, dict[str, Any], Callable[[Visit], list[str]]]] = {
    "controls": ("http", planted.CONTROLS, lambda v: checks.control_faults(v, 200)),
    "complaints": ("http", planted.COMPLAINTS, lambda v: v.complaints),
    "formulas": ("http", planted.FORMULAS, lambda v: checks.unset_formulas(v.page)),
    "width": ("file", planted.WIDE, lambda v: checks.too_wide(v.page)),
    "pictures": ("http", planted.PICTURES, lambda v: checks.nameless_pictures(v.page)),
    "icons": ("http", planted.ICONS, lambda v: checks.missing_icons(v.page)),
    "movement": ("file", planted.MOVEMENT, lambda v: checks.movement(v.page)),
    "links": ("http", planted.LINKS, lambda v: checks.links_like_text(v.page)),
    "axe": ("http", planted.AXE, lambda v: checks.axe_faults(v.page, checks.AXE_RULES)),
}
PLANTED = [(check, name) for check, (_, faults, _) in CHECKS.items() for name in faults]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_sound_page_passes_every_check(opened: Open, scheme: str) -> None:
    visit = opened(Plant(), scheme)
    found = {name: find(visit) for name, (_, _, find) in CHECKS.items() if name != "movement"}
    found["movement"] = checks.movement(visit.page) if scheme == "file" else []
    found["requests"] = checks.external_requests(visit)
    found["grading"] = checks.grading_faults(visit, checks.stored_exercises(planted.sound()))
    for mode in ("light", "dark"):
        assert visit.show(mode) == mode
        found[mode] = checks.contrast(visit.page)["faint"]
        found[f"axe, {mode}"] = checks.axe_faults(visit.page, checks.AXE_COLORS)
    assert {name: faults for name, faults in found.items() if faults} == {}


@pytest.mark.parametrize(("check", "name"), PLANTED)
def test_a_planted_fault_is_caught(opened: Open, check: str, name: str) -> None:
    scheme, faults, find = CHECKS[check]
    plant, expected = faults[name]
    caught(find(opened(plant, scheme)), expected)


def test_a_key_that_starts_a_movement_is_caught(opened: Open) -> None:
    fade = "@keyframes k { from { opacity: 0 } } .lm-figure svg { animation: k 1s }"
    visit = opened(planted.style(fade), "file")
    caught(checks.control_faults(visit, 2), "widget 1 .*slider 1: Home starts a movement")


@pytest.mark.parametrize("where", ["img", "script", "fetch"])
def test_a_request_to_another_machine_is_caught(opened: Open, where: str) -> None:
    address = "https://example.com/x"
    html = f"<{where} alt='x' src='{address}'></{where}>"
    plant = (
        planted.script(f"fetch('{address}').catch(() => 0)") if where == "fetch" else Plant(html)
    )
    assert checks.external_requests(opened(plant)) == [address]


def test_a_page_that_stays_light_is_caught(opened: Open) -> None:
    visit = opened(planted.script("dark.removeEventListener('change', follow)"))
    assert visit.show("dark") == "light"


@pytest.mark.parametrize("name", planted.FAINT)
def test_faint_text_is_caught(opened: Open, name: str) -> None:
    html, mode, expected = planted.FAINT[name]
    visit = opened(Plant(html))
    other = "dark" if mode == "light" else "light"
    if "alone" in name:
        assert visit.show(other) == other
        assert checks.contrast(visit.page)["faint"] == []
    assert visit.show(mode) == mode
    [fault] = checks.contrast(visit.page)["faint"]
    assert expected in fault
    assert "in #here" in fault


def test_what_axe_finds_faint_ours_finds_too(opened: Open) -> None:
    plants = [html for html, mode, _ in planted.FAINT.values() if mode == "light"]
    visit = opened(Plant("".join(plants)))
    by_axe = checks.axe_faults(visit.page, checks.AXE_COLORS)
    words = [re.findall(r">([^<>]+)<|value=\"(\w+)", fault) for fault in by_axe]
    ours = checks.contrast(visit.page)["faint"]
    assert len(by_axe) >= 3
    assert len(ours) == len(plants)
    for [(text, value)] in words:
        caught(ours, f'"{text or value}"')


@pytest.mark.parametrize("name", planted.GRADING)
def test_wrong_grading_is_caught(opened: Open, name: str) -> None:
    plant, stored, expected = planted.GRADING[name]
    specs = [exercise.card().spec for exercise in stored]
    caught(checks.grading_faults(opened(plant), specs), expected)
