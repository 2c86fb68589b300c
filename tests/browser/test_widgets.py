"""Every widget starts, every control of it changes the picture, every exercise grades itself."""

from typing import Any

import pytest

from tests.browser import checks
from tests.browser.conftest import SCHEMES, stored_html

pytestmark = pytest.mark.browser
# From disk the same modules run on the same numbers: that each control moves is enough there.
MOST_STOPS = {"http": 200, "file": 2}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_control_changes_the_picture(visit: Any, scheme: str, chapter: str) -> None:
    opened = visit(scheme, chapter)
    assert checks.control_faults(opened, MOST_STOPS[scheme]) == []
    assert opened.complaints == []


@pytest.mark.parametrize("scheme", SCHEMES)
def test_exercises_grade_themselves_offline(visit: Any, scheme: str, chapter: str) -> None:
    opened = visit(scheme, chapter)
    specs = checks.stored_exercises(stored_html(chapter))
    assert checks.grading_faults(opened, specs) == []
    assert opened.complaints == []
