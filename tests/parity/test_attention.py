"""Attention against PyTorch's (values and gradients) and against transformers' modules."""

import pytest
import torch
import torch.nn.functional as F
import transformers
from transformers.models.bart.modeling_bart import BartAttention
from transformers.models.bloom.modeling_bloom import BloomAttention, build_alibi_tensor
from transformers.models.deepseek_v2.modeling_deepseek_v2 import DeepseekV2Attention
from transformers.models.gpt2.modeling_gpt2 import GPT2Attention
from transformers.models.llama.modeling_llama import LlamaAttention

from llmlib.attention import (
    Attention,
    LatentAttention,
    attention,
    reference_attention,
    visible_keys,
)
from llmlib.position_encoding import alibi_bias, rope_frequencies, rope_rotation

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


@pytest.mark.parametrize(("heads", "kv_heads"), GROUPS)
def test_fast_engine_on_grouped_heads(heads, kv_heads):
    """Also for a single query, whose heads are folded into rows."""
    for seq_q in (1, 5, 11):
        q, k, v = inputs(heads, kv_heads, seq_q)
        mask = visible_keys(seq_q, 11, causal=True)
        expected = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)
        torch.testing.assert_close(attention(q, k, v, causal=True), expected, rtol=0, atol=1e-6)


# --- transformers' modules on the same weights ------------------------------------------------

SEQ, DIM = 9, 48
HIDDEN = {"hidden_size": DIM, "num_attention_heads": 6, "attn_implementation": "eager"}


def filled(mine, **weights):
    """My module with these weights, and a stream for it."""
    mine.load_state_dict({name: tensor.detach().clone() for name, tensor in weights.items()})
    return mine, torch.randn(2, SEQ, DIM)


def hidden_from(seq=SEQ):
    """What transformers' modules add to the scores."""
    return torch.zeros(1, 1, seq, seq).masked_fill(~visible_keys(seq, seq, causal=True), -torch.inf)


def parts(module, short, mine, kinds=("weight",)):
    return {f"{mine}.{kind}": getattr(getattr(module, short), kind) for kind in kinds}


