"""Unit tests of llmlib.attention: the formula, both engines, the module, traps, bad input."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmlib.attention import (
    Attention,
    attention,
    attention_weights,
    pool_heads,
    reference_attention,
    visible_keys,
)
from llmlib.decoder import Decoder, DecoderConfig, pool_kv_heads
from llmlib.kv_cache import KVCache, RollingKVCache
from llmlib.position_encoding import alibi_bias, rope_frequencies, rope_rotation

NAN = float("nan")


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def qkv(batch=2, heads=4, kv_heads=2, seq_q=5, seq_k=7, width=8, dtype=torch.float64):
    q = random(batch, heads, seq_q, width, dtype=dtype)
    k = random(batch, kv_heads, seq_k, width, seed=1, dtype=dtype)
    return q, k, random(batch, kv_heads, seq_k, width, seed=2, dtype=dtype)


# --- the formula -----------------------------------------------------------------------------


def test_two_keys_by_hand():
    q = torch.tensor([[[[1.0, 0.0]]]])
    k = torch.tensor([[[[math.sqrt(2) * math.log(3), 0.0], [0.0, 5.0]]]])  # scores ln 3 and 0
    v = torch.tensor([[[[4.0], [0.0]]]])
    torch.testing.assert_close(attention_weights(q, k).flatten(), torch.tensor([0.75, 0.25]))
    assert reference_attention(q, k, v).item() == pytest.approx(3.0)


def test_a_loop_over_queries_and_keys_gives_the_same():
    q, k, v = qkv(batch=1)
    found = reference_attention(q, k, v, causal=True)
    for head in range(4):
        for i in range(5):
            keys = range(i + 7 - 5 + 1)
            powers = [math.exp(q[0, head, i] @ k[0, head // 2, j] / math.sqrt(8)) for j in keys]
            expected = sum(p * v[0, head // 2, j] for p, j in zip(powers, keys, strict=True))
            torch.testing.assert_close(found[0, head, i], expected / sum(powers))


def test_causal_aligns_to_the_bottom_right():
    """The last query sees the last key, so that a step with a cache is the last row."""
    assert visible_keys(2, 4, causal=True).tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]
    q, k, v = qkv(seq_q=7)
    whole = reference_attention(q, k, v, causal=True)
    step = reference_attention(q[:, :, -1:], k, v, causal=True)
    torch.testing.assert_close(step, whole[:, :, -1:])


def test_window_counts_the_query_itself():
    assert visible_keys(3, 3, causal=True, window=2).tolist() == [[1, 0, 0], [1, 1, 0], [0, 1, 1]]
    both_sides = visible_keys(4, 4, window=2)
    assert both_sides[1].tolist() == [1, 1, 1, 0]
    assert visible_keys(1, 9, causal=True, window=4).sum() == 4


def test_gqa_heads_of_a_group_are_neighbours():
    """The trap: query heads 0 and 1 share K/V head 0; tiled they would be 0 and 2."""
    q, k, v = qkv()
    k_each, v_each = k.repeat_interleave(2, 1), v.repeat_interleave(2, 1)
    found = reference_attention(q, k, v)
    torch.testing.assert_close(found, reference_attention(q, k_each, v_each))
    tiled = reference_attention(q, k.repeat(1, 2, 1, 1), v.repeat(1, 2, 1, 1))
    assert (found - tiled).abs().max() > 0.1


def test_weights_sum_to_one():
    q, k, _ = qkv()
    sums = attention_weights(q, k, causal=True, window=3).sum(-1)
    torch.testing.assert_close(sums, torch.ones_like(sums))


@pytest.mark.parametrize("engine", [reference_attention, attention])
def test_rows_that_see_nothing_are_zero(engine):
    q, k, v = qkv(seq_q=7, seq_k=5)
    found = engine(q, k, v, causal=True)  # queries 0 and 1 stand before the first key
    assert torch.equal(found[:, :, :2], torch.zeros_like(found[:, :, :2]))
    assert found[:, :, 2:].abs().min() > 0
    mask = torch.ones(2, 1, 7, 5, dtype=torch.bool)
    mask[0, :, 3] = False
    found = engine(q, k, v, mask=mask)
    assert torch.equal(found[0, :, 3], torch.zeros(4, 8, dtype=torch.float64))
    assert found.isfinite().all()


def test_rows_that_see_nothing_have_no_gradient():
    q, k, v = (x.requires_grad_() for x in qkv(seq_q=7, seq_k=5))
    reference_attention(q, k, v, causal=True).sum().backward()
    assert all(x.grad.isfinite().all() for x in (q, k, v))
    assert q.grad[:, :, :2].abs().max() == 0


@pytest.mark.parametrize("where", ["k", "v"])
@pytest.mark.parametrize("value", [NAN, math.inf, -math.inf])
def test_nan_in_a_hidden_key_or_value_does_not_leak(where, value):
    """0 * NaN is NaN: what is hidden has to be left out, not weighted with 0."""
    q, k, v = qkv(seq_q=7, kv_heads=4)
    expected = reference_attention(q, k, v, causal=True)
    (k if where == "k" else v)[:, :, 6] = value
    found = reference_attention(q, k, v, causal=True)
    torch.testing.assert_close(found[:, :, :6], expected[:, :, :6])
    assert not found[:, :, 6].isfinite().any()


def test_causal_leak_is_exactly_zero():
    q, k, v = qkv(seq_q=7)
    before = reference_attention(q, k, v, causal=True)
    k[:, :, 5:] += 100
    v[:, :, 5:] -= 100
    assert torch.equal(reference_attention(q, k, v, causal=True)[:, :, :5], before[:, :, :5])


def test_huge_scores_do_not_overflow():
    q, k, v = qkv(dtype=torch.float32)
    found = reference_attention(q * 1e4, k, v)
    assert found.isfinite().all()
    best = (_each(q, k)).argmax(-1)
    expected = v.repeat_interleave(2, 1).gather(2, best[..., None].expand(-1, -1, -1, 8))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)


def _each(q, k):
    return q @ k.repeat_interleave(2, 1).transpose(-1, -2)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bit_is_rounded_once(dtype):
    q, k, v = (x.to(dtype) for x in qkv())
    exact = reference_attention(q.double(), k.double(), v.double(), causal=True)
    found = reference_attention(q, k, v, causal=True)
    assert found.dtype == dtype
    assert (found.double() - exact).abs().max() <= exact.abs().max() * torch.finfo(dtype).eps


def test_gradients():
    q, k, v = (x.requires_grad_() for x in qkv(batch=1, seq_q=3, seq_k=4, width=2))
    bias = random(1, 4, 3, 4, seed=5).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda q, k, v, b: reference_attention(q, k, v, causal=True, window=3, bias=b),
        (q, k, v, bias),
    )


# --- the fast engine is the reference ---------------------------------------------------------


def test_window_of_all_keys_still_hides_from_queries_before_them():
    """With more queries than keys, the first queries stand before every key."""
    q, k, v = qkv(1, 2, 2, 4, 2, 4)
    expected = reference_attention(q, k, v, window=2)
    assert expected[:, :, 0].abs().max() == 0
    torch.testing.assert_close(attention(q, k, v, window=2), expected)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_fast_engine_equals_the_reference(data):
    """Every combination of sizes, causal, window, bias and mask, single queries included."""
    kv_heads = data.draw(st.integers(1, 3), "kv_heads")
    heads = kv_heads * data.draw(st.integers(1, 3), "group")
    seq_q, seq_k = data.draw(st.integers(1, 9), "seq_q"), data.draw(st.integers(1, 9), "seq_k")
    dtype = data.draw(st.sampled_from([torch.float32, torch.float64, torch.bfloat16]), "dtype")
    q, k, v = qkv(2, heads, kv_heads, seq_q, seq_k, 4, dtype)
    options = {
        "causal": data.draw(st.booleans(), "causal"),
        "window": data.draw(st.sampled_from([None, 1, 3, 20]), "window"),
        "scale": data.draw(st.sampled_from([None, 0.7]), "scale"),
    }
    if data.draw(st.booleans(), "mask"):
        shape = data.draw(st.sampled_from([(2, 1, 1, seq_k), (2, heads, seq_q, seq_k)]), "shape")
        options["mask"] = random(*shape, seed=3) > -0.5
    if data.draw(st.booleans(), "bias"):
        shape = data.draw(st.sampled_from([(heads, seq_q, seq_k), (1, 1, seq_q, seq_k)]), "bias")
        options["bias"] = random(*shape, seed=4, dtype=torch.float32)
    expected = reference_attention(q, k, v, **options)
    tolerance = {torch.float64: 1e-6, torch.float32: 1e-5, torch.bfloat16: 4e-2}[dtype]
    torch.testing.assert_close(attention(q, k, v, **options), expected, rtol=0, atol=tolerance)


def test_sdpa_is_top_left_with_a_cache_and_this_is_not():
    """The trap: PyTorch's is_causal lets the first of two new queries see only the first key."""
    q, k, v = qkv(seq_q=2, kv_heads=4, dtype=torch.float32)
    expected = reference_attention(q, k, v, causal=True)
    torch.testing.assert_close(attention(q, k, v, causal=True), expected, rtol=0, atol=1e-5)
    top_left = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    assert (top_left - expected).abs().max() > 0.1


