"""The calculators' JavaScript against Python, and what they say to nonsense."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from llmlib.book import calculators
from llmlib.book.widgets.base import STYLE, static_script
from tests.browser.conftest import SETTLED, TOTALS
from tests.calculator_twins import TWINS, Input, inputs, picked

pytestmark = pytest.mark.browser
EACH = 180
TOLERANCE = 1e-12
PAGE = """<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Calculators</title>
<style>{style}</style></head><body>{widgets}<script>{script}</script></body></html>"""
# Does to one widget what a reader would, and reads what it then holds.
TRY = """([number, tries]) => {
  const widget = document.querySelectorAll('.lm-widget')[number];
  const send = (input, event) => input.dispatchEvent(new Event(event, { bubbles: true }));
  const boxes = Object.fromEntries([...widget.querySelectorAll('.lm-field')].map(field =>
    [field.dataset.letter, field]));
  const toggles = Object.fromEntries([...widget.querySelectorAll('.lm-checks .lm-check')].map(row =>
    [row.dataset.letter, row.querySelector('input')]));
  const set = (input, value) => { input.checked = Boolean(value); send(input, 'input'); };
  return tries.map(({ preset, text, follow, on, pick }) => {
    const [presets, ...picks] = widget.querySelectorAll('select');
    if (preset) { presets.value = preset; send(presets, 'input'); }
    pick.forEach((option, k) => { picks[k].value = option; send(picks[k], 'input'); });
    for (const [letter, value] of Object.entries(on)) set(toggles[letter], value);
    for (const [letter, value] of Object.entries(text)) {
      const input = boxes[letter].querySelector('input[type=text]');
      input.value = value;
      send(input, 'input');
    }
    for (const [letter, value] of Object.entries(follow)) {
      if (value) set(boxes[letter].querySelector('input[type=checkbox]'), true);
    }
    const invalid = [...widget.querySelectorAll('[aria-invalid=true]')]
      .map(input => input.closest('.lm-field').dataset.letter);
    return { values: widget.dataset.values, text: widget.textContent, invalid,
      message: widget.querySelector('.lm-fault-box').textContent,
      boxes: Object.fromEntries(Object.entries(boxes).map(([letter, field]) =>
        [letter, field.querySelector('input[type=text]').value])) };
  });
}"""
NOT_A_NUMBER = re.compile(r"NaN|Infinity|undefined|null|\[object")
NONSENSE = ("", "0", "-3", "−3", "abc", "1.5", "1e13", "99999999999999999999", "1/2", "1,2", "a€😊")


@pytest.fixture(scope="module")
def specs() -> dict[str, Any]:
    """What each calculator's page knows."""
    return {name: getattr(calculators, name)().spec for name in TWINS}


