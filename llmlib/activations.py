"""Activations, gated linear units and the two feed-forward blocks built from them.

The feed-forward block is where a transformer bends: attention mixes tokens with weighted
averages, and what follows would stay linear in them without a nonlinearity. This file reads as the
chapter does: element-wise activations, gated units (two inputs), then the two blocks.

Every function computes float16 and bfloat16 inputs in float32 and rounds once at the end, because
sigma(x) near 0 or 1 loses all its digits in 8 or 11 bits. NaN stays NaN, +inf goes to the limit;
-inf gives NaN in `gelu`, `swish` and `swiglu` (it is -inf * 0), as it does in torch.

Not here: the fused kernels that compute the gate and the value in one matrix product.
"""

import difflib
import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from llmlib.precision import widened
from llmlib.sizes import check_sizes

Elementwise = Callable[[Tensor], Tensor]

SQRT_HALF = math.sqrt(0.5)
SQRT_TWO_OVER_PI = math.sqrt(2 / math.pi)


def _wide(x: Tensor, name: str = "x") -> Tensor:
    """x in the type to compute in: float32 for anything narrower, its own type otherwise."""
    if not isinstance(x, Tensor) or not x.is_floating_point():
        kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"{name} must be a floating-point tensor, got {kind}")
    return widened(x)


# --- activations: one input -------------------------------------------------------------------