# --- the module ------------------------------------------------------------------------------


def module(**options):
    torch.manual_seed(1)
    return Attention(24, 6, **{"n_kv_heads": 2, "causal": True, **options}).double()


def positions(n):
    return rope_rotation(torch.arange(n), rope_frequencies(4), dtype=torch.float64)


@pytest.mark.parametrize("n_kv_heads", [6, 3, 2, 1])
def test_number_of_weights(n_kv_heads):
    found = sum(p.numel() for p in Attention(24, 6, n_kv_heads).parameters())
    assert found == 24 * 4 * (2 * 6 + 2 * n_kv_heads)


def test_gqa_with_as_many_groups_as_heads_is_mha():
    grouped, x = module(n_kv_heads=2), random(2, 5, 24)
    each = module(n_kv_heads=6)
    each.load_state_dict(grouped.state_dict() | {
        f"{name}.weight": getattr(grouped, name).weight.unflatten(0, (2, 4))
        .repeat_interleave(3, 0).flatten(0, 1) for name in ("key", "value")
    })  # fmt: skip
    torch.testing.assert_close(each(x), grouped(x))


def test_head_dim_need_not_divide_dim():
    attention = Attention(24, 5, head_dim=10, causal=True)
    assert attention(torch.zeros(1, 3, 24)).shape == (1, 3, 24)
    assert attention.query.weight.shape == (50, 24)


