"""What is checked on an open page. Each check returns what is wrong with it; none is good."""

import json
import re
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe

from tests.browser.conftest import TOTALS, Visit

FOLDER = Path(__file__).parent
PICTURES = (FOLDER / "pictures.js").read_text(encoding="utf-8")
CONTRAST = (FOLDER / "contrast.js").read_text(encoding="utf-8")
LINKS = (FOLDER / "links.js").read_text(encoding="utf-8")
# The same rules in half the time. Two of them ask for every color on the screen, which takes far
# longer than all others together: contrast.js and links.js find the same in a fiftieth.
AXE = {"preload": False, "resultTypes": ["violations"]}
COLORS = ["color-contrast", "link-in-text-block"]
AXE_RULES = AXE | {"rules": {rule: {"enabled": False} for rule in COLORS}}
AXE_COLORS = AXE | {"runOnly": COLORS}
WIDE = """() => {
  const root = document.documentElement, room = root.clientWidth;
  if (root.scrollWidth <= room) return [];
  // What scrolls inside itself widens nothing.
  const isInside = e => e && e !== document.body
    && (getComputedStyle(e).overflowX !== 'visible' || isInside(e.parentElement));
  return [`${root.scrollWidth} px`, ...[...document.body.querySelectorAll('*')]
    .filter(e => e.getBoundingClientRect().right > room + 1 && !isInside(e.parentElement))
    .map(e => e.tagName + '.' + e.getAttribute('class'))].slice(0, 6);
}"""
MOVING = """() => [...document.querySelectorAll('.bd-article *')].filter(e => {
  const style = getComputedStyle(e);
  return style.animationName !== 'none' || parseFloat(style.transitionDuration) > 0.01;
}).map(e => `${e.tagName}.${e.getAttribute('class')} has an animation`).slice(0, 5)"""
HEIGHT = """() => {
  const open = [...document.querySelectorAll('details[open]')];
  open.forEach(fold => { fold.open = false; });
  const height = document.querySelector('.bd-article').getBoundingClientRect().height;
  open.forEach(fold => { fold.open = true; });
  return Math.round(height);
}"""
ICONS = """async () => {
  await document.fonts.ready;
  const isDrawn = icon => {
    const { content, fontWeight, fontFamily } = getComputedStyle(icon, '::before');
    const hasGlyph = () => document.fonts.check(`${fontWeight} 16px ${fontFamily}`, content[1]);
    return content.length === 3 && hasGlyph() && icon.getBoundingClientRect().width > 0;
  };
  return [...document.querySelectorAll("i[class*='fa-']")]
    .filter(icon => icon.checkVisibility() && !isDrawn(icon)).map(icon => icon.className);
}"""


def external_requests(visit: Visit) -> list[str]:
    """What the page asked of other machines."""
    TOTALS["external requests"] += len(visit.external)
    return visit.external


def unset_formulas(page: Any) -> list[str]:
    """Formulas that MathJax left as they were, and those it could not read."""
    waiting = page.locator(".math:not(:has(mjx-container))").all_inner_texts()
    broken = page.locator("mjx-merror").all_inner_texts()
    return [f"not set: {text}" for text in waiting] + [f"broken: {text}" for text in broken]


def too_wide(page: Any) -> list[str]:
    """How wide the page is, where it scrolls sideways, and what makes it so."""
    return list(page.evaluate(WIDE))


def height(page: Any) -> int:
    """How high the page is with every fold closed."""
    return int(page.evaluate(HEIGHT))


def missing_icons(page: Any) -> list[str]:
    """The theme's icons whose glyph the font does not draw."""
    return list(page.evaluate(ICONS))


def nameless_pictures(page: Any) -> list[str]:
    """Pictures without an accessible name."""
    return list(page.evaluate(PICTURES))


def movement(page: Any) -> list[str]:
    """What moves by itself, at rest and after a step of every slider."""
    restless = page.evaluate("lmTest.restless()")
    moved = [f"{label(widget)}: moves by itself after a step" for widget in restless]
    return moved + list(page.evaluate(MOVING))


def axe_faults(page: Any, options: dict[str, Any], without: str = "") -> list[str]:
    """What axe finds serious or critical, in all of the page or all but a selector."""
    context = {"exclude": [[without]]} if without else None
    violations = Axe().run(page, context=context, options=options).response["violations"]
    serious = [
        f"{item['id']}: {item['help']}: {node['html'][:160]}"
        for item in violations
        if item["impact"] in ("serious", "critical")
        for node in item["nodes"]
    ]
    TOTALS["axe serious and critical"] += len(serious)
    return serious


