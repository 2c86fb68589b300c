"""The blocked engine against float64 over the grid of the flash-attention package's own tests.

In every run a subset in which every two choices meet; `make test-full` runs the whole grid.
"""

import itertools
import os
from typing import Any

import pytest
import torch

from llmlib.flash_attention import TileSizes, flash_attention
from llmlib.position_encoding import alibi_slopes
from tests.flash_cases import check_against_naive, drawn, pairwise_cases

pytestmark = pytest.mark.usefixtures("two_threads")

CHOICES: dict[str, list[Any]] = {
    "head_dim": [16, 32, 40, 59, 64, 80, 96, 111, 128, 192, 256],
    "sizes": [
        *((113, 203), (128, 217), (113, 211), (108, 256), (256, 512), (512, 256), (1023, 1024)),
        *((1024, 1023), (1, 239), (239, 1), (3, 799), (799, 3), (1, 1), (2, 2), (5, 5), (17, 17)),
    ],
    "causal": [False, True],
    "window": [None, 1, 100],
    "alibi": [False, True],
    "heads": [(4, 4), (4, 2), (4, 1)],
    "softcap": [None, 3.0],
    "dtype": [torch.float32, torch.bfloat16, torch.float16],
    "tiles": ["usual", "small"],
}
VARIED = ("softcap", "tiles")  # in the whole grid they take turns
WHOLE = os.environ.get("LLMLIB_FULL") == "1"


def whole_grid() -> list[dict[str, Any]]:
    """Every combination of sizes, widths, masks, biases, heads and types."""
    fixed = {name: choices for name, choices in CHOICES.items() if name not in VARIED}
    cases = [dict(zip(fixed, case, strict=True)) for case in itertools.product(*fixed.values())]
    turns = itertools.cycle(itertools.product(*(CHOICES[name] for name in VARIED)))
    return [{**case, **dict(zip(VARIED, next(turns), strict=True))} for case in cases]


CASES = whole_grid() if WHOLE else list(pairwise_cases(CHOICES))


def test_the_subset_is_small_and_the_grid_whole() -> None:
    assert WHOLE or 150 <= len(CASES) <= 400


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case.values())))
def test_grid(case: dict[str, Any]) -> None:
    # Small ones give short texts several strips and tiles.
    tiles = TileSizes(scores=0, queries=32, keys=80) if case["tiles"] == "small" else TileSizes()
    heads, head_dim = case["heads"], case["head_dim"]
    tensors = drawn(0, *case["sizes"], heads, (head_dim, head_dim), case["dtype"], batch=1)
    check_against_naive(
        lambda *x, **options: flash_attention(
            *x, **options, return_lse=True, engine="blocked", tiles=tiles
        ),
        tensors,
        causal=case["causal"],
        window=case["window"],
        softcap=case["softcap"],
        alibi_slopes=alibi_slopes(heads[0]) if case["alibi"] else None,
    )
