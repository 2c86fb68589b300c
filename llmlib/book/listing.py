"""Code listings and tables as the page shows them."""

import html
import inspect
import re
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

from IPython.display import HTML, Markdown, display

_NUMBER = re.compile(r"[-−+]?[\d.,]+(e[-+]?\d+)?\s*(%|[kKMGTB]|×)?")


def show_source(*objects: Callable[..., Any] | type) -> None:
    """Shows the source of functions or classes of the library, so that no listing is retyped.

    Of each docstring only the first line stays: beside a chapter's prose the rest says it twice.
    """
    if not objects:
        raise ValueError("show_source: expected at least one function or class")
    parts = [_short_docstrings(inspect.getsource(item)) for item in objects]
    display(Markdown("```python\n" + "\n\n\n".join(parts) + "\n```"))


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
