"""Formulas that llmlib counted, as the page shows them: in the book's letters and their order.

A formula is a sympy expression, as `llmlib.accounting` returns for a configuration in letters.
What this module does not do: simplify. Only an `order` that is asked for expands and collects.
"""

import html
from collections.abc import Mapping, Sequence
from typing import Any

import sympy
from IPython.display import HTML, Latex, display
from sympy.printing.latex import LatexPrinter

from llmlib.accounting.letters import place


class _Printer(LatexPrinter):
    """sympy's, with subscripts upright and with the book's order in sums and products."""

    def _print_Symbol(self, expr: Any) -> str:
        name, _, index = expr.name.partition("_")
        # A switch is a word, and a word in italics would read as a product of letters.
        shown = name if len(name) == 1 else rf"\text{{{expr.name.replace('_', ' ')}}}"
        if not index or len(name) > 1:
            return shown
        return f"{name}_{index}" if len(index) == 1 else rf"{name}_{{\text{{{index}}}}}"

    def _print_Integer(self, expr: Any) -> str:
        return f"{int(expr):,}".replace(",", "{,}")

    def _print_Mul(self, expr: Any) -> str:
        number, rest = expr.as_coeff_Mul()
        if number < 0:
            return f"-{self._print(-expr)}"
        above, below = sympy.fraction(expr)
        if below != 1:
            return rf"\frac{{{self._print(above)}}}{{{self._print(below)}}}"
        factors = sorted(sympy.Mul.make_args(rest), key=_place)
        letters = [self._print(factor) for factor in factors if not factor.is_Add]
        sums = [rf"\left({self._print(factor)}\right)" for factor in factors if factor.is_Add]
        first = [] if number == 1 else [self._print(number)]
        # A thin space, else the index of one letter touches the next letter.
        return " ".join([*first, *([r" \, ".join(letters)] if letters else []), *sums])

    def _print_Add(self, expr: Any, order: Any = None) -> str:
        return self.summed(_by_degree(expr))

    def summed(self, terms: Sequence[Any]) -> str:
        """Terms in this order, with their signs between them."""
        shown = [str(self._print(term)) for term in terms]
        signed = [x.replace("-", "- ", 1) if x.startswith("-") else f"+ {x}" for x in shown[1:]]
        return " ".join([shown[0], *signed])


def _place(factor: Any) -> tuple[int, int, str]:
    """Sums after powers of letters; letters as the alphabet places them, others by their name."""
    base = factor.as_base_exp()[0]
    return bool(base.is_Add), place(str(base)), str(base)


def _by_degree(expr: Any) -> list[Any]:
    """The terms of a sum: those that are taken away last, else more factors first."""

    def key(term: Any) -> tuple[Any, ...]:
        number, rest = term.as_coeff_Mul()
        parts = [part.as_base_exp() for part in sympy.Mul.make_args(rest)]
        degree = sum(power if power.is_number else 1 for base, power in parts if base.free_symbols)
        return (bool(number < 0), -degree, sorted(_place(base) for base, _ in parts))

    return sorted(sympy.Add.make_args(expr), key=key)


def _terms(expression: Any, order: Sequence[Any]) -> list[Any]:
    """The terms of an expanded sum, those of each letter of `order` together."""
    if not order:
        return _by_degree(expression)
    left, found = sympy.expand(expression), []
    for letter in order:
        # Whatever holds the letter leaves the rest, divided by its highest common power.
        part = sum(x for x in sympy.Add.make_args(left) if x.has(letter))
        left -= part
        if part != 0:
            power = min(sympy.degree(x, letter) for x in sympy.Add.make_args(part))
            found.append(letter**power * sympy.expand(part / letter**power))
    return found + (_by_degree(left) if left != 0 else [])


def formula_latex(expression: Any, order: Sequence[Any] = ()) -> str:
    """The LaTeX of an expression in the book's letters.

    Args:
        expression: a sympy expression or a number.
        order: letters. If there are any, the sum is expanded, and the terms that hold the first
            letter come first, with that letter factored out; then those of the next.

    Example: with order (V, n_ctx, L) a GPT-2 gives V d + n_ctx d + L (12 d² + 13 d) + 2 d.
    """
    return _Printer().summed(_terms(sympy.sympify(expression), order))


