"""The book's typefaces: cut from packages to the letters that pages use, for the built book only.

Text is set in Source Serif; headings, tables, controls and what is bold in Source Sans. Both are
under the SIL Open Font License, which allows the cutting. What a face lacks the reader's system
draws.
"""

import importlib.metadata
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


def write_fonts(folder: Path) -> None:
    """Puts the cut faces into `folder`, one .woff file each, unless they are there."""
    folder.mkdir(parents=True, exist_ok=True)
    for package, file, name in FACES:
        target = folder / f"{name}.woff"
        if not target.exists():
            _cut(_find(package, file), target)


def _find(package: str, file: str) -> Path:
    for path in importlib.metadata.distribution(package).files or []:
        if path.name == file:
            return Path(str(path.locate()))
    raise FileNotFoundError(f"{package} is installed but carries no {file}")


def _cut(source: Path, target: Path) -> None:
    options = subset.Options()
    options.flavor = "woff"
    options.layout_features = ["kern", "lnum", "tnum"]
    options.hinting = False
    options.desubroutinize = True
    options.notdef_outline = True
    options.recalc_timestamp = False  # the same file on every build
    font = subset.load_font(str(source), options)
    cutter = subset.Subsetter(options)
    cutter.populate(unicodes=LETTERS)
    cutter.subset(font)
    font.save(str(target))
    font.close()
