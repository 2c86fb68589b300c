"""The exercises of the chapter on position encoding."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from llmlib.book.exercise import Choice, Exercise, Function, Mistake, Number
from llmlib.position_encoding import (
    alibi_slopes,
    convert_rope_layout,
    rope_frequencies,
    rotate,
)


def distance_of_a_thousandth() -> float:
    """Where the fourth of eight heads has divided a key's weight by 1,000."""
    return math.log(1000) / alibi_slopes(8)[3].item()


def pairs_without_a_turn() -> int:
    """Pairs of a head of 128 features whose wavelength exceeds 4,096 positions."""
    return int((2 * math.pi / rope_frequencies(128) > 4096).sum())


def _random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def grade_rotate(mine: Callable[[Tensor, Tensor, Tensor], Tensor]) -> str | None:
    """Compares with llmlib on inputs that separate the usual mistakes."""
    x, positions, theta = (
        _random(5, 8, seed=0),
        torch.tensor([0, 1, 2, 7, 300]),
        rope_frequencies(8),
    )
    out = mine(x.clone(), positions, theta)
    if not isinstance(out, Tensor) or out.shape != x.shape:
        return f"Return a tensor of x's shape, (5, 8); got {getattr(out, 'shape', out)}."
    out = out.double()
    if torch.allclose(out, rotate(x, positions, theta), atol=1e-5):
        return _grade_narrow(mine)
    if torch.allclose(out, rotate(x, positions, theta, "interleaved"), atol=1e-5):
        return "That pairs neighbors. In the half-split layout feature i goes with i + d/2."
    if torch.allclose(out, rotate(x, -positions, theta), atol=1e-5):
        return "You turn the other way: (a, b) becomes (a cos − b sin, a sin + b cos)."
    if not torch.allclose(out[0], x[0], atol=1e-6):
        return "At position 0 nothing turns: cos 0 = 1, sin 0 = 0."
    if not torch.allclose(out.norm(dim=-1), x.norm(dim=-1), atol=1e-5):
        return "A rotation keeps lengths, yours does not. Does each half use both sine and cosine?"
    return "Lengths are right, angles are not: pair i at position p turns by p * theta[i]."


def _grade_narrow(mine: Callable[[Tensor, Tensor, Tensor], Tensor]) -> str | None:
    """The same on bfloat16 vectors at a far position."""
    x, positions = _random(3, 64, seed=1), torch.tensor([4095, 4097, 8191])
    theta = rope_frequencies(64)
    exact = rotate(x, positions, theta)
    out = mine(x.to(torch.bfloat16), positions, theta)
    if (out.double() - exact).abs().max() > 0.1:
        return "Right in float64, wrong for bfloat16 vectors at position 4097: compute the angles "\
            "in float64, whatever x's type."  # fmt: skip
    return None


def grade_convert(mine: Callable[[Tensor, int], Tensor]) -> str | None:
    """Compares scores under both layouts; the message tells which order the rows came in."""
    weight, n_heads = _random(24, 10, seed=2), 3
    out = mine(weight.clone(), n_heads)
    if not isinstance(out, Tensor) or out.shape != weight.shape:
        return f"Return a matrix of weight's shape, (24, 10); got {getattr(out, 'shape', out)}."
    if torch.equal(out, convert_rope_layout(weight, n_heads, "half")):
        return None
    if torch.equal(out, convert_rope_layout(weight, n_heads, "interleaved")):
        return "That is the way back. Row 1 of a head has to come from row 2 of the old one."
    if torch.equal(out, convert_rope_layout(weight, 1, "half")):
        return "You reordered the whole matrix. Each head has its own pairs: split the rows first."
    if torch.equal(out.sort(0).values, weight.sort(0).values):
        if torch.equal(out, weight):
            return "Nothing moved: the two layouts need another order of the rows."
        return "Every row is there, in another order: even rows of a head first, then the odd ones."
    return "Only the order of the rows changes: each row of the answer is a row of weight."


