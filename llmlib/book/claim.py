"""Claims: one line in the page for each statement, and an error when the statement is false."""

import html
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from IPython.display import display

from llmlib.book.claim_values import Bound, compare, power, raw, short
from llmlib.book.real_model import model_name

CLAIM_MIME = "application/vnd.llmlib.claim+json"
"""Beside what is seen, claims store themselves as data, so that a ledger can collect them: a
dictionary for a claim in the open, a list of them for those that are folded."""

_folds: list[list["_Aside | _Line"]] = []
"""The claims of the `checks()` that is open; there is at most one."""


class ClaimError(AssertionError):
    """A statement of the book is false."""


def claim(
    id: str,
    statement: str,
    measured: Any,
    expected: Any,
    tolerance: int | float,
    *,
    about: str | None = None,
) -> None:
    """Shows that `measured` equals `expected` within `tolerance`, or raises.

    |measured - expected| <= tolerance must hold for every element; NaN never holds. Text and
    truth values are compared for equality and take tolerance 0.

    Args:
        id: `chapter.topic` in lower case; the page carries it as an anchor, `#claim-chapter-topic`.
        statement: the sentence that is proven, plain text.
        measured: what `llmlib` or an independent library computed: a number, an array, a tensor,
            a truth value, or text.
        expected: what the formula or the source says: of the same shape, or one number for all;
            or `more_than(x)`, `less_than(x)`, which take tolerance 0.
        tolerance: absolute and elementwise, in the unit of `measured`.
        about: the model whose own numbers these are. Where the reader's model stands in its place
            the claim steps aside: it shows both numbers and raises nothing.

    Raises:
        ClaimError: the statement is false.
        ValueError: a malformed id, an empty statement, a negative or NaN tolerance.
    """
    _check_arguments(id, statement, expected, tolerance)
    if about not in (None, model_name()):
        _put(_Aside(id, statement, short(measured), short(expected), str(about)))
        return
    holds, shown_measured, shown_expected = compare(measured, expected, tolerance)
    line = _Line(id, statement, shown_measured, shown_expected, tolerance, holds)
    _put(line)
    if not holds:
        raise ClaimError(
            f"{id}: {statement}: measured {raw(measured)}, "
            f"expected {_raw_expected(expected, tolerance)}"
        )


@contextmanager
def checks() -> Iterator[None]:
    """Folds the claims inside into one line of the page, "7 more checks passed".

        with checks():
            claim("normalization.mean", "The output's mean is 0", out.mean(-1), 0, 1e-6)
            claim("normalization.size", "Its size is 1", out.std(-1), 1, 1e-3)

    They are executed, raise, and store themselves as data like any other. Of a section's claims
    those that a sentence rests on stand in the open; the others belong here.

    Raises:
        ValueError: a fold inside a fold, or one without a claim.
    """
    if _folds:
        raise ValueError("checks() inside checks(): close the first one before")
    folded: list[_Aside | _Line] = []
    _folds.append(folded)
    try:
        yield
    finally:
        _folds.pop()
        if folded:
            display(_Folded(folded))
    if not folded:
        raise ValueError("checks() holds no claim")


def _put(shown: "_Aside | _Line") -> None:
    if _folds:
        _folds[-1].append(shown)
    else:
        display(shown)


def _raw_expected(expected: Any, tolerance: int | float) -> str:
    if isinstance(expected, Bound):
        return str(expected)
    return f"{raw(expected)} within {tolerance:g}"


def _check_arguments(id: str, statement: str, expected: Any, tolerance: int | float) -> None:
    if not re.fullmatch(r"[a-z0-9_]+\.[a-z0-9_]+", id):
        raise ValueError(f"claim id {id!r}: expected chapter.topic in lower case")
    if not statement.strip():
        raise ValueError(f"claim {id}: the statement is empty")
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise ValueError(f"claim {id}: tolerance is {tolerance}, expected a finite number >= 0")
    if isinstance(expected, Bound) and tolerance:
        raise ValueError(f"claim {id}: a bound {expected} takes tolerance 0, got {tolerance}")


class _Aside:
    """A claim about a model that another one stands in for."""

    data = None

    def __init__(self, id: str, statement: str, measured: str, expected: str, about: str) -> None:
        self.text = (
            f"{id}: {statement}: measured {measured}, expected {expected}; the claim is {about}'s "
            f"and steps aside for {model_name()}"
        )

    def __repr__(self) -> str:
        return f"– {self.text}"

    def html(self) -> str:
        return f'<p class="lm-claim lm-aside">– {html.escape(self.text)}</p>'

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return {"text/html": self.html(), "text/plain": repr(self)}


class _Line:
    """One claim as HTML (the page), text (a terminal) and data (the ledger)."""

    def __init__(
        self,
        id: str,
        statement: str,
        measured: str,
        expected: str,
        tolerance: int | float,
        holds: bool,
    ) -> None:
        self.tolerance = tolerance
        self.data = {
            "id": id,
            "statement": statement,
            "measured": measured,
            "expected": expected,
            "tolerance": tolerance,
            "holds": holds,
        }

    def __repr__(self) -> str:
        d = self.data
        return (
            f"{'✓' if d['holds'] else '✗'} {d['id']}: {d['statement']}: "
            f"measured {d['measured']}, expected {self._expected()}"
        )

    def _expected(self) -> str:
        margin = f" ± {power(self.tolerance)}" if self.tolerance else ""
        return f"{self.data['expected']}{margin}"

    def html(self) -> str:
        """Three columns: the statement, what was measured, what was expected."""
        d = {key: html.escape(str(value)) for key, value in self.data.items()}
        anchor = "claim-" + re.sub(r"[._]", "-", d["id"])
        verdict, mark = ("holds", "✓") if self.data["holds"] else ("fails", "✗")
        return (
            f'<p class="lm-claim lm-{verdict}" id="{anchor}">'
            f'<a class="lm-claim-mark" href="#{anchor}" aria-label="claim {d["id"]} {verdict}">'
            f"{mark}</a> "
            f'<span class="lm-claim-statement">{d["statement"]}</span> '
            f'<span class="lm-claim-numbers">measured <b>{d["measured"]}</b></span> '
            f'<span class="lm-claim-numbers">expected <b>{html.escape(self._expected())}</b></span>'
            "</p>"
        )

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return {"text/html": self.html(), "text/plain": repr(self), CLAIM_MIME: self.data}


class _Folded:
    """Several claims behind one line; it opens by itself where one of them fails."""

    def __init__(self, lines: "list[_Aside | _Line]") -> None:
        self.lines = lines
        self.data = [line.data for line in lines if line.data]
        failed = sum(not data["holds"] for data in self.data)
        many = f"{len(lines)} more check{'' if len(lines) == 1 else 's'}"
        verdict = "step aside" if not self.data else f"{failed} failed" if failed else "passed"
        self.summary = f"{many}: {verdict}" if failed else f"{many} {verdict}"
        self.opened = " open" if failed or not self.data else ""

    def __repr__(self) -> str:
        return "\n".join([self.summary, *(f"  {line!r}" for line in self.lines)])

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        page = (
            f'<details class="lm-checks"{self.opened}><summary>{self.summary}</summary>'
            + "".join(line.html() for line in self.lines)
            + "</details>"
        )
        return {"text/html": page, "text/plain": repr(self), CLAIM_MIME: self.data}
