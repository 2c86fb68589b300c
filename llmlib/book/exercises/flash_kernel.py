"""Exercises of the chapter that reads the Triton kernels."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from llmlib.book.exercise import Choice, Exercise, Function, Mistake, Number
from llmlib.book.labs.flash_attention.tile_traffic import tile_map
from llmlib.flash_attention.strips import Mask


def _masked_tiles(seq: int, queries: int, keys: int) -> int:
    return sum(row.count("p") for row in tile_map(Mask(seq, seq, True, None), queries, keys))


def _grade_weights(answer: Callable[..., Any]) -> str | None:
    generator = torch.Generator().manual_seed(0)
    scores = 3 * torch.randn(5, 12, generator=generator).double()
    hidden = scores.clone()
    hidden[:, 8:] = -math.inf
    hidden[2] = -math.inf
    cases = [
        (scores, "all keys visible"),
        (scores - 1e4, "scores near −10,000"),
        (scores + 1e4, "scores near 10,000"),
        (hidden, "hidden keys, and a row that sees none"),
    ]
    for s, name in cases:
        lse = s.logsumexp(-1)
        found = answer(s.clone(), lse.clone())
        expected = (s - lse.masked_fill(lse == -math.inf, 0)[:, None]).exp()
        message = _judge_weights(found, expected, s)
        if message:
            return f"With {name}: {message}"
    return None


def _judge_weights(found: Any, expected: Tensor, s: Tensor) -> str | None:
    """None for the right weights, else what is wrong."""
    if not isinstance(found, Tensor) or found.shape != expected.shape:
        return f"return a tensor of the shape {tuple(expected.shape)}."
    if found.isnan().any():
        return "NaN. Where lse is −inf, −inf − (−inf) has no value: subtract 0 instead."
    if torch.allclose(found, expected, atol=1e-6):
        return None
    if found.isinf().any():
        return "infinite. Subtract before you take the power."
    if torch.allclose(found, expected.pow(math.log(2)), atol=1e-6):
        return "that is 2 to the power of s − lse; the exponent has to be times log2(e)."
    return "the weights of a row that sees a key must sum to 1."


_SOLUTION = """\
import math

import torch


def my_weights(s, lse):
    known = lse.masked_fill(lse == -math.inf, 0)[:, None]
    return torch.exp2((s - known) * math.log2(math.e))
"""


def _wrong(old: str, new: str) -> str:
    assert old in _SOLUTION
    return _SOLUTION.replace(old, new)


EXERCISES: list[Exercise] = [
    Number(
        "flash_kernel.programs",
        level="easy",
        hint="One program for each tile of queries, of each query head, of each sequence.",
        solution="4,096 / 128 = 32 tiles, times 32 heads, times 2: <strong>2,048</strong>.",
        answer=lambda: math.ceil(4096 / 128) * 32 * 2,
        tolerance=0.5,
        mistakes=[
            Mistake(1024, "There are two sequences."),
            Mistake(64, "Every head has its own programs."),
            Mistake(65_536, "A program owns a tile of queries, not a tile of scores."),
        ],
    ),
    Number(
        "flash_kernel.masked_tiles",
        level="medium",
        hint="Take queries 128 to 255. Which tiles of 64 keys do all of them see, and which some?",
        solution=(
            "Queries 128 to 255 see keys 0 to 127 in full: two tiles without a mask. Keys 128 to "
            "191 and 192 to 255 lie on the diagonal: two tiles with one. Every one of the 8 "
            "programs has two: <strong>16</strong>, of 72 that are visited."
        ),
        answer=lambda: _masked_tiles(1024, 128, 64),
        tolerance=0.5,
        mistakes=[
            Mistake(8, "A tile of 128 queries crosses the diagonal in two tiles of 64 keys."),
            Mistake(72, "That is all that are visited; most lie wholly inside the mask."),
            Mistake(128, "That is all there are, 8 by 16; half of them nobody visits."),
        ],
    ),
    Choice(
        "flash_kernel.two_kernels",
        level="medium",
        hint="Which of the three sums has terms from more than one program now? And what is "
        "computed twice when there are two kernels?",
        solution=(
            "S and dP of a tile are computed once and serve all three gradients: five products "
            "per tile instead of seven. But a row of dQ is a sum over keys, and its keys belong "
            "to many programs. Atomic additions lose none of its terms and fix no order, and in "
            "floating point another order gives other last bits. dK and dV still have one owner, "
            "and keep theirs."
        ),
        options=[
            "seven products per tile as before; dK and dV depend on the order of the programs",
            "five products per tile; dQ's last bits depend on the order of the programs",
            "five products per tile; dQ is wrong where two programs add at the same time",
            "five products per tile, and every run gives the same bits",
        ],
        answer=1,
        mistakes=[
            Mistake(0, "A program owns its keys, and with them all terms of their dK and dV."),
            Mistake(2, "An atomic addition loses nothing; only the order of the terms is open."),
            Mistake(3, "Floating-point sums depend on the order of their terms, and that is open."),
        ],
    ),
    Function(
        "flash_kernel.weights",
        level="hard",
        hint=(
            "e<sup>x</sup> = 2<sup>x · log₂ e</sup>. Subtract lse before you multiply, and ask "
            "what may be subtracted where it is −inf."
        ),
        solution=_SOLUTION,
        grader=_grade_weights,
        mistakes=[
            Mistake(_wrong(" * math.log2(math.e)", ""), "times log2(e)"),
            Mistake(_wrong("lse.masked_fill(lse == -math.inf, 0)[:, None]", "lse[:, None]"), "NaN"),
            Mistake(
                _wrong(
                    "torch.exp2((s - known) * math.log2(math.e))",
                    "torch.exp2(s * math.log2(math.e)) / torch.exp2(known * math.log2(math.e))",
                ),
                "NaN",
            ),
            Mistake(_wrong("(s - known)", "(s - s.amax(-1, True))"), "must sum to 1"),
        ],
    ),
]