def contrast(page: Any, selector: str = "body") -> dict[str, Any]:
    """How many texts were read, how many of them in outputs, and the `faint` ones."""
    report: dict[str, Any] = page.evaluate(f"({CONTRAST})({json.dumps(selector)})")
    TOTALS["texts with their contrast read"] += report["checked"]
    return report


def links_like_text(page: Any) -> list[str]:
    """Links inside a text that only their color tells apart from it."""
    return list(page.evaluate(LINKS))


def label(widget: dict[str, Any]) -> str:
    """A widget as a message names it."""
    return f"widget {widget['number'] + 1} ({widget['kind']} in #{widget['section']})"


def slider_faults(page: Any, number: int, index: int, most_stops: int) -> list[str]:
    """Drives one slider by real keys and a real click, then through all its stops."""
    low, high, step = page.evaluate(
        """([n, i]) => {
          const s = lmTest.control(n, 'slider', i);
          return [s.min, s.max, s.step || '1'].map(Number);
        }""",
        [number, index],
    )
    page.evaluate("a => lmTest.attend(...a)", [number, "slider", index, high])
    for key in ("Home", "ArrowRight", "ArrowLeft", "End", "Home"):
        page.keyboard.press(key)
    page.mouse.click(*page.evaluate("a => lmTest.placeOf(...a)", [number, index, 0.9]))
    log = page.evaluate("lmTest.noted()")
    expected = [("Home", low), ("ArrowRight", low + step), ("ArrowLeft", low), ("End", high)]
    expected += [("Home", low), ("click", None)]
    walked = page.evaluate("a => lmTest.walk(...a)", [number, index, most_stops])
    TOTALS["slider stops"] += walked["stops"]
    TOTALS["keys and clicks"] += len(expected)
    return key_faults(log, expected) + ([walked["fault"]] if walked["fault"] else [])


def key_faults(log: list[dict[str, Any]], expected: list[tuple[str, Any]]) -> list[str]:
    """The first key or click that did not do what it should, in words."""
    for (key, value), noted in zip(expected, [*log, *[None] * len(expected)], strict=False):
        if noted is None or noted["by"] != key:
            return [f"{key} does nothing"]
        if value is not None and float(noted["value"]) != value:
            return [f"{key} goes to {noted['value']}, expected {value:g}"]
        # From one end to the other the picture may come back to what it was.
        if key not in ("Home", "End") and not noted["changed"]:
            return [f"{key} goes to {noted['value']} and the picture stands still"]
        if noted["moving"]:
            return [f"{key} starts a movement"]
    return []


def choice_faults(page: Any, number: int, index: int) -> list[str]:
    """Picks every option of one select, and steps once by a real key."""
    options, pictures = page.evaluate("a => lmTest.options(...a)", [number, index])
    faults = [f"{options} options draw {pictures} pictures"] if pictures < options else []
    first = page.evaluate(
        "([n, i]) => lmTest.control(n, 'choice', i).options[0].value", [number, index]
    )
    page.evaluate("a => lmTest.attend(...a)", [number, "choice", index, first])
    page.keyboard.press("ArrowDown")
    TOTALS["keys and clicks"] += 1
    return faults + key_faults(page.evaluate("lmTest.noted()"), [("ArrowDown", None)])


def text_faults(page: Any, number: int, index: int) -> list[str]:
    """Types into one text field."""
    page.evaluate("a => lmTest.attend(...a)", [number, "text", index])
    page.keyboard.insert_text("a€😊")
    changed = [noted["changed"] for noted in page.evaluate("lmTest.noted()")]
    return [] if any(changed) else ["typing changes nothing"]


def widget_faults(page: Any, widget: dict[str, Any], most_stops: int) -> list[str]:
    """What is wrong with one widget and its controls."""
    if widget["ready"] != "1":
        return [f"did not start: {widget['error']}"]
    if widget["isExercise"]:
        return []
    number, found = widget["number"], []
    if not (widget["slider"] or widget["choice"] or widget["text"]):
        found.append("has no control")
    for index in range(widget["text"]):
        found += [f"field {index + 1}: {x}" for x in text_faults(page, number, index)]
    for index in range(widget["slider"]):
        faults = slider_faults(page, number, index, most_stops)
        found += [f"slider {index + 1}: {x}" for x in faults]
    for index in range(widget["choice"]):
        found += [f"choice {index + 1}: {x}" for x in choice_faults(page, number, index)]
    return found