EXERCISES: list[Exercise] = [
    Choice(
        "position_encoding.shuffled",
        level="easy",
        hint="Which of the two, mask or position code, does attention need to tell orders apart?",
        solution=(
            "Without a mask and without positions attention sums over a set: shuffling the tokens "
            "shuffles the outputs, and the sum over them is what it was. The causal mask alone "
            "already breaks this, because the third token sees three tokens and the first sees "
            "one. Recurrent and convolutional networks read in order and need no position code."
        ),
        options=[
            "a bidirectional model with RoPE",
            "a bidirectional model without any position code",
            "a causal model of four layers without any position code",
            "a bidirectional model with learned positions",
        ],
        answer=1,
        mistakes=[
            Mistake(0, "RoPE turns queries and keys by their positions: distances change."),
            Mistake(2, "The mask shows each token another set: from layer 2 on order is seen."),
            Mistake(3, "The table's rows stay at their places when the tokens move."),
        ],
    ),
    Number(
        "position_encoding.thousandth",
        level="medium",
        hint="The bias is added to the score, and softmax takes its exponential.",
        solution=(
            "The factor is exp(−m · distance) = 1/1000, so distance = ln(1000)/m. The fourth of "
            "eight slopes is 2<sup>−4</sup> = 1/16: 6.91 · 16 ≈ 110.5 tokens."
        ),
        answer=distance_of_a_thousandth,
        tolerance=1.0,
        mistakes=[
            Mistake(48, "Softmax uses powers of e: take the natural logarithm, not log10."),
            Mistake(math.log2(1000) * 16, "Softmax uses powers of e, not of 2."),
            Mistake(16000, "The bias is subtracted from the score, before the exponential."),
        ],
    ),
    Number(
        "position_encoding.unturned_pairs",
        level="medium",
        hint="The wavelength of pair i (from 0) is 2π · 10000<sup>2i/128</sup>.",
        solution=(
            "2π · 10000<sup>i/64</sup> &gt; 4096 means i &gt; 64 · ln(651.9)/ln(10000) = 45.03, "
            "so i = 46 … 63: 18 pairs. At position 4,500 they stand at angles that no training "
            "text has shown."
        ),
        answer=pairs_without_a_turn,
        tolerance=0.5,
        mistakes=[
            Mistake(6, "You left out 2π: a turn is 2π radians."),
            Mistake(46, "Those are the pairs that do complete a turn."),
            Mistake(36, "Two features make one pair: there are 64 pairs."),
        ],
    ),
    Function(
        "position_encoding.my_rotate",
        level="medium",
        hint="Split the last axis in two halves a and b; the angles are an outer product.",
        solution="""import torch


def my_rotate(x, positions, theta):
    angles = positions.double()[:, None] * theta.double()  # (seq, pairs)
    cos, sin = angles.cos().float(), angles.sin().float()
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1).to(x.dtype)""",
        grader=grade_rotate,
        mistakes=[
            Mistake(
                """import torch


def my_rotate(x, positions, theta):
    angles = positions[:, None] * theta
    a, b = x[:, 0::2], x[:, 1::2]
    pairs = [a * angles.cos() - b * angles.sin(), a * angles.sin() + b * angles.cos()]
    return torch.stack(pairs, -1).flatten(-2)""",
                "pairs neighbors",
            ),
            Mistake(
                """import torch


def my_rotate(x, positions, theta):
    angles = positions[:, None] * theta
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * angles.cos() + b * angles.sin(),
                      b * angles.cos() - a * angles.sin()], -1)""",
                "the other way",
            ),
            Mistake(
                """import torch


def my_rotate(x, positions, theta):
    angles = (positions[:, None] + 1) * theta
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * angles.cos() - b * angles.sin(),
                      a * angles.sin() + b * angles.cos()], -1)""",
                "At position 0 nothing turns",
            ),
            Mistake(
                """import torch


def my_rotate(x, positions, theta):
    angles = positions[:, None] * theta
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * angles.cos(), b * angles.cos()], -1)""",
                "keeps lengths",
            ),
            Mistake(
                """import torch


def my_rotate(x, positions, theta):
    angles = positions[:, None] * theta.flip(0)
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * angles.cos() - b * angles.sin(),
                      a * angles.sin() + b * angles.cos()], -1)""",
                "angles are not",
            ),
            Mistake(
                """import torch


def my_rotate(x, positions, theta):
    angles = positions.to(x.dtype)[:, None] * theta.to(x.dtype)
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * angles.cos() - b * angles.sin(),
                      a * angles.sin() + b * angles.cos()], -1)""",
                "in float64",
            ),
        ],
    ),
    Function(
        "position_encoding.my_convert",
        level="hard",
        hint="Give the rows the shape (heads, pairs, 2, columns), swap two axes, flatten again.",
        solution="""def my_convert(weight, n_heads):
    pairs = weight.unflatten(0, (n_heads, -1, 2))  # (heads, pairs, 2, columns)
    return pairs.transpose(1, 2).flatten(0, 2)""",
        grader=grade_convert,
        mistakes=[
            Mistake(
                """def my_convert(weight, n_heads):
    return weight.unflatten(0, (n_heads, 2, -1)).transpose(1, 2).flatten(0, 2)""",
                "the way back",
            ),
            Mistake(
                """import torch


def my_convert(weight, n_heads):
    return torch.cat([weight[0::2], weight[1::2]])""",
                "the whole matrix",
            ),
            Mistake(
                """def my_convert(weight, n_heads):
    return weight.clone()""",
                "Nothing moved",
            ),
            Mistake(
                """import torch


def my_convert(weight, n_heads):
    heads = weight.unflatten(0, (n_heads, -1))
    return torch.cat([heads[:, 1::2], heads[:, 0::2]], 1).flatten(0, 1)""",
                "in another order",
            ),
            Mistake(
                """import torch


def my_convert(weight, n_heads):
    columns = torch.cat([torch.arange(0, 10, 2), torch.arange(1, 10, 2)])
    return weight[:, columns]""",
                "Only the order of the rows",
            ),
        ],
    ),
]
