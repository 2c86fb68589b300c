"""The kinds of picture that show text: rows of tokens, a grid of tokens, the bytes of a text."""

from collections.abc import Callable, Sequence
from typing import Any

from llmlib.book.widgets.base import Choice, Explorer, Slider, StaticWidget, source


class TokenSteps(Explorer):
    """Rows of tokens as chips, some of them lit; `frame` returns `rows` and `note`.

    Each row is a dict: `tokens` (strings), optionally `label` and `marked` (indices to light).
    """

    kind = "token_steps"
    _esm = source(kind)


class Ladder(Explorer):
    """Guesses one above the other, a rung for each stop of the second of two controls.

    `frame(prompt, stop)` returns `words` and `shares` (the best guesses and their probabilities)
    and `note`; rungs up to the slider's stop are shown, so that it can open below the answer.
    """

    kind = "ladder"
    _esm = source(kind)

    def __init__(
        self,
        *,
        prompt: Choice,
        stop: Slider,
        axis: str,
        frame: Callable[..., dict[str, Any]],
        alt: str,
    ) -> None:
        super().__init__(controls=[prompt, stop], frame=frame, alt=alt, axis=axis)


class TokenGrid(Explorer):
    """A matrix with named rows and columns, shaded from 0 to `largest`.

    `frame` returns `values` (None leaves a cell empty), optionally `words` (a text for each cell)
    and `note`.
    """

    kind = "token_grid"
    _esm = source(kind)

    def __init__(
        self,
        *,
        controls: Sequence[Slider | Choice],
        rows: Sequence[str],
        columns: Sequence[str],
        row_label: str,
        column_label: str,
        frame: Callable[..., dict[str, Any]],
        alt: str,
        largest: float = 1.0,
    ) -> None:
        spec = {"rows": list(rows), "columns": list(columns), "largest": largest}
        names = {"row_label": row_label, "column_label": column_label}
        super().__init__(controls=controls, frame=frame, alt=alt, **spec, **names)
        self.spec = {**self.spec, "words": any("words" in shown for shown in self.frames)}
        for shown in self.frames:
            sizes = {len(row) for row in shown["values"]}
            if len(shown["values"]) != len(rows) or sizes != {len(columns)}:
                raise ValueError(f"values: expected {len(rows)} rows of {len(columns)} numbers")


class ByteExplorer(StaticWidget):
    """A text field and a table of each character's code point and UTF-8 bytes."""

    kind = "byte_explorer"
    _esm = source(kind)

    def __init__(self, *, text: str, alt: str) -> None:
        super().__init__()
        header = ["character", "code point", "bytes", "in binary", "in decimal"]
        self.spec = {"text": text, "label": "Type anything", "header": header}
        self.alt = alt
