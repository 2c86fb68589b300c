"""llmlib.normalization against PyTorch's kernels and transformers' LlamaRMSNorm.

Tolerances are in ulp, the spacing of floating-point numbers (``torch.finfo(dtype).eps``), at the
size of the numbers that are added and subtracted: ``max|x| / std(x) * max|weight| + max|bias|``.
"""

import pytest
import torch
import torch.nn.functional as F
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.t5.modeling_t5 import T5LayerNorm

from llmlib.normalization import LayerNorm, RMSNorm, layer_norm, rms_norm
from tests.folding import for_each

ULPS = {torch.float64: 4, torch.float32: 4, torch.bfloat16: 1, torch.float16: 1}
GRADIENT_ULPS = {torch.float64: 8, torch.float32: 8, torch.bfloat16: 2, torch.float16: 2}
DIMS = [1, 2, 7, 64, 576, 4096]
SHIFTS = [0.0, 3.0, 100.0]


def inputs(dim, dtype, shift=0.0, scale=1.0):
    generator = torch.Generator().manual_seed(dim)
    x = scale * torch.randn(3, 11, dim, generator=generator, dtype=torch.float64) + shift
    weight, bias = torch.randn(2, dim, generator=generator, dtype=torch.float64)
    return x.to(dtype), weight.to(dtype), bias.to(dtype)


def ulps(mine, reference, scale):
    """Largest difference, in ulp of ``scale``."""
    unit = torch.finfo(mine.dtype).eps * scale.double()
    return ((mine.double() - reference.double()).abs() / unit).max().item()


def layer_norm_scale(x, weight, bias):
    x = x.double()
    spread = (x.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
    largest = x.abs().amax(-1, keepdim=True) / spread * weight.abs().max().double()
    return largest + (0.0 if bias is None else bias.abs().max().double())


@for_each("dtype", ULPS)
@for_each("dim", DIMS)
@for_each("shift", SHIFTS)
def test_layer_norm_equals_torch(dim, dtype, shift):
    x, weight, bias = inputs(dim, dtype, shift)
    mine, reference = layer_norm(x, weight, bias), F.layer_norm(x, (dim,), weight, bias, 1e-5)
    assert mine.dtype == reference.dtype
    assert ulps(mine, reference, layer_norm_scale(x, weight, bias)) <= ULPS[dtype]


@for_each("dtype", ULPS)
@for_each("dim", DIMS)
@for_each("shift", SHIFTS)
def test_rms_norm_equals_torch(dim, dtype, shift):
    """PyTorch multiplies by the weight before it rounds, Llama after: half types differ by that."""
    x, weight, _ = inputs(dim, dtype, shift)
    mine, reference = rms_norm(x, weight), F.rms_norm(x, (dim,), weight, 1e-6)
    largest = reference.abs().amax(-1, keepdim=True)
    assert ulps(mine, reference, largest) <= 1


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1e3, 1e6])
def test_scales_in_float32(scale):
    x, weight, bias = inputs(64, torch.float32, scale=scale)
    reference = F.layer_norm(x, (64,), weight, bias, 1e-5)
    assert ulps(layer_norm(x, weight, bias), reference, layer_norm_scale(x, weight, bias)) <= 4
    reference = F.rms_norm(x, (64,), weight, 1e-6)
    assert ulps(rms_norm(x, weight), reference, reference.abs().amax(-1, keepdim=True)) <= 1


def gradients(function, *tensors):
    tensors = [t.clone().requires_grad_() for t in tensors]
    out = function(*tensors)
    generator = torch.Generator().manual_seed(1)
    upstream = torch.randn(out.shape, generator=generator, dtype=torch.float64).to(out.dtype)
    return torch.autograd.grad(out, tensors, upstream)


@for_each("dtype", GRADIENT_ULPS)
@for_each("dim", [2, 7, 64, 576])
@for_each("kind", ["layer", "rms"])
def test_gradients_equal_torch(dim, dtype, kind):
    """Judged against float64, as PyTorch's own are: never worse by more than a few ulp."""
    tensors = inputs(dim, dtype)
    if kind == "layer":
        mine, kernel = layer_norm, lambda x, w, b: F.layer_norm(x, (dim,), w, b, 1e-5)
    else:
        tensors = tensors[:2]
        mine, kernel = rms_norm, lambda x, w: F.rms_norm(x, (dim,), w, 1e-6)
    exact = gradients(mine, *(t.double() for t in tensors))
    reference = gradients(kernel, *tensors)
    for ours, theirs, true in zip(gradients(mine, *tensors), reference, exact, strict=True):
        scale = true.abs().max()
        allowed = 2 * ulps(theirs, true, scale) + GRADIENT_ULPS[dtype]
        assert ulps(ours, true, scale) <= allowed
        assert ulps(ours, theirs, scale) <= allowed


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("reference", [LlamaRMSNorm, T5LayerNorm])
def test_rms_norm_is_bit_identical_to_transformers(reference, dtype):
    x, weight, _ = inputs(96, dtype, shift=1.0)
    mine, theirs = RMSNorm(96, eps=1e-5).to(dtype), reference(96, eps=1e-5).to(dtype)
    for module in (mine, theirs):
        module.load_state_dict({"weight": weight})
    assert torch.equal(mine(x), theirs(x))


def test_llama_with_float32_weight_and_bfloat16_activations():
    x, weight, _ = inputs(96, torch.bfloat16)
    theirs = LlamaRMSNorm(96, eps=1e-6)
    theirs.load_state_dict({"weight": weight.float()})
    mine = rms_norm(x, weight.float())
    assert mine.dtype == theirs(x).dtype == torch.float32
    assert torch.equal(mine, theirs(x))


@pytest.mark.parametrize("bias", [True, False])
def test_state_dict_is_interchangeable_with_torch(bias):
    mine, theirs = LayerNorm(16, bias=bias), torch.nn.LayerNorm(16, bias=bias)
    with torch.no_grad():
        for p in theirs.parameters():
            p.normal_(generator=torch.Generator().manual_seed(0))
    mine.load_state_dict(theirs.state_dict())
    x, _, _ = inputs(16, torch.float32)
    torch.testing.assert_close(mine(x), theirs(x), rtol=0, atol=2e-6)


@pytest.mark.parametrize("value", [0.0, 3.0, float("inf"), float("nan")])
def test_edge_values_behave_as_in_torch(value):
    x = torch.tensor([[1.0, value, 2.0], [value, value, value]])
    torch.testing.assert_close(
        layer_norm(x, None, None), F.layer_norm(x, (3,)), equal_nan=True, rtol=1e-6, atol=1e-6
    )
    torch.testing.assert_close(
        rms_norm(x, None), F.rms_norm(x, (3,), eps=1e-6), equal_nan=True, rtol=1e-6, atol=1e-6
    )
