"""Activations and feed-forward blocks against torch's own and transformers' modules.

Tolerances are in ulps of max(1, |y|) at the type's precision: 3 for values in float32 and float64,
1 in half types (both sides compute those in float32, so they differ where the last rounding
falls). Gradients: 4 and 3; 64 for the tanh GELU, whose torch kernel cancels digits in 1 - tanh^2.
"""

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


def ulps(ours: Tensor, theirs: Tensor) -> float:
    gap = (ours.double() - theirs.double()).abs() / theirs.double().abs().clamp(min=1)
    return gap.max().item() / torch.finfo(ours.dtype).eps


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", PAIRS)
def test_values_and_gradients_are_torchs(name: str, dtype: torch.dtype) -> None:
    ours, theirs = PAIRS[name]
    x = torch.cat([torch.linspace(-30, 30, 6001), torch.zeros(1)])[:6000].to(dtype)
    half = dtype in (torch.float16, torch.bfloat16)
    assert ulps(ours(x), theirs(x)) <= (1 if half else 3)
    slopes = []
    for function in (ours, theirs):
        leaf = x.clone().requires_grad_()
        slopes.append(torch.autograd.grad(function(leaf).sum(), leaf)[0])
    assert slopes[0].dtype == dtype
    assert ulps(*slopes) <= (3 if half else 64 if name == "gelu_tanh" else 4)


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
