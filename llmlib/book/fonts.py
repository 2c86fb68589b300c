"""The book's typefaces: cut from packages to the letters that pages use, for the built book only.

Text is set in Source Serif; headings, tables, controls and what is bold in Source Sans. Both are
under the SIL Open Font License, which allows the cutting. What a face lacks the reader's system
draws. The theme's icons, two thousand of which pages use a dozen, are under the same license.
"""

import importlib.metadata
import importlib.resources
import re
from collections.abc import Iterable
from pathlib import Path

from fontTools import subset

FACES = [
    ("font-source-serif-pro", "SourceSerifPro-Regular.ttf", "serif"),
    ("font-source-serif-pro", "SourceSerifPro-It.ttf", "serif-italic"),
    ("font-source-sans-pro", "SourceSansPro-Regular.ttf", "sans"),
    ("font-source-sans-pro", "SourceSansPro-Semibold.ttf", "sans-bold"),
]
LETTERS = [
    *range(0x20, 0x7F),
    *range(0xA0, 0x100),
    *range(0x391, 0x3CA),  # Greek
    *range(0x2010, 0x2027),  # dashes, quotation marks
    *range(0x2190, 0x2194),  # arrows
    *map(ord, "€−×·√∑∞≈≠≤≥′″‖∈✓"),
]
THEME_STATIC = "theme/pydata_sphinx_theme/static"
ICON_STYLE = "styles/pydata-sphinx-theme.css"
ICON_NAME = re.compile(r"\bfa-[a-z0-9-]+")
ICON_RULE = re.compile(r'(?:\.fa-[a-z0-9-]+:+before,?)+\{content:"[^"]*"\}')
ICON_SOURCE = re.compile(r"src:url\(\.\./(vendor/fontawesome/[^)]*)\.woff2\)[^}]*")
ICON_LETTER = re.compile(r"\\([ef][0-9a-f]{3})\b|([\ue000-\uf8ff])")  # as CSS writes them


def write_fonts(folder: Path) -> None:
    """Puts the cut faces into `folder`, one .woff file each, unless they are there."""
    folder.mkdir(parents=True, exist_ok=True)
    for package, file, name in FACES:
        target = folder / f"{name}.woff"
        if not target.exists():
            _cut(_find(package, file), target, LETTERS)


def cut_icons(pages: Path) -> None:
    """Leaves of the theme's icons, in its style and its fonts, those that the built pages name.

    It starts from the theme's own files each time: a page may name another icon than it did.
    """
    static = pages / "_static"
    theme = Path(str(importlib.resources.files("pydata_sphinx_theme"))) / THEME_STATIC
    named: set[str] = set()
    for path in [*pages.rglob("*.html"), *static.glob("*.js"), *static.glob("scripts/*.js")]:
        named.update(ICON_NAME.findall(path.read_text(encoding="utf-8")))
    style = ICON_RULE.sub(
        lambda rule: rule[0] if named.intersection(ICON_NAME.findall(rule[0])) else "",
        (theme / ICON_STYLE).read_text(encoding="utf-8"),
    )
    fonts = ICON_SOURCE.findall(style)
    style = ICON_SOURCE.sub(r'src:url(../\1.woff) format("woff")', style)
    (static / ICON_STYLE).write_text(style, encoding="utf-8")
    letters: set[int] = set()
    for path in static.rglob("*.css"):
        found = ICON_LETTER.findall(path.read_text(encoding="utf-8"))
        letters.update(int(code, 16) if code else ord(letter) for code, letter in found)
    for font in fonts:
        _cut(theme / f"{font}.ttf", static / f"{font}.woff", letters)
        for ending in (".ttf", ".woff2"):
            (static / f"{font}{ending}").unlink(missing_ok=True)


def _find(package: str, file: str) -> Path:
    for path in importlib.metadata.distribution(package).files or []:
        if path.name == file:
            return Path(str(path.locate()))
    raise FileNotFoundError(f"{package} is installed but carries no {file}")


def _cut(source: Path, target: Path, letters: Iterable[int]) -> None:
    options = subset.Options()
    options.flavor = "woff"
    options.layout_features = ["kern", "lnum", "tnum"]
    options.hinting = False
    options.desubroutinize = True
    options.notdef_outline = True
    options.recalc_timestamp = False  # the same file on every build
    font = subset.load_font(str(source), options)
    cutter = subset.Subsetter(options)
    cutter.populate(unicodes=letters)
    cutter.subset(font)
    font.save(str(target))
    font.close()
