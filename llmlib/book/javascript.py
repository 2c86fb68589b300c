"""Formulas of sympy as JavaScript, so that a page computes with what Python derived.

What it does not do: parse JavaScript, or print what double precision cannot hold, such as infinity.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import sympy
from sympy.printing.codeprinter import PrintMethodNotImplementedError
from sympy.printing.jscode import JavascriptCodePrinter

_LARGEST_EXACT = 2**53
_LARGEST_PRODUCT = 4
_WORDS = """
    arguments await break case catch class const continue debugger default delete do else enum eval
    export extends false finally for function given if implements import in instanceof interface
    let new null package private protected public return static super switch this throw true try
    typeof undefined var void while with yield Math NaN Infinity
"""
_RESERVED = frozenset(_WORDS.split())


class _Printer(JavascriptCodePrinter):
    """sympy's printer, with products for small powers and doubles for long integers."""

    def _print_Pow(self, expr: Any) -> str:
        exponent = expr.exp
        if exponent.is_Integer and 2 <= abs(exponent) <= _LARGEST_PRODUCT:
            base = self.parenthesize(expr.base, sympy.printing.precedence.PRECEDENCE["Pow"])
            product = "*".join([base] * abs(int(exponent)))
            return f"({product})" if exponent > 0 else f"1/({product})"
        return str(super()._print_Pow(expr))

    def _print_Integer(self, expr: Any) -> str:
        value = int(expr)
        return str(value) if abs(value) <= _LARGEST_EXACT else repr(float(value))

    def _print_Rational(self, expr: Any) -> str:
        return f"({self._print_Integer(expr.p)}/{self._print_Integer(expr.q)})"

    def _print_Mod(self, expr: Any) -> str:
        # % keeps the sign of the left side in JavaScript, that of the right side in Python.
        left, right = (f"({self._print(part)})" for part in expr.args)
        return f"((({left} % {right}) + {right}) % {right})"

    def _print_Relational(self, expr: Any) -> str:
        return f"({super()._print_Relational(expr)})"

    def _print_BooleanTrue(self, expr: Any) -> str:
        return "true"

    def _print_BooleanFalse(self, expr: Any) -> str:
        return "false"


def to_javascript(expressions: Mapping[str, sympy.Basic], arguments: Sequence[sympy.Symbol]) -> str:
    """The body of a JavaScript function that evaluates formulas, what they share only once.

    The function takes one array, `given`, with a number for each argument in order, and returns an
    object of results by name: `new Function("given", to_javascript(...))`.

    Args:
        expressions: name -> a formula or a condition (which gives true or false).
        arguments: the letters of the formulas.

    Raises:
        ValueError: a letter that is no argument, a letter given twice, a function that JavaScript
            has no name for, or a number that is not finite.
    """
    if len(set(arguments)) < len(arguments):
        raise ValueError(f"arguments {[str(x) for x in arguments]}, expected each letter once")
    formulas = {name: sympy.sympify(formula) for name, formula in expressions.items()}
    for name, formula in formulas.items():
        _check(name, formula, set(arguments))
    safe = _safe_names(arguments)
    # Only what changes is replaced: rebuilding a long formula takes sympy seconds.
    changed = {old: new for old, new in zip(arguments, safe, strict=True) if old != new}
    renamed = [formula.xreplace(changed) for formula in formulas.values()]
    free = sympy.numbered_symbols("t", exclude=safe)
    shared, finals = sympy.cse(renamed, symbols=free, order="none")
    lines = [f"const [{', '.join(map(str, safe))}] = given;"] if arguments else []
    try:
        lines += [f"const {letter} = {_code(formula)};" for letter, formula in shared]
        pairs = zip(formulas, finals, strict=True)
        results = [f"  {json.dumps(name)}: {_code(formula)}," for name, formula in pairs]
    except (PrintMethodNotImplementedError, OverflowError) as error:
        raise ValueError(f"{_unsupported(formulas)}: JavaScript cannot compute that") from error
    return "\n".join([*lines, "return {", *results, "};"])


def _check(name: str, formula: sympy.Basic, known: set[sympy.Symbol]) -> None:
    """ValueError for what the page could not compute."""
    unknown = sorted(str(letter) for letter in formula.free_symbols - known)
    if unknown:
        letters = ", ".join(sorted(map(str, known))) or "none"
        raise ValueError(f"{name!r} holds {', '.join(unknown)}, expected letters among {letters}")
    infinite = (sympy.oo, -sympy.oo, sympy.zoo, sympy.nan)
    found = [number for number in infinite if formula.has(number)]
    if found:
        raise ValueError(f"{name!r} holds {found[0]}, expected finite numbers")


def _unsupported(formulas: Mapping[str, sympy.Basic]) -> str:
    """The formula that could not be printed; slow, since nothing is shared."""
    for name, formula in formulas.items():
        try:
            _code(formula)
        except (PrintMethodNotImplementedError, OverflowError):
            return f"{name!r} is {formula}"
    return ", ".join(formulas)


def _code(formula: sympy.Basic) -> str:
    return " ".join(_Printer({"strict": True}).doprint(formula).split())


def _safe_names(arguments: Sequence[sympy.Symbol]) -> list[sympy.Symbol]:
    """A symbol for each argument whose name JavaScript takes, none twice."""
    taken: set[str] = set(_RESERVED)
    safe = []
    for letter in arguments:
        plain = "".join(c if c.isascii() and c.isalnum() else "_" for c in str(letter))
        name = stem = f"_{plain}" if plain[:1].isdigit() or not plain else plain
        number = 2
        while name in taken:
            name, number = f"{stem}_{number}", number + 1
        taken.add(name)
        safe.append(sympy.Symbol(name, **letter.assumptions0))
    return safe
