"""The map of the book: each chapter's question, its picture, its length, what it needs first."""

import html
import json
import re
from dataclasses import dataclass
from pathlib import Path

import yaml
from IPython.display import HTML, display

import llmlib
from llmlib.book.labs.intro.thumbnails import thumbnail

BOOK = Path(llmlib.__file__).parents[1]
"""Not the notebook's folder: a copy over a reader's own model lies elsewhere."""
WORDS_PER_MINUTE = 150  # with the figures and the code between them


@dataclass(frozen=True)
class Chapter:
    """What the map says of a chapter; `needs` are the chapters to read before."""

    title: str
    question: str
    needs: tuple[str, ...] = ()


CHAPTERS = {
    "overview": Chapter("Overview", "What is a large language model, in two numbers?"),
    "forward_pass": Chapter(
        "Forward pass", "What happens between return and the first word?", ("overview",)
    ),
    "decoding": Chapter(
        "Decoding", "Which token, when the model only gives odds?", ("forward_pass",)
    ),
    "families": Chapter(
        "Three families", "Why do three masks make three kinds of model?", ("forward_pass",)
    ),
    "tokenization": Chapter("Tokenization", "Why does a model see pieces and not letters?"),
    "normalization": Chapter(
        "Normalization", "Why do deep networks need it, and where did the mean go?",
        ("forward_pass",),
    ),
    "activations": Chapter("Activations", "What does the gate do?", ("forward_pass",)),
    "attention": Chapter(
        "Attention", "Who looks at whom, and who pays for it?", ("forward_pass",)
    ),
    "position_encoding": Chapter("Position encoding", "How does order get in?", ("attention",)),
    "kv_cache": Chapter(
        "KV cache", "Why is the second token cheap and the thousandth expensive?", ("attention",)
    ),
    "sparse_attention": Chapter(
        "Sparse attention", "How far can a token see through small windows?", ("kv_cache",)
    ),
    "flash_attention": Chapter(
        "Flash attention", "How can exact attention never hold its own matrix?", ("attention",)
    ),
    "flash_listing": Chapter(
        "A listing, repaired", "Can you find the bugs in forty lines?", ("flash_attention",)
    ),
    "flash_kernel": Chapter(
        "The kernel, line by line", "What does a GPU do with it?", ("flash_attention",)
    ),
    "memory": Chapter("Memory", "Where do sixteen bytes per parameter go?", ("parameters",)),
    "parameters": Chapter("Parameters", "Where do 175 billion numbers sit?", ("forward_pass",)),
    "flops": Chapter("FLOPs", "What does a token cost?", ("parameters",)),
    "model_cards": Chapter("Model cards", "What do real models choose?", ("parameters",)),
}  # fmt: skip


def parts(root: Path) -> list[tuple[str, list[str]]]:
    """The parts of _toc.yml with their chapters, those that the map can describe."""
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    listed = [
        (part["caption"], [Path(chapter["file"]).name for chapter in part["chapters"]])
        for part in toc["parts"]
    ]
    known = [(caption, [name for name in names if name in CHAPTERS]) for caption, names in listed]
    return [(caption, names) for caption, names in known if names]


def minutes(notebook: Path) -> int:
    """How long a chapter takes to read, to five minutes."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    words = sum(
        len("".join(cell["source"]).split()) for cell in cells if cell["cell_type"] == "markdown"
    )
    return max(5, 5 * round(words / WORDS_PER_MINUTE / 5))


def show_map(root: Path = BOOK) -> None:
    """Shows the map of the book that lies in `root`."""
    number, shown = 0, []
    for caption, names in parts(root):
        cards = []
        for name in names:
            number += 1
            cards.append(_card(number, name, minutes(root / "chapters" / f"{name}.ipynb")))
        shown.append(f'<h3 class="lm-part">{html.escape(caption)}</h3><ol>{"".join(cards)}</ol>')
    display(HTML(f'<div class="lm-map">{"".join(shown)}</div>'))


def _card(number: int, name: str, length: int) -> str:
    chapter = CHAPTERS[name]
    picture = re.sub(r'role="img" aria-label="[^"]*"', 'aria-hidden="true"', thumbnail(name, name))
    needs = ", ".join(CHAPTERS[other].title for other in chapter.needs)
    after = f" · after {html.escape(needs)}" if needs else ""
    return (
        f'<li><a class="lm-card" href="{name}.ipynb">{picture}'
        f'<span class="lm-card-title">{number}. {html.escape(chapter.title)}</span>'
        f'<span class="lm-card-question">{html.escape(chapter.question)}</span>'
        f'<span class="lm-card-length">{length} min{after}</span></a></li>'
    )
