"""The kind of picture that steps through attention tile by tile, numbers visible."""

from collections.abc import Callable, Sequence
from typing import Any

from llmlib.book.widgets.base import Choice, Explorer, Slider, source


class TileStepper(Explorer):
    """A square of scores in tiles, what each query remembers, and the bytes moved so far.

    `frame` returns `marks` (a text for each strip, a character for each tile: "." to come, "o" in
    hand, "#" forgotten, "x" skipped), `scores` and `weights` of the tile in hand (or None), `rows`
    (m, factor, denominator and output of each query), `finished` (how many rows are divided),
    `bytes` (naive, tiled) and `note`.
    """

    kind = "tile_stepper"
    _esm = source(kind)

    def __init__(
        self,
        *,
        controls: Sequence[Slider | Choice],
        seq: int,
        tile: int,
        frame: Callable[..., dict[str, Any]],
        alt: str,
    ) -> None:
        super().__init__(controls=controls, frame=frame, alt=alt, seq=seq, tile=tile)
        largest = max(max(shown["bytes"]) for shown in self.frames)
        self.spec = {**self.spec, "most": largest}
        strips = seq // tile
        for index, shown in enumerate(self.frames):
            if len(shown["marks"]) != strips or {len(row) for row in shown["marks"]} != {strips}:
                raise ValueError(f"frame {index}, marks: expected {strips} texts of {strips} marks")
            if len(shown["rows"]) != seq:
                raise ValueError(f"frame {index} has {len(shown['rows'])} rows, expected {seq}")
