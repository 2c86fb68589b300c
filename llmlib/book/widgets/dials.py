"""The kind of picture with clock faces: pairs of numbers drawn as hands."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from llmlib.book.widgets.base import Choice, Explorer, Real, Slider, source


@dataclass(frozen=True)
class Hand:
    """A hand that every face has: what the legend calls it, and its color."""

    label: str
    color: int = 1
    dash: bool = False


class Dials(Explorer):
    """One clock face or several, each with the same hands.

    `frame` returns `dials` and `note`. Each dial is a dict: `title`, `hands` (a point (x, y) for
    each hand), optionally `trail` (points to mark) and `text` (a line below). The circle has the
    radius `reach`; at most `across` faces stand side by side.
    """

    kind = "dials"
    _esm = source(kind)

    def __init__(
        self,
        *,
        controls: Sequence[Slider | Choice],
        hands: Sequence[Hand],
        frame: Callable[..., dict[str, Any]],
        alt: str,
        reach: Real = 1.0,
        across: int = 4,
        largest: int = 260,
    ) -> None:
        spec = {"hands": [vars(hand) for hand in hands], "reach": reach}
        sizes = {"across": across, "largest": largest}
        super().__init__(controls=controls, frame=frame, alt=alt, **spec, **sizes)
        for index, shown in enumerate(self.frames):
            if any(len(dial["hands"]) != len(hands) for dial in shown["dials"]):
                raise ValueError(f"frame {index}: expected {len(hands)} hands on each dial")
