"""What each built page gets: its head, its citations, the index of its prose."""

import json
from types import SimpleNamespace

import pytest
from docutils import nodes
from docutils.core import publish_doctree
from fontTools.ttLib import TTFont

from llmlib.book.fonts import cut_icons
from llmlib.book.pages import (
    DECIDED,
    SEARCH,
    UNDECIDED,
    finish_pages,
    head,
    index_prose_alone,
    mend_search,
    repaired,
)
from llmlib.book.widgets.base import fingerprint, formula_script


def test_the_head_describes_the_page_by_its_first_paragraph():
    tree = publish_doctree('A title\n=======\n\nA "question"?\nAnd more.\n\nAnother paragraph.\n')
    tags = head("The book", tree)
    assert '<meta name="description" content="A &quot;question&quot;? And more." />' in tags
    assert '<meta property="og:title" content="A title" />' in tags
    long = head("The book", publish_doctree("A title\n=======\n\n" + "word " * 100))
    assert 'content="' + " ".join(["word"] * 40) + ' …"' in long


def test_citations_say_et_al():
    cited = '<a class="reference internal" href="references.html#id1">Brown and others, 2020</a>'
    assert "Brown et al., 2020" in repaired(cited, is_references=False)
    prose = "<p>keys and others</p>"
    assert repaired(prose, is_references=False) == prose
    assert repaired("T. Brown and others.", is_references=True) == "T. Brown et al.."


def test_the_index_holds_prose_and_synonyms_but_no_code():
    seen = {}
    builder = SimpleNamespace(
        index_page=lambda page, tree, title: seen.update({page: tree.astext()})
    )
    index_prose_alone(SimpleNamespace(builder=builder))
    tree = publish_doctree("A mixture of experts.\n")
    cell = nodes.container("", nodes.literal_block("", "import secrets"), nb_element="cell_code")
    tree += cell
    builder.index_page("experts", tree, "Experts")
    assert "mixture" in seen["experts"]
    assert "MoE" in seen["experts"]
    assert "secrets" not in seen["experts"]
    assert "secrets" in tree.astext(), "the page itself keeps its code"


def test_pages_are_mended_and_completed(tmp_path):
    (tmp_path / "chapters").mkdir()
    page = tmp_path / "chapters/one.html"
    undecided = 'document.documentElement.dataset.theme = localStorage.getItem("theme") || "auto";'
    page.write_text(f'<script>{undecided}</script><script src="x/fontawesome.js?a=1"></script>')
    finish_pages(tmp_path, "The book", "")
    assert page.read_text() == f"<script>{DECIDED}</script>"
    assert UNDECIDED.search(undecided)
    assert "The book" in (tmp_path / "404.html").read_text()
    assert not (tmp_path / "sitemap.txt").exists()
    finish_pages(tmp_path, "The book", "https://example.org/book/")
    assert (tmp_path / "sitemap.txt").read_text() == "https://example.org/book/chapters/one.html\n"


def test_only_the_search_s_page_loads_what_searches(tmp_path):
    files = ("_static/searchtools.js", "_static/language_data.js", "searchindex.js")
    scripts = "\n  ".join(f'<script src="../{file}"></script>' for file in files)
    kept = '<script src="../_static/doctools.js?v=1"></script>'
    for name in ("one", "search"):
        (tmp_path / f"{name}.html").write_text(scripts + kept)
    finish_pages(tmp_path, "The book", "")
    assert (tmp_path / "one.html").read_text() == kept
    assert (tmp_path / "search.html").read_text() == scripts + kept


def test_icons_are_cut_to_those_that_pages_name(tmp_path):
    static = tmp_path / "_static"
    for folder in ("styles", "scripts", "vendor/fontawesome/webfonts"):
        (static / folder).mkdir(parents=True)
    (static / "book.css").write_text('p::after { content: "\\f10b"; }')
    (static / "scripts/one.js").write_text('icon.className = "fas fa-moon"')
    page = tmp_path / "one.html"
    for icon, letter in (("fa-sun", 0xF185), ("fa-bars", 0xF0C9)):  # as a later build finds it
        page.write_text(f'<i class="fas {icon}"></i>')
        cut_icons(tmp_path)
        style = (static / "styles/pydata-sphinx-theme.css").read_text()
        assert f".{icon}:before" in style
        assert ".fa-moon:before" in style
        assert ".fa-igloo:before" not in style
        with TTFont(static / "vendor/fontawesome/webfonts/fa-solid-900.woff") as font:
            drawn = set(font.getBestCmap())
        assert {letter, 0xF186, 0xF10B, ord("\uf105")} <= drawn, "angle-right is the theme's own"
        assert len(drawn) < 50
    assert "woff2" not in style


def test_a_notebook_is_downloaded(tmp_path):
    page = tmp_path / "one.html"
    page.write_text('<a href="../_sources/chapters/one.ipynb" target="_blank"\n class="btn">')
    for _ in range(2):  # a second build finds it done
        finish_pages(tmp_path, "The book", "")
        assert page.read_text().count("download") == 1


def test_the_search_s_excerpts_are_told_what_to_leave_out(tmp_path):
    script = tmp_path / "searchtools.js"
    script.write_text("".join(SEARCH))
    mend_search(tmp_path)
    assert script.read_text() == "".join(SEARCH.values())
    mend_search(tmp_path)  # a second build finds it done
    assert script.read_text() == "".join(SEARCH.values())
    script.write_text("another version of Sphinx")
    with pytest.raises(ValueError, match="Sphinx has changed"):
        mend_search(tmp_path)


def test_the_formulas_of_calculators_become_functions():
    spec = dict.fromkeys(("values", "sizes", "follows", "conditions"), "return {};")
    state = json.dumps({"spec": spec, "state": {}})
    body = (
        '<div class="lm-widget" data-kind="calculator"><p>text</p>'
        f'<script type="application/json">{state}</script></div>'
    )
    script = formula_script(body)
    assert script.count("function (given)") == 1, "the same formula stands once"
    assert f'"{fingerprint("return {};")}"' in script
    assert formula_script("<p>no calculator</p>") == ""
    assert fingerprint("") == "811c9dc5-0"
    assert fingerprint("a") == "e40c292c-1"  # FNV-1a's published value
