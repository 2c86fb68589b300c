"""Tables of settings: what is known of each key of a model's configuration, and their reader.

A configuration holds settings that fix the numbers (widths, norms, positions) beside others that
do not (names, dropout, token ids). A loader that takes what it knows and passes over the rest
loads a model that answers, wrongly. So a table says of each key one of four things,

    Used       read, of this kind; this is its value where the file lacks it
    Only       known, and the models here do it in one way: any other value is refused
    SameAs     another name of a key
    Harmless   changes no number, for this reason

and a key that the table does not list is refused by its name, unless its value is null, which
says that the file has no such thing.
"""

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Settings = dict[str, Any]
_REQUIRED = object()


@dataclass(frozen=True)
class Kind:
    """What a value must be; called, the row of a key that is read: `SIZE(4096)`."""

    expected: str  # in words, for the error
    fits: Callable[[Any], bool]

    def __call__(self, default: Any = _REQUIRED, null: bool = False) -> "Used":
        """A key of this kind; see `Used`."""
        return Used(self, default, null)


def _is_integer(value: Any, least: int) -> bool:
    # Sizes beyond 63 bits are damage: no tensor has them, and PyTorch fails on them.
    return isinstance(value, int) and not isinstance(value, bool) and least <= value < 2**63


def _is_number(value: Any) -> bool:
    """Finite; comparing also holds for an integer that is too long for a float."""
    largest = sys.float_info.max
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and -largest <= value <= largest


SIZE = Kind("a positive integer", lambda x: _is_integer(x, 1))
COUNT = Kind("an integer, 0 or more", lambda x: _is_integer(x, 0))
NUMBER = Kind("a finite number", _is_number)
POSITIVE = Kind("a finite number above 0", lambda x: _is_number(x) and x > 0)
FLAG = Kind("true or false", lambda x: isinstance(x, bool))
TEXT = Kind("a text", lambda x: isinstance(x, str))
TEXTS = Kind(
    "a list of texts", lambda x: isinstance(x, list) and all(isinstance(s, str) for s in x)
)
COUNTS = Kind(
    "a list of integers, 0 or more",
    lambda x: isinstance(x, list) and all(_is_integer(n, 0) for n in x),
)
FACTORS = Kind(
    "a list of finite numbers above 0",
    lambda x: isinstance(x, list) and all(_is_number(f) and f > 0 for f in x),
)
OBJECT = Kind("an object with keys", lambda x: isinstance(x, dict))


@dataclass(frozen=True)
class Used:
    """A setting that the loader reads."""

    kind: Kind
    default: Any = _REQUIRED  # the value where the file has none; without one, it must have it
    null: bool = False  # whether null is a value too; it is read as None

    @property
    def required(self) -> bool:
        """Whether a file must have it."""
        return self.default is _REQUIRED

    def read(self, value: Any) -> Any:
        if value is None and self.null:
            return None
        if not self.kind.fits(value):
            alternative = ", or null" if self.null else ""
            raise _Unexpected(self.kind.expected + alternative)
        return float(value) if self.kind in (NUMBER, POSITIVE) else value


@dataclass(frozen=True)
class Only:
    """A setting that would change the numbers, but for these values."""

    values: tuple[Any, ...]

    def read(self, value: Any) -> Any:
        # 1 == True in Python, not in a configuration.
        flag = isinstance(value, bool)
        if not any(flag == isinstance(v, bool) and value == v for v in self.values):
            known = " or ".join(_spelled(v) for v in self.values)
            raise _Unexpected(f"{known}: nothing else is supported")
        return value


@dataclass(frozen=True)
class SameAs:
    """Another name of the setting `key`; where both are there, they must agree."""

    key: str


@dataclass(frozen=True)
class Harmless:
    """A setting that changes none of the model's numbers, and why it does not."""

    reason: str


Entry = Used | Only | SameAs | Harmless
Table = Mapping[str, Entry]


class _Unexpected(ValueError):
    """What was expected instead of a value; the reader adds the key."""


def harmless(reason: str, *keys: str) -> dict[str, Entry]:
    """Rows of a table for keys that are harmless for one reason."""
    return dict.fromkeys(keys, Harmless(reason))


def only(*values: Any, keys: tuple[str, ...]) -> dict[str, Entry]:
    """Rows of a table for keys that allow the same values."""
    return dict.fromkeys(keys, Only(values))


def read_settings(found: Mapping[str, Any], table: Table, of: str) -> Settings:
    """The values of all keys that the table calls Used, its defaults where the file has none.

    Args:
        found: the file's keys and values.
        table: what is known of each.
        of: whose settings these are, for the errors: "llama", "rope_scaling".

    Raises:
        ValueError: a key that is not known, lacks, has a value of another kind or one that is not
            supported, or stands twice with two values; the text names it, its value and what was
            expected.
    """
    for key, value in found.items():
        if key not in table and value is not None:
            raise ValueError(
                f"{key} is {_spelled(value)}, expected no such key for {of}: nothing here knows "
                "what it does, so it may change the numbers (if it does not, take it out)"
            )
    values, given = _named_once(found, table)
    settings: Settings = {}
    for key, entry in table.items():
        if isinstance(entry, Used | Only) and key in values:
            try:
                settings[key] = entry.read(values[key])
            except _Unexpected as error:
                text = f"{given[key]} is {_spelled(values[key])}, expected {error}"
                raise ValueError(text) from None
        elif isinstance(entry, Used):
            if entry.required:
                others = [name for name, other in table.items() if other == SameAs(key)]
                names = " or ".join([key, *others])
                raise ValueError(f"{names} is missing, expected {entry.kind.expected}")
            settings[key] = entry.default
    return settings


def other_names(text: str, found: Mapping[str, Any], table: Table) -> str:
    """What an error adds where it speaks of settings that the file has under other names."""
    words = set(re.findall(r"\w+", text))
    named = [
        f"{entry.key} is this file's {key}"
        for key, entry in table.items()
        if isinstance(entry, SameAs) and key in found and entry.key in words and key not in words
    ]
    return f" ({', '.join(named)})" if named else ""


def _named_once(found: Mapping[str, Any], table: Table) -> tuple[Settings, dict[str, str]]:
    """The values under their first names, and the name that the file has for each.

    Raises:
        ValueError: two names of one setting disagree.
    """
    values, given = dict(found), {key: key for key in found}
    for key, entry in table.items():
        if isinstance(entry, SameAs) and key in values:
            value = values.pop(key)
            given.setdefault(entry.key, key)
            if values.setdefault(entry.key, value) != value:
                raise ValueError(
                    f"{key} is {_spelled(value)} and {entry.key} is {_spelled(values[entry.key])}, "
                    "expected one value: they are names of one setting"
                )
    return values, given


def _spelled(value: Any) -> str:
    """A value in an error: as the file has it, shortened if it is long."""
    constants = {"None": "null", "True": "true", "False": "false"}
    text = constants.get(repr(value), repr(value))
    return text if len(text) <= 200 else f"{text[:200]}..."
