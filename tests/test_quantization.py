"""Unit tests of llmlib.quantization: rounding, sizes, a decoder in 8 bits."""

import pytest
import torch
from torch import nn

from llmlib.decoder import Decoder, DecoderConfig
from llmlib.decoder.single_step import SingleStep
from llmlib.kv_cache import KVCache
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
