"""Every widget starts, every control of it changes the picture, every exercise grades itself."""

import json
import re
from typing import Any

import pytest

from tests.browser.conftest import TOTALS, stored_html

pytestmark = pytest.mark.browser
SCHEMES = ("http", "file")
# From disk the same modules run on the same numbers: that each control moves is enough there.
MOST_STOPS = {"http": 200, "file": 2}


PICTURE = """widget => [...widget.querySelectorAll('.lm-figure')].map(figure => {
  // Names differ from drawing to drawing and are not seen: what moves must move on the screen.
  const copy = figure.cloneNode(true);
  for (const element of [copy, ...copy.querySelectorAll('*')]) {
    for (const { name, value } of [...element.attributes]) {
      if (name === 'id' || name.startsWith('aria-') || value.includes('#lm-')) {
        element.removeAttribute(name);
      }
    }
  }
  copy.querySelectorAll('title, desc').forEach(element => element.remove());
  return copy.outerHTML;
}).join('')"""


def picture(widget: Any) -> str:
    """Everything that the widget draws."""
    return str(widget.evaluate(PICTURE))


def moves_slider(page: Any, widget: Any, slider: Any, most_stops: int) -> str | None:
    """Drives one slider by keys and mouse; returns what is wrong with it."""
    slider.focus()
    page.keyboard.press("Home")
    low, high = (slider.evaluate(f"s => s.{end}") for end in ("min", "max"))
    value, drawn = slider.input_value(), picture(widget)
    if value != low:
        return f"Home goes to {value}, expected {low}"
    first = drawn
    for _ in range(most_stops):
        if slider.input_value() == high:
            break
        page.keyboard.press("ArrowRight")
        if slider.input_value() == value:
            return f"ArrowRight does nothing at {value}"
        value, before, drawn = slider.input_value(), drawn, picture(widget)
        if drawn == before:
            return f"the picture stands still at stop {value}"
    page.keyboard.press("ArrowLeft")
    if slider.input_value() == value or picture(widget) == drawn:
        return "ArrowLeft changes nothing"
    page.keyboard.press("Home")
    page.keyboard.press("End")
    if slider.input_value() != high:
        return f"End goes to {slider.input_value()}, expected {high}"
    page.keyboard.press("Home")
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.9, box["y"] + box["height"] / 2)
    if slider.input_value() == low or picture(widget) == first:
        return "a click changes nothing"
    return None


def moves_choice(page: Any, widget: Any, choice: Any) -> str | None:
    """Picks every option of one select, and steps once by key; returns what is wrong with it."""
    values = choice.evaluate("s => [...s.options].map(o => o.value)")
    pictures = []
    for value in values:
        choice.select_option(value)
        pictures.append(picture(widget))
    if len(set(pictures)) < len(values):
        return f"{len(values)} options draw {len(set(pictures))} pictures"
    choice.select_option(values[0])
    choice.focus()
    page.keyboard.press("ArrowDown")
    return None if picture(widget) != pictures[0] else "ArrowDown changes nothing"


def moves_text(widget: Any, field: Any) -> str | None:
    """Types into one text field; returns what is wrong with it."""
    before = picture(widget)
    field.fill("a€😊")
    return None if picture(widget) != before else "typing changes nothing"


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_control_changes_the_picture(visit: Any, scheme: str, chapter: str) -> None:
    faults = []
    opened = visit(scheme, chapter)
    for number, widget in enumerate(opened.page.locator(".lm-widget").all(), start=1):
        found = []
        if widget.get_attribute("data-ready") != "1":
            found.append(f"did not start: {widget.get_attribute('data-error')}")
        sliders = widget.locator("input[type=range]").all()
        choices = widget.locator("select").all()
        is_exercise = "lm-exercise" in (widget.get_attribute("class") or "")
        fields = [] if is_exercise else widget.locator("input[type=text]").all()
        if not is_exercise and not (sliders or choices or fields):
            found.append("has no control")
        found += [moves_text(widget, field) for field in fields]
        most = MOST_STOPS[scheme]
        found += [moves_slider(opened.page, widget, slider, most) for slider in sliders]
        found += [moves_choice(opened.page, widget, choice) for choice in choices]
        found = [fault for fault in found if fault]
        faults += [f"widget {number}: {fault}" for fault in found]
        if not is_exercise:
            TOTALS["widgets"] += 1
            TOTALS["widgets that move"] += not found
    assert faults == []
    assert opened.complaints == []


def graded(card: Any, answer: float | None, option: int | None) -> str:
    """Answers an exercise's card; returns the class and text of its verdict."""
    if option is None:
        card.locator("input[type=text]").fill(repr(answer))
        card.locator("input[type=text]").press("Enter")
    else:
        card.locator("input[type=radio]").nth(option).check()
        card.locator("button[type=submit]").click()
    verdict = card.locator(".lm-verdict")
    return f"{verdict.get_attribute('class')} {verdict.inner_text()}"


def check_number(card: Any, spec: dict[str, Any]) -> None:
    """The right answer, a wrong one, each known mistake, and no answer."""
    wrong = spec["answer"] + 10 * spec["tolerance"] + 1
    assert "lm-right" in graded(card, spec["answer"], None)
    assert "lm-wrong" in graded(card, wrong, None)
    for value, _ in spec["mistakes"]:
        assert "lm-wrong" in graded(card, value, None)
    card.locator("input[type=text]").fill("not a number")
    card.locator("button[type=submit]").click()
    assert card.locator(".lm-verdict.lm-right, .lm-verdict.lm-wrong").count() == 0


def check_choice(card: Any, spec: dict[str, Any]) -> None:
    """Every option: one is right, the others are wrong."""
    assert card.locator("input[type=radio]").count() == len(spec["options"])
    for option in range(len(spec["options"])):
        expected = "lm-right" if option == spec["answer"] else "lm-wrong"
        assert expected in graded(card, None, option)


def stored_exercises(chapter: str) -> list[dict[str, Any]]:
    """What the chapter's notebook stores about its exercises, in order."""
    data = r'<script type="application/json">(.*?)</script>'
    states = [json.loads(text) for text in re.findall(data, stored_html(chapter), re.S)]
    return [state["spec"] for state in states if "solution" in state["spec"]]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_exercises_grade_themselves_offline(visit: Any, scheme: str, chapter: str) -> None:
    opened = visit(scheme, chapter)
    cards, specs = opened.page.locator(".lm-exercise").all(), stored_exercises(chapter)
    for card, spec in zip(cards, specs, strict=True):
        if spec["kind"] == "number":
            check_number(card, spec)
        elif spec["kind"] == "choice":
            check_choice(card, spec)
        folds = card.locator("details > summary").all_inner_texts()
        assert len(folds) >= 2, "an exercise has a hint and a solution"
        TOTALS["exercises graded"] += spec["kind"] != "function"
    assert opened.complaints == []
