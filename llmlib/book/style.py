"""How plots look: one matplotlib style whose figures follow the page's light or dark mode."""

import hashlib
import html
import io
import re

import matplotlib as mpl
import matplotlib.pyplot as plt
from cycler import cycler
from IPython.display import HTML, display
from matplotlib.figure import Figure

from llmlib.book.digits import to_decimals
from llmlib.book.widgets.base import NotebookStyle

SERIES = ["#0b5fa5", "#c2410c", "#0a7d55", "#8e4c9e", "#8a6100", "#5f6b7a"]
"""Blue, vermilion, green, purple, ocher, grey: apart for color-blind readers, 4.5:1 on white."""

_PLACES = re.compile(r' (?:d|x|y|x1|x2|y1|y2|cx|cy|r|width|height|points|transform)="[^"]*"')
_USED = re.compile(r'(?:(?<=url\()|(?<=href="))#([\w.-]+)')

# Stand-ins that `show` turns into CSS; matplotlib knows only fixed colors.
_INK, _GRID = "#010203", "#040506"


def use_style() -> None:
    """Sets matplotlib's defaults for the book, and gives a live notebook its style sheet."""
    display(NotebookStyle())
    mpl.rcdefaults()  # not a reader's matplotlibrc, whose fonts would move what is drawn
    mpl.rcParams.update(
        {
            "axes.edgecolor": _INK,
            "axes.grid": True,
            "axes.labelcolor": _INK,
            "axes.prop_cycle": cycler(color=SERIES),
            "axes.spines.right": False,
            "axes.spines.top": False,
            "axes.titlesize": "medium",
            "figure.constrained_layout.use": True,
            "figure.figsize": (5.8, 3.1),
            "font.size": 11,  # a phone shows a figure at two thirds
            "grid.color": _GRID,
            "grid.linewidth": 0.6,
            "legend.frameon": False,
            "lines.linewidth": 1.8,
            "savefig.transparent": True,
            "svg.fonttype": "none",
            "svg.hashsalt": "llmlib",  # else every run names its clip paths anew
            "text.color": _INK,
            "xtick.color": _INK,
            "ytick.color": _INK,
        }
    )


def show(figure: Figure, *, alt: str) -> None:
    """Shows a figure as inline SVG in the page's own colors, and closes it.

    Args:
        figure: drawn after `use_style()`.
        alt: what a reader who cannot see the figure needs to know.

    Raises:
        ValueError: `alt` is empty.
    """
    display(HTML(f'<div class="lm-plot">{as_svg(figure, alt)}</div>'))


def as_svg(figure: Figure, alt: str) -> str:
    """What `show` shows, as text; closes the figure.

    Raises:
        ValueError: `alt` is empty.
    """
    if not alt.strip():
        raise ValueError("show: every figure needs an alt text")
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    return _themed(buffer.getvalue(), alt)


def _themed(svg: str, alt: str) -> str:
    """Keeps matplotlib's drawing; replaces its prologue, its fixed size and its fixed colors."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.S)
    svg = re.sub(r"<[^>]+>", lambda tag: _rounded(tag[0]), svg)
    svg = re.sub(r"<svg[^>]*>", lambda tag: _opening(tag[0], alt), svg, count=1)
    svg = _named(svg)
    svg = svg.replace(_INK, "currentColor")
    svg = svg.replace(_GRID, "var(--lm-grid, rgba(127, 127, 127, 0.3))")
    for number, color in enumerate(SERIES, start=1):
        svg = svg.replace(color, f"var(--series-{number}, {color})")
    return svg


def _rounded(tag: str) -> str:
    """Tenths of a point are finer than a screen, and hide what another CPU computes otherwise.

    Shapes that are drawn once and placed many times keep hundredths: they do not hang on data.
    """
    digits = 2 if " id=" in tag else 1
    tag = _PLACES.sub(lambda places: _shorter(places[0], r"-?\d+\.\d+", digits), tag)
    return _shorter(tag, r"-?\d+\.\d{3,}", 2)


def _shorter(text: str, number: str, digits: int) -> str:
    """Each number in one spelling: 12.0 beside 12, or -0 beside 0, would tell CPUs apart."""

    def spelled(found: re.Match[str]) -> str:
        if found[0].startswith("scale"):
            return found[0]
        return f"{to_decimals(float(found[0]), digits):.{digits}f}".rstrip("0").rstrip(".")

    return re.sub(rf"scale\([^)]*\)|{number}", spelled, text)


def _named(svg: str) -> str:
    """Names what is referred to in the order of appearance, and drops all other names.

    matplotlib hashes names from the last bits of coordinates, and gives parts of every figure of a
    page the same ones, such as "line2d_1". A hash of the picture keeps the page's figures apart.
    """
    used = list(dict.fromkeys(_USED.findall(svg)))
    places = {name: number for number, name in enumerate(used, start=1)}

    def renamed(prefix: str) -> str:
        text = re.sub(
            r' id="([^"]*)"',
            lambda found: f' id="{prefix}{places[found[1]]}"' if found[1] in places else "",
            svg,
        )
        return _USED.sub(lambda found: f"#{prefix}{places[found[1]]}", text)

    picture = hashlib.sha256(renamed("").encode()).hexdigest()[:8]
    return renamed(f"p{picture}-")


def _opening(tag: str, alt: str) -> str:
    box = re.search(r'viewBox="([^"]*)"', tag)
    if box is None:
        raise ValueError(f"matplotlib wrote an SVG without a viewBox: {tag}")
    width = float(box[1].split()[2])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{box[1]}" role="img" aria-label="{html.escape(alt)}" '
        f'style="width: {width * 4 / 3:.0f}px; max-width: 100%; height: auto">'
    )