def relu(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """ReLU, max(0, x), with slope 0 at 0: the 2017 Transformer's choice.

    Source: vaswani2017attention.
    """
    wide = _wide(x)
    # Not clamp, whose slope at 0 is 1; and x > 0 would turn NaN into 0.
    return torch.where(wide <= 0, torch.zeros_like(wide), wide).to(x.dtype)


def relu_squared(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The square of ReLU, max(0, x)^2, whose slope begins at 0: Nemotron-4's choice.

    Source: so2021primer.
    """
    positive = relu(_wide(x))
    return (positive * positive).to(x.dtype)


def sigmoid(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The logistic function, sigma(x) = 1 / (1 + exp(-x)), between 0 and 1.

    Written out, the formula's gradient is inf * 0 = NaN for very negative x; torch.sigmoid is safe.
    """
    return torch.sigmoid(_wide(x)).to(x.dtype)


def gelu(
    x: Float[Tensor, "*shape"],
    approximate: bool = False,
) -> Float[Tensor, "*shape"]:
    """GELU, x * Phi(x), Phi the normal CDF; or else GPT-2's tanh form.

    exact        x/2 * (1 + erf(x / sqrt 2)), computed as x/2 * erfc(-x / sqrt 2)
    approximate  x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3)))

    Raises: TypeError for a tensor that is not floating point.
    Source: hendrycks2016gelu.
    """
    wide = _wide(x)
    if approximate:
        inner = SQRT_TWO_OVER_PI * (wide + 0.044715 * wide**3)
        # (1 + tanh u) / 2 is sigma(2u), which keeps its digits near -1.
        return (wide * torch.sigmoid(2 * inner)).to(x.dtype)
    # erfc(-z) is 1 + erf(z), but keeps its digits where the sum cancels.
    return (0.5 * wide * torch.erfc(-SQRT_HALF * wide)).to(x.dtype)


def swish(
    x: Float[Tensor, "*shape"],
    beta: float | Float[Tensor, "..."] = 1.0,
) -> Float[Tensor, "*shape"]:
    """Swish, x * sigma(beta * x): SiLU at 1, nearly x/2 at 0, ReLU at inf.

    Its minimum is -W(1/e)/beta = -0.278465/beta at x = -1.278465/beta (W: Lambert's function).

    Args:
        x: any shape, floating point.
        beta: a finite number, or a floating-point tensor that broadcasts to x (trainable if it
            requires a gradient; a tensor of x's last size gives one beta per unit).

    Raises: TypeError for a wrong kind of x or beta; ValueError for a beta that is not finite or
        whose shape would enlarge x.
    Source: ramachandran2017swish; elfwing2018silu and hendrycks2016gelu for beta = 1.
    """
    wide = _wide(x)
    if isinstance(beta, Tensor) or not math.isfinite(beta):
        beta = _checked_beta(beta, x)
    return (wide * torch.sigmoid(beta * wide)).to(x.dtype)


def _checked_beta(beta: float | Tensor, x: Tensor) -> float | Tensor:
    if not isinstance(beta, Tensor):
        if not math.isfinite(beta):
            raise ValueError(f"beta must be finite, got {beta}; relu is the limit of large beta")
        return beta
    wide = _wide(beta, "beta")
    shape_fits = beta.ndim <= x.ndim and all(
        b in (1, n) for b, n in zip(reversed(beta.shape), reversed(x.shape), strict=False)
    )
    if not shape_fits:
        raise ValueError(f"beta {tuple(beta.shape)} does not broadcast to x {tuple(x.shape)}")
    return wide


class Swish(nn.Module):
    """Swish with a trainable beta, x * sigma(beta * x): one number, or one a unit with `units`."""

    def __init__(self, beta: float = 1.0, units: int | None = None) -> None:
        super().__init__()
        if units is not None:
            check_sizes(units=units)
        self.beta = nn.Parameter(torch.full(() if units is None else (units,), float(beta)))

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return swish(x, self.beta)


def _identity(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    return x


def _gelu_tanh(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    return gelu(x, approximate=True)


ACTIVATIONS: dict[str, Elementwise] = {
    "relu": relu,
    "relu_squared": relu_squared,
    "gelu": gelu,
    "gelu_tanh": _gelu_tanh,  # GPT-2's and GPT-3's form
    "swish": swish,
    "silu": swish,  # the name that Swish with beta = 1 has in torch and in model configs
    "sigmoid": sigmoid,
    "identity": _identity,  # no nonlinearity: Shazeer's bilinear unit when used as a gate
}


def activation_function(activation: str | Elementwise) -> Elementwise:
    """The function behind an activation's name; a callable is returned as it is."""
    if isinstance(activation, str):
        if activation not in ACTIVATIONS:
            near = difflib.get_close_matches(activation.lower(), ACTIVATIONS, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            known = ", ".join(ACTIVATIONS)
            raise ValueError(f"unknown activation {activation!r}{hint} (known: {known})")
        return ACTIVATIONS[activation]
    if not callable(activation):
        kind = type(activation).__name__
        raise TypeError(f"activation must be a name or a callable, got {kind}")
    return activation


# --- gated linear units: two inputs -----------------------------------------------------------


def glu(gate: Float[Tensor, "*shape"], value: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """GLU, sigma(gate) * value: the gate lies in (0, 1), the product is as unbounded as the value.

    In a layer gate = xW + b and value = xV + c are two projections of the same x.

    Raises: ValueError for gate and value of different shapes (they never broadcast), TypeError
        for different or non-floating types.
    Source: dauphin2017glu.
    """
    return gated(sigmoid, gate, value)


def reglu(gate: Float[Tensor, "*shape"], value: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """ReGLU, max(0, gate) * value. Source: shazeer2020glu."""
    return gated(relu, gate, value)


def geglu(gate: Float[Tensor, "*shape"], value: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """GEGLU, GELU(gate) * value. Source: shazeer2020glu."""
    return gated(gelu, gate, value)


def swiglu(
    gate: Float[Tensor, "*shape"],
    value: Float[Tensor, "*shape"],
) -> Float[Tensor, "*shape"]:
    """SwiGLU, Swish(gate) * value: in LLaMA, Mistral and Qwen.

    Source: shazeer2020glu.
    """
    return gated(swish, gate, value)


def gated(
    activation: Elementwise,
    gate: Float[Tensor, "*shape"],
    value: Float[Tensor, "*shape"],
) -> Float[Tensor, "*shape"]:
    """activation(gate) * value, element by element: any gated linear unit."""
    wide_gate, wide_value = _wide(gate, "gate"), _wide(value, "value")
    if gate.shape != value.shape:
        raise ValueError(
            "gate and value must have the same shape, "
            f"got {tuple(gate.shape)} and {tuple(value.shape)}"
        )
    if gate.dtype != value.dtype:
        types = f"{gate.dtype} and {value.dtype}"
        raise TypeError(f"gate and value must share a type, got {types}")
    return (activation(wide_gate) * wide_value).to(gate.dtype)


def _gated(activation: Elementwise, gate: Tensor, value: Tensor) -> Tensor:
    """`gated` of two projections of one x, which need no check."""
    return (activation(widened(gate)) * widened(value)).to(gate.dtype)


# --- feed-forward blocks ----------------------------------------------------------------------


class FeedForward(nn.Module):
    """The classic block, f(x W1 + b1) W2 + b2, each position by itself.

    2 * dim * ffn_dim weights, and ffn_dim + dim biases if bias. `up` holds W1 and b1, `down` W2 and
    b2 (torch stores a weight transposed: up.weight is (ffn_dim, dim)).

    Args:
        dim: width d of the residual stream.
        ffn_dim: hidden width d_ff, 4 * dim in the classic models.
        activation: a name of ACTIVATIONS or a callable; an nn.Module is trained with the block.
        bias: whether both projections have one.

    Raises: ValueError for sizes that are not positive or an unknown name; TypeError for a wrong
        kind.
    Source: vaswani2017attention.
    """

    def __init__(
        self,
        dim: int,
        ffn_dim: int,
        activation: str | Elementwise = "relu",
        bias: bool = True,
    ) -> None:
        super().__init__()
        check_sizes(dim=dim, ffn_dim=ffn_dim)
        self.activation = activation_function(activation)
        self.up = nn.Linear(dim, ffn_dim, bias=bias)
        self.down = nn.Linear(ffn_dim, dim, bias=bias)

    def forward(
        self,
        x: Float[Tensor, "*batch dim"],
    ) -> Float[Tensor, "*batch dim"]:
        if x.ndim == 0 or x.shape[-1] != self.up.in_features:
            raise _refused(x, self.up.in_features)
        return self.down(self.activation(self.up(x)))


class GatedFeedForward(nn.Module):
    """The gated block, (f(x W1) * (x V)) W2: SwiGLU with the defaults.

    3 * dim * ffn_dim weights; `matched_ffn_dim` gives the width that makes up for the third matrix.
    `gate` holds W1, `up` V, `down` W2; with bias each projection has its own.

    Args and Raises: as for FeedForward; activation="sigmoid" is GLU, "relu" ReGLU, "gelu" GEGLU.
    Source: shazeer2020glu, which drops all biases.
    """

    def __init__(
        self,
        dim: int,
        ffn_dim: int,
        activation: str | Elementwise = "swish",
        bias: bool = False,
    ) -> None:
        super().__init__()
        check_sizes(dim=dim, ffn_dim=ffn_dim)
        self.activation = activation_function(activation)
        self.gate = nn.Linear(dim, ffn_dim, bias=bias)
        self.up = nn.Linear(dim, ffn_dim, bias=bias)
        self.down = nn.Linear(ffn_dim, dim, bias=bias)

    def forward(
        self,
        x: Float[Tensor, "*batch dim"],
    ) -> Float[Tensor, "*batch dim"]:
        if x.ndim == 0 or x.shape[-1] != self.up.in_features:
            raise _refused(x, self.up.in_features)
        return self.down(_gated(self.activation, self.gate(x), self.up(x)))


def matched_ffn_dim(ffn_dim: int, multiple_of: int = 1) -> int:
    """The width of a gated block as large as a classic one: 2/3, rounded up.

    Three matrices of width w hold 3 d w weights, two of width ffn_dim hold 2 d ffn_dim; equal at
    w = 2/3 ffn_dim. That is rounded up to a multiple that suits the hardware (tiles of 128 or 256,
    an even split over devices), which costs less than multiple_of units: LLaMA-7B has
    2/3 * 16384 = 10922.67 -> 11008.

    Args:
        ffn_dim: width of the classic block, often 4 * dim.
        multiple_of: what the result must be a multiple of.

    Raises: ValueError for values that are not positive, TypeError for ones that are not integers.
    Source: shazeer2020glu for 2/3; the rounding is in the code released with touvron2023llama.
    """
    check_sizes(ffn_dim=ffn_dim, multiple_of=multiple_of)
    return -(-2 * ffn_dim // (3 * multiple_of)) * multiple_of


def _refused(x: Tensor, dim: int) -> ValueError:
    return ValueError(f"the last axis of x must be {dim} (dim), got shape {tuple(x.shape)}")