def test_module_equals_projections_around_the_reference():
    attention, x = module(window=3, qkv_bias=True, out_bias=True, qk_norm=True), random(2, 9, 24)
    rotation = positions(9)
    q, k, v = attention.project(x, rotation)
    expected = reference_attention(q, k, v, causal=True, window=3)
    expected = attention.output(expected.transpose(1, 2).flatten(2))
    torch.testing.assert_close(attention(x, rotation=rotation), expected)


def test_maps_are_what_the_values_are_averaged_with():
    attention, x = module(), random(1, 6, 24)
    maps = attention.weights(x, rotation=positions(6))
    value = attention.project(x)[2].repeat_interleave(3, 1)
    expected = attention.output((maps @ value).transpose(1, 2).flatten(2))
    torch.testing.assert_close(attention(x, rotation=positions(6)), expected)
    assert torch.equal(maps.triu(1), torch.zeros_like(maps))


@pytest.mark.parametrize("window", [None, 4])
@pytest.mark.parametrize("scheme", ["rotation", "alibi", "nothing"])
@pytest.mark.parametrize("pieces", [[1] * 12, [5, 1, 6], [12], [3, 3, 3, 3]])
def test_cached_equals_uncached(window, scheme, pieces):
    attention, x = module(window=window), random(2, 12, 24)
    tables = positions(12) if scheme == "rotation" else None
    bias = alibi_bias(6, 12, 12).double() if scheme == "alibi" else None
    expected = attention(x, rotation=tables, bias=bias)
    cache = KVCache() if window is None else RollingKVCache(window)
    start, found = 0, []
    for piece in x.split(pieces, dim=1):
        end = start + piece.shape[1]
        keys = cache.key_positions(piece.shape[1])
        seen = {
            "rotation": None if tables is None else tuple(t[start:end] for t in tables),
            "bias": None if bias is None else bias[:, start:end][:, :, keys],
        }
        found.append(attention(piece, cache=cache.layer(0), **seen))
        start = end
    torch.testing.assert_close(torch.cat(found, 1), expected)


def test_qk_norm_gives_every_head_the_same_length():
    attention = module(qk_norm=True)
    q, k, _ = attention.project(random(1, 3, 24) * 50)
    for x in (q, k):
        torch.testing.assert_close(x.square().mean(-1), torch.ones_like(x[..., 0]))