@torch.no_grad()
@pytest.mark.parametrize("kv_heads", [6, 3, 1])
def test_llama(kv_heads):
    config = transformers.LlamaConfig(**HIDDEN, num_key_value_heads=kv_heads)
    theirs = LlamaAttention(config, 0)
    names = {"q_proj": "query", "k_proj": "key", "v_proj": "value", "o_proj": "output"}
    weights = {}
    for short, name in names.items():
        weights |= parts(theirs, short, name)
    mine, x = filled(Attention(DIM, 6, kv_heads, causal=True), **weights)
    cos, sin = rope_rotation(torch.arange(SEQ), rope_frequencies(8))
    both = tuple(torch.cat([table, table], -1)[None] for table in (cos, sin))
    expected = theirs(x, position_embeddings=both, attention_mask=hidden_from())[0]
    torch.testing.assert_close(mine(x, rotation=(cos, sin)), expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_gpt2():
    config = transformers.GPT2Config(n_embd=DIM, n_head=6, attn_implementation="eager")
    theirs = GPT2Attention(config, layer_idx=0).eval()
    torch.nn.init.normal_(theirs.c_attn.bias)
    torch.nn.init.normal_(theirs.c_attn.weight, std=0.3)
    weights = {"output.weight": theirs.c_proj.weight.T, "output.bias": theirs.c_proj.bias}
    for i, name in enumerate(("query", "key", "value")):
        weights[f"{name}.weight"] = theirs.c_attn.weight.T[DIM * i : DIM * (i + 1)]
        weights[f"{name}.bias"] = theirs.c_attn.bias[DIM * i : DIM * (i + 1)]
    mine, x = filled(Attention(DIM, 6, causal=True, qkv_bias=True, out_bias=True), **weights)
    expected = theirs(x, attention_mask=hidden_from())[0]
    torch.testing.assert_close(mine(x), expected, rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("heads", [6, 12])
def test_bloom(heads):
    """ALiBi, also for heads that are no power of two; the residual is part of their module."""
    theirs = BloomAttention(transformers.BloomConfig(hidden_size=DIM, n_head=heads), 0).eval()
    torch.nn.init.normal_(theirs.query_key_value.bias)
    each = [tensor.unflatten(0, (heads, 3, -1)) for tensor in theirs.query_key_value.parameters()]
    weights = parts(theirs, "dense", "output", ("weight", "bias"))
    for i, name in enumerate(("query", "key", "value")):
        weights[f"{name}.weight"], weights[f"{name}.bias"] = (x[:, i].flatten(0, 1) for x in each)
    mine, x = filled(Attention(DIM, heads, causal=True, qkv_bias=True, out_bias=True), **weights)
    alibi = build_alibi_tensor(torch.ones(2, SEQ), heads, torch.float32)
    expected = theirs(x, torch.zeros_like(x), alibi, hidden_from())[0]
    found = mine(x, bias=alibi_bias(heads, SEQ, SEQ))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_bart_cross_attention():
    theirs = BartAttention(
        DIM, 6, is_decoder=True, layer_idx=0,
        config=transformers.BartConfig(attn_implementation="eager"),
    )  # fmt: skip
    names = {"q_proj": "query", "k_proj": "key", "v_proj": "value", "out_proj": "output"}
    weights = {}
    for short, name in names.items():
        weights |= parts(theirs, short, name, ("weight", "bias"))
    mine, x = filled(Attention(DIM, 6, qkv_bias=True, out_bias=True), **weights)
    context = torch.randn(2, 5, DIM)
    expected = theirs(x, key_value_states=context)[0]
    torch.testing.assert_close(mine(x, context=context), expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_torch_cross_attention_from_another_width():
    theirs = torch.nn.MultiheadAttention(DIM, 6, kdim=20, vdim=20, bias=False, batch_first=True)
    mine, x = filled(
        Attention(DIM, 6, context_dim=20),
        **{"query.weight": theirs.q_proj_weight, "key.weight": theirs.k_proj_weight},
        **{"value.weight": theirs.v_proj_weight, "output.weight": theirs.out_proj.weight},
    )
    context = torch.randn(2, 5, 20)
    expected, maps = theirs(x, context, context, average_attn_weights=False)
    torch.testing.assert_close(mine(x, context=context), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(mine.weights(x, context=context), maps, rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("absorbed", [False, True])
@pytest.mark.parametrize("query_rank", [None, 28])
def test_deepseek_v2(query_rank, absorbed):
    config = transformers.DeepseekV2Config(
        **HIDDEN, kv_lora_rank=20, q_lora_rank=query_rank, qk_nope_head_dim=10,
        qk_rope_head_dim=6, v_head_dim=14, rope_parameters={"rope_type": "default",
        "rope_theta": 100.0},
    )  # fmt: skip
    theirs = DeepseekV2Attention(config, 0)
    joint, up = theirs.kv_a_proj_with_mqa.weight, theirs.kv_b_proj.weight.unflatten(0, (6, 24))
    weights = parts(theirs, "kv_a_layernorm", "latent_norm") | parts(theirs, "o_proj", "output")
    weights |= {"latent.weight": joint[:20], "rope_key.weight": joint[20:]}
    weights |= {"key_up.weight": up[:, :10].flatten(0, 1)}
    weights |= {"value_up.weight": up[:, 10:].flatten(0, 1)}
    if query_rank is None:
        weights |= parts(theirs, "q_proj", "query")
    else:
        weights |= parts(theirs, "q_a_proj", "query_down") | parts(theirs, "q_b_proj", "query")
        weights |= parts(theirs, "q_a_layernorm", "query_norm")
    widths = (20, 6, 10, 14, query_rank)
    mine = LatentAttention(DIM, 6, *widths, causal=True, rope_layout="interleaved")
    mine, x = filled(mine, **weights)
    cos, sin = rope_rotation(torch.arange(SEQ), rope_frequencies(6, 100.0))
    expected = theirs(
        x, attention_mask=hidden_from(), position_embeddings=torch.complex(cos, sin)[None]
    )[0]
    found = mine(x, rotation=(cos, sin), absorbed=absorbed)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
