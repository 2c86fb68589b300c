"""What each built page gets: its head, its citations, the index of its prose."""

import json
from types import SimpleNamespace

import pytest
from docutils import nodes
from docutils.core import publish_doctree

from llmlib.book.pages import (
    DECIDED,
    UNDECIDED,
    finish_pages,
    head,
    index_prose_alone,
    prose_in_excerpts,
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


def test_the_search_s_excerpts_are_told_what_to_leave_out(tmp_path):
    script = tmp_path / "searchtools.js"
    script.write_text('for (const query of [".headerlink", "script", "style"]) {}')
    prose_in_excerpts(tmp_path)
    assert "div.cell" in script.read_text()
    prose_in_excerpts(tmp_path)  # a second build finds it done
    script.write_text("another version of Sphinx")
    with pytest.raises(ValueError, match="Sphinx has changed"):
        prose_in_excerpts(tmp_path)


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
