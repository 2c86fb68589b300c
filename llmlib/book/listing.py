"""Code listings and tables as the page shows them."""

import ast
import html
import inspect
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from IPython.display import HTML, Markdown, display

PACKAGE = Path(__file__).parent.parent
_NUMBER = re.compile(r"[-−+]?[\d.,]+(e[-+]?\d+)?\s*(%|[kKMGTB]|×)?")


COLUMNS = 84
"""What a line of code may have on a page 1,280 px wide."""


def show_source(*objects: Callable[..., Any] | type) -> None:
    """Shows functions or classes of the library as a chapter reads them: no listing is retyped.

    Annotations, checks of the arguments and all but the first line of each docstring stay in the
    library; what is left is wrapped at `COLUMNS`.
    """
    if not objects:
        raise ValueError("show_source: expected at least one function or class")
    parts = [_for_readers(textwrap.dedent(inspect.getsource(item))) for item in objects]
    display(Markdown("```python\n" + "\n\n\n".join(parts) + "\n```"))


def _for_readers(source: str) -> str:
    """The source without what a chapter's reader does not need, formatted anew."""
    text = re.sub(r"  # (fmt: skip|type: ignore\S*)$", "", _short_docstrings(source), flags=re.M)
    lines = text.splitlines()
    places = list(_left_out(text))
    whole = [a for a in places if not any(b[0] <= a[0] and a[1] <= b[1] and a != b for b in places)]
    for (first, left), (last, right) in sorted(whole, reverse=True):
        head, tail = lines[first - 1].encode()[:left], lines[last - 1].encode()[right:]
        rest = (head + tail).decode()
        lines[first - 1 : last] = [rest] if rest.strip() else []
    command = [sys.executable, "-m", "ruff", "format", "--isolated", f"--line-length={COLUMNS}"]
    command += ["--config=format.skip-magic-trailing-comma=true"]
    command += ["--config=lint.isort.split-on-trailing-comma=false", "-"]
    done = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"ruff could not format a listing: {done.stderr.strip()}")
    return re.sub(r'^( *)"""([^"\n]+)"""$', _wrapped, done.stdout.rstrip(), flags=re.M)


def _wrapped(docstring: re.Match[str]) -> str:
    """A docstring of one line on as many as it needs."""
    indent, text = docstring.groups()
    lines = textwrap.wrap(text, COLUMNS - len(indent) - 6)
    return f'{indent}"""' + f"\n{indent}".join(lines) + '"""'


_Place = tuple[int, int]
"""A line, counted from 1, and a column in bytes: how `ast` counts."""


def _left_out(text: str) -> Iterator[tuple[_Place, _Place]]:
    """From where to where annotations of arguments and checks stand."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.arg) and node.annotation:
            yield (node.lineno, node.col_offset + len(node.arg.encode())), _end(node.annotation)
        if isinstance(node, ast.FunctionDef) and node.returns:
            line, column = node.returns.lineno, node.returns.col_offset
            before = text.splitlines()[line - 1].encode()[:column]
            yield (line, before.rindex(b"->")), _end(node.returns)
        for body in (getattr(node, "body", None), getattr(node, "orelse", None)):
            for statement in body if isinstance(body, list) else []:
                if _is_check(statement):
                    yield (statement.lineno, statement.col_offset), _end(statement)


def _is_check(node: ast.AST) -> bool:
    """A call of a function check_…, or an `if` or `for` that does nothing but check and raise."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        name = getattr(node.value.func, "id", getattr(node.value.func, "attr", ""))
        return re.match(r"_?check_", name) is not None
    if isinstance(node, ast.If | ast.For) and not node.orelse:
        return all(isinstance(item, ast.Raise) or _is_check(item) for item in node.body)
    return False


def _end(node: ast.expr | ast.stmt) -> _Place:
    return node.end_lineno or node.lineno, node.end_col_offset or node.col_offset


