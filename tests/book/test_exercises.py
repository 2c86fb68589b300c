"""Every exercise of the book: its solution is right, each listed mistake gets its hint."""

import re
import subprocess
import sys

import pytest

from llmlib.book.exercise import (
    Choice,
    Exercise,
    Function,
    Mistake,
    Number,
    all_exercises,
    exercise,
)
from tests.folding import for_each

ALL = all_exercises()


def built(source: str):
    """The function that a piece of source code defines last."""
    space: dict = {}
    exec(source, space)
    return [item for name, item in space.items() if name != "__builtins__" and callable(item)][-1]


@for_each("item", ALL, ids=lambda item: item.id)
def test_right_answer_is_right(item: Exercise):
    answers = {Number: lambda: item.answer(), Choice: lambda: item.answer}
    answer = answers[type(item)]() if type(item) in answers else built(item.solution)
    assert item.grade(answer) == (True, "Right.")


@for_each("item", ALL, ids=lambda item: item.id)
def test_every_mistake_gets_its_hint(item: Exercise):
    assert item.mistakes, "an exercise answers at least one common mistake"
    for mistake in item.mistakes:
        answer = built(mistake.answer) if isinstance(item, Function) else mistake.answer
        right, message = item.grade(answer)
        assert right is False
        assert mistake.hint in message


@for_each("item", ALL, ids=lambda item: item.id)
def test_card_has_hint_and_solution(item: Exercise):
    spec = item.card().spec
    assert spec["hint"].strip()
    assert spec["solution"].strip()
    assert re.fullmatch(r"[a-z_]+\.[a-z0-9_]+", item.id)


def test_ids_are_unique_and_found():
    ids = [item.id for item in ALL]
    assert len(set(ids)) == len(ids)
    assert exercise(ids[0]).id == ids[0]


@for_each("item", ALL, ids=lambda item: item.id)
def test_an_exercise_bears_the_name_of_its_module(item: Exercise):
    assert exercise(item.id) is item


def test_asking_for_one_imports_its_chapter_alone():
    command = (
        "import sys; from llmlib.book.exercise import exercise;"
        "exercise('tokenization.' + sys.argv[1]);"
        "print(*(name for name in sys.modules if name.startswith('llmlib.book.exercises.')))"
    )
    topic = next(item.id for item in ALL if item.id.startswith("tokenization.")).partition(".")[2]
    run = subprocess.run(
        [sys.executable, "-c", command, topic], capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == ["llmlib.book.exercises.tokenization"]


@pytest.mark.bad_input
def test_unknown_id_lists_the_chapter():
    chapter = ALL[0].id.split(".")[0]
    with pytest.raises(ValueError, match=ALL[0].id):
        exercise(f"{chapter}.no_such_exercise")
    with pytest.raises(ValueError, match=f"the chapters are {chapter}, "):
        exercise("no_such_chapter.topic")


NUMBER = Number(
    "a.n",
    level="easy",
    hint="the hint",
    solution="s",
    answer=lambda: 3.0,
    tolerance=0.01,
    mistakes=[Mistake(2.5, "the two")],
)
FUNCTION = Function(
    "a.f",
    level="hard",
    hint="h",
    solution="s",
    grader=lambda f: None if f(2) == 4 else "f(2) must be 4",
)


@pytest.mark.parametrize(
    ("answer", "verdict", "message"),
    [
        (3, True, "Right."),
        (3.005, True, "Right."),
        ("3", True, "Right."),
        (2.5, False, "the two"),
        (7, False, "the hint"),
        (None, None, "Not answered yet."),
        (..., None, "Not answered yet."),
        (float("nan"), False, "NaN"),
        ("<b>", False, "&lt;b&gt;"),
    ],
)
def test_number(answer, verdict, message):
    right, text = NUMBER.grade(answer)
    assert right is verdict
    assert message in text


def stub(x): ...


def documented_stub(x):
    """Only a docstring."""
    ...  # noqa: PIE790  (what a reader's cell holds)


def raising(x):
    raise RuntimeError("a < b")


@pytest.mark.parametrize(
    ("answer", "verdict", "message"),
    [
        (lambda x: x * x, True, "Right."),
        (lambda x: x, False, "f(2) must be 4"),
        (lambda x: 0, False, "f(2) must be 4"),
        (stub, None, "Not answered yet"),
        (documented_stub, None, "Not answered yet"),
        (raising, False, "RuntimeError: a &lt; b"),
        (4, False, "Expected a function"),
    ],
)
def test_function(answer, verdict, message):
    right, text = FUNCTION.grade(answer)
    assert right is verdict
    assert message in text


def test_choice_takes_index_or_text():
    item = Choice(
        "a.c", level="easy", hint="h", solution="s", options=["no", "yes"], answer=1,
        mistakes=[Mistake(0, "why not")],
    )  # fmt: skip
    assert item.grade(1) == item.grade("yes") == (True, "Right.")
    assert item.grade(0) == item.grade("no") == (False, "why not")
    assert item.grade(5) == (False, "h")
