"""Exercises of the chapter on flash attention."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from llmlib.book.exercise import Choice, Exercise, Function, Mistake, Number
from llmlib.book.labs.flash_attention.tile_trace import absorb
from llmlib.book.labs.flash_attention.tile_traffic import tile_map
from llmlib.flash_attention.strips import Mask


def _denominator(*tiles: Sequence[float]) -> float:
    """The running denominator of one row after these tiles."""
    m, ell, o = torch.full((1,), -math.inf).double(), torch.zeros(1).double(), torch.zeros(1, 1)
    for tile in tiles:
        scores = torch.tensor([list(tile)]).double()
        m, ell, o = absorb(m, ell, o.double(), scores, torch.zeros(len(tile), 1).double())
    return float(ell)


# --- the reader's online softmax --------------------------------------------------------------

_HIDDEN = [-math.inf] * 3
_ROWS: list[tuple[str, list[list[float]]]] = [
    ("a single tile", [[0.5, -1.0, 2.0]]),
    ("a larger score in the second tile", [[1.0, 3.0], [5.0, 2.0]]),
    ("smaller scores in the second tile", [[5.0, 2.0], [1.0, 3.0, 0.0]]),
    ("scores near −10,000", [[-10_000.0, -10_001.0], [-9_999.5, -10_003.0]]),
    ("scores near 10,000", [[9_999.0, 9_990.0], [10_000.0, 9_998.0]]),
    ("an empty tile after a full one", [[1.0, 2.0, 3.0], _HIDDEN, [2.5]]),
    ("an empty tile before a full one", [_HIDDEN, [1.0, -math.inf, 2.0]]),
    ("empty tiles only", [_HIDDEN, _HIDDEN]),
]


def _grade_online_softmax(answer: Callable[..., Any]) -> str | None:
    for name, tiles in _ROWS:
        message = _grade_row(answer, name, tiles)
        if message:
            return f"On {name}: {message}"
    return None


def _grade_row(answer: Callable[..., Any], name: str, tiles: list[list[float]]) -> str | None:
    """Feeds one row tile by tile and compares m, ell and o after each."""
    generator = torch.Generator().manual_seed(len(name))
    seen, shown = torch.empty(0).double(), torch.empty(0, 2).double()
    state = (torch.tensor(-math.inf).double(), torch.tensor(0.0).double(), torch.zeros(2).double())
    for tile in tiles:
        s, v = torch.tensor(tile).double(), torch.randn(len(tile), 2, generator=generator).double()
        seen, shown = torch.cat([seen, s]), torch.cat([shown, v])
        result = answer(*(x.clone() for x in state), s.clone(), v.clone())
        if not isinstance(result, Sequence) or len(result) != 3:
            return "return three tensors: m, ell and o."
        if not all(isinstance(x, Tensor) for x in result):
            return "m, ell and o must all be tensors."
        message = _judge((result[0], result[1], result[2]), state, s, seen, shown)
        if message:
            return message
        state = (result[0], result[1], result[2])
    return None


def _judge(
    result: tuple[Tensor, Tensor, Tensor],
    before: tuple[Tensor, Tensor, Tensor],
    s: Tensor,
    seen: Tensor,
    shown: Tensor,
) -> str | None:
    """None for the right state after the scores `seen` with the values `shown`."""
    m, ell, o = result
    if m.shape != () or ell.shape != () or o.shape != (2,):
        shapes = ", ".join(str(tuple(x.shape)) for x in result)
        return f"m, ell, o must have the shapes (), (), (2,), yours have {shapes}."
    if any(bool(x.isnan().any()) for x in result):
        return "NaN. Where m is still −inf, −inf − (−inf) has no value: subtract 0 instead."
    if m != seen.max():
        wrong = "the largest score of this tile" if m == s.max() else "not the largest score so far"
        return f"m is {wrong}; it must be the maximum of the old m and the tile."
    shift = 0.0 if m == -math.inf else m
    powers = (seen - shift).exp()
    if not ell.isfinite() or not o.isfinite().all():
        return "infinite. Take the maximum off before exp: exp(710) is too large for float64."
    if not torch.isclose(ell, powers.sum()):
        new = (s - shift).exp().sum()
        if torch.isclose(ell, before[1] + new):
            return "ell was not rescaled: multiply the old one by exp(old m − new m)."
        if torch.isclose(ell, new):
            return "the old ell is lost: rescale it and add."
        return f"ell is {float(ell):.4g}, expected {float(powers.sum()):.4g}."
    if torch.allclose(o, powers @ shown):
        return None
    if torch.allclose(o, before[2] + (s - shift).exp() @ shown[-len(s) :]):
        return "o was not rescaled: it shrinks by the same factor as ell."
    if ell > 0 and torch.allclose(o, powers @ shown / ell):
        return "o is already divided by ell; divide once, after the last tile."
    return "ell is right, o is not: the old o times the factor, plus the weights times the values."


_SOLUTION = """import torch