def test_gradients_flow_without_a_cache_and_stop_at_one():
    attention, x = module(), random(1, 4, 24).requires_grad_()
    attention(x).sum().backward()
    assert attention.key.weight.grad.abs().max() > 0
    cache = KVCache()
    attention(x, cache=cache.layer(0))
    assert not cache.layer(0).buffers[0].data.requires_grad


# --- heads that are shared -------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), st.booleans(), st.integers(1, 8))
def test_gqa_spans_mha_and_mqa(groups, size, causal, seq):
    """G = H is MHA written with one K and V per head; G = 1 is MQA written with one for all."""
    heads, x = groups * size, random(2, seq, 24)
    torch.manual_seed(0)
    visible = visible_keys(seq, seq, causal=causal)
    for kv_heads in (heads, 1):
        made = Attention(24, heads, kv_heads, head_dim=4, causal=causal).double()
        rows = []
        for h in range(heads):
            shared = h if kv_heads == heads else 0
            q = x @ made.query.weight[4 * h : 4 * h + 4].T
            k = x @ made.key.weight[4 * shared : 4 * shared + 4].T
            v = x @ made.value.weight[4 * shared : 4 * shared + 4].T
            scores = (q @ k.mT / 2).masked_fill(~visible, -math.inf)
            rows.append(scores.softmax(-1) @ v)
        expected = torch.cat(rows, -1) @ made.output.weight.T
        torch.testing.assert_close(made(x), expected)


def test_pooling_averages_neighbors():
    rows = torch.arange(8.0)[:, None] * torch.ones(8, 3)  # four heads of two rows
    assert pool_heads(rows, 4, 2)[:, 0].tolist() == [1, 2, 5, 6]
    assert pool_heads(rows[:, 0], 4, 1).tolist() == [3, 4]
    assert torch.equal(pool_heads(rows, 4, 4), rows)


def test_pooling_heads_that_agree_changes_nothing():
    """If the heads of a group have the same K and V, their mean is what each of them was."""
    few = module(n_kv_heads=2, qkv_bias=True, qk_norm=True)
    many = module(n_kv_heads=6, qkv_bias=True, qk_norm=True)
    spread = {
        f"{name}.{kind}": getattr(getattr(few, name), kind)
        .unflatten(0, (2, 4)).repeat_interleave(3, 0).flatten(0, 1)
        for name in ("key", "value") for kind in ("weight", "bias")
    }  # fmt: skip
    many.load_state_dict(few.state_dict() | spread)
    x, pooled = random(2, 5, 24), many.pooled(2)
    torch.testing.assert_close(pooled(x), many(x))
    assert (many.n_kv_heads, pooled.n_kv_heads) == (6, 2)
    assert pooled.key.weight.shape == (8, 24)
    assert pooled.key.out_features == 8


@torch.no_grad()
def test_pooled_decoder_is_smaller_and_leaves_the_model_alone():
    torch.manual_seed(0)
    model = Decoder(DecoderConfig(20, 24, 2, 6))
    ids = torch.randint(20, (1, 7))
    before, caches = model(ids), []
    for made in (model, pool_kv_heads(model, 2)):
        caches.append(KVCache())
        made(ids, caches[-1])
    assert caches[0].n_bytes == 3 * caches[1].n_bytes
    assert torch.equal(model(ids), before)
    torch.testing.assert_close(pool_kv_heads(model, 6)(ids), before)
    assert pool_kv_heads(model, 3).config.block.mixer.n_kv_heads == 3


