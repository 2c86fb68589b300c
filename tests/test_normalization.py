"""Unit tests of llmlib.normalization: formulas, properties, gradients, edge cases, bad input."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from llmlib.normalization import LayerNorm, PostNorm, PreNorm, RMSNorm, layer_norm, rms_norm

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


def random(*shape, dtype=torch.float64, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


# --- the formulas, on numbers done by hand ---------------------------------------------------


def test_layer_norm_of_one_to_four():
    x = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    expected = torch.tensor([-1.5, -0.5, 0.5, 1.5], dtype=torch.float64) / math.sqrt(1.25)
    torch.testing.assert_close(layer_norm(x, None, None, eps=0.0), expected)
    assert layer_norm(x, None, None)[0].item() == pytest.approx(-1.5 / math.sqrt(1.25 + 1e-5))


def test_rms_norm_of_one_to_four():
    x = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    torch.testing.assert_close(rms_norm(x, None, eps=0.0), x / math.sqrt(7.5))
    assert rms_norm(x, None)[0].item() == pytest.approx(1 / math.sqrt(7.5 + 1e-6), rel=1e-12)


@pytest.mark.parametrize("norm", [lambda x, e: layer_norm(x, None, None, e),
                                  lambda x, e: rms_norm(x, None, e)])  # fmt: skip
def test_eps_is_added_once_inside_the_root(norm):
    x = torch.tensor([1e-3, -1e-3, 2e-3, -2e-3], dtype=torch.float64)  # mean 0, mean square 2.5e-6
    out = norm(x, 1e-5)
    torch.testing.assert_close(out, x / math.sqrt(2.5e-6 + 1e-5), rtol=1e-12, atol=0)
    assert out.std(correction=0).item() == pytest.approx(math.sqrt(0.2))


def test_gain_and_shift_act_feature_by_feature():
    x, gain, shift = random(5, 8), random(8, seed=1), random(8, seed=2)
    plain = layer_norm(x, None, None)
    torch.testing.assert_close(layer_norm(x, gain, shift), plain * gain + shift)
    torch.testing.assert_close(rms_norm(x, gain), rms_norm(x, None) * gain)


def test_only_the_last_axis_is_normalized():
    x = random(2, 3, 4, 8)
    row = layer_norm(x[1, 2, 3], None, None)
    torch.testing.assert_close(layer_norm(x, None, None)[1, 2, 3], row)
    torch.testing.assert_close(rms_norm(x, None)[1, 2, 3], rms_norm(x[1, 2, 3], None))


def test_variance_survives_a_large_mean():
    """mean(x^2) - mu^2 would lose every digit here: 1e8 + 1 is 1e8 in float32."""
    x = random(4, 256) + 1e4
    wide = layer_norm(x, None, None)
    narrow = layer_norm(x.float(), None, None)
    assert (wide - narrow).abs().max() < 2e-3  # float32 holds x itself to 5e-4


# --- properties ------------------------------------------------------------------------------

vectors = st.integers(2, 12).flatmap(
    lambda n: st.lists(st.floats(-50, 50), min_size=n, max_size=n)
).map(lambda values: torch.tensor(values, dtype=torch.float64))  # fmt: skip
vectors = vectors.filter(lambda x: x.std(correction=0) > 0.1)


@settings(max_examples=60, deadline=None)
@given(vectors, st.floats(-100, 100))
def test_layer_norm_ignores_a_shift(x, shift):
    torch.testing.assert_close(
        layer_norm(x + shift, None, None), layer_norm(x, None, None), rtol=0, atol=1e-9
    )


@settings(max_examples=60, deadline=None)
@given(vectors, st.floats(0.01, 100))
def test_both_norms_ignore_a_positive_scale(x, scale):
    ln, rms = layer_norm(scale * x, None, None, 0.0), rms_norm(scale * x, None, 0.0)
    torch.testing.assert_close(ln, layer_norm(x, None, None, 0.0), rtol=0, atol=1e-9)
    torch.testing.assert_close(rms, rms_norm(x, None, 0.0), rtol=0, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(vectors)
def test_layer_norm_is_rms_norm_of_the_centered_vector(x):
    torch.testing.assert_close(
        layer_norm(x, None, None, 1e-5), rms_norm(x - x.mean(), None, 1e-5), rtol=0, atol=1e-9
    )


@settings(max_examples=60, deadline=None)
@given(vectors)
def test_output_statistics(x):
    ln, rms = layer_norm(x, None, None, 0.0), rms_norm(x, None, 0.0)
    assert abs(ln.mean()) < 1e-9
    assert abs(ln.std(correction=0) - 1) < 1e-9
    assert abs(rms.square().mean() - 1) < 1e-9


def test_rms_norm_does_move_with_a_shift():
    x = random(16)
    assert (rms_norm(x + 3, None) - rms_norm(x, None)).abs().max() > 0.5


# --- gradients -------------------------------------------------------------------------------


def test_gradcheck():
    x, gain, shift = random(3, 5), random(5, seed=1), random(5, seed=2)
    for tensor in (x, gain, shift):
        tensor.requires_grad_()
    assert torch.autograd.gradcheck(layer_norm, (x, gain, shift))
    assert torch.autograd.gradcheck(rms_norm, (x, gain))
    assert torch.autograd.gradgradcheck(layer_norm, (x, gain, shift))
    assert torch.autograd.gradgradcheck(rms_norm, (x, gain))


def test_gradient_is_orthogonal_to_what_the_norm_removes():
    """LayerNorm passes no gradient along 1 or along x - mu, RMSNorm none along x."""
    x, upstream = random(32).requires_grad_(), random(32, seed=1)
    (ln,) = torch.autograd.grad(layer_norm(x, None, None, 0.0) @ upstream, x)
    (rms,) = torch.autograd.grad(rms_norm(x, None, 0.0) @ upstream, x)
    assert abs(ln.sum()) < 1e-12
    assert abs(ln @ (x - x.mean())) < 1e-12
    assert abs(rms @ x) < 1e-12
    assert abs(rms.sum()) > 1e-3


# --- edge cases: each has one clear result ---------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_output_keeps_the_type(dtype):
    x, gain = random(4, 8).to(dtype), torch.ones(8, dtype=dtype)
    assert layer_norm(x, gain, gain).dtype == dtype
    assert rms_norm(x, gain).dtype == dtype


def test_float32_parameters_beside_bfloat16_activations():
    x, gain = random(4, 8).bfloat16(), torch.ones(8)
    assert layer_norm(x, gain, gain).dtype == torch.bfloat16
    assert rms_norm(x, gain).dtype == torch.float32  # Llama's order: the weight comes last


def test_rms_norm_rounds_before_the_weight():
    x, gain = random(64, 32).bfloat16(), random(32, seed=1).bfloat16()
    torch.testing.assert_close(rms_norm(x, gain), rms_norm(x, None) * gain, rtol=0, atol=0)
    weight_first = rms_norm(x.float(), gain.float()).bfloat16()
    assert (rms_norm(x, gain) != weight_first).any()


def test_half_precision_squares_neither_overflow_nor_vanish():
    for value in (300.0, 1e-4):
        x = torch.tensor([value, -value], dtype=torch.float16)
        torch.testing.assert_close(rms_norm(x, None, 0.0).float(), torch.tensor([1.0, -1.0]))
        torch.testing.assert_close(
            layer_norm(x, None, None, 0.0).float(), torch.tensor([1.0, -1.0])
        )


@pytest.mark.parametrize("dtype", DTYPES)
def test_zero_variance_gives_the_shift_and_a_finite_gradient(dtype):
    x = torch.full((2, 8), 3.0, dtype=dtype, requires_grad=True)
    out = layer_norm(x, None, torch.full((8,), 0.5, dtype=dtype))
    assert (out == 0.5).all()
    out.sum().backward()
    assert torch.isfinite(x.grad).all()


def test_zero_vector_gives_zero_and_a_finite_gradient():
    x = torch.zeros(2, 8, requires_grad=True)
    out = rms_norm(x, None)
    assert (out == 0).all()
    out.sum().backward()
    torch.testing.assert_close(x.grad, torch.full((2, 8), 1e3))  # 1 / sqrt(eps)


def test_eps_zero_is_the_formula_of_the_paper():
    assert rms_norm(torch.zeros(4), None, 0.0).isnan().all()
    assert layer_norm(torch.ones(4), None, None, 0.0).isnan().all()


def test_nan_spoils_its_own_row_only():
    x = random(3, 8)
    x[1, 4] = math.nan
    for out in (layer_norm(x, None, None), rms_norm(x, None)):
        assert out[1].isnan().all()
        assert out[[0, 2]].isfinite().all()


def test_infinity():
    x = torch.tensor([[1.0, math.inf, 2.0], [1.0, 2.0, 3.0]])
    ln, rms = layer_norm(x, None, None), rms_norm(x, None)
    assert ln[0].isnan().all()
    assert rms[0].isnan().tolist() == [False, True, False]
    assert rms[0, 0] == rms[0, 2] == 0
    assert ln[1].isfinite().all()
    assert rms[1].isfinite().all()


def test_squares_beyond_float32_give_zero():
    x = torch.tensor([1e20, -1e20])  # the square, 1e40, is infinite in float32
    assert (rms_norm(x, None) == 0).all()
    assert (layer_norm(x, None, None) == 0).all()
    assert (rms_norm(x.double(), None).abs() == 1).all()


def test_one_feature():
    x = torch.tensor([[5.0], [-2.0]])
    assert layer_norm(x, None, None).tolist() == [[0.0], [0.0]]
    torch.testing.assert_close(rms_norm(x, None), torch.tensor([[1.0], [-1.0]]))


@pytest.mark.parametrize("shape", [(0, 8), (2, 0, 8)])
def test_empty_batch_stays_empty(shape):
    x = torch.empty(shape, requires_grad=True)
    gain = torch.ones(8, requires_grad=True)
    for out in (layer_norm(x, gain, gain), rms_norm(x, gain)):
        assert out.shape == shape
        out.sum().backward()
    assert (gain.grad == 0).all()


def test_strided_input():
    x = random(8, 6).T
    torch.testing.assert_close(layer_norm(x, None, None), layer_norm(x.contiguous(), None, None))
    torch.testing.assert_close(rms_norm(x, None), rms_norm(x.contiguous(), None))


# --- modules and residual blocks -------------------------------------------------------------


def test_modules_start_as_the_plain_formula_and_count_their_parameters():
    x = random(3, 8, dtype=torch.float32)
    torch.testing.assert_close(LayerNorm(8)(x), layer_norm(x, None, None), rtol=0, atol=0)
    torch.testing.assert_close(RMSNorm(8)(x), rms_norm(x, None), rtol=0, atol=0)
    count = [
        sum(p.numel() for p in m.parameters())
        for m in (LayerNorm(8), LayerNorm(8, bias=False), RMSNorm(8))
    ]
    assert count == [16, 8, 8]
    assert LayerNorm(8, bias=False).bias is None


def test_modules_use_their_eps_and_say_so():
    x = torch.tensor([1e-3, -1e-3, 2e-3, -2e-3])
    for module in (LayerNorm(4, eps=1e-2), RMSNorm(4, eps=1e-2)):
        torch.testing.assert_close(module(x), x / math.sqrt(2.5e-6 + 1e-2))
        assert "dim=4, eps=0.01" in repr(module)


def test_pre_norm_and_post_norm_formulas():
    x, sublayer = random(2, 3, 8, dtype=torch.float32), nn.Linear(8, 8)
    norm = LayerNorm(8)
    torch.testing.assert_close(PreNorm(sublayer, norm)(x), x + sublayer(norm(x)))
    torch.testing.assert_close(PostNorm(sublayer, norm)(x), norm(x + sublayer(x)))


@pytest.mark.parametrize("block", [PreNorm, PostNorm])
def test_blocks_hand_further_arguments_to_the_sublayer(block):
    class Scaled(nn.Module):
        def forward(self, x, factor, *, sign=1):
            return factor * sign * x

    x, norm = random(2, 8, dtype=torch.float32), RMSNorm(8)
    out = block(Scaled(), norm)(x, 2.0, sign=-1)
    expected = x - 2 * norm(x) if block is PreNorm else norm(-x)
    torch.testing.assert_close(out, expected)


@pytest.mark.parametrize("norm", [LayerNorm, RMSNorm])
def test_gradients_reach_every_parameter_of_a_block(norm):
    for block in (PreNorm, PostNorm):
        module = block(nn.Linear(8, 8), norm(8))
        module(random(4, 8, dtype=torch.float32)).square().sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())


# --- bad input: each error names the value ---------------------------------------------------


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"x": torch.tensor([1, 2])}, TypeError, r"x is torch\.int64"),
        ({"x": torch.tensor([True])}, TypeError, r"x is torch\.bool"),
        ({"x": torch.tensor([1j, 2j])}, TypeError, r"x is torch\.complex64"),
        ({"x": [1.0, 2.0]}, TypeError, "x is list"),
        ({"x": torch.zeros(2), "weight": torch.tensor([1, 1])}, TypeError, r"weight is torch\.int"),
        ({"x": torch.tensor(1.0)}, ValueError, r"shape \(\)"),
        ({"x": torch.zeros(3, 0)}, ValueError, r"shape \(3, 0\)"),
        ({"x": torch.zeros(2, 4), "weight": torch.ones(3)}, ValueError, r"weight has shape \(3,\), "
         r"expected \(4,\)"),
        ({"x": torch.zeros(2, 4), "weight": torch.ones(1)}, ValueError, r"weight has shape \(1,\)"),
        ({"x": torch.zeros(2, 4), "weight": torch.ones(2, 4)}, ValueError, r"shape \(2, 4\)"),
        ({"x": torch.zeros(2), "eps": -1e-6}, ValueError, "eps is -1e-06"),
        ({"x": torch.zeros(2), "eps": math.nan}, ValueError, "eps is nan"),
        ({"x": torch.zeros(2), "eps": math.inf}, ValueError, "eps is inf"),
        ({"x": torch.zeros(2), "eps": "small"}, TypeError, "eps is 'small'"),
    ],
)  # fmt: skip
def test_bad_input(arguments, error, message):
    arguments = {"weight": None} | arguments
    with pytest.raises(error, match=message):
        rms_norm(**arguments)
    with pytest.raises(error, match=message):
        layer_norm(**arguments, bias=None)


@pytest.mark.bad_input
def test_bad_bias():
    with pytest.raises(ValueError, match=r"bias has shape \(5,\), expected \(4,\)"):
        layer_norm(torch.zeros(2, 4), torch.ones(4), torch.zeros(5))
    with pytest.raises(TypeError, match=r"bias is torch\.int64"):
        layer_norm(torch.zeros(2, 4), None, torch.zeros(4, dtype=torch.int64))


@pytest.mark.bad_input
@pytest.mark.parametrize("module", [LayerNorm, RMSNorm])
@pytest.mark.parametrize(
    ("dim", "eps", "error", "message"),
    [
        (0, 1e-5, ValueError, "dim must be positive, got 0"),
        (-4, 1e-5, ValueError, "dim must be positive, got -4"),
        (4.0, 1e-5, TypeError, r"dim must be an integer, got 4\.0"),
        (True, 1e-5, TypeError, "dim must be an integer, got True"),
        (4, -1.0, ValueError, r"eps is -1\.0"),
        (4, math.nan, ValueError, "eps is nan"),
    ],
)
def test_bad_module_arguments(module, dim, eps, error, message):
    with pytest.raises(error, match=message):
        module(dim, eps)


@pytest.mark.bad_input
@pytest.mark.parametrize("module", [LayerNorm, RMSNorm])
def test_module_on_the_wrong_width(module):
    with pytest.raises(ValueError, match=r"shape \(2, 5\), expected floats with 4 features"):
        module(4)(torch.zeros(2, 5))


@pytest.mark.bad_input
@pytest.mark.parametrize("block", [PreNorm, PostNorm])
def test_a_sublayer_must_keep_the_shape(block):
    """A width of 1 would broadcast silently."""
    with pytest.raises(ValueError, match=r"shape \(3, 1\), expected \(3, 8\)"):
        block(nn.Linear(8, 1), RMSNorm(8))(torch.zeros(3, 8))
