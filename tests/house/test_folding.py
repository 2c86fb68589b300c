"""A folded test holds what its cases held: every case runs, and every failure is listed."""

import inspect
import random

import pytest

from tests.folding import for_each


def test_every_case_runs_and_all_failures_are_listed() -> None:
    ran = []

    @for_each("x", range(5))
    def odd(x: int) -> None:
        ran.append(x)
        assert x % 2, f"{x} is even"

    with pytest.raises(AssertionError) as wrong:
        odd()
    assert ran == [0, 1, 2, 3, 4]
    assert str(wrong.value).startswith("3 of 5 cases fail")
    assert [f"{x} is even" in str(wrong.value) for x in range(5)] == [
        True,
        False,
        True,
        False,
        True,
    ]


def test_several_names_and_nested_cases() -> None:
    seen = []

    @for_each("a, b", [(1, 2), (3, 4)], ids=["first", "second"])
    @for_each("c", "xy")
    def noted(a: int, b: int, c: str) -> None:
        seen.append((a, b, c))
        assert (a, c) != (3, "y")

    with pytest.raises(AssertionError, match=r"second: .*1 of 2 cases fail") as wrong:
        noted()
    assert "first" not in str(wrong.value)
    assert seen == [(1, 2, "x"), (1, 2, "y"), (3, 4, "x"), (3, 4, "y")]


@for_each("n", [1, 2])
def test_fixtures_come_through(n: int, tmp_path: object) -> None:
    assert n
    assert tmp_path


def test_what_raises_nothing_or_skips_is_a_failure() -> None:
    @for_each("x", [1])
    def raises_nothing(x: int) -> None:
        with pytest.raises(ValueError, match="x"):
            pass

    @for_each("x", [1])
    def skips(x: int) -> None:
        pytest.skip("not today")

    for test in (raises_nothing, skips):
        with pytest.raises(AssertionError, match="1 of 1 cases fail"):
            test()


def test_no_case_is_an_error_and_each_is_seeded() -> None:
    with pytest.raises(ValueError, match="no case of 'x'"):
        for_each("x", [])
    drawn = []

    @for_each("x", [1, 2])
    def draws(x: int) -> None:
        drawn.append(random.random())

    draws()
    assert drawn[0] == drawn[1]
    assert list(inspect.signature(draws).parameters) == []
