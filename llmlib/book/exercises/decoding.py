"""Exercises of the chapter on decoding."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from llmlib.book.exercise import Exercise, Function, Mistake, Number
from llmlib.sampling import Sampler


def _sharpened() -> float:
    return Sampler(0.5).probabilities(torch.tensor([0.8, 0.2]).log())[0].item()


def _two_right() -> float:
    """A step whose odds are true: a draw is right where draw and truth agree."""
    p = Sampler().probabilities(torch.tensor([0.9, 0.1]).double().log())
    return float((p.double() ** 2).sum() ** 20)


def _half_right() -> float:
    """T with sigmoid(ln 9 / T) ** 20 = 1/2."""
    step = 0.5 ** (1 / 20)
    return math.log(9) / math.log(step / (1 - step))


def _grade_top_p(answer: Callable[..., Any]) -> str | None:
    p = torch.tensor([0.05, 0.4, 0.1, 0.3, 0.15], dtype=torch.float64)
    for top_p, keep in ((0.65, [1, 3]), (0.75, [1, 3, 4]), (0.2, [1]), (1.0, [0, 1, 2, 3, 4])):
        expected = torch.zeros_like(p)
        expected[keep] = p[keep] / p[keep].sum()
        result = answer(p.clone(), top_p)
        if not isinstance(result, Tensor) or result.shape != p.shape:
            return "Return a tensor with a probability for each token, in the order of p."
        if torch.allclose(result.double(), expected):
            continue
        message = _top_p_message(result.double(), p, expected)
        return message.replace("TOP_P", f"{top_p:g}")
    return None


def _top_p_message(result: Tensor, p: Tensor, expected: Tensor) -> str:
    kept, wanted = result > 0, expected > 0
    if torch.equal(kept, wanted):
        return "The right tokens are kept, but the result must sum to 1 again: normalize."
    if not bool(kept.any()):
        return "With top_p = TOP_P nothing is kept; the most probable token always stays."
    if int(kept.sum()) < int(wanted.sum()) and bool((wanted | ~kept).all()):
        return (
            "With top_p = TOP_P you stop too early: the token that takes the sum over the "
            "threshold belongs to those that are kept."
        )
    if float(p[kept].min()) > 0 and torch.equal(kept.sum(), wanted.sum()):
        return "The number kept is right, but not the most probable ones: undo the sorting."
    return "With top_p = TOP_P you keep other tokens. Sort by probability, then add up."


EXERCISES: list[Exercise] = [
    Number(
        "decoding.temperature",
        level="easy",
        hint="Dividing logits by T raises probabilities to the power 1/T; then normalize.",
        solution=(
            "1/T = 2: 0.8<sup>2</sup> = 0.64 and 0.2<sup>2</sup> = 0.04. Normalized: "
            "0.64 / 0.68 = <strong>0.941</strong>."
        ),
        answer=_sharpened,
        tolerance=0.001,
        mistakes=[
            Mistake(0.64, "Squared, but not normalized: divide by 0.64 + 0.04."),
            Mistake(2 / 3, "That is T = 2, the square root: below 1 a temperature sharpens."),
            Mistake(0.8, "The temperature changes the distribution, unless it is 1."),
            Mistake(
                math.exp(1.6) / (math.exp(1.6) + math.exp(0.4)),
                "You divided the probabilities by T; it divides the logits, their logarithms.",
            ),
        ],
    ),
    Number(
        "decoding.true_odds",
        level="medium",
        hint=(
            "At one step the truth is token 1 in 90% of the cases, and your draw is token 1 in 90% "
            "of the cases, whatever the truth is. How often do they agree?"
        ),
        solution=(
            "They agree with probability 0.9 · 0.9 + 0.1 · 0.1 = 0.82, and 20 times with "
            "0.82<sup>20</sup> = <strong>0.0189</strong>. Greedy: 0.9<sup>20</sup> = 0.122."
        ),
        answer=_two_right,
        tolerance=0.0005,
        mistakes=[
            Mistake(0.9**20, "That is greedy: it is right where the truth is token 1 each time."),
            Mistake(
                0.81**20, "The truth may be token 2, and so may your draw: 0.1 · 0.1 is missing."
            ),
            Mistake(0.82, "That is one step; the chain has 20."),
        ],
    ),
    Function(
        "decoding.top_p",
        level="medium",
        hint=(
            "Sort from high to low and add up. A token stays when those before it hold less "
            "than <code>top_p</code>."
        ),
        solution="""\
import torch


def my_top_p(p, top_p):
    ordered, order = p.sort(descending=True)
    before = ordered.cumsum(0) - ordered
    kept = torch.zeros_like(p)
    kept[order] = ordered * (before < top_p)
    return kept / kept.sum()
""",
        grader=_grade_top_p,
        mistakes=[
            Mistake(
                "import torch\n"
                "def f(p, top_p):\n"
                "    ordered, order = p.sort(descending=True)\n"
                "    kept = torch.zeros_like(p)\n"
                "    kept[order] = ordered * (ordered.cumsum(0) <= top_p)\n"
                "    return kept / kept.sum()\n",
                "stop too early",
            ),
            Mistake(
                "import torch\n"
                "def f(p, top_p):\n"
                "    ordered, order = p.sort(descending=True)\n"
                "    kept = torch.zeros_like(p)\n"
                "    kept[order] = ordered * (ordered.cumsum(0) - ordered < top_p)\n"
                "    return kept\n",
                "normalize",
            ),
            Mistake(
                "import torch\n"
                "def f(p, top_p):\n"
                "    ordered, _ = p.sort(descending=True)\n"
                "    kept = ordered * (ordered.cumsum(0) - ordered < top_p)\n"
                "    return kept / kept.sum()\n",
                "undo the sorting",
            ),
        ],
    ),
    Number(
        "decoding.half_right",
        level="hard",
        hint=(
            "Each step must be right with probability 0.5<sup>1/20</sup>. At temperature T the "
            "odds 9 : 1 become 9<sup>1/T</sup> : 1."
        ),
        solution=(
            "0.5<sup>1/20</sup> = 0.96594, that is odds of 28.36 : 1. "
            "9<sup>1/T</sup> = 28.36 gives T = ln 9 / ln 28.36 = <strong>0.66</strong>."
        ),
        answer=_half_right,
        tolerance=0.006,
        mistakes=[
            Mistake(1.52, "That is 1/T: the chain must be surer than at T = 1, so T is below 1."),
            Mistake(0.5, "At 0.5 the chain is right in 78% of the cases."),
            Mistake(1, "At 1 it is right in 12% of the cases."),
        ],
    ),
]
