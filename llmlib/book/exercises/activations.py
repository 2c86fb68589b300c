"""Exercises of the chapter on activations."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import llmlib.architecture as arch
from llmlib.accounting import parameters
from llmlib.activations import matched_ffn_dim, swiglu, swish
from llmlib.book.exercise import Choice, Exercise, Function, Mistake, Number
from llmlib.model_cards import card

SWISH_DIP = 0.2784645427610738  # W(1/e), Lambert's function: Swish's minimum is -W(1/e)/beta


def _lowest_point_for_four() -> float:
    x = torch.linspace(-3, 0, 300_001, dtype=torch.float64)
    return float(x[swish(x, 4.0).argmin()])


def _half_of_the_flops() -> float:
    """s with ffn = projections + 4 s d, in FLOPs a token."""
    c = card("Mistral-7B-v0.1").config
    heads = c.block.mixer
    assert isinstance(heads, arch.Attention)
    projections = 2 * c.dim * (heads.n_heads + heads.n_kv_heads) * heads.head_dim
    feed_forward = parameters(c)["feed_forward"] // c.n_layers
    return (2 * feed_forward - 2 * projections) / (4 * c.dim)


def _grade_swiglu(answer: Callable[..., Any]) -> str | None:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    x, w1, v, w2 = draw(2, 3, 4), draw(4, 6), draw(4, 6), draw(6, 4)
    gate, value = x @ w1, x @ v
    result = answer(x, w1, v, w2)
    if not isinstance(result, Tensor):
        return f"Return a tensor; your function returned {type(result).__name__}."
    if result.shape == gate.shape:
        return "The result still has the hidden width d_ff: multiply by W2 to come back to d."
    if result.shape != x.shape:
        return f"The result must have x's shape {tuple(x.shape)}, yours has {tuple(result.shape)}."
    wrong = {
        "Gate and value are exchanged: Swish belongs on xW1, the value xV stays as it is.": swiglu(
            value, gate
        ),
        "That is GLU: the gate needs Swish, z times sigmoid(z), not the sigmoid alone.": (
            torch.sigmoid(gate) * value
        ),
        "You applied Swish to the value too; only the gate is bent.": swish(gate) * swish(value),
        "Gate and value must be multiplied, not added.": swish(gate) + value,
    }
    if torch.allclose(result, swiglu(gate, value) @ w2):
        return None
    for message, hidden in wrong.items():
        if torch.allclose(result, hidden @ w2):
            return message
    return "The shape is right, the numbers are not. Compute xW1 and xV and check each step."


def _grade_slope(answer: Callable[..., Any]) -> str | None:
    x = torch.linspace(-4, 4, 33, dtype=torch.float64)
    for beta in (1.0, 2.5):
        leaf = x.clone().requires_grad_()
        expected = torch.autograd.grad(swish(leaf, beta).sum(), leaf)[0]
        result = answer(x, beta)
        if not isinstance(result, Tensor) or result.shape != x.shape:
            return "Return one slope for each x: a tensor of x's shape."
        s = torch.sigmoid(beta * x)
        if torch.allclose(result, s) or torch.allclose(result, beta * s * (1 - s)):
            return "The product rule has two terms: the step itself, and x times the step's slope."
        if torch.allclose(result, expected):
            continue
        if torch.allclose(result, s + x * s * (1 - s)):
            return "Right for beta = 1. The chain rule brings a factor beta into the second term."
        return f"For beta = {beta:g} the slopes differ from what autograd finds."
    return None


EXERCISES: list[Exercise] = [
    Number(
        "activations.lowest_point",
        level="easy",
        hint="Substitute z = βx: in z the lowest point is the same for every β.",
        solution=(
            "Setting the derivative to zero gives βx = −(1 + W(1/e)) = −1.278465. "
            "With β = 4: x = −1.278465 / 4 = <strong>−0.320</strong>. "
            "The value there is −0.278465 / 4 = −0.070."
        ),
        answer=_lowest_point_for_four,
        tolerance=0.002,
        mistakes=[
            Mistake(-(1 + SWISH_DIP), "That is the place for β = 1. How does β scale the x axis?"),
            Mistake(-SWISH_DIP / 4, "That is the value at the minimum; the question is for x."),
            Mistake(-4 * (1 + SWISH_DIP), "A larger β pulls the minimum towards zero: divide."),
            Mistake((1 + SWISH_DIP) / 4, "The dip lies left of zero: mind the sign."),
        ],
    ),
    Choice(
        "activations.bounded_below",
        level="easy",
        hint="Look for the one whose output has a factor that can be any number.",
        solution=(
            "The GLU. With W = 0 the gate is ½ and the output <em>x</em>V/2, which can be any "
            "number: with V = 1 and <em>x</em> = −3000 it is −1500. ReLU is never below 0, Swish "
            "with β = 1 never below −0.278, and the sigmoid gate alone never below 0."
        ),
        options=[
            "ReLU of x",
            "Swish of x with β = 1",
            "the gate of a GLU, sigmoid(xW)",
            "a GLU, sigmoid(xW) times xV",
        ],
        answer=3,
        mistakes=[
            Mistake(0, "ReLU is max(0, x): it is never negative."),
            Mistake(1, "Swish dips below zero, but only to −0.278."),
            Mistake(2, "A sigmoid lies between 0 and 1."),
        ],
    ),
    Number(
        "activations.size_swiglu",
        level="medium",
        hint="Three matrices of width w must hold what two of width 8192 hold.",
        solution=(
            "3·2048·w = 2·2048·8192 gives w = 5461.33. The next multiple of 128 is "
            "43·128 = <strong>5504</strong>."
        ),
        answer=lambda: matched_ffn_dim(8192, multiple_of=128),
        tolerance=0.5,
        mistakes=[
            Mistake(5461, "Right before rounding; now go up to a multiple of 128."),
            Mistake(5462, "Right before rounding; now go up to a multiple of 128."),
            Mistake(5376, "You rounded down: 42·128. The rule rounds up."),
            Mistake(8192, "At the same width the gated block has 1.5 times the parameters."),
            Mistake(4096, "Not half: three matrices share what two had, so two thirds."),
            Mistake(5632, "That is the next multiple of 256; the question asks for 128."),
        ],
    ),
    Function(
        "activations.write_swiglu",
        level="medium",
        hint="Two products with x, Swish on the first, an element-wise product, then W2.",
        solution="""\
