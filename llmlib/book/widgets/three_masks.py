"""One sentence, several masks: what the position that is asked may know, and what is predicted."""

from collections.abc import Callable, Sequence
from typing import Any

from llmlib.book.widgets.base import Choice, Explorer, Slider, source


class ThreeMasks(Explorer):
    """Masks of one sentence side by side, each with the row of the position that is asked.

    The first control is the word that is asked for; a click on a row asks for that row's word.
    `frame` returns `panels` and `note`. A panel has `title`; `rows`, the tokens that are read;
    `mask`, a text for each row with "x" for each token that it knows and "." for the others; `at`,
    the row that is asked; `learned`, what each row predicts, "" for nothing, or no entry at all;
    `words`, the stop of the first control, from 1, that each row asks for; and `split`, how many
    rows come before a line, 0 for no line.
    """

    kind = "three_masks"
    _esm = source(kind)

    def __init__(
        self,
        *,
        controls: Sequence[Slider | Choice],
        frame: Callable[..., dict[str, Any]],
        alt: str,
    ) -> None:
        super().__init__(controls=controls, frame=frame, alt=alt)
        for shown in self.frames:
            for panel in shown["panels"]:
                n = len(panel["rows"])
                if len(panel["mask"]) != n or {len(row) for row in panel["mask"]} != {n}:
                    raise ValueError(f"mask: expected {n} texts of {n} characters")
                if len(panel["words"]) != n or len(panel["learned"]) not in (0, n):
                    raise ValueError(f"words and learned: expected {n} entries, one for each row")
