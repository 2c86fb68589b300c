"""What each page of the built book gets, and what is taken out of it again.

Sphinx and the theme give a page's frame. Here it becomes the book's own: its head for search
engines and previews, a first paint in the right colors, citations as people write them, an index
of the prose alone, and no script that nothing needs.
"""

import html
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from docutils import nodes

from llmlib.book.widgets.base import formula_script

DESCRIPTION_LETTERS = 200

# The theme's icon script, with the comment before it. A web font draws the same icons; the script
# was a third of what a page loads, and it walked every element that a widget redraws, which made a
# step of a slider up to twelve times slower.
ICON_SCRIPT = re.compile(
    r"(?:<!-- So that users can add custom icons -->\s*)?"
    r"<script\b[^>]*\bsrc=\"[^\"]*/fontawesome\.js[^\"]*\"[^>]*>\s*</script>\s*"
)
# The theme lets every page wait for the search's index before its first widget starts. It asks for
# it while one types, which this book has off: only the search's own page searches.
SEARCH_SCRIPTS = re.compile(
    r"<script src=\"[^\"]*(?:searchtools|language_data|searchindex)\.js[^\"]*\"></script>\s*"
)
# A notebook is saved, not shown in a tab as the text that it is.
SOURCE_LINK = re.compile(r'(<a href="[^"]*/_sources/[^"]*") target="_blank"(?! download)')
# Until its last script has run the theme calls the colors "auto", which no style knows: a white
# flash, and two logos. The page can know them before its first paint.
UNDECIDED = re.compile(r"document\.documentElement\.dataset\.theme = localStorage[^;]*;")
DECIDED = (
    "document.documentElement.dataset.theme = /^(light|dark)$/.test("
    "document.documentElement.dataset.mode) ? document.documentElement.dataset.mode "
    ': matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";'
)
SECOND_VIEWPORT = '\n  <meta name="viewport" content="width=device-width, initial-scale=1"/>'
CITATION = re.compile(
    r'(<a class="reference internal" href="[^"]*references\.html#[^>]*>)(.*?)</a>', re.S
)

# What the search's script says, and says here. Excerpts leave out what the index does: code,
# outputs, lists of contents. They are read from the pages found, which a browser refuses from disk.
SEARCH = {
    '[".headerlink", "script", "style"]': (
        '[".headerlink", "script", "style", "div.cell", ".toctree-wrapper", "nav", "header"]'
    ),
    "else if (showSearchSummary)": 'else if (showSearchSummary && location.protocol !== "file:")',
}
CARD = re.compile(r'(<a class="lm-(?:card|box)" href="\w+)\.ipynb(?=")')

