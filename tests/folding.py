"""Cheap cases in one test: all of them run, and all that fail are listed.

`for_each` takes what `pytest.mark.parametrize` takes. Where hundreds of cases ask the same of the
rows of a table, a test each says nothing that the list of those that fail does not say.
"""

import functools
import inspect
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest


def seed_all() -> None:
    """The same random numbers whatever ran before."""
    import numpy as np
    import torch

    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - what a library draws from the old generator is seeded too
    torch.manual_seed(0)


def for_each(
    names: str | Sequence[str],
    cases: Iterable[Any],
    ids: Callable[[Any], Any] | Iterable[str] | None = None,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Runs a test for every case, seeded anew each time, and then fails with all that failed.

    Args:
        names: the argument of a case; several with commas between, or a tuple.
        cases: a value each, or a tuple where there are several names.
        ids: how a case is called: its name, or a function of each value.
    """
    listed = names.split(",") if isinstance(names, str) else names
    arguments, values = [name.strip() for name in listed], list(cases)
    if not values:
        raise ValueError(f"no case of {names!r}: the test would hold nothing")
    rows = [row if len(arguments) > 1 else (row,) for row in values]
    called = [_called(row, ids) for row in rows] if ids is None or callable(ids) else list(ids)

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(test)
        def every(**fixtures: Any) -> None:
            failed = {}
            for label, row in zip(called, rows, strict=True):
                seed_all()
                try:
                    test(**fixtures, **dict(zip(arguments, row, strict=True)))
                except (Exception, pytest.fail.Exception, pytest.skip.Exception) as wrong:
                    failed[label] = f"{type(wrong).__name__}: {wrong}"
            reasons = "\n".join(f"  {label}: {why}" for label, why in failed.items())
            assert not failed, f"{len(failed)} of {len(rows)} cases fail:\n{reasons}"

        signature = inspect.signature(test)
        left = [p for name, p in signature.parameters.items() if name not in arguments]
        every.__signature__ = signature.replace(parameters=left)  # type: ignore[attr-defined]
        return every

    return decorate


def _called(row: tuple[Any, ...], name_of: Callable[[Any], Any] | None) -> str:
    """The values of a case in words."""
    return "-".join(str(name_of(value) if name_of else value) for value in row)
