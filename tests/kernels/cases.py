"""Which calls the Triton kernels are checked on in the interpreter. Imports no Triton.

The grid takes each value of each axis, and each pair of values of two axes, save lengths with
widths: a greedy choice, the same every time. Among the lengths are (64, 97) and (70, 103),
where seq_k - seq_q is 1 modulo a tile of 32, (37, 67), where it is -2, and negative differences
that no tile divides.
"""

import itertools
import random
from dataclasses import dataclass, replace

LENGTHS = [
    *((1, 1), (2, 2), (5, 5), (17, 17), (1, 39), (39, 1), (37, 67), (64, 97), (97, 64), (70, 103)),
    *((113, 151), (150, 67), (65, 65)),
]
WIDTHS = [
    *((16, 16), (32, 32), (40, 40), (59, 59), (64, 64), (80, 80), (96, 96), (111, 111), (128, 128)),
    *((192, 192), (256, 256), (24, 40), (192, 128)),
]
AXES = {
    "lengths": LENGTHS,
    "widths": WIDTHS,
    "heads": [(2, 2), (4, 2), (3, 1)],
    "causal": [False, True],
    "window": [None, 1, 7, 40],
    "alibi": [False, True],
    "softcap": [None, 2.0],
    "dtype": ["float32", "float16", "bfloat16"],
    "tiles": [(32, 32), (64, 32), (32, 64)],
    "layout": ["plain", "rows first", "turned"],
}
PACKED = [
    [(17, 17), (0, 0), (40, 40), (5, 5)],
    [(33, 66), (1, 39), (70, 37)],
    [(0, 9), (64, 64), (9, 0), (3, 35)],
]


@dataclass(frozen=True)
class Case:
    """One call. `packed` holds the lengths of texts; else `lengths` are seq_q and seq_k."""

    lengths: tuple[int, int] = (65, 97)
    widths: tuple[int, int] = (32, 32)
    heads: tuple[int, int] = (4, 2)
    causal: bool = False
    window: int | None = None
    alibi: bool = False
    softcap: float | None = None
    dtype: str = "float32"
    tiles: tuple[int, int] = (32, 32)
    layout: str = "plain"
    packed: tuple[tuple[int, int], ...] | None = None
    seed: int = 0
    size: float = 1.0  # of the scores
    splits: int = 3

    @property
    def name(self) -> str:
        """Readable, and unique."""
        texts = self.packed or (self.lengths,)
        parts = ["+".join(f"{a}x{b}" for a, b in texts), "d" + "v".join(map(str, self.widths))]
        parts += [
            f"h{self.heads[0]}of{self.heads[1]}",
            self.dtype,
            "t" + "x".join(map(str, self.tiles)),
        ]
        parts += [word for word in ("causal", "alibi") if getattr(self, word)]
        parts += [] if self.window is None else [f"window{self.window}"]
        parts += [] if self.softcap is None else [f"cap{self.softcap:g}"]
        parts += [] if self.layout == "plain" else [self.layout.replace(" ", "_")]
        return "-".join(parts)


def pairs(case: Case) -> set[tuple[object, ...]]:
    """The pairs of values that a case covers."""
    values = [(axis, getattr(case, axis)) for axis in AXES]
    left_out = {"lengths", "widths"}
    return {(a, b) for a, b in itertools.combinations(values, 2) if {a[0], b[0]} != left_out}


def grid(seed: int = 0, tries: int = 40) -> list[Case]:
    """Few cases that cover all pairs: of some random ones, the one with most that is new."""
    draw = random.Random(seed)
    names = list(AXES)
    missing = {
        ((a, x), (b, y))
        for a, b in itertools.combinations(names, 2) if {a, b} != {"lengths", "widths"}
        for x in AXES[a] for y in AXES[b]
    }  # fmt: skip
    chosen: list[Case] = []
    while missing:
        first, second = draw.choice(sorted(missing, key=repr))
        options = [
            replace(
                Case(**{axis: draw.choice(AXES[axis]) for axis in names}), **dict([first, second])
            )
            for _ in range(tries)
        ]
        best = max(options, key=lambda case: len(pairs(case) & missing))
        missing -= pairs(best)
        chosen.append(replace(best, seed=len(chosen)))
    return chosen


def packed_cases(seed: int = 1) -> list[Case]:
    """Texts end to end, each set of texts with several options."""
    draw = random.Random(seed)
    options = itertools.product((False, True), (None, 7))
    return [
        Case(packed=tuple(texts), causal=causal, window=window, heads=draw.choice(AXES["heads"]),
             widths=draw.choice([(16, 16), (40, 40), (24, 40)]), alibi=draw.random() < 0.5,
             softcap=draw.choice([None, 2.0]), dtype=draw.choice(AXES["dtype"]), seed=index)
        for index, (texts, (causal, window)) in enumerate(itertools.product(PACKED, options))
    ]  # fmt: skip


GRID = {case.name: case for case in [*grid(), *packed_cases()]}
