"""Activations, gated units and feed-forward blocks: values, limits, gradients, bad input."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from llmlib import activations as act
from llmlib.activations import FeedForward, GatedFeedForward, Swish, matched_ffn_dim

ELEMENTWISE = sorted(act.ACTIVATIONS)
GATED = {"glu": act.glu, "reglu": act.reglu, "geglu": act.geglu, "swiglu": act.swiglu}
MINIMUM = 0.2784645427610738  # W(1/e), Lambert's function


def sloped(function, x: Tensor) -> Tensor:
    """The derivative of an element-wise function at each x."""
    x = x.detach().requires_grad_()
    return torch.autograd.grad(function(x).sum(), x)[0]


# --- values -----------------------------------------------------------------------------------


def test_formulas_against_plain_python() -> None:
    for x in (-3.0, -0.5, 0.0, 0.7, 4.0):
        one = torch.tensor(x, dtype=torch.float64)
        logistic = 1 / (1 + math.exp(-x))
        tanh = math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
        expected = {
            "relu": max(0.0, x),
            "relu_squared": max(0.0, x) ** 2,
            "sigmoid": logistic,
            "swish": x * logistic,
            "silu": x * logistic,
            "gelu": x * 0.5 * (1 + math.erf(x / math.sqrt(2))),
            "gelu_tanh": 0.5 * x * (1 + tanh),
            "identity": x,
        }
        for name, function in act.ACTIVATIONS.items():
            assert function(one).item() == pytest.approx(expected[name], abs=1e-15), name


@pytest.mark.parametrize("beta", [0.1, 0.5, 1.0, 2.0, 10.0])
def test_swish_minimum_is_lambert_w_over_beta(beta: float) -> None:
    where = torch.tensor(-(1 + MINIMUM) / beta, dtype=torch.float64)
    assert act.swish(where, beta).item() == pytest.approx(-MINIMUM / beta, abs=1e-14)
    assert sloped(lambda x: act.swish(x, beta), where).item() == pytest.approx(0, abs=1e-14)


def test_swish_limits_are_a_line_and_relu() -> None:
    x = torch.linspace(-6, 6, 1001, dtype=torch.float64)
    assert torch.equal(act.swish(x, 0.0), x / 2)
    assert (act.swish(x, 1e4) - act.relu(x)).abs().max() <= MINIMUM / 1e4


@given(st.floats(-50, 50), st.floats(0.01, 20))
@settings(max_examples=60, deadline=None)
def test_swish_scales(x: float, beta: float) -> None:
    """Swish with any beta is Swish with 1, both axes scaled: beta S_beta(x) = S_1(beta x)."""
    x64 = torch.tensor(x, dtype=torch.float64)
    assert (beta * act.swish(x64, beta)).item() == pytest.approx(
        act.swish(beta * x64).item(), rel=1e-12, abs=1e-15
    )


@given(st.floats(-30, 30))
@settings(max_examples=60, deadline=None)
def test_activation_minus_its_mirror_is_the_identity(x: float) -> None:
    """f(x) - f(-x) = x for ReLU, GELU and Swish: they differ in the even part alone."""
    x64 = torch.tensor(x, dtype=torch.float64)
    for name in ("relu", "gelu", "gelu_tanh", "swish"):
        function = act.ACTIVATIONS[name]
        assert (function(x64) - function(-x64)).item() == pytest.approx(x, abs=1e-13), name


@pytest.mark.parametrize("name", GATED)
def test_gated_is_activation_of_gate_times_value(name: str) -> None:
    torch.manual_seed(0)
    gate, value = torch.randn(2, 3, 5, 7, dtype=torch.float64)
    function = {"glu": act.sigmoid, "reglu": act.relu, "geglu": act.gelu, "swiglu": act.swish}[name]
    assert torch.equal(GATED[name](gate, value), function(gate) * value)


def test_glu_with_tied_identity_weights_is_swish() -> None:
    x = torch.linspace(-8, 8, 161, dtype=torch.float64)
    for beta in (0.5, 1.0, 3.0):
        assert torch.allclose(act.glu(beta * x, x), act.swish(x, beta), rtol=0, atol=1e-15)


def test_squared_relu_has_no_corner() -> None:
    x = torch.tensor([-2.0, -1e-3, 0.0, 1e-3, 3.0], dtype=torch.float64, requires_grad=True)
    y = act.relu_squared(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    assert y.tolist() == pytest.approx([0, 0, 0, 1e-6, 9], abs=1e-15)
    assert slope.tolist() == pytest.approx([0, 0, 0, 2e-3, 6], abs=1e-15)


def test_glu_is_unbounded_in_the_value() -> None:
    gate = torch.zeros(2)
    assert act.glu(gate, torch.tensor([1000.0, -1000.0])).tolist() == [500.0, -500.0]


# --- special inputs ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_nan_and_infinity(dtype: torch.dtype) -> None:
    inf = math.inf
    x = torch.tensor([math.nan, inf, -inf], dtype=dtype)
    ends = {"sigmoid": (1.0, 0.0), "relu": (inf, 0.0), "identity": (inf, -inf)}
    ends["relu_squared"] = ends["relu"]
    for name, function in act.ACTIVATIONS.items():
        y = function(x)
        high, low = ends.get(name, (inf, math.nan))  # -inf * 0 is NaN, as in torch
        assert torch.equal(y.isnan(), torch.tensor([True, False, math.isnan(low)])), name
        assert y[1].item() == high, name
        assert math.isnan(low) or y[2].item() == low, name


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_empty_and_zero_dimensional(name: str) -> None:
    function = act.ACTIVATIONS[name]
    assert function(torch.empty(0, 4)).shape == (0, 4)
    assert function(torch.tensor(1.0)).shape == ()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_half_types_are_the_float32_result_rounded_once(name: str, dtype: torch.dtype) -> None:
    x = torch.linspace(-12, 12, 2001).to(dtype)
    function = act.ACTIVATIONS[name]
    y = function(x)
    assert y.dtype == dtype
    assert torch.equal(y, function(x.float()).to(dtype))


@pytest.mark.parametrize("name", GATED)
def test_gated_half_types_round_once(name: str) -> None:
    torch.manual_seed(0)
    gate, value = torch.randn(2, 500).mul(3).to(torch.bfloat16)
    once = GATED[name](gate.float(), value.float()).to(torch.bfloat16)
    assert torch.equal(GATED[name](gate, value), once)


def test_float64_is_computed_in_float64() -> None:
    x = torch.tensor(0.3, dtype=torch.float64)
    for name in ELEMENTWISE:
        assert act.ACTIVATIONS[name](x).dtype == torch.float64


def test_gelu_keeps_its_digits_far_left() -> None:
    """x/2 (1 + erf) cancels to 0 or noise at x = -6; x Phi(x) is -5.919526e-09."""
    x = torch.tensor(-6.0)
    assert act.gelu(x).item() == pytest.approx(-5.919526e-09, rel=1e-5)


# --- gradients --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_gradcheck_elementwise(name: str) -> None:
    torch.manual_seed(0)
    x = (torch.randn(4, 5, dtype=torch.float64) * 3).requires_grad_()
    assert torch.autograd.gradcheck(act.ACTIVATIONS[name], (x,))


@pytest.mark.parametrize("name", GATED)
def test_gradcheck_gated(name: str) -> None:
    torch.manual_seed(0)
    gate, value = (torch.randn(3, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(GATED[name], (gate, value))


@pytest.mark.parametrize("shape", [(), (5,), (4, 1)])
def test_gradcheck_trainable_beta(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    beta = torch.rand(shape, dtype=torch.float64).add(0.5).requires_grad_()
    assert torch.autograd.gradcheck(act.swish, (x, beta))


def test_beta_gradient_is_the_formula() -> None:
    x = torch.linspace(-4, 4, 9, dtype=torch.float64)
    beta = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    act.swish(x, beta).sum().backward()
    s = torch.sigmoid(1.5 * x)
    assert torch.allclose(beta.grad, (x**2 * s * (1 - s)).sum())


def test_slopes_at_zero_and_far_out_are_finite() -> None:
    x = torch.tensor([-1e4, -100.0, 0.0, 100.0, 1e4])
    expected = {"relu": 0.0, "gelu": 0.5, "gelu_tanh": 0.5, "swish": 0.5, "silu": 0.5}
    expected |= {"sigmoid": 0.25, "identity": 1.0, "relu_squared": 0.0}
    for name, function in act.ACTIVATIONS.items():
        slope = sloped(function, x)
        assert slope.isfinite().all(), name
        assert slope[2].item() == pytest.approx(expected[name]), name


def test_swish_slope_extremes() -> None:
    x = torch.tensor([2.39936, -2.39936], dtype=torch.float64)
    assert sloped(act.swish, x).tolist() == pytest.approx([1.0998393, -0.0998393], abs=1e-6)


# --- blocks -----------------------------------------------------------------------------------


def test_feed_forward_is_the_formula() -> None:
    torch.manual_seed(0)
    block = FeedForward(6, 10).double()
    x = torch.randn(2, 3, 6, dtype=torch.float64)
    w1, b1, w2, b2 = block.up.weight.T, block.up.bias, block.down.weight.T, block.down.bias
    assert torch.allclose(block(x), torch.clamp(x @ w1 + b1, min=0) @ w2 + b2)


@pytest.mark.parametrize("bias", [False, True])
def test_gated_feed_forward_is_the_formula(bias: bool) -> None:
    torch.manual_seed(0)
    block = GatedFeedForward(6, 10, bias=bias).double()
    x = torch.randn(2, 3, 6, dtype=torch.float64)
    gate, value = x @ block.gate.weight.T, x @ block.up.weight.T
    if bias:
        gate, value = gate + block.gate.bias, value + block.up.bias
    hidden = gate / (1 + torch.exp(-gate)) * value
    expected = hidden @ block.down.weight.T + (block.down.bias if bias else 0)
    assert torch.allclose(block(x), expected)


def test_blocks_see_each_position_alone() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 5, 8)
    changed = x.clone()
    changed[:, 3] += 1.0
    for block in (FeedForward(8, 16), GatedFeedForward(8, 16)):
        same = (block(x) == block(changed)).all(-1)[0]
        assert same.tolist() == [True, True, True, False, True]


@pytest.mark.parametrize("bias", [False, True])
def test_parameter_counts(bias: bool) -> None:
    d, width = 12, 40
    classic = sum(p.numel() for p in FeedForward(d, width, bias=bias).parameters())
    gated = sum(p.numel() for p in GatedFeedForward(d, width, bias=bias).parameters())
    assert classic == 2 * d * width + bias * (width + d)
    assert gated == 3 * d * width + bias * (2 * width + d)


def test_activation_can_be_a_callable_or_a_trained_module() -> None:
    assert FeedForward(4, 8, torch.tanh)(torch.randn(2, 4)).shape == (2, 4)
    block = GatedFeedForward(4, 8, Swish(2.0, units=8))
    assert next(name for name, _ in block.named_parameters()) == "activation.beta"
    block(torch.randn(3, 4)).sum().backward()
    assert block.activation.beta.grad.abs().min() > 0


def test_blocks_in_half_precision_train() -> None:
    x = torch.randn(3, 8, dtype=torch.bfloat16)
    for block in (FeedForward(8, 16), GatedFeedForward(8, 16)):
        y = block.to(torch.bfloat16)(x)
        assert y.dtype == torch.bfloat16
        y.float().pow(2).mean().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in block.parameters())


def test_empty_batch_passes_through_the_blocks() -> None:
    for block in (FeedForward(4, 8), GatedFeedForward(4, 8)):
        assert block(torch.empty(0, 4)).shape == (0, 4)


@pytest.mark.parametrize(
    ("ffn_dim", "multiple_of", "expected"),
    [
        (16384, 256, 11008),  # LLaMA-7B
        (20480, 256, 13824),  # LLaMA-13B
        (32768, 256, 22016),  # LLaMA-65B
        (16384, 1, 10923),
        (12, 1, 8),
        (384, 256, 256),
        (385, 256, 512),  # 256.67: cutting it to 256 first would leave the block too small
        (1, 1, 1),
    ],
)
def test_matched_ffn_dim(ffn_dim: int, multiple_of: int, expected: int) -> None:
    assert matched_ffn_dim(ffn_dim, multiple_of) == expected


@given(st.integers(1, 100_000), st.integers(1, 512))
@settings(max_examples=100, deadline=None)
def test_matched_ffn_dim_is_the_next_multiple(ffn_dim: int, multiple_of: int) -> None:
    width = matched_ffn_dim(ffn_dim, multiple_of)
    assert width % multiple_of == 0
    assert 0 <= 3 * width - 2 * ffn_dim < 3 * multiple_of


# --- bad input --------------------------------------------------------------------------------


@pytest.mark.bad_input
@pytest.mark.parametrize("name", [n for n in ELEMENTWISE if n != "identity"])
@pytest.mark.parametrize("x", [torch.arange(3), torch.tensor([True]), torch.tensor([1j]), 2.0])
def test_not_a_float_tensor(name: str, x: object) -> None:
    with pytest.raises(TypeError, match="floating-point tensor"):
        act.ACTIVATIONS[name](x)


@pytest.mark.bad_input
@pytest.mark.parametrize("name", GATED)
def test_gate_and_value_must_match(name: str) -> None:
    x = torch.zeros(2, 3)
    with pytest.raises(ValueError, match=r"\(2, 3\) and \(3,\)"):
        GATED[name](x, x[0])
    with pytest.raises(TypeError, match="share a type"):
        GATED[name](x, x.double())
    with pytest.raises(TypeError, match="value must be a floating-point tensor"):
        GATED[name](x, x.long())


@pytest.mark.bad_input
@pytest.mark.parametrize("beta", [math.nan, math.inf, -math.inf])
def test_beta_must_be_finite(beta: float) -> None:
    with pytest.raises(ValueError, match="beta must be finite"):
        act.swish(torch.zeros(2), beta)


@pytest.mark.bad_input
def test_beta_tensor_must_fit() -> None:
    with pytest.raises(ValueError, match=r"beta \(4,\) does not broadcast to x \(2, 3\)"):
        act.swish(torch.zeros(2, 3), torch.ones(4))
    with pytest.raises(ValueError, match="does not broadcast"):
        act.swish(torch.zeros(3), torch.ones(2, 3))  # would enlarge x
    with pytest.raises(TypeError, match="beta must be a floating-point tensor"):
        act.swish(torch.zeros(3), torch.ones(3, dtype=torch.long))


@pytest.mark.bad_input
@pytest.mark.parametrize("block", [FeedForward, GatedFeedForward])
def test_blocks_refuse_bad_settings(block: type[nn.Module]) -> None:
    with pytest.raises(ValueError, match="ffn_dim must be positive, got 0"):
        block(4, 0)
    with pytest.raises(ValueError, match="dim must be positive, got -4"):
        block(-4, 8)
    with pytest.raises(TypeError, match=r"dim must be an integer, got 4\.0"):
        block(4.0, 8)
    with pytest.raises(ValueError, match="unknown activation 'Swich'; did you mean 'swish'"):
        block(4, 8, "Swich")
    with pytest.raises(TypeError, match="name or a callable"):
        block(4, 8, 3)


@pytest.mark.bad_input
@pytest.mark.parametrize("block", [FeedForward(4, 8), GatedFeedForward(4, 8)])
@pytest.mark.parametrize("shape", [(2, 5), (), (4, 1)])
def test_blocks_refuse_a_wrong_width(block: nn.Module, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="last axis of x must be 4"):
        block(torch.zeros(shape))


@pytest.mark.bad_input
def test_sizes_of_the_width_rule_and_of_swish() -> None:
    with pytest.raises(ValueError, match="ffn_dim must be positive"):
        matched_ffn_dim(0)
    with pytest.raises(ValueError, match="multiple_of must be positive"):
        matched_ffn_dim(8, 0)
    with pytest.raises(TypeError, match="ffn_dim must be an integer"):
        matched_ffn_dim(8.5)
    with pytest.raises(TypeError, match="multiple_of must be an integer, got True"):
        matched_ffn_dim(8, True)
    with pytest.raises(ValueError, match="units must be positive"):
        Swish(units=0)
