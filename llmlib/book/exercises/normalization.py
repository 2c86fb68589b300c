"""The exercises of the chapter on normalization."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from llmlib.book.exercise import Choice, Exercise, Function, Mistake, Number
from llmlib.book.labs.normalization import (
    NoNorm,
    random_tokens,
    stream_std_by_layer,
    toy_decoder,
    with_norms,
)
from llmlib.normalization import RMSNorm, layer_norm, rms_norm


def variance_of_sum() -> float:
    """Var[x + F(x)] for vectors of standard deviation 3 and 2 whose correlation is exactly -0.5."""
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 64, generator=generator, dtype=torch.float64)
    x = layer_norm(a, None, None, eps=0.0)
    other = layer_norm(b - (b @ x) / (x @ x) * x, None, None, eps=0.0)  # uncorrelated with x
    update = -0.5 * x + math.sqrt(0.75) * other
    return (3 * x + 2 * update).var(correction=0).item()


def llama_norm_parameters() -> int:
    """LLaMA-65B: two RMSNorms in each of 80 layers of width 8192, and a final one."""
    return (2 * 80 + 1) * sum(p.numel() for p in RMSNorm(8192).parameters())


def stream_without_norms(n_layers: int) -> float:
    """log10 of the residual stream's standard deviation after n_layers without any norm."""
    logs = []
    for seed in range(3):
        model = toy_decoder(256, 64, 4, n_layers, seq=32, seed=seed, dtype=torch.float64)
        with_norms(model, NoNorm)
        logs.append(math.log10(stream_std_by_layer(model, random_tokens(256, 8, 32, seed))[-1]))
    return sum(logs) / len(logs)


def _random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _unit_rows(mine: Callable[[Tensor, Tensor, float], Tensor], x: Tensor, one: Tensor) -> bool:
    """Whether every vector of mine(x) has mean square 1; False where x's shape makes it raise."""
    try:
        out = mine(x.clone(), one, 1e-6)
    except (IndexError, RuntimeError):
        return False
    return out.shape == x.shape and bool((out.square().mean(-1) - 1).abs().max() < 1e-3)


def grade_rms_norm(mine: Callable[[Tensor, Tensor, float], Tensor]) -> str | None:
    """Compares with llmlib on inputs that separate the usual mistakes."""
    x, one = _random(3, 8, seed=0) + 1, torch.ones(8, dtype=torch.float64)
    out = mine(x.clone(), one, 1e-6)
    if not isinstance(out, Tensor) or out.shape != x.shape:
        return f"Return a tensor of x's shape, (3, 8); got {getattr(out, 'shape', out)}."
    if (out.mean(-1)).abs().max() < 1e-6:
        return "You subtracted the mean: that is LayerNorm. RMSNorm leaves the mean in."
    size = out.square().mean(-1)
    if (size - 1 / 8).abs().max() < 1e-3:
        return "You divided by the root of the sum of squares. Take their mean."
    if (size - 1).abs().max() > 1e-3:
        per_batch = (out.square().mean() - 1).abs() < 1e-3
        if per_batch or (out.square().mean(0) - 1).abs().max() < 1e-3:
            return "Average over the last axis only (dim=-1, keepdim=True): each row has its own."
        return "Each row of the output should have mean square 1. Is there one square root?"
    for shape in ((2, 3, 8), (8,)):
        if not _unit_rows(mine, _random(*shape, seed=4), one):
            return f"Wrong for an input of shape {shape}: average over dim=-1, however many axes."
    weight = _random(8, seed=1)
    if not torch.allclose(mine(x.clone(), weight, 1e-6), rms_norm(x, weight)):
        return "The weight is not applied: multiply feature by feature, after the division."
    small, eps = 1e-3 * x, 1e-5
    if not torch.allclose(mine(small, one, eps), rms_norm(small, one, eps), rtol=1e-6):
        return "Small inputs differ: eps belongs inside the square root, added to the mean square."
    half = torch.tensor([[300.0, -300.0]], dtype=torch.float16)
    if mine(half, torch.ones(2, dtype=torch.float16), 1e-6).abs().min() < 0.9:
        return "300 squared is infinite in float16: compute the statistics in float32."
    return None


