"""A reader opens a chapter in JupyterLab, runs it, uses it, saves it and comes back."""

import json
import re
from typing import Any

import pytest

from tests.lab.conftest import ROOT, Notebook, git

pytestmark = pytest.mark.lab
# Boxes that reach out of their widget, or hold more than they show.
CUT = """[...document.querySelectorAll('.lm-calculator, .lm-exercise, .lm-explorer')]
  .flatMap(widget => [...widget.querySelectorAll('input, select, dt, dd, label')]
    .filter(element => {
      const right = element.getBoundingClientRect().right;
      const within = widget.getBoundingClientRect().right + 1;
      return right > within || element.scrollWidth > element.clientWidth + 1;
    }).map(element => `${element.tagName} ${element.className} ${element.textContent}`))"""
# Boxes of a calculator that stand on each other.
OVERLAPS = """[...document.querySelectorAll('.lm-calculator')].flatMap(widget => {
  const all = [...widget.querySelectorAll('input, select, dt, dd')]
    .map(element => [element, element.getBoundingClientRect()]).filter(([, box]) => box.width);
  return all.flatMap(([one, a], k) => all.slice(k + 1).filter(([, b]) =>
    a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1)
    .map(([other]) => `${one.outerHTML.slice(0, 80)} on ${other.outerHTML.slice(0, 80)}`));
})"""
FALLBACK = """[...document.querySelectorAll('.jp-OutputArea .lm-widget > p')]
  .map(p => getComputedStyle(p, '::after').content)"""


def stored(chapter: str, pattern: str) -> int:
    """How often something stands in a chapter's stored HTML."""
    cells = json.loads((ROOT / "chapters" / f"{chapter}.ipynb").read_text("utf-8"))["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    text = "".join("".join(output.get("data", {}).get("text/html", "")) for output in outputs)
    return len(re.findall(pattern, text))


def count(notebook: Notebook, selector: str) -> int:
    return int(notebook.page.evaluate("s => document.querySelectorAll(s).length", selector))


def test_a_chapter_from_the_first_look_to_a_saved_and_reopened_file(
    chapter: str, notebook: Notebook
) -> None:
    notebook.open(chapter)
    first = check_first_look(chapter, notebook)
    notebook.command("notebook:run-all-cells")
    notebook.draw()
    check_live(chapter, notebook)
    check_slider(notebook)
    check_answer(notebook)
    notebook.command("docmanager:save")
    assert notebook.changes() == "", "saving after Run All Cells leaves the file as it was"
    notebook.page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    notebook.open(chapter)
    assert notebook.outputs() == first, "who comes back sees what was there at first"
    assert count(notebook, ".jp-OutputArea-output .jp-mod-error") == 0
    notebook.command("docmanager:save")
    assert notebook.changes() == "", "opening and saving changes nothing"
    assert notebook.complaints == []


def check_first_look(chapter: str, notebook: Notebook) -> list[str]:
    """Figures and claims are drawn and what needs a kernel says so; returns what is seen."""
    plots = stored(chapter, '<div class="lm-plot"')
    assert count(notebook, ".jp-OutputArea .lm-plot svg") == plots
    claims = stored(chapter, 'class="lm-claim lm-holds"')
    assert count(notebook, ".jp-OutputArea .lm-claim") == claims > 0
    display = "getComputedStyle(document.querySelector('.lm-claim')).display"
    assert notebook.page.evaluate(display) == "grid", "claims have their style before a cell is run"
    texts = notebook.page.evaluate(FALLBACK)
    assert len(texts) == stored(chapter, '<div class="lm-widget"') > 0
    assert all("Run this cell" in text for text in texts)
    assert count(notebook, ".jp-Dialog, .Toastify__toast") == 0, "nothing is asked"
    return notebook.outputs()


def check_live(chapter: str, notebook: Notebook) -> None:
    """Every widget lives, no cell failed, nothing is cut off or stands on something else."""
    live = ".jp-OutputArea :is(.lm-calculator, .lm-explorer, .lm-exercise)"
    notebook.page.wait_for_function(
        "([s, n]) => document.querySelectorAll(s).length === n",
        arg=[live, stored(chapter, '<div class="lm-widget"')],
    )
    assert count(notebook, ".jp-OutputArea .lm-widget[data-kind]") == 0
    failed = '.jp-RenderedText[data-mime-type="application/vnd.jupyter.error"]'
    assert count(notebook, failed) == 0
    assert count(notebook, '.jp-RenderedText[data-mime-type="application/vnd.jupyter.stderr"]') == 0
    assert notebook.page.evaluate(CUT) == []
    assert notebook.page.evaluate(OVERLAPS) == []


def check_slider(notebook: Notebook) -> None:
    """Arrow keys move a slider, and not the selection of cells."""
    slider = notebook.page.locator(".jp-OutputArea :is(.lm-explorer, .lm-calculator) [type=range]")
    slider.first.scroll_into_view_if_needed()
    slider.first.focus()
    before, cell = slider.first.input_value(), active(notebook)
    key = "ArrowLeft" if before == slider.first.get_attribute("max") else "ArrowRight"
    notebook.page.keyboard.press(key)
    assert slider.first.input_value() != before
    assert active(notebook) == cell


def active(notebook: Notebook) -> Any:
    return notebook.page.evaluate("window.jupyterapp.shell.currentWidget.content.activeCellIndex")


def check_answer(notebook: Notebook) -> None:
    """Enter grades what was typed."""
    box = notebook.page.locator(".lm-exercise[data-answer=number]").first
    entry = box.locator("input[type=text]")
    entry.scroll_into_view_if_needed()
    entry.fill("-123456")
    entry.press("Enter")
    assert "✗" in box.locator(".lm-verdict").inner_text()


def test_a_half_run_notebook_is_not_renumbered_wrongly(notebook: Notebook, chapter: str) -> None:
    """A cell that was run twice counts as one that was run once."""
    notebook.open(chapter)
    notebook.page.evaluate("window.jupyterapp.shell.currentWidget.content.activeCellIndex = 1")
    notebook.command("notebook:run-cell")
    notebook.command("notebook:run-cell")
    notebook.command("docmanager:save")
    assert git(notebook.repository, "diff", "--unified=0") == ""
