"""The kind of picture that wires query heads to the key/value heads they share."""

from collections.abc import Callable, Sequence
from typing import Any

from llmlib.book.widgets.base import Choice, Explorer, Slider, source


class HeadSharing(Explorer):
    """Query heads wired to key/value heads, above bars of what that costs.

    `frame` returns `heads`, `groups` (a divisor of heads), `bars` and `note`. Each bar is a dict:
    `label`, `text` (its number), `share` (0 to 1, how far it is filled) and `color`.
    """

    kind = "head_sharing"
    _esm = source(kind)

    def __init__(
        self,
        *,
        controls: Sequence[Slider | Choice],
        frame: Callable[..., dict[str, Any]],
        alt: str,
    ) -> None:
        super().__init__(controls=controls, frame=frame, alt=alt)
        for index, shown in enumerate(self.frames):
            heads, groups = shown["heads"], shown["groups"]
            if groups < 1 or heads % groups:
                raise ValueError(f"frame {index}: {groups} groups, expected a divisor of {heads}")
            shares = [bar["share"] for bar in shown["bars"]]
            if not all(0 <= share <= 1 for share in shares):
                raise ValueError(f"frame {index}: shares {shares}, expected 0 to 1")