@pytest.fixture(scope="module")
def page(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """All calculators on a page without the book."""
    widgets = "".join(getattr(calculators, name)().static_html() for name in TWINS)
    style = STYLE.read_text(encoding="utf-8")
    path = tmp_path_factory.mktemp("calculators") / "page.html"
    text = PAGE.format(style=style, widgets=widgets, script=static_script())
    path.write_text(text, encoding="utf-8")
    opened = browser.new_page()
    complaints: list[str] = []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    opened.goto(path.as_uri())
    opened.wait_for_function(SETTLED)
    yield opened
    opened.close()
    assert complaints == []


def tried(page: Page, name: str, tries: list[Input], preset: int = 0) -> list[dict[str, Any]]:
    """What the widget holds after each of some inputs."""
    sent = [{**vars(one), "preset": preset} for one in tries]
    return page.evaluate(TRY, [list(TWINS).index(name), sent])  # type: ignore[no-any-return]


def worst(values: dict[str, float], expected: dict[str, Any]) -> float:
    """The largest relative difference; the names are the same."""
    assert values.keys() == expected.keys()
    return max(
        abs(values[name] - x) / abs(x) if x else abs(values[name]) for name, x in expected.items()
    )


@pytest.mark.parametrize("name", TWINS)
def test_the_page_computes_what_python_computes(page: Page, specs: Any, name: str) -> None:
    spec, tries = specs[name], inputs(specs[name], EACH)
    differences = []
    for one, found in zip(tries, tried(page, name, tries), strict=True):
        assert found["message"] == "", one
        assert not NOT_A_NUMBER.search(found["text"])
        twin = TWINS[name](spec, one.numbers)
        differences.append(worst(json.loads(found["values"]), twin))
    assert max(differences) <= TOLERANCE
    TOTALS["calculator inputs"] += len(tries)


@pytest.mark.parametrize("name", TWINS)
def test_every_preset_is_what_its_card_counts(page: Page, specs: Any, name: str) -> None:
    spec = specs[name]
    start = [one["options"].index(one["options"][0]) for one in spec["picks"]]
    for number, preset in enumerate(spec["presets"], start=1):
        pick = [preset["pick"].get(str(k), first) for k, first in enumerate(start)]
        shown = Input({}, {}, {}, pick)
        [found] = tried(page, name, [shown], preset=number)
        letters = {x: int(text.replace(",", "")) for x, text in found["boxes"].items()}
        off = {toggle["letter"]: 0 for toggle in spec["toggles"]}
        numbers = {**off, **start_on(spec, page, name), **letters, **picked(spec, pick)}
        numbers |= preset["on"] | {x: int(t.replace(",", "")) for x, t in preset["text"].items()}
        twin = TWINS[name](spec, numbers)
        assert worst(json.loads(found["values"]), twin) <= TOLERANCE, preset["label"]
        TOTALS["calculator inputs"] += 1


def start_on(spec: Any, page: Page, name: str) -> dict[str, int]:
    """The toggles as they stand."""
    rows = page.locator(".lm-widget").nth(list(TWINS).index(name)).locator(".lm-checks input")
    checked = [int(row.is_checked()) for row in rows.all()]
    return dict(zip([toggle["letter"] for toggle in spec["toggles"]], checked, strict=True))


@pytest.mark.parametrize("name", TWINS)
def test_nonsense_is_named_and_never_nan(page: Page, specs: Any, name: str) -> None:
    spec = specs[name]
    [sound] = inputs(spec, 1)
    for box in spec["fields"]:
        for text in NONSENSE:
            if text == "0" and box["least"] == 0:
                continue
            typed = Input({**sound.text, box["letter"]: text}, {}, sound.on, sound.pick)
            [found] = tried(page, name, [typed])
            assert found["values"] == "", (box["letter"], text)
            assert box["letter"] in found["invalid"]
            assert (text or "empty") in found["message"]
            assert "expected" in found["message"]
            assert not NOT_A_NUMBER.search(found["text"])


@pytest.mark.parametrize("name", TWINS)
def test_heads_that_do_not_divide_are_named(page: Page, name: str) -> None:
    sizes = {"d": "768", "H": "12", "G": "5", "d_head": "64"}
    [groups] = tried(page, name, [Input(sizes, {}, {}, [])], preset=1)
    assert groups["values"] == ""
    assert groups["invalid"] == ["G"]
    assert "G is 5: expected a divisor of the 12 heads" in groups["message"]
    typed = Input({"H": "5", "G": "5"}, {"d_head": True}, {}, [])
    [heads] = tried(page, name, [typed])
    assert heads["values"] == ""
    assert "H is 5, expected a divisor of d = 768" in heads["message"]
    [sound] = tried(page, name, [Input({"H": "8", "G": "4"}, {}, {}, [])])
    assert sound["message"] == ""
    assert sound["values"]


@pytest.mark.parametrize("name", TWINS)
def test_the_largest_numbers_stay_finite(page: Page, specs: Any, name: str) -> None:
    most = {box["letter"]: "1e12" for box in specs[name]["fields"]}
    [found] = tried(page, name, [Input(most, {}, {}, [])])
    assert found["message"] == ""
    assert not NOT_A_NUMBER.search(found["text"])
    assert all(isinstance(x, int | float) for x in json.loads(found["values"]).values())