def my_online_softmax(m, ell, o, s, v):
    m_new = torch.maximum(m, s.max())
    shift = torch.where(m_new == -torch.inf, 0.0, m_new)
    factor, p = (m - shift).exp(), (s - shift).exp()
    return m_new, ell * factor + p.sum(), o * factor + p @ v
"""


def _wrong(old: str, new: str) -> str:
    assert old in _SOLUTION
    return _SOLUTION.replace(old, new)


# --- the reader's merge -----------------------------------------------------------------------


def _tile_products(seq: int, tile: int, window: int) -> int:
    rows = tile_map(Mask(seq, seq, True, window), tile, tile)
    return sum(len(row) - row.count(".") for row in rows)


def _part(scores: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Average and log-sum-exp of one part; (rows, keys), (keys, d). No key: 0 and -inf."""
    if not len(v):
        return v.new_zeros(len(scores), v.shape[1]), v.new_full((len(scores),), -torch.inf)
    return scores.softmax(-1) @ v, scores.logsumexp(-1)


def _grade_merge(answer: Callable[..., Any]) -> str | None:
    generator = torch.Generator().manual_seed(0)
    scores = 3 * torch.randn(5, 40, generator=generator).double()
    v = torch.randn(40, 4, generator=generator).double()
    cases = [
        (scores, 25, "25 keys and 15 keys"),
        (scores - 1e4, 3, "scores near −10,000"),
        (scores + 1e4, 30, "scores near 10,000"),
        (scores, 0, "the first part has no keys"),
        (scores, 40, "the second part has no keys"),
        (scores[:, :0], 0, "neither part has a key"),
    ]
    for s, cut, name in cases:
        keys = v[: s.shape[1]]
        (a, lse_a), (b, lse_b) = _part(s[:, :cut], keys[:cut]), _part(s[:, cut:], keys[cut:])
        result = answer(a.clone(), lse_a.clone(), b.clone(), lse_b.clone())
        message = _judge_merge(result, *_part(s, keys), (a + b) / 2)
        if message:
            return f"With {name}: {message}"
    return None


def _judge_merge(result: Any, out: Tensor, lse: Tensor, mean: Tensor) -> str | None:
    """None for the right average and log-sum-exp, else what is wrong."""
    if not isinstance(result, tuple | list) or len(result) != 2:
        return "return two tensors, the average and its log-sum-exp."
    if not all(isinstance(x, Tensor) for x in result):
        return "both results must be tensors."
    found, found_lse = result
    if found.shape != out.shape:
        return f"the average has shape {tuple(found.shape)}, expected {tuple(out.shape)}."
    if found.isnan().any() or found_lse.isnan().any():
        return "NaN. Something is inf − inf or 0 / 0: subtract the larger lse before exp."
    if not torch.allclose(found, out, atol=1e-9):
        if torch.allclose(found, mean):
            return "that is the plain mean; a part counts by its share exp(lse_part − lse)."
        return "the average is wrong; do the two shares sum to 1?"
    if found_lse.shape != lse.shape or not torch.allclose(found_lse, lse, atol=1e-9):
        return "the average is right, lse is not: it is the log of the two denominators' sum."
    return None


