"""LayerNorm, RMSNorm, and the places in a residual block where they stand.

The module reads as the chapter does: the formulas as functions, the modules that own the learned
gain and shift, then the residual around a part of a block, with its norms. It does not fuse
anything: PyTorch's own kernels do that, and the tests hold these functions equal to them.
"""

import math
from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from llmlib.precision import widened
from llmlib.sizes import check_sizes

Gain = Literal["weight", "1 + weight"]


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
    return _layer_norm(x, weight, bias, eps)


def _layer_norm(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    wide = widened(x)
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
    return _rms_norm(x, weight, eps)


def _rms_norm(x: Tensor, weight: Tensor | None, eps: float) -> Tensor:
    wide = widened(x)
    mean_square = wide.square().mean(dim=-1, keepdim=True)
    y = (wide * torch.rsqrt(mean_square + eps)).to(x.dtype)
    return y if weight is None else y * weight


class _Norm(nn.Module):
    """What both norms have: a width, eps, and a gain for each feature."""

    def __init__(self, dim: int, eps: float, gain: Gain) -> None:
        super().__init__()
        check_sizes(dim=dim)
        _check_eps(eps)
        if gain not in get_args(Gain):
            raise ValueError(f"gain is {gain!r}, expected one of {', '.join(get_args(Gain))}")
        self.dim, self.eps, self.gain = dim, eps, gain
        self.weight = nn.Parameter(torch.ones(dim) if gain == "weight" else torch.zeros(dim))

    def _refused(self, x: Tensor) -> ValueError:
        found = f"{x.dtype} of shape {tuple(x.shape)}"
        return ValueError(f"x is {found}, expected floats with {self.dim} features")


class LayerNorm(_Norm):
    """LayerNorm with a learned gain (from 1) and shift (from 0): 2 * dim parameters.

    Args:
        dim: number of features on the last axis.
        eps: added to the variance.
        bias: False leaves the shift out.
        gain: what multiplies, the weight or 1 + weight, which then begins at 0.

    Raises:
        TypeError, ValueError: dim is not a positive integer, or eps is impossible.

    Source: ba2016layernorm
    """

    def __init__(
        self, dim: int, eps: float = 1e-5, bias: bool = True, gain: Gain = "weight"
    ) -> None:
        super().__init__(dim, eps, gain)
        self.bias = nn.Parameter(torch.zeros(dim)) if bias else None

    def forward(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        if not x.ndim or x.shape[-1] != self.dim or not x.is_floating_point():
            raise self._refused(x)
        weight = self.weight if self.gain == "weight" else 1 + self.weight
        return _layer_norm(x, weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, eps={self.eps}, bias={self.bias is not None}"


class RMSNorm(_Norm):
    """RMSNorm with a learned gain (from 1): dim parameters.

    Args:
        dim: number of features on the last axis.
        eps: added to the mean square.
        gain: what multiplies, the weight or 1 + weight. Gemma stores the second, which begins at 0
            and is applied before the result is rounded to a 16-bit type, not after.

    Raises:
        TypeError, ValueError: dim is not a positive integer, or eps is impossible.

    Source: zhang2019rmsnorm; gemma2024 for 1 + weight
    """

    def __init__(self, dim: int, eps: float = 1e-6, gain: Gain = "weight") -> None:
        super().__init__(dim, eps, gain)

    def forward(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        if not x.ndim or x.shape[-1] != self.dim or not x.is_floating_point():
            raise self._refused(x)
        if self.gain == "weight":
            return _rms_norm(x, self.weight, self.eps)
        return _rms_norm(widened(x), 1 + widened(self.weight), self.eps).to(x.dtype)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, eps={self.eps}"


# --- where a norm stands ----------------------------------------------------------------------


def residual(
    x: Tensor,
    part: Callable[[Tensor], Tensor],
    before: nn.Module | None = None,
    after: nn.Module | None = None,
    last: nn.Module | None = None,
    scale: float = 1.0,
) -> Tensor:
    """last(x + scale * after(part(before(x)))), of which a model has some.

    Pre-norm has `before` alone, post-norm `last` alone; Gemma 2 has `before` and `after`.

    Raises:
        ValueError: the part changed the shape, which broadcasting would hide.

    Source: xiong2020layernorm for the first two
    """
    y = part(x if before is None else before(x))
    if y.shape != x.shape:
        raise ValueError(f"the sub-layer returned shape {tuple(y.shape)}, expected "
                         f"{tuple(x.shape)}")  # fmt: skip
    y = y if after is None else after(y)
    y = x + (y if scale == 1 else scale * y)
    return y if last is None else last(y)


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
        return residual(x, lambda y: self.sublayer(y, *args, **kwargs), before=self.norm)


class PostNorm(nn.Module):
    """Residual block that normalizes the sum, skip path included: norm(x + F(x)).

    Args and Raises: as PreNorm.

    Source: vaswani2017attention
    """

    def __init__(self, sublayer: nn.Module, norm: nn.Module) -> None:
        super().__init__()
        self.sublayer, self.norm = sublayer, norm

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return residual(x, lambda y: self.sublayer(y, *args, **kwargs), last=self.norm)


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
