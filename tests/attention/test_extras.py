"""Caps, sinks, gates, widths of values and parts of heads, by every engine and by hand."""

import math

import pytest
import torch
from torch import nn

from llmlib.attention import Attention, attend, attention_weights, reference_attention
from llmlib.normalization import RMSNorm
from llmlib.position_encoding import rope_frequencies, rope_rotation, rotate

ENGINES = ["auto", "blocked", "sdpa", "reference"]


def qkv(seq: int = 9) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    shapes = ((2, 4, seq, 8), (2, 2, seq, 8), (2, 2, seq, 5))
    return tuple(torch.randn(s, dtype=torch.float64, requires_grad=True) for s in shapes)  # type: ignore[return-value]


def by_hand(q, k, v, softcap=None, sinks=None, window=None):
    """One query at a time, with Python's loops."""
    out = torch.zeros(*q.shape[:3], v.shape[-1], dtype=q.dtype)
    for b in range(q.shape[0]):
        for h in range(q.shape[1]):
            for i in range(q.shape[2]):
                first = 0 if window is None else max(0, i - window + 1)
                scores = [(q[b, h, i] @ k[b, h // 2, j]).item() / math.sqrt(q.shape[-1])
                          for j in range(first, i + 1)]  # fmt: skip
                if softcap is not None:
                    scores = [softcap * math.tanh(s / softcap) for s in scores]
                powers = [math.exp(s) for s in scores]
                total = sum(powers) + (0 if sinks is None else math.exp(sinks[h].item()))
                for j, power in enumerate(powers):
                    out[b, h, i] += power / total * v[b, h // 2, first + j].detach()
    return out


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize(("softcap", "sinks"), [(0.7, False), (None, True), (2.0, True)])
def test_caps_and_sinks_are_the_formula(engine, window, softcap, sinks) -> None:
    q, k, v = qkv()
    logits = torch.tensor([-1.0, 0.0, 0.5, 3.0], dtype=torch.float64) if sinks else None
    options = {"causal": True, "window": window, "softcap": softcap, "sinks": logits}
    found = attend(q, k, v, engine=engine, **options)
    torch.testing.assert_close(found, by_hand(q, k, v, softcap, logits, window))
    torch.testing.assert_close(found, reference_attention(q, k, v, **options))
    weights = attention_weights(q, k, **options)
    total = weights.sum(-1)
    assert bool((total < 1 - 1e-6).all()) == sinks
    assert sinks or torch.allclose(total, torch.ones_like(total))


def test_the_gradient_of_sinks_is_that_of_the_formula() -> None:
    found = {}
    for engine in ("blocked", "reference"):
        q, k, v = qkv()
        sinks = torch.tensor([-1.0, 0.0, 0.5, 3.0], dtype=torch.float64, requires_grad=True)
        out = attend(q, k, v, engine=engine, causal=True, sinks=sinks)
        found[engine] = torch.autograd.grad(out.square().sum(), (q, k, v, sinks))
    torch.testing.assert_close(found["blocked"], found["reference"])


def test_a_cap_is_no_limit_to_small_scores_and_one_to_large() -> None:
    q, k, v = qkv()
    plain = reference_attention(q, k, v, causal=True)
    torch.testing.assert_close(reference_attention(q, k, v, causal=True, softcap=1e6), plain)
    flat = reference_attention(q, k, v, causal=True, softcap=1e-9)
    even = torch.ones(9, 9, dtype=torch.float64).tril()
    mean = (even / even.sum(-1, keepdim=True)) @ v.repeat_interleave(2, 1)
    torch.testing.assert_close(flat, mean)


def test_a_gate_multiplies_each_heads_average() -> None:
    torch.manual_seed(0)
    layer = Attention(16, 4, 2, 6, causal=True, value_dim=5, gate=True).double()
    x = torch.randn(2, 7, 16, dtype=torch.float64)
    q, k, v = layer.project(x)
    average = reference_attention(q, k, v, causal=True).transpose(1, 2).flatten(2)
    expected = layer.output(average * torch.sigmoid(x @ layer.gate.weight.T))
    torch.testing.assert_close(layer(x), expected)
    assert v.shape == (2, 2, 7, 5)
    assert layer.output.weight.shape == (16, 20)


def test_a_norm_as_wide_as_all_heads_is_over_all_of_them() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 5, 16, dtype=torch.float64)
    wide = Attention(16, 4, 2, 4, query_norm=RMSNorm(16), key_norm=RMSNorm(8)).double()
    nn.init.normal_(wide.query_norm.weight)
    q, k, _ = wide.project(x)
    torch.testing.assert_close(q, wide.query_norm(wide.query(x)).view(1, 5, 4, 4).transpose(1, 2))
    torch.testing.assert_close(k, wide.key_norm(wide.key(x)).view(1, 5, 2, 4).transpose(1, 2))
    each = Attention(16, 4, 2, 4, qk_norm=True).double()
    q, _, _ = each.project(x)
    torch.testing.assert_close(q.square().mean(-1), torch.ones(1, 4, 5).double(), rtol=1e-4, atol=0)


def test_a_table_for_part_of_a_head_leaves_the_rest() -> None:
    torch.manual_seed(0)
    layer, x = Attention(16, 2, head_dim=8), torch.randn(1, 5, 16)
    frequencies, at = rope_frequencies(4), torch.arange(5)
    q, _, _ = layer.project(x, rope_rotation(at, frequencies))
    plain, _, _ = layer.project(x)
    torch.testing.assert_close(q[..., :4], rotate(plain[..., :4], at, frequencies))
    assert torch.equal(q[..., 4:], plain[..., 4:])


@pytest.mark.bad_input
def test_caps_sinks_and_rotations_that_cannot_be() -> None:
    q, k, v = qkv()
    with pytest.raises(ValueError, match=r"softcap is 0\.0, expected a positive number"):
        reference_attention(q, k, v, softcap=0.0)
    with pytest.raises(ValueError, match=r"sinks have shape \(3,\), expected \(4,\)"):
        reference_attention(q, k, v, sinks=torch.zeros(3))
    layer = Attention(16, 2, head_dim=8)
    with pytest.raises(ValueError, match="at most 8 features"):
        layer(torch.ones(1, 5, 16), rotation=rope_rotation(torch.arange(5), rope_frequencies(10)))