def show_formula(
    left: str, expression: Any, order: Sequence[Any] = (), *, per_line: int | None = None
) -> None:
    """Shows "left = expression" as a line of its own.

    Args:
        left: LaTeX; if it is empty, the expression stands alone.
        expression, order: as for `formula_latex`.
        per_line: terms on a line, for a sum that is too long for a phone.
    """
    terms = _terms(sympy.sympify(expression), order)
    step = per_line or len(terms)
    pieces = [_Printer().summed(terms[k : k + step]) for k in range(0, len(terms), step)]
    start = f"{left} ={{}} " if left else ""
    if len(pieces) == 1:
        display(Latex(f"$$\n{start}{pieces[0]}\n$$"))
        return
    rest = [x.replace("-", "{} - ", 1) if x[0] == "-" else f"{{}} + {x}" for x in pieces[1:]]
    lines = " \\\\\n& ".join([pieces[0], *rest])
    display(Latex(f"$$\n\\begin{{aligned}}\n{start}& {lines}\n\\end{{aligned}}\n$$"))


def formula_table(
    formulas: Mapping[str, Any],
    numbers: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    caption: str,
    order: Sequence[Any] = (),
    names: Mapping[str, str] | None = None,
    total: bool = True,
) -> None:
    """Shows a breakdown in letters as a table of components and formulas, with their total.

    Args:
        formulas: component -> expression, such as a `Breakdown` in letters.
        numbers: title of a column -> the counts of the same components, such as the `Breakdown` of
            a model; a component that it lacks counts 0.
        caption: one sentence; it is also the table's name for a screen reader.
        order: how the total is arranged, as for `formula_latex`.
        names: component -> how the table names it, where not by "attention, query".
        total: whether the last row has the formula of the total, which can be wider than a page
            (`show_formula` breaks it), beside the totals of the numbers.

    Raises:
        ValueError: an empty caption, or nothing to show.
    """
    if not caption.strip() or not formulas:
        raise ValueError("formula_table: expected a caption and at least one component")
    columns, titles = numbers or {}, names or {}
    rows = [
        [
            titles.get(name, name.replace(".", ", ").replace("_", " ")),
            formula_latex(formula),
            *(column.get(name, 0) for column in columns.values()),
        ]
        for name, formula in formulas.items()
        if formula != 0
    ]
    whole = formula_latex(sum(formulas.values()), order) if total else ""
    rows.append(["total", whole, *(sum(column.values()) for column in columns.values())])
    shown = [[name, Math(latex) if latex else "", *counts] for name, latex, *counts in rows]
    math_table(["component", "formula", *columns], shown, caption=caption)


class Math(str):
    """LaTeX, for a cell of `math_table`."""


def math_table(header: Sequence[str], rows: Sequence[Sequence[Any]], *, caption: str) -> None:
    """Shows a table whose cells may hold formulas; `show_table` has the rest.

    Args:
        header: the titles of the columns.
        rows: a formula is a sympy expression or `Math`; whole numbers get thousands separators.
        caption: one sentence; it is also the table's name for a screen reader.

    Raises:
        ValueError: an empty caption, or a row of another length than the header.
    """
    if not caption.strip():
        raise ValueError("math_table: the caption is empty")
    for row in rows:
        if len(row) != len(header):
            raise ValueError(f"row {list(row)} has {len(row)} cells, expected {len(header)}")
    right = [
        bool(rows) and all(isinstance(row[k], int) for row in rows) for k in range(len(header))
    ]
    sides = [' class="lm-number"' if side else "" for side in right]
    columns = zip(header, sides, strict=True)
    head = "".join(f'<th{side} scope="col">{html.escape(x)}</th>' for x, side in columns)
    body = "".join(f"<tr>{_cells(row, sides)}</tr>" for row in rows)
    name = html.escape(caption)
    display(
        HTML(
            f'<div class="lm-table" role="region" tabindex="0" aria-label="{name}"><table>'
            f"<caption>{name}</caption><thead><tr>{head}</tr></thead>"
            f"<tbody>{body}</tbody></table></div>"
        )
    )


def _cells(row: Sequence[Any], sides: Sequence[str]) -> str:
    first = f'<th{sides[0]} scope="row">{_cell(row[0])}</th>'
    rest = zip(row[1:], sides[1:], strict=True)
    return first + "".join(f"<td{side}>{_cell(x)}</td>" for x, side in rest)


def _cell(x: Any) -> str:
    """The span is how Sphinx marks math in a line of text; Lab knows its brackets."""
    if isinstance(x, sympy.Basic):
        x = Math(formula_latex(x))
    if isinstance(x, Math):
        return rf'<span class="math notranslate nohighlight">\({html.escape(x)}\)</span>'
    return f"{x:,}" if isinstance(x, int) else html.escape(str(x))