EXERCISES: list[Exercise] = [
    Number(
        "flash_attention.denominator",
        level="easy",
        hint="After the first tile m = 3 and ℓ = e<sup>1−3</sup> + e<sup>0</sup>. Then 5 arrives.",
        solution=(
            "After the first tile m = 3 and ℓ = 1 + e<sup>−2</sup> = 1.1353. The new maximum is 5, "
            "so ℓ = 1.1353 · e<sup>3−5</sup> + e<sup>0</sup> + e<sup>2−5</sup> = 0.1537 + 1 + "
            "0.0498 = <strong>1.2034</strong>."
        ),
        answer=lambda: _denominator([1.0, 3.0], [5.0, 2.0]),
        tolerance=0.002,
        mistakes=[
            Mistake(1 + math.e**-2 + 1 + math.e**-3, "The old ℓ counts in units of e³: rescale."),
            Mistake((1 + math.e**-2) * math.e**2 + 1 + math.e**-3, "The factor is e^(3−5)."),
            Mistake(1 + math.e**-3, "That is the second tile alone; the first one still counts."),
            Mistake(1 + math.e**-2, "That is ℓ after the first tile."),
        ],
    ),
    Function(
        "flash_attention.online_softmax",
        level="medium",
        hint=(
            "The new m first; then one factor for all that is old, <code>exp(m − m_new)</code>. "
            "While nothing has been seen, m_new is −inf: what may be subtracted instead?"
        ),
        solution=_SOLUTION,
        grader=_grade_online_softmax,
        mistakes=[
            Mistake(_wrong("ell * factor", "ell"), "ell was not rescaled"),
            Mistake(_wrong("o * factor", "o"), "o was not rescaled"),
            Mistake(_wrong("torch.where(m_new == -torch.inf, 0.0, m_new)", "m_new"), "NaN"),
            Mistake(_wrong("torch.maximum(m, s.max())", "s.max()"), "the largest score of this"),
            Mistake(
                _wrong("torch.where(m_new == -torch.inf, 0.0, m_new)", "torch.zeros(())"),
                "expected",
            ),
            Mistake(_wrong("ell * factor + p.sum()", "p.sum()"), "the old ell is lost"),
        ],
    ),
    Number(
        "flash_attention.tile_products",
        level="easy",
        hint=(
            "Take a strip of 128 queries from the middle. Its first query sees 511 keys before "
            "itself: in how many tiles do the strip's keys lie? The first strips have fewer."
        ),
        solution=(
            "Strip i starts at query 128 i. Its first query sees back to key 128 i − 511, which "
            "lies in tile i − 4: five tiles, i − 4 to i. The first four strips have 1, 2, 3 and 4. "
            "28 · 5 + 10 = <strong>150</strong> of 1,024."
        ),
        answer=lambda: _tile_products(4096, 128, 512),
        tolerance=0.5,
        mistakes=[
            Mistake(528, "That is causal without a window."),
            Mistake(1024, "That is every tile; most of them nobody sees into."),
            Mistake(160, "The first four strips have no five tiles to look back on."),
            Mistake(
                122,
                "Four tiles per strip would do if 512 keys always filled whole tiles; the first "
                "query of a strip reaches into a fifth.",
            ),
            Mistake(128, "Five tiles per strip, not four, and fewer in the first strips."),
        ],
    ),
    Function(
        "flash_attention.merge",
        level="medium",
        hint=(
            "The shares are <code>exp(lse_a − top)</code> and <code>exp(lse_b − top)</code>, with "
            "<code>top</code> the larger lse, over their sum. What if both are −inf?"
        ),
        solution="""\
import torch


def my_merge(a, lse_a, b, lse_b):
    top = torch.maximum(lse_a, lse_b)
    top = top.masked_fill(top == -torch.inf, 0)
    share_a, share_b = (lse_a - top).exp(), (lse_b - top).exp()
    total = share_a + share_b
    safe = total.masked_fill(total == 0, 1)[:, None]
    return (a * share_a[:, None] + b * share_b[:, None]) / safe, top + total.log()
""",
        grader=_grade_merge,
        mistakes=[
            Mistake(
                """\
import torch


def my_merge(a, lse_a, b, lse_b):
    return (a + b) / 2, torch.logaddexp(lse_a, lse_b)
""",
                "plain mean",
            ),
            Mistake(
                """\
def my_merge(a, lse_a, b, lse_b):
    share_a, share_b = lse_a.exp(), lse_b.exp()
    total = share_a + share_b
    return (a * share_a[:, None] + b * share_b[:, None]) / total[:, None], total.log()
""",
                "With scores near −10,000: NaN",
            ),
            Mistake(
                """\
import torch


def my_merge(a, lse_a, b, lse_b):
    lse = torch.logaddexp(lse_a, lse_b)
    return a * (lse_a - lse).exp()[:, None] + b * (lse_b - lse).exp()[:, None], lse
""",
                "With neither part has a key: NaN",
            ),
            Mistake(
                """\
import torch


def my_merge(a, lse_a, b, lse_b):
    top = torch.maximum(lse_a, lse_b)
    share_a, share_b = (lse_a - top).exp(), (lse_b - top).exp()
    total = (share_a + share_b)[:, None]
    return (a * share_a[:, None] + b * share_b[:, None]) / total, top
""",
                "the average is right, lse is not",
            ),
        ],
    ),
    Choice(
        "flash_attention.decode_bound",
        level="medium",
        hint=(
            "Count FLOPs per byte: each key is read once and multiplied with how many queries? "
            "An H100 needs about 295 FLOPs per byte to be busy."
        ),
        solution=(
            "Reading the cache. Each number of K and V takes part in 2 FLOPs for each of the 8 "
            "query heads that share it: 16 FLOPs for 2 bytes, 8 per byte, far below what the chip "
            "could do in the time of the read. More splits fill the chip until the memory is busy "
            "all the time; then only fewer bytes help: fewer key/value heads, int8, a window."
        ),
        options=[
            "the arithmetic of the tensor cores",
            "reading the cache from the large memory",
            "the exponentials of the softmax",
            "the number of splits: twice as many would halve the time",
        ],
        answer=1,
        mistakes=[
            Mistake(0, "Eight FLOPs for each byte that is read: the tensor cores wait."),
            Mistake(
                2,
                "One exponential for each key and query head, against 256 numbers of K and V "
                "that have to be read for the key.",
            ),
            Mistake(3, "The splits already occupy the chip; the memory is busy all the time."),
        ],
    ),
]