def grade_layer_norm_gradient(mine: Callable[[Tensor, Tensor], Tensor]) -> str | None:
    """Compares with autograd; the message tells which projection is missing."""
    x = (3 * _random(4, 16, seed=2) + 1).requires_grad_()
    upstream = _random(4, 16, seed=3) + 0.5
    (true,) = torch.autograd.grad(layer_norm(x, None, None, eps=0.0), x, upstream)
    x = x.detach()
    grad = mine(x.clone(), upstream.clone())
    if not isinstance(grad, Tensor) or grad.shape != x.shape:
        return f"Return a tensor of x's shape, (4, 16); got {getattr(grad, 'shape', grad)}."
    grad = grad.double()  # a solution in float32 is right, too
    if torch.allclose(grad, true, atol=1e-5):
        return None
    sigma = x.std(-1, correction=0, keepdim=True)
    if torch.allclose(grad, sigma * true, atol=1e-5):
        return "The direction is right; divide by sigma."
    if grad.sum(-1).abs().max() > 1e-4:
        return "The features of the gradient must sum to 0: subtract the mean of the upstream one."
    if (grad * (x - x.mean(-1, keepdim=True))).sum(-1).abs().max() > 1e-4:
        return "The part along the normalized vector is missing: scaling x must change nothing."
    return "Orthogonal to both directions, but not equal to autograd's gradient."


