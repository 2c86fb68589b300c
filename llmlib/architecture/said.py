"""Descriptions as frozen data: checked once, when they are made, and printed by what is not usual.

A description holds strings, numbers, tuples and other descriptions, nothing that computes, so it
can be compared, hashed and pickled.
"""

import dataclasses
import difflib
import functools
import math
import types
import typing
from typing import Annotated, Any, Literal, cast, get_args, get_origin

from llmlib.sizes import check_sizes

# Numbers in whose place a sympy letter or formula may stand; sympy itself is not imported.
Size = Annotated[Any, "a positive integer"]
Count = Annotated[Any, "an integer from 0"]
Switch = Annotated[Any, "True or False"]

Part = typing.TypeVar("Part")


@typing.dataclass_transform(frozen_default=True)
def described(kind: type[Part]) -> type[Part]:
    """A frozen dataclass that prints itself as `Described` does."""
    return dataclasses.dataclass(frozen=True, repr=False)(kind)


def is_letter(x: Any) -> bool:
    """Whether a letter or a formula stands in the place of a number."""
    return bool(getattr(x, "free_symbols", None))


class Described:
    """A part of a description. Raises TypeError or ValueError for a value that a field cannot have.

    A field is checked by its annotation: a `Literal` lists its values, a `Size` is positive, a
    `float` finite.
    """

    def __post_init__(self) -> None:
        for name, hint in _hints(cast(Any, type(self))).items():
            _check(name, getattr(self, name), hint)
        self.check()

    def check(self) -> None:
        """What the fields must be to each other."""

    def __repr__(self) -> str:
        shown = []
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if field.default is dataclasses.MISSING:
                shown.append(repr(value))
            elif value != field.default:
                shown.append(f"{field.name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind, include_extras=True)


def _check(name: str, value: Any, hint: Any) -> None:
    """One field by itself."""
    if isinstance(hint, types.UnionType) or get_origin(hint) is typing.Union:
        choices = get_args(hint)
        if value is None and type(None) in choices:
            return
        others = tuple(one for one in choices if one is not type(None))
        if len(others) == 1:
            _check(name, value, others[0])
        elif not isinstance(value, others):
            expected = " or ".join(one.__name__ for one in others)
            raise TypeError(f"{name} is {value!r}, expected {expected}")
    elif get_origin(hint) is Literal:
        if value not in get_args(hint):
            known = list(map(str, get_args(hint)))
            near = difflib.get_close_matches(str(value).lower(), known, n=1)
            meant = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"{name} is {value!r}, expected one of {', '.join(known)}{meant}")
    elif get_origin(hint) is tuple:
        if not isinstance(value, tuple):
            raise TypeError(f"{name} is {value!r}, expected a tuple")
    elif get_origin(hint) is Annotated:
        if not is_letter(value):
            _check_number(name, value, hint)
    else:
        _check_value(name, value, hint)


def _check_number(name: str, value: Any, hint: Any) -> None:
    """What a letter could stand for, and does not."""
    if hint == Switch:
        _check_value(name, value, bool)
    else:
        check_sizes(1 if hint == Size else 0, **{name: value})


def _check_value(name: str, value: Any, hint: Any) -> None:
    """A switch, a number, or a part of a certain kind."""
    if hint is bool:
        if not isinstance(value, bool):
            raise TypeError(f"{name} is {value!r}, expected True or False")
    elif hint is int:
        check_sizes(0, **{name: value})
    elif hint is float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"{name} is {value!r}, expected a number")
        if not math.isfinite(value):
            raise ValueError(f"{name} is {value}, expected a finite number")
    elif not isinstance(value, hint):
        raise TypeError(f"{name} is {value!r}, expected {hint.__name__}")
