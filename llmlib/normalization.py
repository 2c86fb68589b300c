"""LayerNorm, RMSNorm, and the two places in a residual block where they stand.

The module reads as the chapter does: the formulas as functions, the modules that own the learned
gain and shift, then pre-norm and post-norm blocks. It does not fuse anything: PyTorch's own kernels
do that, and the tests hold these functions equal to them.
"""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn


def layer_norm(
    x: Float[Tensor, "*batch dim"],
    weight: Float[Tensor, " dim"] | None,
    bias: Float[Tensor, " dim"] | None,
    eps: float = 1e-5,
) -> Float[Tensor, "*batch dim"]:
    """Center the last axis, divide it by its standard deviation, then apply gain and shift.

    y = (x - mu) / sqrt(sigma^2 + eps) * weight + bias,  mu = mean(x),  sigma^2 = mean((x - mu)^2)

    Statistics, gain and shift are computed in float32 for 16-bit input (float64 stays float64) and
    rounded to the type of ``x`` once, at the end, as PyTorch does. NaN spoils its own row only; a
    row with an infinity has no finite mean and becomes NaN; beyond about 1e19 the squares of
    float32 overflow and the row becomes beta.

    Args:
        x: activations, normalized over the last axis.
        weight: gain gamma, one number a feature; None means 1.
        bias: shift beta, one number a feature; None means 0.
        eps: added to the variance inside the one square root; finite, not negative.

    Raises:
        TypeError: ``x``, ``weight`` or ``bias`` is not a floating-point tensor.
        ValueError: no features, a weight of another shape than (dim,), or an impossible eps.

    Source: ba2016layernorm
    """
    _check_input(x, eps, weight=weight, bias=bias)
    wide = x.to(_statistics_dtype(x))
    centered = wide - wide.mean(dim=-1, keepdim=True)
    # mean((x - mu)^2), not mean(x^2) - mu^2: the difference of two large numbers loses all digits.
    variance = centered.square().mean(dim=-1, keepdim=True)
    y = centered * torch.rsqrt(variance + eps)
    if weight is not None:
        y = y * weight
    if bias is not None:
        y = y + bias
    return y.to(x.dtype)


def rms_norm(
    x: Float[Tensor, "*batch dim"],
    weight: Float[Tensor, " dim"] | None,
    eps: float = 1e-6,
) -> Float[Tensor, "*batch dim"]:
    """Divide the last axis by its root mean square, then apply the gain.

    y = x / sqrt(mean(x^2) + eps) * weight

    The order of casts is Llama's: normalize in float32 (float64 stays float64), round to the type
    of ``x``, then multiply by the weight. A float32 weight therefore makes the result float32.
    NaN spoils its own row only; an infinity becomes NaN and the features beside it 0; beyond about
    1e19 the squares of float32 overflow and the row becomes 0.

    Args:
        x: activations, normalized over the last axis.
        weight: gain gamma, one number a feature; None means 1.
        eps: added to the mean square inside the one square root; finite, not negative.

    Raises:
        TypeError: ``x`` or ``weight`` is not a floating-point tensor.
        ValueError: no features, a weight of another shape than (dim,), or an impossible eps.

    Source: zhang2019rmsnorm
    """
    _check_input(x, eps, weight=weight)
    wide = x.to(_statistics_dtype(x))
    mean_square = wide.square().mean(dim=-1, keepdim=True)
    y = (wide * torch.rsqrt(mean_square + eps)).to(x.dtype)
    return y if weight is None else y * weight


class LayerNorm(nn.Module):
    """LayerNorm with a learned gain (from 1) and shift (from 0): 2 * dim parameters.

    Args:
        dim: number of features on the last axis.
        eps: added to the variance.
        bias: False leaves the shift out.

    Raises:
        TypeError, ValueError: dim is not a positive integer, or eps is impossible.

    Source: ba2016layernorm
    """

    def __init__(self, dim: int, eps: float = 1e-5, bias: bool = True) -> None:
        super().__init__()
        _check_dim(dim)
        _check_eps(eps)
        self.dim, self.eps = dim, eps
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim)) if bias else None

    def forward(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        return layer_norm(x, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, eps={self.eps}, bias={self.bias is not None}"


class RMSNorm(nn.Module):
    """RMSNorm with a learned gain (from 1): dim parameters.

    Args:
        dim: number of features on the last axis.
        eps: added to the mean square.

    Raises:
        TypeError, ValueError: dim is not a positive integer, or eps is impossible.

    Source: zhang2019rmsnorm
    """

    def __init__(self, dim: int, eps: float = 1e-6) -> None:
        super().__init__()
        _check_dim(dim)
        _check_eps(eps)
        self.dim, self.eps = dim, eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        return rms_norm(x, self.weight, self.eps)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, eps={self.eps}"


class PreNorm(nn.Module):
    """Residual block that normalizes what the sub-layer reads: x + F(norm(x)).

    Args:
        sublayer: F, any module that keeps the shape of its input (attention, feed-forward).
        norm: the normalization; further arguments of a call go to the sub-layer.

    Raises:
        ValueError: the sub-layer changed the shape.

    Source: xiong2020layernorm
    """

    def __init__(self, sublayer: nn.Module, norm: nn.Module) -> None:
        super().__init__()
        self.sublayer, self.norm = sublayer, norm

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return _add(x, self.sublayer(self.norm(x), *args, **kwargs))


class PostNorm(nn.Module):
    """Residual block that normalizes the sum, skip path included: norm(x + F(x)).

    Args and Raises: as PreNorm.

    Source: vaswani2017attention
    """

    def __init__(self, sublayer: nn.Module, norm: nn.Module) -> None:
        super().__init__()
        self.sublayer, self.norm = sublayer, norm

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return self.norm(_add(x, self.sublayer(x, *args, **kwargs)))


def _add(x: Tensor, update: Tensor) -> Tensor:
    """Return x + update; broadcasting would hide a sub-layer of the wrong width."""
    if update.shape != x.shape:
        raise ValueError(
            f"the sub-layer returned shape {tuple(update.shape)}, expected {tuple(x.shape)}"
        )
    return x + update


def _statistics_dtype(x: Tensor) -> torch.dtype:
    """Return the type for sums over features: 300^2 is infinite and 1e-4^2 is 0 in float16."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _check_input(x: Tensor, eps: float, **parameters: Tensor | None) -> None:
    for name, value in {"x": x, **parameters}.items():
        if value is None and name != "x":
            continue
        if not isinstance(value, Tensor) or not value.is_floating_point():
            kind = value.dtype if isinstance(value, Tensor) else type(value).__name__
            raise TypeError(f"{name} is {kind}, expected a floating-point tensor")
    if x.dim() == 0 or x.shape[-1] == 0:
        raise ValueError(f"x has shape {tuple(x.shape)}, expected at least one feature to average")
    for name, value in parameters.items():
        if value is not None and value.shape != x.shape[-1:]:
            expected = tuple(x.shape[-1:])
            raise ValueError(f"{name} has shape {tuple(value.shape)}, expected {expected}")
    _check_eps(eps)


def _check_eps(eps: float) -> None:
    if isinstance(eps, bool) or not isinstance(eps, int | float):
        raise TypeError(f"eps is {eps!r}, expected a number")
    if not 0 <= eps < math.inf:  # also false for NaN
        raise ValueError(f"eps is {eps}, expected a finite number that is not negative")


def _check_dim(dim: int) -> None:
    if isinstance(dim, bool) or not isinstance(dim, int):
        raise TypeError(f"dim is {dim!r}, expected an integer")
    if dim < 1:
        raise ValueError(f"dim is {dim}, expected at least 1")
