"""Activations and feed-forward blocks against torch's own and transformers' modules.

Elementwise functions are compared with `exact`: the formula in Python's float64, one number at a
time, by the C library. Every error is measured against that, in ulps of max(1, |y|) at the type's
precision. Ours are bounded tightly. torch's kernels are only shown to compute the same function,
for how far they err depends on the processor (oneDNN's gelu in float32: 6.3 ulps with AVX-512, 2.1
with AVX2, 2.4 with SSE; another formula would err by thousands).
"""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from llmlib import activations as act
from llmlib.activations import FeedForward, GatedFeedForward

transformers = pytest.importorskip("transformers")

PAIRS = {
    "relu": (act.relu, F.relu),
    "sigmoid": (act.sigmoid, torch.sigmoid),
    "gelu": (act.gelu, F.gelu),
    "gelu_tanh": (lambda x: act.gelu(x, True), lambda x: F.gelu(x, approximate="tanh")),
    "swish": (act.swish, F.silu),
    "glu": (lambda x: act.glu(x[1::2], x[::2]), lambda x: F.glu(torch.cat([x[::2], x[1::2]]), 0)),
}
DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
ROOT = math.sqrt(2 / math.pi)
STEEP = {"swish": 16, "glu": 16, "gelu_tanh": 64}
"""Autograd's sigma * (1 - sigma) errs by half an ulp near 1, and x, up to 30, multiplies that;
for the tanh form so does the slope of the cubic (43 ulps found)."""