# What readers search for, and the words of the book that mean it.
SYNONYMS = {
    "mixture of experts": "MoE",
    "mixtures of experts": "MoE",
    "grouped-query": "GQA",
    "multi-query": "MQA",
    "latent attention": "MLA",
    "byte pair": "BPE",
    "key-value cache": "KVcache",
    "feed-forward": "FFN MLP",
    "rotary": "RoPE",
    "floating-point operations": "FLOP",
    "learning rate": "lr",
}
WITHOUT_SCRIPTS = (
    '<noscript><p class="lm-noscript">The figures with controls and the exercises here need '
    "JavaScript; in their places stands what they show.</p></noscript>"
)
NOT_FOUND = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>No such page · {title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<style>
body {{ font: 18px/1.6 Georgia, serif; max-width: 34rem; margin: 15vh auto; padding: 0 1rem; }}
@media (prefers-color-scheme: dark) {{
  body {{ background: #121212; color: #ddd; }} a {{ color: #8bf; }}
}}
</style></head>
<body><h1>No such page</h1>
<p>The address leads to no page of <em>{title}</em>.
<a id="home" href="index.html">Its first page</a> has a map of all chapters.</p>
<script>if (location.pathname.includes("/chapters/")) home.href = "../index.html";</script>
</body></html>
"""


def complete_context(
    app: Any, page: str, template: str, context: dict[str, Any], tree: Any
) -> None:
    """Sphinx's event before a page is written."""
    if page == app.config.root_doc:
        context["docstitle"] = ""  # the book's title is the page's own
    if tree is not None:
        context["metatags"] = context.get("metatags", "") + head(app.config.html_title, tree)
    if "body" in context:
        context["body"] = repaired(context["body"], page.endswith("references"))
        if 'class="lm-widget"' in context["body"]:
            context["body"] = WITHOUT_SCRIPTS + context["body"]
        if formulas := formula_script(context["body"]):
            file = f"formulas/{page.rpartition('/')[2]}.js"
            path = Path(app.outdir) / "_static" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(formulas, encoding="utf-8")
            # before the widgets
            app.add_js_file(file, loading_method="defer", priority=400, fetchpriority="high")


def head(book: str, tree: nodes.document) -> str:
    """A page's description, for search engines and for previews of a link."""
    title = next((node.astext() for node in tree.findall(nodes.title)), book)
    text = next((node.astext() for node in tree.findall(nodes.paragraph)), title)
    text = " ".join(text.split())
    if len(text) > DESCRIPTION_LETTERS:
        text = text[:DESCRIPTION_LETTERS].rsplit(" ", 1)[0] + " …"
    values = {"og:title": title, "og:type": "article", "og:site_name": book, "og:description": text}
    tags = [f'<meta name="description" content="{html.escape(text)}" />']
    tags += [f'<meta property="{k}" content="{html.escape(v)}" />' for k, v in values.items()]
    return "\n".join(["", *tags, ""])


def repaired(body: str, is_references: bool) -> str:
    """The body with lists that are lists, and with "et al." where a file has "and others"."""
    body = body.replace('<div role="list" class="citation-list">', '<div class="citation-list">')
    body = CARD.sub(r"\1.html", body)  # a notebook's map leads to notebooks, a page's to pages
    if is_references:
        return body.replace(" and others", " et al.")
    return CITATION.sub(lambda found: found[0].replace(" and others", " et al."), body)


def index_prose_alone(app: Any) -> None:
    """Keeps code and its outputs out of the search's index, and puts synonyms into it."""
    index_page: Callable[..., None] = app.builder.index_page

    def index_prose(page: str, tree: nodes.document, title: str) -> None:
        lean = tree.deepcopy()
        for node in list(lean.findall(nodes.container)):
            if str(node.get("nb_element", "")).startswith("cell_code"):
                node.clear()
        text = lean.astext().lower()
        also = " ".join(words for long, words in SYNONYMS.items() if long in text)
        lean += nodes.paragraph("", also)
        index_page(page, lean, title)

    app.builder.index_page = index_prose


def finish_pages(folder: Path, title: str, base: str) -> None:
    """Mends what the theme writes into every page; adds the files that a web server asks for."""
    for path in folder.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        new = ICON_SCRIPT.sub("", text)
        new = UNDECIDED.sub(DECIDED, new).replace(SECOND_VIEWPORT, "")
        new = SOURCE_LINK.sub(r'\1 target="_blank" download', new)
        if path.name != "search.html":
            new = SEARCH_SCRIPTS.sub("", new)
        if new != text:
            path.write_text(new, encoding="utf-8")
    (folder / "404.html").write_text(NOT_FOUND.format(title=title), encoding="utf-8")
    (folder / ".nojekyll").touch()  # else GitHub's pages leave out the folders _static, _images
    if base:
        pages = sorted(
            path.relative_to(folder).as_posix() for path in folder.glob("chapters/*.html")
        )
        (folder / "sitemap.txt").write_text(
            "".join(f"{base.rstrip('/')}/{page}\n" for page in pages)
        )


def mend_search(static: Path) -> None:
    """Makes the changes of `SEARCH` in the search's script."""
    script = static / "searchtools.js"
    text = script.read_text(encoding="utf-8")
    for old, new in SEARCH.items():
        if new in text:
            continue
        if old not in text:
            raise ValueError(f"{script.name} has no {old}: Sphinx has changed")
        text = text.replace(old, new)
    script.write_text(text, encoding="utf-8")
