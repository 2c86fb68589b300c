"""Exercises of the chapter on what a large language model is."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from llmlib.book.exercise import Choice, Exercise, Function, Mistake, Number
from llmlib.training import next_token_loss


def _grade_loss(answer: Callable[..., Any]) -> str | None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(7, 11, generator=generator, dtype=torch.float64)
    ids = torch.randint(11, (7,), generator=generator)
    result = answer(logits, ids)
    if not isinstance(result, Tensor | float):
        return f"Return one number; your function returned {type(result).__name__}."
    result = torch.as_tensor(result, dtype=torch.float64)
    if result.numel() != 1:
        return f"Return the mean, one number; yours has shape {tuple(result.shape)}."
    expected = next_token_loss(logits[:-1], ids[1:])
    log_p = logits.log_softmax(-1)
    wrong = {
        "You asked each position for its own token. The answer to position t is token t + 1.": (
            next_token_loss(logits, ids)
        ),
        "The shift goes the other way: logits[t] predicts ids[t + 1].": next_token_loss(
            logits[1:], ids[:-1]
        ),
        "The sign: a surprise is minus the logarithm, and never negative.": -expected,
        "That is the sum; divide by the number of predictions.": expected * (len(ids) - 1),
        "There are s − 1 predictions: the last position has no answer.": (
            expected * (len(ids) - 1) / len(ids)
        ),
        "The logits are not probabilities yet: apply the softmax first.": (
            -logits[range(6), ids[1:]].mean()
        ),
        "Take the logarithm of the probability, not the probability itself.": (
            -log_p[range(6), ids[1:]].exp().mean()
        ),
    }
    if torch.allclose(result, expected):
        large = answer(logits + 1000, ids)
        if not torch.allclose(torch.as_tensor(large, dtype=torch.float64), expected):
            return "Right, but large logits overflow: take the row's maximum off before exp."
        return None
    for message, value in wrong.items():
        if torch.allclose(result, value):
            return message
    return "The number is wrong. Compute log-probabilities, pick the right ones, average."


EXERCISES: list[Exercise] = [
    Number(
        "overview.training_flops",
        level="easy",
        hint="Six FLOPs for each parameter and each token.",
        solution=(
            "6 · 8·10<sup>9</sup> · 15·10<sup>12</sup> = 7.2·10<sup>23</sup>, "
            "so <strong>7.2</strong> in these units."
        ),
        answer=lambda: 6 * 8e9 * 15e12 / 1e23,
        tolerance=0.05,
        mistakes=[
            Mistake(2.4, "2ND is the forward pass alone; the backward pass costs twice as much."),
            Mistake(4.8, "4ND is the backward pass alone; the forward pass adds 2ND."),
            Mistake(1.2, "N · D counts no operations: each weight takes six FLOPs a token."),
            Mistake(7.2e23, "Right, but give it in units of 10<sup>23</sup>."),
        ],
    ),
    Choice(
        "overview.closed_model",
        level="easy",
        hint="A belief that everybody shares is not a publication.",
        solution=(
            "<strong>None.</strong> Neither sizes nor design choices of Claude have been "
            "published. GPT-2 and LLaMA-7B: all four cells each."
        ),
        options=["none", "one: the norm", "three, all but the count", "all four"],
        answer=0,
        mistakes=[
            Mistake(1, "Which document says so? The norm has not been published."),
            Mistake(2, "Widely believed is not published: no public source gives these three."),
            Mistake(3, "No public source gives a parameter count, nor the design."),
        ],
    ),
    Number(
        "overview.books_epochs",
        level="medium",
        hint="Tokens drawn from the source, over tokens in it.",
        solution="500 · 0.08 / 12 = <strong>3.33</strong> times; with 300 billion it is 2.",
        answer=lambda: 500 * 0.08 / 12,
        tolerance=0.05,
        mistakes=[
            Mistake(2.0, "That is the real run, with 300 billion tokens."),
            Mistake(0.3, "The other way round: drawn over available."),
            Mistake(40.0, "40 billion tokens are drawn; how often is that the 12 billion?"),
        ],
    ),
    Number(
        "overview.needed_accuracy",
        level="medium",
        hint="Invert p<sup>20</sup> = 0.5.",
        solution=(
            "p = 0.5<sup>1/20</sup> = <strong>0.966</strong>. The model that scores 0.12 has "
            "p = 0.12<sup>1/20</sup> = 0.899: seven points of p are the whole jump."
        ),
        answer=lambda: 0.5 ** (1 / 20),
        tolerance=0.001,
        mistakes=[
            Mistake(0.899, "That is p at the score 0.12; the question asks for 0.5."),
            Mistake(
                0.975,
                "One minus 0.5/20 is only the first term: p must satisfy p<sup>20</sup> = 0.5.",
            ),
            Mistake(0.025, "0.5 / 20 adds errors up; probabilities multiply."),
        ],
    ),
    Function(
        "overview.next_token_loss",
        level="medium",
        hint="Drop the last row of logits and the first id; then log-softmax and pick.",
        solution="""\
import torch


def my_next_token_loss(logits, ids):
    logits, answers = logits[:-1], ids[1:]
    logits = logits - logits.max(dim=-1, keepdim=True).values
    log_p = logits - logits.exp().sum(dim=-1, keepdim=True).log()
    return -log_p[torch.arange(len(answers)), answers].mean()
""",
        grader=_grade_loss,
        mistakes=[
            Mistake(
                "def f(logits, ids):\n"
                "    return -logits.log_softmax(-1)[range(len(ids)), ids].mean()\n",
                "token t + 1",
            ),
            Mistake(
                "def f(logits, ids):\n"
                "    return logits[:-1].log_softmax(-1)[range(len(ids) - 1), ids[1:]].mean()\n",
                "never negative",
            ),
            Mistake(
                "def f(logits, ids):\n"
                "    return -logits[:-1].log_softmax(-1)[range(len(ids) - 1), ids[1:]].sum()\n",
                "divide",
            ),
            Mistake(
                "def f(logits, ids):\n"
                "    p = logits[:-1].exp() / logits[:-1].exp().sum(-1, keepdim=True)\n"
                "    return -p[range(len(ids) - 1), ids[1:]].log().mean()\n",
                "overflow",
            ),
        ],
    ),
]