EXERCISES: list[Exercise] = [
    Number(
        "normalization.variance_of_sum",
        level="easy",
        hint="Expand the square of a sum.",
        solution=(
            "Var[x + F(x)] = σ<sub>1</sub><sup>2</sup> + σ<sub>2</sub><sup>2</sup> + "
            "2ρσ<sub>1</sub>σ<sub>2</sub> = 9 + 4 − 2 · ½ · 3 · 2 = 7. The block adds a vector "
            "and leaves a smaller one, because F(x) points partly against x."
        ),
        answer=variance_of_sum,
        tolerance=0.005,
        mistakes=[
            Mistake(10, "You counted the covariance once. (a + b)<sup>2</sup> holds 2ab."),
            Mistake(13, "That is the answer for uncorrelated vectors, ρ = 0."),
            Mistake(19, "The correlation is negative: its term makes the variance smaller."),
            Mistake(math.sqrt(7), "That is the standard deviation; the question is the variance."),
        ],
    ),
    Number(
        "normalization.stream_without_norms",
        level="medium",
        hint="Without norms each layer multiplies the size by about the same factor.",
        solution=(
            "Growth by a constant factor: twice the layers square the factor, so the logarithm "
            "doubles, from 3.5 to about 7. Float16 ends at 65,504, a logarithm of 4.8."
        ),
        answer=lambda: stream_without_norms(48),
        tolerance=0.6,
        mistakes=[
            Mistake(3.7, "That doubles the size itself. The size is multiplied layer by layer."),
            Mistake(3.5**2, "That squares the logarithm; the size is squared."),
        ],
    ),
    Choice(
        "normalization.gradients_and_depth",
        level="medium",
        hint="The Jacobian of the final norm holds 1/σ. Which σ, and how does it depend on L?",
        solution=(
            "Every sub-layer adds about the same variance, so the stream's variance grows as L and "
            "its size σ as √L. The final norm divides by that σ, and its Jacobian multiplies what "
            "flows back by 1/σ: 1/√L. Under post-norm the stream has size 1 at every depth."
        ),
        options=[
            "they do not: the final norm hands the head a vector of size 1 at every depth",
            "they fall as 1/√L: the final norm's Jacobian holds 1/σ, and σ grows as √L",
            "they fall as 1/L: the final norm's Jacobian holds 1/σ², and σ² grows as L",
            "they grow as √L: the stream that the final norm reads grows as √L",
        ],
        answer=1,
        mistakes=[
            Mistake(0, "Its output has size 1. Backward, its Jacobian counts, and that holds 1/σ."),
            Mistake(2, "The norm divides by the standard deviation, not by the variance."),
            Mistake(3, "A norm turns a large input into a small gradient: look at its Jacobian."),
        ],
    ),
    Number(
        "normalization.llama_norm_parameters",
        level="medium",
        hint="Two norms a layer and one before the head; an RMSNorm has a gain and no shift.",
        solution=(
            "(2 · 80 + 1) norms · 8,192 numbers = 1,318,912: 0.002% of 65 billion. LayerNorm would "
            "hold twice that and still be no burden: norms are not what makes a model large."
        ),
        answer=llama_norm_parameters,
        tolerance=0.5,
        mistakes=[
            Mistake(2 * 80 * 8192, "The final norm before the head is missing."),
            Mistake((2 * 80 + 1) * 2 * 8192, "That is LayerNorm; an RMSNorm has no shift."),
            Mistake(81 * 8192, "Each layer has two norms: one for each sub-layer."),
        ],
    ),
    Function(
        "normalization.my_rms_norm",
        level="medium",
        hint="Three lines: mean of squares over the last axis, divide by its root, multiply.",
        solution="""def my_rms_norm(x, weight, eps):
    wide = x.float() if x.element_size() < 4 else x  # not in 16 bits
    mean_square = wide.square().mean(dim=-1, keepdim=True)
    return (wide / (mean_square + eps).sqrt()).to(x.dtype) * weight""",
        grader=grade_rms_norm,
        mistakes=[
            Mistake(
                """def my_rms_norm(x, weight, eps):
    centered = x - x.mean(-1, keepdim=True)
    return centered / (centered.square().mean(-1, keepdim=True) + eps).sqrt() * weight""",
                "subtracted the mean",
            ),
            Mistake(
                """def my_rms_norm(x, weight, eps):
    return x / (x.square().sum(-1, keepdim=True) + eps).sqrt() * weight""",
                "root of the sum",
            ),
            Mistake(
                """def my_rms_norm(x, weight, eps):
    return x / (x.square().mean() + eps).sqrt() * weight""",
                "over the last axis only",
            ),
            Mistake(
                """def my_rms_norm(x, weight, eps):
    wide = x.float() if x.element_size() < 4 else x
    y = wide / (wide.square().mean(1, keepdim=True) + eps).sqrt()
    return y.to(x.dtype) * weight""",
                "however many axes",
            ),
            Mistake(
                """def my_rms_norm(x, weight, eps):
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt().sqrt() * weight""",
                "one square root",
            ),
            Mistake(
                """def my_rms_norm(x, weight, eps):
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt()""",
                "weight is not applied",
            ),
            Mistake(
                """def my_rms_norm(x, weight, eps):
    return x / (x.square().mean(-1, keepdim=True).sqrt() + eps) * weight""",
                "eps belongs inside",
            ),
            Mistake(
                """def my_rms_norm(x, weight, eps):
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * weight""",
                "in float32",
            ),
        ],
    ),
    Function(
        "normalization.my_layer_norm_gradient",
        level="hard",
        hint="Apply the Jacobian of this chapter to the upstream gradient; no matrix is needed.",
        solution="""def my_layer_norm_gradient(x, upstream):
    centered = x - x.mean(-1, keepdim=True)
    sigma = centered.square().mean(-1, keepdim=True).sqrt()
    unit = centered / sigma
    along_ones = upstream.mean(-1, keepdim=True)
    along_unit = (upstream * unit).mean(-1, keepdim=True) * unit
    return (upstream - along_ones - along_unit) / sigma""",
        grader=grade_layer_norm_gradient,
        mistakes=[
            Mistake(
                """def my_layer_norm_gradient(x, upstream):
    sigma = x.std(-1, correction=0, keepdim=True)
    unit = (x - x.mean(-1, keepdim=True)) / sigma
    return (upstream - (upstream * unit).mean(-1, keepdim=True) * unit) / sigma""",
                "must sum to 0",
            ),
            Mistake(
                """def my_layer_norm_gradient(x, upstream):
    sigma = x.std(-1, correction=0, keepdim=True)
    return (upstream - upstream.mean(-1, keepdim=True)) / sigma""",
                "along the normalized vector is missing",
            ),
            Mistake(
                """def my_layer_norm_gradient(x, upstream):
    sigma = x.std(-1, correction=0, keepdim=True)
    unit = (x - x.mean(-1, keepdim=True)) / sigma
    along = (upstream * unit).mean(-1, keepdim=True) * unit
    return upstream - upstream.mean(-1, keepdim=True) - along""",
                "divide by sigma",
            ),
        ],
    ),
]
