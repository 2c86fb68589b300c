"""The box of an exercise: an answer to type or pick, a verdict, a hint, a solution."""

from typing import Any

from llmlib.book.widgets.base import StaticWidget, source


class AnswerCard(StaticWidget):
    """Grades numbers and choices by itself; a function is graded by the notebook's cell."""

    kind = "answer_card"
    _esm = source(kind)

    @classmethod
    def of(cls, exercise: Any, *, kind: str, grading: dict[str, Any]) -> "AnswerCard":
        """The card of an exercise; `grading` is what a page needs to grade it."""
        card = cls()
        card.alt = f"Exercise {exercise.id} ({exercise.level}): the answer box needs JavaScript."
        card.spec = {
            "id": exercise.id,
            "kind": kind,
            "level": exercise.level,
            "hint": exercise.hint,
            "solution": exercise.solution,
            **grading,
        }
        return card


def verdict_html(right: bool | None, message: str) -> str:
    """The line below a graded cell; None for right means that there is no answer yet.

    `message` is HTML: whatever a reader typed must be escaped before.
    """
    state, mark = {True: ("right", "✓"), False: ("wrong", "✗"), None: ("open", "○")}[right]
    return f'<p class="lm-verdict lm-{state}">{mark} {message}</p>'