def sigma(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def bump(x: float) -> float:
    """The slope of sigma, sigma(x) * sigma(-x)."""
    return sigma(x) * sigma(-x)


def inner(x: float) -> float:
    """Twice what the tanh of GPT-2's GELU is taken of: (1 + tanh u) / 2 = sigma(2u)."""
    return 2 * ROOT * (x + 0.044715 * x**3)


def gelu_tanh_slope(x: float) -> float:
    return sigma(inner(x)) + x * bump(inner(x)) * 2 * ROOT * (1 + 3 * 0.044715 * x * x)


EXACT: dict[str, tuple[Callable[[float], float], Callable[[float], float]]] = {
    "relu": (lambda x: max(x, 0.0), lambda x: float(x > 0)),
    "sigmoid": (sigma, bump),
    "gelu": (
        lambda x: x / 2 * math.erfc(-x / math.sqrt(2)),
        lambda x: math.erfc(-x / math.sqrt(2)) / 2 + x * math.exp(-x * x / 2) * ROOT / 2,
    ),
    "gelu_tanh": (lambda x: x * sigma(inner(x)), gelu_tanh_slope),
    "swish": (lambda x: x * sigma(x), lambda x: sigma(x) + x * bump(x)),
}


def exact(name: str, x: Tensor) -> tuple[Tensor, Tensor]:
    """Values and slopes in float64."""
    numbers = x.double().tolist()
    if name == "glu":
        pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
        values = [value * sigma(gate) for value, gate in pairs]
        slopes = [s for value, gate in pairs for s in (sigma(gate), value * bump(gate))]
    else:
        values, slopes = ([function(number) for number in numbers] for function in EXACT[name])
    return torch.tensor(values, dtype=torch.float64), torch.tensor(slopes, dtype=torch.float64)


def ulps(found: Tensor, true: Tensor) -> float:
    gap = (found.double() - true).abs() / true.abs().clamp(min=1)
    return gap.max().item() / torch.finfo(found.dtype).eps


def errors(name: str, which: int, dtype: torch.dtype) -> tuple[float, float]:
    """How far values and slopes lie from the exact ones; `which` is 0 for ours, 1 for torch's."""
    function = PAIRS[name][which]
    x = torch.cat([torch.linspace(-30, 30, 6001), torch.zeros(1)])[:6000].to(dtype)
    values, slopes = exact(name, x)
    leaf = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(function(leaf).sum(), leaf)
    assert slope.dtype == function(x).dtype == dtype
    return ulps(function(x), values), ulps(slope, slopes)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", PAIRS)
def test_values_and_gradients_are_exact_to_a_few_last_bits(name: str, dtype: torch.dtype) -> None:
    value, slope = errors(name, 0, dtype)
    half = dtype in (torch.float16, torch.bfloat16)  # computed in float32, rounded once
    assert value <= (0.51 if half else 2)
    assert slope <= (0.51 if half else STEEP.get(name, 2))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", PAIRS)
def test_torch_computes_the_same_functions(name: str, dtype: torch.dtype) -> None:
    value, slope = errors(name, 1, dtype)
    assert value <= 8
    assert slope <= STEEP.get(name, 8)


def load(ours: torch.nn.Module, theirs: torch.nn.Module, names: dict[str, str]) -> None:
    """Copy a reference block's weights into ours: names maps our module to theirs."""
    for mine, name in names.items():
        source = theirs.get_submodule(name)
        target = ours.get_submodule(mine)
        transposed = isinstance(source, transformers.pytorch_utils.Conv1D)
        target.weight.data.copy_(source.weight.T if transposed else source.weight)
        if getattr(source, "bias", None) is not None:
            target.bias.data.copy_(source.bias)


def gpt2_pair() -> tuple[torch.nn.Module, torch.nn.Module]:
    from transformers.models.gpt2.modeling_gpt2 import GPT2MLP

    config = transformers.GPT2Config(n_embd=24, resid_pdrop=0.0)
    theirs = GPT2MLP(96, config)
    for p in theirs.parameters():  # its biases start at zero, where a missing one would not show
        torch.nn.init.normal_(p, std=0.3)
    ours = FeedForward(24, 96, "gelu_tanh")
    load(ours, theirs, {"up": "c_fc", "down": "c_proj"})
    return ours, theirs


def llama_pair() -> tuple[torch.nn.Module, torch.nn.Module]:
    from transformers.models.llama.modeling_llama import LlamaMLP

    config = transformers.LlamaConfig(hidden_size=24, intermediate_size=64, num_attention_heads=2)
    theirs = LlamaMLP(config)
    ours = GatedFeedForward(24, 64)
    load(ours, theirs, {"gate": "gate_proj", "up": "up_proj", "down": "down_proj"})
    return ours, theirs


def t5_pair(gated: bool) -> tuple[torch.nn.Module, torch.nn.Module]:
    from transformers.models.t5.modeling_t5 import T5DenseActDense, T5DenseGatedActDense

    kind = "gated-gelu" if gated else "relu"
    config = transformers.T5Config(d_model=24, d_ff=64, feed_forward_proj=kind, dropout_rate=0.0)
    if gated:
        theirs = T5DenseGatedActDense(config)
        ours = GatedFeedForward(24, 64, "gelu_tanh")
        load(ours, theirs, {"gate": "wi_0", "up": "wi_1", "down": "wo"})
        return ours, theirs
    theirs = T5DenseActDense(config)
    ours = FeedForward(24, 64, bias=False)
    load(ours, theirs, {"up": "wi", "down": "wo"})
    return ours, theirs


BLOCKS = {
    "gpt2": gpt2_pair,
    "llama": llama_pair,
    "t5": lambda: t5_pair(False),
    "t5-gated": lambda: t5_pair(True),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_are_those_of_transformers(name: str) -> None:
    torch.manual_seed(0)
    ours, theirs = BLOCKS[name]()
    theirs.eval()
    x = torch.randn(2, 5, 24)
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    outputs = [block(leaf) for block, leaf in zip((ours, theirs), inputs, strict=True)]
    torch.testing.assert_close(outputs[0], outputs[1], rtol=2e-6, atol=2e-6)
    for y in outputs:
        y.square().sum().backward()
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad, rtol=1e-4, atol=1e-4)
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_llama_block_in_half_precision(dtype: torch.dtype) -> None:
    """Within rounding: transformers rounds the gate before the product, we round once."""
    torch.manual_seed(0)
    ours, theirs = (block.to(dtype) for block in llama_pair())
    x = torch.randn(2, 5, 24).to(dtype)
    bound = 8 * torch.finfo(dtype).eps * theirs(x).abs().max().item()
    assert (ours(x) - theirs(x)).abs().max().item() <= bound
