"""axe's rules in light and dark, and text that can be read in dark mode."""

from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.browser.conftest import TOTALS

pytestmark = pytest.mark.browser
CONTRAST = (Path(__file__).parent / "contrast.js").read_text(encoding="utf-8")
QUICK = {"preload": False, "resultTypes": ["violations"]}  # the same rules, half the time
# Dark mode changes colours and nothing else.
RULES = {"light": QUICK, "dark": QUICK | {"runOnly": ["color-contrast"]}}


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_axe_finds_nothing_serious(visit: Any, mode: str, chapter: str) -> None:
    opened = visit("http", chapter, color_scheme=mode)
    assert opened.page.evaluate("document.documentElement.dataset.theme") == mode
    violations = Axe().run(opened.page, options=RULES[mode]).response["violations"]
    serious = [
        f"{item['id']}: {item['help']}: {node['html'][:160]}"
        for item in violations
        if item["impact"] in ("serious", "critical")
        for node in item["nodes"]
    ]
    TOTALS["axe serious and critical"] += len(serious)
    assert serious == []


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_outputs_can_be_read(visit: Any, mode: str, chapter: str) -> None:
    opened = visit("http", chapter, color_scheme=mode)
    report = opened.page.evaluate(f"({CONTRAST})('.bd-article .cell_output')")
    has_outputs = opened.page.locator(".bd-article .cell_output").count() > 0
    assert (report["checked"] > 0) == has_outputs, "text was found wherever there are outputs"
    assert report["faint"] == []