# --- without order, and from elsewhere -------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 9), st.integers(0, 1000))
def test_without_a_mask_attention_is_permutation_equivariant(seq, seed):
    attention, x = module(causal=False), random(1, seq, 24)
    order = torch.randperm(seq, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(attention(x[:, order]), attention(x)[:, order])


def cross(**options):
    return module(causal=False, context_dim=10, **options)


def test_cross_attention_is_the_formula_on_two_streams():
    attention, x, context = cross(qk_norm=True, qkv_bias=True), random(2, 3, 24), random(2, 7, 10)
    q, k, v = attention.project(x, context=context)
    assert (q.shape, k.shape) == ((2, 6, 3, 4), (2, 2, 7, 4))
    expected = attention.output(reference_attention(q, k, v).transpose(1, 2).flatten(2))
    torch.testing.assert_close(attention(x, context=context), expected)
    maps = attention.weights(x, context=context)
    assert maps.shape == (2, 6, 3, 7)
    torch.testing.assert_close(maps.sum(-1), torch.ones_like(maps[..., 0]))


def test_keys_and_values_of_a_context_are_made_once():
    attention, x, context = cross(), random(2, 3, 24), random(2, 7, 10)
    made = attention.keys_values(context)
    steps = [attention(step, context=made) for step in x.split(1, dim=1)]
    torch.testing.assert_close(torch.cat(steps, 1), attention(x, context=context))


def test_padding_of_a_context_is_hidden():
    attention, x, context = cross(), random(2, 3, 24), random(2, 7, 10)
    mask = torch.arange(7)[None, None, None] < torch.tensor([4, 7])[:, None, None, None]
    found = attention(x, context=context, mask=mask)
    torch.testing.assert_close(found[:1], attention(x[:1], context=context[:1, :4]))
    torch.testing.assert_close(found[1], attention(x, context=context)[1])


def test_self_attention_is_cross_attention_to_itself():
    attention, x = module(causal=False), random(2, 5, 24)
    torch.testing.assert_close(attention(x, context=x), attention(x))


# --- bad input -------------------------------------------------------------------------------


def shapes(*sizes):
    return [torch.zeros(*size) for size in sizes]


@pytest.mark.bad_input
@pytest.mark.parametrize("engine", [reference_attention, attention])
@pytest.mark.parametrize(
    ("sizes", "named"),
    [
        ([(1, 4, 2, 8), (1, 3, 2, 8), (1, 3, 2, 8)], "k has 3 heads, expected a divisor of q's 4"),
        ([(1, 4, 2, 8), (1, 4, 2, 6), (1, 4, 2, 6)], "k has head_dim 6, expected 8"),
        ([(1, 4, 2, 8), (1, 4, 2, 8), (1, 4, 3, 8)], r"v has \(heads, seq\) \(4, 3\)"),
        ([(1, 4, 2, 8), (2, 4, 2, 8), (2, 4, 2, 8)], "k has batch 2, expected 1"),
        ([(4, 2, 8), (4, 2, 8), (4, 2, 8)], r"q has shape \(4, 2, 8\)"),
        ([(1, 4, 2, 8), (1, 0, 2, 8), (1, 0, 2, 8)], "k has 0 heads"),
    ],
)
def test_shapes_that_do_not_fit(engine, sizes, named):
    with pytest.raises(ValueError, match=named):
        engine(*shapes(*sizes))


@pytest.mark.bad_input
@pytest.mark.parametrize("engine", [reference_attention, attention])
@pytest.mark.parametrize("window", [0, -3])
def test_window_without_room_for_the_query(engine, window):
    with pytest.raises(ValueError, match=f"window must be positive, got {window}"):
        engine(*shapes(*[(1, 2, 3, 4)] * 3), window=window)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("sizes", "error", "named"),
    [
        ({"dim": 10, "n_heads": 4}, ValueError, "dim 10 does not divide into 4 heads"),
        ({"dim": 12, "n_heads": 4, "n_kv_heads": 3}, ValueError, "n_kv_heads is 3"),
        ({"dim": 12, "n_heads": 0}, ValueError, "n_heads must be positive"),
        ({"dim": 12, "n_heads": 4, "n_kv_heads": 0}, ValueError, "n_kv_heads must be positive"),
        ({"dim": 12, "n_heads": 4, "window": 0}, ValueError, "window must be positive"),
        ({"dim": 12.0, "n_heads": 4}, TypeError, "dim must be an integer"),
    ],
)
def test_sizes_of_the_module(sizes, error, named):
    with pytest.raises(error, match=named):
        Attention(**sizes)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("options", "seen", "named"),
    [
        ({"causal": True}, {}, "context is given with causal=True"),
        ({"window": 3}, {}, "context is given with a window"),
        ({}, {"rotation": (torch.ones(2, 2), torch.ones(2, 2))}, "with a rotation"),
        ({}, {"cache": KVCache().layer(0)}, "with a cache"),
    ],
)
def test_context_and_what_means_positions_of_x(options, seen, named):
    x = torch.zeros(1, 2, 24)
    with pytest.raises(ValueError, match=named):
        Attention(24, 6, **options)(x, context=x, **seen)


@pytest.mark.bad_input
@pytest.mark.parametrize("groups", [4, 5, 12])
def test_pooling_into_groups_that_do_not_divide(groups):
    with pytest.raises(ValueError, match=f"6 heads: cannot pool into {groups}"):
        Attention(24, 6).pooled(groups)
    with pytest.raises(ValueError, match="n_groups must be positive"):
        Attention(24, 6).pooled(0)
