"""Exercises that grade themselves: in a notebook by running code, in the page by comparing."""

import dis
import html
import importlib
import math
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from IPython.display import HTML, display

from llmlib.book import exercises
from llmlib.book.digits import to_decimals
from llmlib.book.widgets.answer_card import AnswerCard, verdict_html

Level = Literal["easy", "medium", "hard"]


@dataclass(frozen=True)
class Mistake:
    """A wrong answer that readers give, and what to tell them.

    For a `Function` exercise `answer` is the source of a wrong function and `hint` a part of the
    message that the exercise's own check must give; both are held by a test.
    """

    answer: Any
    hint: str


@dataclass(frozen=True, kw_only=True)
class Exercise:
    """What every kind has: `id` is `chapter.topic`; hint and solution take simple inline HTML."""

    level: Level
    hint: str
    solution: str
    mistakes: Sequence[Mistake] = ()
    id: str = field(kw_only=False)

    def check(self, answer: Any) -> None:
        """Shows whether `answer` is right and, where it is not, a hint; never raises."""
        display(HTML(verdict_html(*self.grade(answer))))

    def grade(self, answer: Any) -> tuple[bool | None, str]:
        """Returns right, wrong or not answered (None), and what to tell the reader."""
        raise NotImplementedError

    def _ipython_display_(self) -> None:
        display(self.card())

    def card(self) -> AnswerCard:
        """The box in the page: an input where a page can grade it, hint and solution."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Number(Exercise):
    """The answer is a number within an absolute tolerance; `answer()` computes it."""

    answer: Callable[[], int | float]
    tolerance: int | float

    def grade(self, answer: Any) -> tuple[bool | None, str]:
        if answer is None or answer is ...:
            return None, "Not answered yet."
        try:
            value = float(answer)
        except (TypeError, ValueError):
            return False, f"Expected a number, got {_typed(answer)}."
        if math.isnan(value):
            return False, "NaN is not a number to compare."
        if abs(value - self._rounded(self.answer())) <= self.tolerance:
            return True, "Right."
        for mistake in self.mistakes:
            if abs(value - self._rounded(mistake.answer)) <= self.tolerance:
                return False, mistake.hint
        return False, self.hint

    def _rounded(self, answer: Any) -> float:
        """`answer` to a hundredth of the tolerance: what another CPU computes is the same.

        Whole numbers keep every digit. The page and the notebook grade by the same number.
        """
        value = float(answer)
        if self.tolerance == 0:
            return value
        return to_decimals(value, max(0, 2 - math.floor(math.log10(self.tolerance))))

    def card(self) -> AnswerCard:
        grading = {
            "answer": self._rounded(self.answer()),
            "tolerance": self.tolerance,
            "mistakes": [[self._rounded(m.answer), m.hint] for m in self.mistakes],
        }
        return AnswerCard.of(self, kind="number", grading=grading)


@dataclass(frozen=True, kw_only=True)
class Choice(Exercise):
    """One of several options; `answer` is the index of the right one."""

    options: Sequence[str]
    answer: int

    def grade(self, answer: Any) -> tuple[bool | None, str]:
        if answer is None or answer is ...:
            return None, "Not answered yet."
        if answer == self.answer or answer == self.options[self.answer]:
            return True, "Right."
        for mistake in self.mistakes:
            if answer == mistake.answer or answer == self.options[mistake.answer]:
                return False, mistake.hint
        return False, self.hint

    def card(self) -> AnswerCard:
        grading = {
            "options": list(self.options),
            "answer": self.answer,
            "mistakes": [[m.answer, m.hint] for m in self.mistakes],
        }
        return AnswerCard.of(self, kind="choice", grading=grading)


@dataclass(frozen=True, kw_only=True)
class Function(Exercise):
    """The answer is the reader's function; `grader` returns None or what is wrong with it.

    `solution` is source code here; the page shows it folded, and a test runs it.
    """

    grader: Callable[[Callable[..., Any]], str | None]

    def grade(self, answer: Any) -> tuple[bool | None, str]:
        if not callable(answer):
            return False, f"Expected a function, got {_typed(answer)}."
        if _is_stub(answer):
            return None, "Not answered yet: replace the three dots."
        try:
            message = self.grader(answer)
        except Exception as error:  # the reader's code may raise anything
            return False, f"Your function raised {type(error).__name__}: {html.escape(str(error))}"
        return (True, "Right.") if message is None else (False, message)

    def card(self) -> AnswerCard:
        return AnswerCard.of(self, kind="function", grading={})


def _typed(answer: Any) -> str:
    return f"<code>{html.escape(repr(answer))}</code>"


def _is_stub(function: Callable[..., Any]) -> bool:
    """True for a body of `...` alone, which compiles to code that only returns None."""
    if not hasattr(function, "__code__"):
        return False
    steps = [step for step in dis.get_instructions(function) if step.opname != "RESUME"]
    returns_only = {"LOAD_CONST", "RETURN_CONST", "RETURN_VALUE"}
    return all(step.opname in returns_only and step.argval is None for step in steps)


def exercise(id: str) -> Exercise:
    """Returns the exercise with this id; as the last line of a cell it shows its answer card.

    Raises:
        ValueError: no exercise has this id; the message lists those of its chapter, or the
            chapters.
    """
    chapter = id.partition(".")[0]
    if chapter not in _chapters():
        raise ValueError(f"no exercise {id!r}; the chapters are {', '.join(_chapters())}")
    found = {item.id: item for item in _exercises_of(chapter)}
    if id not in found:
        raise ValueError(f"no exercise {id!r}; expected one of {', '.join(found)}")
    return found[id]


def all_exercises() -> list[Exercise]:
    """Every exercise of the book, chapter by chapter."""
    return [item for chapter in _chapters() for item in _exercises_of(chapter)]


def _chapters() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(exercises.__path__))


def _exercises_of(chapter: str) -> list[Exercise]:
    """The exercises of one chapter, whose module alone is imported: others need other parts."""
    found: list[Exercise] = importlib.import_module(f"{exercises.__name__}.{chapter}").EXERCISES
    return found
