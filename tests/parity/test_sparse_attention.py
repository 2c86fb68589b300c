"""Longformer's self-attention against transformers, same weights, local and global tokens."""

import pytest
import torch
from transformers import LongformerConfig
from transformers.models.longformer.modeling_longformer import LongformerSelfAttention

from llmlib.sparse_attention import LongformerAttention, longformer_mask

PAIRS = {
    "local.query": "query",
    "local.key": "key",
    "local.value": "value",
    "global_query": "query_global",
    "global_key": "key_global",
    "global_value": "value_global",
}


def both(attention_window, dim=32, n_heads=4):
    """The two modules with the same random weights; theirs has no output projection."""
    config = LongformerConfig(
        hidden_size=dim,
        num_attention_heads=n_heads,
        attention_window=[attention_window],
        attention_probs_dropout_prob=0.0,
    )
    theirs = LongformerSelfAttention(config, layer_id=0).eval()
    ours = LongformerAttention(dim, n_heads, window=attention_window // 2 + 1).eval()
    for mine, other in PAIRS.items():
        ours.get_submodule(mine).load_state_dict(theirs.get_submodule(other).state_dict())
    torch.nn.init.eye_(ours.local.output.weight)
    torch.nn.init.zeros_(ours.local.output.bias)
    return ours, theirs


def run_theirs(module, x, global_tokens):
    mask = torch.zeros(x.shape[:2])
    mask[:, global_tokens] = 10_000.0
    return module(
        x,
        attention_mask=mask,
        is_index_masked=mask < 0,
        is_index_global_attn=mask > 0,
        is_global_attn=bool(global_tokens),
    )[0]


@torch.no_grad()
@pytest.mark.parametrize("global_tokens", [[], [0], [0, 5, 31], [30, 31]])
@pytest.mark.parametrize("attention_window", [4, 8, 16])
def test_longformer_self_attention(attention_window, global_tokens):
    ours, theirs = both(attention_window)
    x = torch.randn(2, 32, 32)
    expected = run_theirs(theirs, x, global_tokens)
    torch.testing.assert_close(ours(x, global_tokens), expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_window_off_by_one_is_seen():
    """attention_window 8 is 4 keys on each side: window 5 here, and neither 4 nor 8."""
    ours, theirs = both(8)
    x = torch.randn(2, 32, 32)
    expected = run_theirs(theirs, x, [0])
    for window in (4, 6, 8):
        ours.window = window
        assert (ours(x, [0]) - expected).abs().max() > 1e-2


@torch.no_grad()
def test_global_rows_need_the_global_projections():
    ours, theirs = both(8)
    x = torch.randn(2, 32, 32)
    shared = ours.local(x, mask=longformer_mask(32, 5, [0]))
    expected = run_theirs(theirs, x, [0])
    torch.testing.assert_close(shared[:, 1:], expected[:, 1:], rtol=0, atol=1e-5)
    assert (shared[:, 0] - expected[:, 0]).abs().max() > 1e-2