def control_faults(visit: Visit, most_stops: int) -> list[str]:
    """What is wrong with the widgets of a page, and what the console said meanwhile."""
    faults = []
    for widget in visit.page.evaluate("lmTest.widgets()"):
        before = len(visit.complaints)
        found = widget_faults(visit.page, widget, most_stops) + visit.complaints[before:]
        faults += [f"{label(widget)}: {fault}" for fault in found]
        if not widget["isExercise"]:
            TOTALS["widgets"] += 1
            TOTALS["widgets that move"] += not found
    return faults


def answered(page: Any, number: int, spec: dict[str, Any]) -> str:
    """Gives the right answer with real keys or clicks; returns the verdict's class and text."""
    if spec["kind"] == "number":
        page.evaluate("n => lmTest.card(n).querySelector('input[type=text]').select()", number)
        page.keyboard.insert_text(repr(spec["answer"]))
        page.keyboard.press("Enter")
    else:
        for selector, index in (("input[type=radio]", spec["answer"]), ("button[type=submit]", 0)):
            place = page.evaluate(
                "([n, s, i]) => lmTest.place(lmTest.card(n).querySelectorAll(s)[i], 0.5)",
                [number, selector, index],
            )
            page.mouse.click(*place)
    TOTALS["keys and clicks"] += 1
    return str(page.evaluate("n => lmTest.verdict(n)", number))


def answers_of(spec: dict[str, Any]) -> list[tuple[str | int, str]]:
    """Answers and the verdict of each: all options, or a number's right and wrong ones and none."""
    if spec["kind"] == "choice":
        options = range(len(spec["options"]))
        return [(k, "lm-right" if k == spec["answer"] else "lm-wrong") for k in options]
    wrong = [spec["answer"] + 10 * spec["tolerance"] + 1, *(value for value, _ in spec["mistakes"])]
    numbers = [(repr(value), "lm-wrong") for value in wrong]
    return [(repr(spec["answer"]), "lm-right"), *numbers, ("not a number", "")]


def exercise_faults(
    page: Any, number: int, card: dict[str, Any], spec: dict[str, Any]
) -> list[str]:
    """What is wrong with the grading of one exercise."""
    faults = []
    if card["folds"] < 2:
        faults.append(f"has {card['folds']} folds, expected a hint and a solution")
    if spec["kind"] == "function":
        return faults
    if spec["kind"] == "choice" and card["options"] != len(spec["options"]):
        return [*faults, f"shows {card['options']} options of {len(spec['options'])}"]
    if "lm-right" not in (said := answered(page, number, spec)):
        faults.append(f"typed or clicked, the right answer is judged {said!r}")
    tries = answers_of(spec)
    verdicts = page.evaluate("a => lmTest.grade(...a)", [number, [answer for answer, _ in tries]])
    for (answer, expected), said in zip(tries, verdicts, strict=True):
        judged = [word for word in ("lm-right", "lm-wrong") if word in said.split()]
        if judged != ([expected] if expected else []):
            faults.append(f"{answer!r} is judged {said!r}, expected {expected or 'no verdict'}")
    TOTALS["exercises graded"] += 1
    TOTALS["answers graded"] += 1 + len(tries)
    return faults


def grading_faults(visit: Visit, specs: list[dict[str, Any]]) -> list[str]:
    """What is wrong with the exercises of a page, against what its notebook stores of them."""
    cards, before = visit.page.evaluate("lmTest.cards()"), len(visit.complaints)
    if len(cards) != len(specs):
        return [f"{len(cards)} exercises are shown, {len(specs)} are stored"]
    faults = [
        f"exercise {number + 1}: {fault}"
        for number, (card, spec) in enumerate(zip(cards, specs, strict=True))
        for fault in exercise_faults(visit.page, number, card, spec)
    ]
    return faults + visit.complaints[before:]


def stored_exercises(stored: str) -> list[dict[str, Any]]:
    """What the outputs of a notebook store about its exercises, in order."""
    data = r'<script type="application/json">(.*?)</script>'
    states = [json.loads(text) for text in re.findall(data, stored, re.S)]
    return [state["spec"] for state in states if "solution" in state["spec"]]
