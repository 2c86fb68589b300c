"""A sound page with one widget of each control, and faults to plant into it."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmlib.book.exercise import Choice as ChoiceExercise
from llmlib.book.exercise import Mistake, Number
from llmlib.book.widgets import ByteExplorer, Choice, Lines, Panel, Series, Slider
from llmlib.book.widgets.base import STYLE, static_script

PAGE = """<!DOCTYPE html><html lang="en" data-theme="light"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>Planted</title>
<link rel="icon" href="data:,"><script>
const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => {{
  document.documentElement.dataset.theme = dark.matches ? "dark" : "light";
}};
dark.addEventListener("change", follow);
follow();
</script><style>{style}
html[data-theme="dark"] {{ background: #111; color: #eee; --pst-color-background: #111; }}
html[data-theme="dark"] a {{ color: #9cf; }} svg, img {{ max-width: 100%; }}
</style></head><body><main class="bd-article"><h1>Planted</h1><section id="here"><h2>Here</h2>
<p>A sound page: see <a href="#here">this part</a>.</p>{widgets}{plant}</section></main>
<script>{script}</script></body></html>"""


def explorer(frames: dict[int, int] | None = None, options: int = 3, controls: int = 2) -> Lines:
    """A curve with a slider of five stops and a choice; `frames` lets one stop draw another's."""
    panel = Panel(title="p", y_label="y", y_range=(0, 9), x=[0, 1], series=[Series("s")])

    def frame(a: int = 0, b: str = "u") -> dict[str, Any]:
        height = (frames or {}).get(a, a) + 0.5 * min("uvw".index(b), options - 1)
        return {"series": [[[height, 1]]]}

    shown = [Slider("a", "A", range(5)), Choice("b", "B", ["u", "v", "w"])][:controls]
    return Lines(controls=shown, panels=[panel], frame=frame, alt="a curve")


def exercises(**changes: Any) -> list[Any]:
    """A number and a choice, each with a known mistake."""
    about = {"level": "easy", "hint": "Think.", "solution": "So."}
    number = {"answer": lambda: 12, "tolerance": 0.5, "mistakes": [Mistake(24, "Halve it.")]}
    options = {"options": ["a", "b", "c"], "answer": 1, "mistakes": [Mistake(0, "No.")]}
    return [
        Number("planted.number", **(about | number | changes)),
        ChoiceExercise("planted.choice", **(about | options)),  # type: ignore[arg-type]
    ]


@functools.cache
def sound() -> str:
    """The widgets of the sound page."""
    field = ByteExplorer(text="ab", alt="bytes")
    cards = [exercise.card() for exercise in exercises()]
    return "".join(widget.static_html() for widget in (explorer(), field, *cards))


@dataclass(frozen=True)
class Plant:
    """One fault: what is put into the page, or done to it once it stands."""

    html: str = ""
    widgets: Callable[[], str] = sound
    after: str = ""

    def write(self, folder: Path) -> Path:
        """The page with the fault."""
        path = folder / "planted.html"
        style = STYLE.read_text(encoding="utf-8")
        parts = {"widgets": self.widgets(), "plant": self.html, "script": static_script()}
        path.write_text(PAGE.format(style=style, **parts), encoding="utf-8")
        return path


def swapped(**changes: Any) -> Plant:
    """The sound page with another curve in the place of its first widget."""
    return Plant(widgets=lambda: sound().replace(explorer().static_html(), changed(**changes)))


def changed(**changes: Any) -> str:
    """The curve with a fault of its own."""
    return explorer(**changes).static_html()


def script(text: str) -> Plant:
    """The sound page with a script."""
    return Plant(f"<script>{text}</script>")


def on(event: str, action: str) -> Plant:
    """The sound page with something that happens at an event `e`, before a widget hears of it."""
    return script(f"addEventListener('{event}', e => {{ {action} }}, true)")


def style(text: str) -> Plant:
    """The sound page with a rule of style."""
    return Plant(f"<style>{text}</style>")


def dead_key(key: str) -> Plant:
    """A page on which a key does nothing, neither the browser's own nor a widget's."""
    stop = "e.preventDefault(); e.stopImmediatePropagation()"
    return on("keydown", f"if (e.key === '{key}') {{ {stop} }}")


# A pane of glass over every widget: it can be seen, and no pointer reaches it.
GLASS = style(
    ".lm-widget { position: relative }"
    ".lm-widget::after { content: ''; position: absolute; inset: 0 }"
)
# What stands still, does not start or has nothing to move.
CONTROLS = {
    "a stop that draws the one before": (
        swapped(frames={3: 2}),
        r"widget 1 \(lines in #here\): slider 1: the picture stands still at stop 3",
    ),
    "Home is dead": (dead_key("Home"), "widget 1 .*slider 1: Home does nothing"),
    "an arrow key is dead": (dead_key("ArrowRight"), "slider 1: ArrowRight does nothing"),
    "the other arrow key is dead": (dead_key("ArrowLeft"), "slider 1: ArrowLeft does nothing"),
    "End is dead": (dead_key("End"), "slider 1: End does nothing"),
    "a key of a choice is dead": (dead_key("ArrowDown"), "choice 1: ArrowDown does nothing"),
    "a slider that lies below something": (
        GLASS,
        "slider 1: click does nothing",
    ),
    "a slider that goes back by itself": (
        on("input", "if (e.target.value === '2') e.target.value = 1"),
        "slider 1: does not stay at stop 2",
    ),
    "a slider that jumps": (
        on("keydown", "if (e.key === 'ArrowRight') e.target.value = 2"),
        "slider 1: ArrowRight goes to 3, expected 1",
    ),
    "two options that draw one picture": (
        swapped(options=2),
        "choice 1: 3 options draw 2 pictures",
    ),
    "a field that is deaf": (
        on("input", "if (e.target.type === 'text') e.stopPropagation()"),
        r"widget 2 \(byte_explorer in #here\): field 1: typing changes nothing",
    ),
    "a widget without a control": (swapped(controls=0), "widget 1 .*has no control"),
    "a widget that is not there": (
        Plant(
            '<div class="lm-widget" data-kind="nothing">'
            '<script type="application/json">{}</script></div>'
        ),
        r"widget 5 \(nothing in #here\): did not start",
    ),
    "a widget that throws": (
        on("input", "if (e.target.value === '4') throw Error('four')"),
        "widget 1 .*error: four",
    ),
}
# What the browser reports of a page by itself.
COMPLAINTS = {
    "a console error": (script("console.error('planted')"), "console error: planted"),
    "a console warning": (script("console.warn('planted')"), "console warning: planted"),
    "a script that throws": (script("throw Error('planted')"), "error: planted"),
    "a promise that fails": (script("Promise.reject(Error('planted'))"), "error: planted"),
    "a picture that is not there": (
        Plant('<img alt="none" src="none.png">'),
        "not loaded: .*none.png",
    ),
}
FORMULAS = {
    "a formula that waits": (Plant(r'<span class="math">\(x\)</span>'), r"not set: .*x"),
    "a formula with an error": (Plant("<mjx-merror>oops</mjx-merror>"), "broken: oops"),
}
WIDE = {"a wide box": (Plant('<div class="box" style="width: 40rem">wide</div>'), "DIV.box")}
PICTURES = {
    "a picture without a name": (Plant('<svg viewBox="0 0 1 1" width="9"></svg>'), "<svg"),
    "an image without a name": (Plant('<img src="data:," width="9">'), "<img"),
}
ICONS = {
    "an icon without its font": (Plant('<i class="fas fa-download"></i>'), "fa-download"),
    "an icon that is blank": (
        Plant(
            "<style>.fas::before { content: 'x'; font-family: 'Font Awesome 6 Free' } @font-face "
            "{ font-family: 'Font Awesome 6 Free'; src: url(data:font/woff2;base64,AAAA) }</style>"
            '<i class="fas fa-file"></i>'
        ),
        "fa-file",
    ),
}
MOVEMENT = {
    "a picture that fades in": (
        style("@keyframes k { from { opacity: 0 } } .lm-figure svg { animation: k 1s }"),
        "widget 1 .*moves by itself after a step",
    ),
    "a text that changes slowly": (
        style("#here p { transition: color 1s }"),
        "P.*has an animation",
    ),
}
LINKS = {"a link like its text": (style("p a { text-decoration: none }"), '"this part" in #here')}
AXE = {
    "a field without a name": (Plant("<input type='text'>"), "label: .*<input"),
    "a button without a name": (Plant("<button></button>"), "button-name: .*<button"),
    "an id that a name lacks": (Plant("<div role='img' id='x'></div>"), "role-img-alt"),
    "a role that is none": (Plant("<p role='nothing'>text</p>"), "aria-roles"),
}
# Texts too faint: in light, in dark.
FAINT = {
    "a gray text": ("<p style='color: #999; background: #fff'>gray</p>", "light", 'P "gray"'),
    "a text faint in dark alone": (
        "<style>[data-theme='dark'] b { color: #444 }</style><p><b>night</b></p>",
        "dark",
        'B "night"',
    ),
    "a text made faint by what holds it": (
        "<div style='opacity: 0.4'><p>veiled</p></div>",
        "light",
        'P "veiled"',
    ),
    "a label on a tint": (
        "<p style='background: #333; color: #555'>tinted</p>",
        "light",
        'P "tinted"',
    ),
    "what stands in a field": (
        "<label>n <input value='typed' style='color: #aaa'></label>",
        "light",
        'INPUT "typed"',
    ),
    "what a field proposes": (
        "<style>::placeholder { color: #ccc }</style><label>n <input placeholder='hint'></label>",
        "light",
        'INPUT "hint"',
    ),
    "a word in a drawing": (
        "<svg width='90' height='20' role='img' aria-label='d'>"
        "<text y='15' fill='#bbb'>drawn</text></svg>",
        "light",
        'text "drawn"',
    ),
    "a formula": (
        "<mjx-container style='color: #bbb'>x</mjx-container>",
        "light",
        'MJX-CONTAINER "formula"',
    ),
    "an icon": ("<i class='fa-x' style='color: #ccc'>i</i>", "light", 'I "'),
}
GRADING = {
    "a page that knows another answer": (Plant(), exercises(answer=lambda: 13), "exercise 1: .*13"),
    "a mistake that passes": (
        Plant(),
        exercises(mistakes=[Mistake(12.4, "Too much.")]),
        "exercise 1: '12.4' is judged",
    ),
    "an exercise that is not shown": (
        Plant(),
        [*exercises(), *exercises()],
        "2 exercises are shown, 4 are stored",
    ),
    "a key that is dead": (dead_key("Enter"), exercises(), "exercise 1: typed or clicked"),
    "a button that lies below something": (GLASS, exercises(), "exercise 2: typed or clicked"),
    "an option that is not shown": (
        Plant(after="document.querySelector('.lm-option').remove()"),
        exercises(),
        "exercise 2: shows 2 options of 3",
    ),
    "a hint that is not there": (
        Plant(after="document.querySelector('.lm-exercise details').remove()"),
        exercises(),
        "exercise 1: has 1 folds",
    ),
    "a page that grades nonsense": (
        script("String.prototype.normalize = () => '1'"),
        exercises(),
        "exercise 1: 'not a number' is judged",
    ),
    "a card that throws": (on("submit", "throw Error('graded')"), exercises(), "error: graded"),
}