import torch


def my_swiglu_block(x, W1, V, W2):
    gate = x @ W1
    value = x @ V
    return (gate * torch.sigmoid(gate) * value) @ W2
""",
        grader=_grade_swiglu,
        mistakes=[
            Mistake(
                "import torch\n"
                "def f(x, W1, V, W2):\n"
                "    g, v = x @ W1, x @ V\n"
                "    return (g * (v * torch.sigmoid(v))) @ W2\n",
                "exchanged",
            ),
            Mistake(
                "import torch\n"
                "def f(x, W1, V, W2):\n    return (torch.sigmoid(x @ W1) * (x @ V)) @ W2\n",
                "That is GLU",
            ),
            Mistake(
                "import torch\n"
                "def f(x, W1, V, W2):\n    g = x @ W1\n    return g * torch.sigmoid(g) * (x @ V)\n",
                "hidden width",
            ),
            Mistake(
                "import torch\n"
                "def f(x, W1, V, W2):\n"
                "    g = x @ W1\n"
                "    return (g * torch.sigmoid(g) + x @ V) @ W2\n",
                "not added",
            ),
        ],
    ),
    Function(
        "activations.write_slope",
        level="medium",
        hint="Product rule, then chain rule; the slope of σ(z) is σ(z)(1 − σ(z)).",
        solution="""\
import torch


def my_swish_slope(x, beta):
    s = torch.sigmoid(beta * x)
    return s + beta * x * s * (1 - s)
""",
        grader=_grade_slope,
        mistakes=[
            Mistake(
                "import torch\ndef f(x, beta):\n    return torch.sigmoid(beta * x)\n", "two terms"
            ),
            Mistake(
                "import torch\n"
                "def f(x, beta):\n"
                "    s = torch.sigmoid(beta * x)\n"
                "    return s + x * s * (1 - s)\n",
                "factor beta",
            ),
            Mistake("def f(x, beta):\n    return 0.5\n", "tensor of x's shape"),
        ],
    ),
    Number(
        "activations.half_of_the_flops",
        level="hard",
        hint="Count two FLOPs a weight on each side.",
        solution=(
            "FFN: 2·3·3.5 d² = 21 d² FLOPs a token. Projections: 2·2.5 d² = 5 d². "
            "21 d² = 5 d² + 4sd gives s = 4d = <strong>16,384</strong>. A wider FFN and "
            "narrower keys push the balance from 2d to 4d."
        ),
        answer=_half_of_the_flops,
        tolerance=0.5,
        mistakes=[
            Mistake(8192, "2d is the classic block's answer. Count two FLOPs for each weight."),
            Mistake(21504, "You left the projections out: 21d² = 4sd."),
            Mistake(26624, "The projections stand on attention's side: subtract, do not add."),
        ],
    ),
]