def show_file_source(
    file: str, *names: str, first: str = "", last: str = "", brief: bool = False
) -> None:
    """Shows functions of a file of the library as text, without importing it.

    For code that needs what a reader may not have, as Triton. Decorators are shown too.

    Args:
        file: path below llmlib.
        names: functions or classes at the top level of the file.
        first, last: show only the lines from the first one that holds `first` to the next one that
            holds `last`, so that a page may read one function in pieces.
        brief: leave out parameters and decorators, which are long in a kernel.

    Raises:
        ValueError: a name or a line that the file does not have.
    """
    text = (PACKAGE / file).read_text(encoding="utf-8")
    found = {node.name: node for node in ast.parse(text).body if hasattr(node, "name")}
    if missing := [name for name in names if name not in found]:
        raise ValueError(f"{file} has no {missing}, expected among {sorted(found)}")
    lines_of = _brief if brief else _lines_of
    parts = [_short_docstrings(lines_of(text, found[name])) for name in names]
    shown = "\n\n\n".join(parts)
    if first or last:
        shown = _piece(shown, first, last)
    display(Markdown(f"```python\n{shown}\n```"))


def _lines_of(text: str, node: Any) -> str:
    start = min([node.lineno, *(item.lineno for item in node.decorator_list)])
    return "\n".join(text.splitlines()[start - 1 : node.end_lineno])


def _brief(text: str, node: Any) -> str:
    """A function without its parameters and decorators."""
    body = text.splitlines()[node.body[0].lineno - 1 : node.end_lineno]
    return "\n".join([f"def {node.name}(...):", *body])


def _piece(text: str, first: str, last: str) -> str:
    lines = text.splitlines()
    start = next((k for k, line in enumerate(lines) if first in line), None)
    if start is None:
        raise ValueError(f"no line holds {first!r}")
    end = next((k for k, line in enumerate(lines) if k >= start and last in line), None)
    if end is None:
        raise ValueError(f"no line after {first!r} holds {last!r}")
    return textwrap.dedent("\n".join(lines[start : (end + 1) if last else None]))


def _short_docstrings(source: str) -> str:
    text = textwrap.dedent(source).rstrip()
    return re.sub(r'"""([^"\n]+)\n.*?"""', r'"""\1"""', text, flags=re.S)


def show_table(header: Sequence[str], rows: Sequence[Sequence[Any]], *, caption: str) -> None:
    """Shows a table with a caption; columns that hold only numbers are aligned right.

    Args:
        header: the column titles.
        rows: one sequence a row, as long as the header; whole numbers get thousands separators,
            everything else is shown as `str` gives it, so floats are formatted by the caller.
        caption: one sentence; it is also the table's name for a screen reader.

    Raises:
        ValueError: a row of another length than the header, or an empty caption.
    """
    if not caption.strip():
        raise ValueError("show_table: the caption is empty")
    cells = [[f"{item:,}" if type(item) is int else str(item) for item in row] for row in rows]
    for row in cells:
        if len(row) != len(header):
            raise ValueError(f"row {row} has {len(row)} cells, expected {len(header)}")
    numeric = [
        all(_NUMBER.fullmatch(row[k]) for row in cells if row[k]) and bool(cells)
        for k in range(len(header))
    ]
    display(HTML(_table_html(list(header), cells, numeric, caption)))


def _table_html(header: list[str], rows: list[list[str]], numeric: list[bool], caption: str) -> str:
    def cell(tag: str, text: str, k: int, extra: str = "") -> str:
        side = ' class="lm-number"' if numeric[k] else ""
        return f"<{tag}{side}{extra}>{html.escape(text)}</{tag}>"

    head = "".join(cell("th", text, k, ' scope="col"') for k, text in enumerate(header))
    body = "".join(
        "<tr>"
        + cell("th", row[0], 0, ' scope="row"')
        + "".join(cell("td", text, k) for k, text in enumerate(row[1:], start=1))
        + "</tr>"
        for row in rows
    )
    # A wide table scrolls inside its own box on a phone; tabindex lets the keyboard scroll it.
    name = html.escape(caption)
    return (
        f'<div class="lm-table" role="region" tabindex="0" aria-label="{name}"><table>'
        f"<caption>{name}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )
