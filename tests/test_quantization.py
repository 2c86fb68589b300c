"""Unit tests of llmlib.quantization: rounding, sizes, a decoder in 8 bits."""

import math

import pytest
import torch
from torch import nn

from llmlib.decoder import Decoder, DecoderConfig
from llmlib.decoder.single_step import SingleStep
from llmlib.kv_cache import KVCache, dequantize, quantize
from llmlib.quantization import Int8Linear, int8_weights

BIASES = pytest.mark.parametrize("bias", [True, False])


@BIASES
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_product_with_the_rounded_weights(bias, dtype):
    linear = nn.Linear(64, 48, bias=bias)
    small = Int8Linear(linear.weight, linear.bias)
    x = torch.randn(2, 3, 64).to(dtype)
    rounded = small.weight.float() * small.scale.float()[:, None]
    expected = x.float() @ rounded.T + (0 if not bias else linear.bias)
    found = small(x)
    assert found.dtype == dtype
    tolerance = 0.02 if dtype == torch.bfloat16 else 0.004  # the bias is rounded to bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=tolerance)


def test_weights_are_off_by_half_a_step_of_the_scale_that_is_stored():
    """Rounded to the scale before it was rounded itself, they would be off by up to 1/171."""
    weight = torch.randn(200, 64)
    small = Int8Linear(weight)
    error = (small.weight * small.scale.double()[:, None] - weight).abs()
    assert (error <= weight.abs().amax(-1, keepdim=True) / 253).all()


def test_an_outlier_costs_its_own_row_only():
    weight = torch.ones(2, 8)
    weight[0, 0] = 1e4
    found = Int8Linear(weight)(torch.eye(8))
    assert (found[1:, 0] - 1).abs().max() > 0.9
    assert (found[:, 1] - 1).abs().max() < 0.01


@BIASES
def test_bytes(bias):
    linear = nn.Linear(64, 48, bias=bias)
    small = Int8Linear(linear.weight, linear.bias)
    assert sum(b.nbytes for b in small.buffers()) == 64 * 48 + 2 * 48 * (1 + bias)
    assert list(small.parameters()) == []


@pytest.mark.parametrize("tied", [True, False])
@torch.no_grad()
def test_a_decoder_in_8_bits_stays_close(tied):
    torch.manual_seed(0)
    config = DecoderConfig(97, 64, 3, 4, 2, ffn_dim=96, context=64, tied=tied)
    plain, small = Decoder(config).eval(), Decoder(config).eval()
    for parameter in plain.parameters():
        if parameter.ndim == 2:
            parameter.normal_(std=0.2)
    small.load_state_dict(plain.state_dict())
    assert int8_weights(small) is small
    assert not any(isinstance(module, nn.Linear) for module in small.modules())
    ids = torch.randint(0, 97, (1, 30))
    expected, found = plain(ids), small(ids).float()
    assert ((found - expected).norm() / expected.norm()).item() < 0.08
    cache = KVCache()  # the step for one token works on the same integers
    small(ids[:, :-1], cache)
    step = SingleStep(small)(ids[:, -1:], cache)[0, 0].float()
    assert ((step - found[0, -1]).norm() / found[0, -1].norm()).item() < 0.05


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("autocast", [None, torch.float16, torch.bfloat16])
def test_sums_of_integers_overflow_in_no_type(dtype, autocast):
    """127 times 1,024 is more than float16 holds; the result, 20.48, is not."""
    layer, x = Int8Linear(torch.full((3, 1024), 0.02)), torch.ones(2, 1024, dtype=dtype)
    with torch.autocast("cpu", dtype=autocast, enabled=autocast is not None):
        found = layer(x)
    assert found.dtype == dtype
    torch.testing.assert_close(
        found.double(), torch.full((2, 3), 20.48).double(), rtol=4e-3, atol=0
    )


def test_rows_of_zeros_and_rows_that_no_number_stands_for():
    assert torch.equal(Int8Linear(torch.zeros(2, 4))(torch.ones(1, 4)), torch.zeros(1, 2))
    for wrong in (math.nan, math.inf):  # a cache shows them, it does not hide them
        row = torch.tensor([[wrong, 1.0], [2.0, 1.0]])
        back = dequantize(*quantize(row))
        assert back[0].isnan().all()
        torch.testing.assert_close(back[1], row[1], rtol=0, atol=2 / 254)


@pytest.mark.parametrize("shape", [(8,), (0, 8), (2, 0, 8), (1, 2, 3, 8)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_any_shape_and_any_strides(shape, dtype):
    layer, x = Int8Linear(torch.randn(5, 8)), torch.randn(shape).to(dtype)
    assert layer(x).shape == (*shape[:-1], 5)
    turned = x.movedim(0, -1).contiguous().movedim(-1, 0)
    assert torch.equal(layer(turned), layer(x))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_gradients_of_the_input(dtype):
    layer, x = Int8Linear(torch.randn(5, 8)), torch.randn(2, 8).to(dtype).requires_grad_()
    layer(x).sum().backward()
    expected = (layer.weight.float() * layer.scale.float()[:, None]).sum(0).expand(2, 8)
    torch.testing.assert_close(x.grad.float(), expected, rtol=2e-2, atol=2e-2)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("given", "error", "named"),
    [
        ((torch.zeros(8),), ValueError, r"weight has shape \(8,\), expected \(out, in\)"),
        ((torch.zeros(2, 8).long(),), TypeError, "weight is torch.int64"),
        (([[1.0]],), TypeError, "weight is list"),
        ((torch.full((2, 8), math.nan),), ValueError, "NaN or infinity"),
        ((torch.full((2, 8), 1e300, dtype=torch.float64),), ValueError, "NaN or infinity"),
        ((torch.zeros(2, 8), torch.zeros(3)), ValueError, r"bias has shape \(3,\), expected"),
        ((torch.zeros(2, 8), torch.zeros(2).long()), TypeError, "bias is torch.int64"),
    ],
)
def test_weights_that_are_none(given, error, named):
    with pytest.raises(error, match=named):
        Int8Linear(*given)


@pytest.mark.bad_input
def test_inputs_that_are_none():
    layer = Int8Linear(torch.randn(5, 8))
    for dtype in (torch.bfloat16, torch.float32):
        with pytest.raises(ValueError, match=r"x has shape \(2, 7\), expected \(..., 8\)"):
            layer(torch.zeros(2, 7, dtype=dtype))
    with pytest.raises(TypeError, match=r"x is torch\.int64"):
        layer(torch.zeros(2, 8).long())


@pytest.mark.bad_input
def test_layers_that_would_lose_what_was_put_in():
    class Adapter(nn.Linear):
        pass

    hooked = nn.Linear(3, 3)
    hooked.register_forward_hook(lambda *_: None)
    for layer, named in ((Adapter(3, 3), "1: it is a Adapter"), (hooked, "1: it has a hook")):
        model = nn.Sequential(nn.Linear(3, 3), layer)
        with pytest.raises(TypeError, match=named):
            int8_weights(model)
        assert type(model[0]) is nn.Linear  # nothing was changed
    with pytest.raises(TypeError, match="a single linear layer"):
        int8_weights(nn.Linear(3, 3))


@pytest.mark.parametrize("width", [1, 3, 8, 15, 16, 17, 31, 32, 33, 40, 64, 100])
def test_rows_of_any_length(width):
    """PyTorch's kernel for integers reads past the end of rows that are no multiple of 16."""
    for rows in (1, 4, 7):
        linear, x = nn.Linear(width, 5), torch.randn(rows, width).bfloat16()
        layer = Int8Linear(linear.weight, linear.bias)
        expected = x.double() @ (layer.weight * layer.scale.double()[:, None]).T + layer.bias
        scale = expected.abs().max()
        torch.testing.assert_close(layer(x).double() / scale, expected / scale, rtol=0, atol=0.02)
