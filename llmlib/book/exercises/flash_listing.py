"""Exercises of the chapter that repairs a listing of flash attention."""

import math
from collections.abc import Callable
from typing import Any

from llmlib.book.exercise import Exercise, Function, Mistake, Number
from llmlib.book.labs.flash_listing import checks
from llmlib.book.labs.flash_listing.checks import random_qkv
from llmlib.book.labs.flash_listing.listing import load

KIB = 1024


def _largest_tile(sram: int, width: int, item: int) -> int:
    """The most rows, a multiple of 16, of tiles q, k, v, out and their float32 scores."""
    rows = 16
    while 4 * (rows + 16) * width * item + 4 * (rows + 16) ** 2 <= sram:
        rows += 16
    return rows


def _lost_rows(seq: int, window: int) -> int:
    """Rows that the version before the guard turns into NaN."""
    out = load("mask")(*random_qkv(seq), causal=True, window=window)
    return int(out.isnan().any(-1)[0, 0].sum())


# --- the reader's flash attention -------------------------------------------------------------

_WHAT = {
    "shape": "without a mask, 8 and 300 tokens: that is not attention",
    "start": "scores near −100 to −10,000: wrong weights or NaN; where does the maximum start?",
    "mask": "causal, 300 and 7 queries on 300 keys: the last query stands at the last key",
    "guard": "a window, and queries before the first key: rows that see nothing yet",
    "dtype": "16-bit inputs: compute in float32, round once at the end",
}


def _grade(answer: Callable[..., Any]) -> str | None:
    def given(q: Any, k: Any, v: Any, **options: Any) -> Any:
        return answer(q, k, v, options.get("causal", False), options.get("window", math.inf))

    space = {"flash_attention": given}
    for name, what in _WHAT.items():
        try:
            right = getattr(checks, name)(space)
        except (RuntimeError, TypeError, ValueError) as error:
            return f"Test {name} ({what}): {type(error).__name__}: {error}"
        if not right:
            return f"Test {name} fails: {what}."
    return None


_SOLUTION = """\
import math

import torch


def my_flash_attention(q, k, v, causal=False, window=math.inf):
    kind = torch.promote_types(q.dtype, torch.float32)
    Q, K, V = q.to(kind), k.to(kind), v.to(kind)
    m = torch.full_like(Q[..., 0], -math.inf)
    ell, o = torch.zeros_like(m), torch.zeros_like(Q)
    i = torch.arange(q.shape[2])[:, None] + k.shape[2] - q.shape[2]
    for a in range(0, k.shape[2], 256):
        keys = slice(a, min(a + 256, k.shape[2]))
        S = Q @ K[:, :, keys].mT / math.sqrt(q.shape[3])
        if causal:
            j = torch.arange(keys.start, keys.stop)
            S = S.masked_fill((j > i) | (i - j >= window), -math.inf)
        m_new = torch.maximum(m, S.amax(-1))
        shift = m_new.masked_fill(m_new == -math.inf, 0)
        factor, P = (m - shift).exp(), (S - shift[..., None]).exp()
        ell = ell * factor + P.sum(-1)
        o = o * factor[..., None] + P @ V[:, :, keys]
        m = m_new
    return (o / ell.masked_fill(ell == 0, 1)[..., None]).to(q.dtype)
"""


def _wrong(old: str, new: str) -> str:
    assert old in _SOLUTION
    return _SOLUTION.replace(old, new)


EXERCISES: list[Exercise] = [
    Number(
        "flash_listing.length",
        level="easy",
        hint="The score of two opposite vectors of length x is −x² / √64.",
        solution=(
            "x² / 8 = 104, so x² = 832 and x = <strong>28.8</strong>. Every key of the row has to "
            "point that way: one score near 0 would raise the maximum to where nothing underflows."
        ),
        answer=lambda: math.sqrt(104 * math.sqrt(64)),
        tolerance=0.1,
        mistakes=[
            Mistake(math.sqrt(104), "Scores are divided by √d = 8."),
            Mistake(104 * 8, "That is the product of the two lengths; both are the same."),
            Mistake(math.sqrt(104 * 64), "The divisor is √d, not d."),
        ],
    ),
    Number(
        "flash_listing.lost_rows",
        level="medium",
        hint=(
            "A row is lost as soon as its first block holds none of its keys. Row i sees keys "
            "i − 99 to i; which rows see no key of the first block, 0 to 255?"
        ),
        solution=(
            "Row i sees back to key i − 99, which lies past 255 from i = 355 on. All rows from "
            "355 to 999 meet an empty first block: <strong>645</strong>. Later blocks do not "
            "bring them back, since NaN times anything is NaN."
        ),
        answer=lambda: _lost_rows(1000, 100),
        tolerance=0.5,
        mistakes=[
            Mistake(644, "The window counts the query itself: row 355 sees keys 256 to 355."),
            Mistake(744, "Rows 256 to 354 still see keys of the first block."),
            Mistake(900, "Not every row past the window is lost: what counts is its first block."),
        ],
    ),
    Number(
        "flash_listing.largest_tile",
        level="medium",
        hint="4 tiles of B · 128 numbers of 2 bytes, and B² scores of 4 bytes.",
        solution=(
            "4 · B · 128 · 2 + 4 · B² ≤ 163,840, so B² + 256 B ≤ 40,960 and B ≤ 111.6: "
            "<strong>96</strong> as a multiple of 16. (112 rows would take 164,864 bytes.)"
        ),
        answer=lambda: _largest_tile(160 * KIB, 128, 2),
        tolerance=0.5,
        mistakes=[
            Mistake(160, "You left out the tile of scores."),
            Mistake(112, "112 rows take 164,864 bytes, 1,024 more than there are."),
            Mistake(64, "q, k, v and out take 2 bytes a number here, not 4."),
            Mistake(111, "Right before rounding; the question asks for a multiple of 16."),
        ],
    ),
    Function(
        "flash_listing.flash_attention",
        level="hard",
        hint=(
            "Start from the version that you ended with. Positions of queries begin at "
            "seq_k − seq_q; <code>shift</code> is the new maximum, or 0 where that is −inf."
        ),
        solution=_SOLUTION,
        grader=_grade,
        mistakes=[
            Mistake(_wrong("o = o * factor[..., None]", "o = o"), "Test shape fails"),
            Mistake(
                _wrong("full_like(Q[..., 0], -math.inf)", "zeros_like(Q[..., 0])"), "Test start"
            ),
            Mistake(_wrong(" + k.shape[2] - q.shape[2]", ""), "Test mask"),
            Mistake(_wrong("m_new.masked_fill(m_new == -math.inf, 0)", "m_new"), "Test guard"),
            Mistake(_wrong("torch.promote_types(q.dtype, torch.float32)", "q.dtype"), "Test dtype"),
        ],
    ),
]
