"""The reference attention against PyTorch's scaled_dot_product_attention, values and gradients."""

import pytest
import torch
import torch.nn.functional as F

from llmlib.attention import reference_attention, visible_keys

GROUPS = [(6, 6), (6, 3), (6, 2), (6, 1)]


def inputs(heads, kv_heads, seq_q=11, seq_k=11, value_dim=16):
    shapes = [(2, heads, seq_q, 16), (2, kv_heads, seq_k, 16), (2, kv_heads, seq_k, value_dim)]
    return [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]


def same(found, expected, tensors):
    """Equal values, and equal gradients of every input."""
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    upstream = torch.randn_like(found)
    mine = torch.autograd.grad(found, tensors, upstream)
    theirs = torch.autograd.grad(expected, tensors, upstream)
    for ours, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(ours, other, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("heads", "kv_heads"), GROUPS)
@pytest.mark.parametrize("causal", [True, False])
def test_heads_and_causal(heads, kv_heads, causal):
    q, k, v = inputs(heads, kv_heads)
    expected = F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=True)
    same(reference_attention(q, k, v, causal=causal), expected, (q, k, v))


@pytest.mark.parametrize(("seq_q", "seq_k"), [(1, 9), (4, 9), (9, 4)])
@pytest.mark.parametrize("window", [None, 3])
def test_lengths_and_windows(seq_q, seq_k, window):
    q, k, v = inputs(6, 2, seq_q, seq_k)
    mask = visible_keys(seq_q, seq_k, causal=True, window=window)
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)
    same(reference_attention(q, k, v, causal=True, window=window), expected, (q, k, v))


def test_mask_bias_and_scale():
    q, k, v = inputs(6, 3, 5, 8)
    bias = torch.randn(2, 6, 5, 8, dtype=torch.float64, requires_grad=True)
    mask = torch.rand(2, 1, 5, 8) > 0.3
    both = bias.masked_fill(~mask, -torch.inf)
    expected = F.scaled_dot_product_attention(q, k, v, both, scale=0.3, enable_gqa=True)
    found = reference_attention(q, k, v, bias=bias, mask=mask, scale=0.3)
    same(found, expected, (q, k, v, bias))


def test_values_of_another_width():
    q, k, v = inputs(4, 4, value_dim=5)
    expected = F.scaled_dot_product_attention(q, k, v)
    same(reference_attention(q, k, v), expected, (q, k, v))
