"""Pictures of masks: the paths through a pattern, and the tiles that it leaves to do."""

from collections.abc import Callable, Sequence
from typing import Any

from llmlib.book.widgets.base import Choice, Explorer, Slider, source


class MaskGrid(Explorer):
    """Two grids of queries and keys: what shows a key to a query, and how many layers it takes.

    `frame` returns `mask` and `layers`, a text of `size` characters for each query, and `note`. In
    mask 1 to 6 is the part of the pattern that shows the key, counted from `parts`, and "." hides
    it; in layers 0 to 9 is the number of layers until the key's message arrives, "." is never.
    """

    kind = "mask_grid"
    _esm = source(kind)

    def __init__(
        self,
        *,
        controls: Sequence[Slider | Choice],
        size: int,
        parts: Sequence[str],
        frame: Callable[..., dict[str, Any]],
        alt: str,
    ) -> None:
        super().__init__(controls=controls, frame=frame, alt=alt, parts=list(parts))
        for shown in self.frames:
            for name in ("mask", "layers"):
                if len(shown[name]) != size or {len(row) for row in shown[name]} != {size}:
                    raise ValueError(f"{name}: expected {size} texts of {size} characters")


class TileMap(Explorer):
    """Queries against keys in tiles: all visible, some visible, or nothing visible and skipped.

    `frame` returns `tiles`, a text for each row of tiles ("f" all visible, "p" some, "." none);
    `visible`, a text for each query with "x" for each key that it sees; `tile`, (queries, keys) of
    a tile; and `note`.
    """

    kind = "tile_map"
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
            down, across = shown["tile"]
            size = -(-len(shown["visible"]) // down), -(-len(shown["visible"][0]) // across)
            if (found := (len(shown["tiles"]), len(shown["tiles"][0]))) != size:
                raise ValueError(f"tiles: expected {size[0]} rows of {size[1]}, got {found}")
