"""Unit tests of llmlib.sparse_attention: linear attention and the cache with sinks."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmlib.attention import reference_attention
from llmlib.decoder import Decoder, DecoderConfig
from llmlib.position_encoding import apply_rotation, rope_frequencies, rope_rotation
from llmlib.positions import Positions
from llmlib.sparse_attention import (
    LinearState,
    SinkKVCache,
    elu_plus_one,
    linear_attention,
    recurrent_linear_attention,
    reference_linear_attention,
    sink_mask,
)


def random(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def qkv(seq_q=12, seq_k=None, heads=4, kv_heads=2, width=8, value_dim=6, dtype=torch.float32):
    seq_k = seq_q if seq_k is None else seq_k
    q = random(2, heads, seq_q, width, dtype=dtype)
    k = random(2, kv_heads, seq_k, width, seed=1, dtype=dtype)
    return q, k, random(2, kv_heads, seq_k, value_dim, seed=2, dtype=dtype)


def close(found, expected, tolerance=1e-5):
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


# --- linear attention ---------------------------------------------------------------------------


def test_two_keys_by_hand():
    q = torch.zeros(1, 1, 1, 1)  # phi(0) = 1
    k = torch.tensor([[[[2.0], [0.0]]]])  # phi = 3 and 1
    v = torch.tensor([[[[4.0], [0.0]]]])
    assert reference_linear_attention(q, k, v).item() == pytest.approx(3.0)
    assert linear_attention(q, k, v).item() == pytest.approx(3.0)


def test_feature_map_is_positive_and_meets_its_formula():
    x = torch.linspace(-20, 5, 101)
    found = elu_plus_one(x)
    assert found.min() >= 0
    close(found, torch.where(x > 0, x + 1, x.exp()), 1e-6)


@settings(max_examples=30)
@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40)), st.booleans(), st.sampled_from([1, 3, 16])
)
def test_linear_time_is_the_quadratic_form(lengths, causal, chunk_size):
    q, k, v = qkv(*lengths)
    found = linear_attention(q, k, v, causal=causal, chunk_size=chunk_size)
    close(found, reference_linear_attention(q, k, v, causal=causal))


@settings(max_examples=30)
@given(st.integers(1, 40), st.sampled_from([1, 4, 64]))
def test_chunked_is_recurrent_is_quadratic(seq, chunk_size):
    q, k, v = qkv(seq)
    quadratic = reference_linear_attention(q, k, v, causal=True)
    close(linear_attention(q, k, v, causal=True, chunk_size=chunk_size), quadratic)
    close(recurrent_linear_attention(q, k, v), quadratic)


def test_another_feature_map():
    q, k, v = qkv(9)
    options = {"feature_map": lambda x: torch.cat([x.relu(), (-x).relu()], -1) + 0.1}
    close(
        linear_attention(q, k, v, causal=True, chunk_size=2, **options),
        reference_linear_attention(q, k, v, causal=True, **options),
    )


def test_exponential_features_of_one_dimension_are_softmax():
    """Where exp(q k) factors, linear attention is softmax attention: with one-hot queries."""
    q = torch.eye(4, dtype=torch.float64)[None, None]
    k, v = random(1, 1, 7, 4, dtype=torch.float64), random(1, 1, 7, 3, seed=1, dtype=torch.float64)
    # exp(q . k) = sum_i q_i exp(k_i) for one-hot q; one map must serve both, so k goes in as log.
    found = linear_attention(q, k.exp(), v, feature_map=lambda x: x)
    close(found, reference_attention(q, k, v, scale=1.0), 1e-12)


def test_causal_leak_is_exactly_zero():
    q, k, v = qkv(20)
    before = linear_attention(q, k, v, causal=True, chunk_size=8)
    k[:, :, 14:] += 100
    v[:, :, 14:] -= 100
    after = linear_attention(q, k, v, causal=True, chunk_size=8)
    assert torch.equal(after[:, :, :14], before[:, :, :14])


def test_rows_that_see_nothing_are_zero():
    q, k, v = qkv(9, 4)
    found = linear_attention(q, k, v, causal=True, chunk_size=2)
    assert torch.equal(found[:, :, :5], torch.zeros_like(found[:, :, :5]))
    assert found[:, :, 5:].abs().sum() > 0
    dead = linear_attention(q, k, v, feature_map=torch.zeros_like)
    assert torch.equal(dead, torch.zeros_like(dead))


def test_gradients_are_those_of_the_quadratic_form():
    inputs = [x.requires_grad_() for x in qkv(11, dtype=torch.float64)]
    upstream = random(2, 4, 11, 6, seed=4, dtype=torch.float64)
    found = linear_attention(*inputs, causal=True, chunk_size=4)
    expected = reference_linear_attention(*inputs, causal=True)
    mine = torch.autograd.grad(found, inputs, upstream)
    theirs = torch.autograd.grad(expected, inputs, upstream)
    for ours, other in zip(mine, theirs, strict=True):
        close(ours, other, 1e-12)


def test_state_does_not_grow():
    state = LinearState()
    sizes = []
    for _ in range(5):
        state.add(elu_plus_one(random(2, 3, 10, 8)), random(2, 3, 10, 6))
        sizes.append(state.n_bytes)
    assert sizes == [2 * 3 * 8 * (6 + 1) * 4] * 5


def test_16_bit_is_computed_in_32():
    q, k, v = qkv(30, dtype=torch.bfloat16)
    found = linear_attention(q, k, v, causal=True)
    assert found.dtype == torch.bfloat16
    expected = linear_attention(q.float(), k.float(), v.float(), causal=True)
    assert torch.equal(found, expected.bfloat16())


# --- the cache with sinks -----------------------------------------------------------------------


def decoder(position="rope"):
    torch.manual_seed(0)
    config = DecoderConfig(50, 32, 2, 4, 2, context=64, position=position)
    return Decoder(config).double().eval()


def masked(model, ids, mask):
    """The decoder's logits under any mask."""
    at = Positions(torch.arange(ids.shape[1]), mask=mask, wide=True)
    return model.head(model.run(model.embed(ids, at), at))


@torch.no_grad()
@pytest.mark.parametrize(("window", "n_sinks"), [(5, 2), (1, 3), (6, 0), (40, 4)])
@pytest.mark.parametrize("prompt", [1, 2, 4])
def test_streamed_tokens_are_the_masked_computation(window, n_sinks, prompt):
    model, ids = decoder(), torch.randint(50, (2, 25))
    prompt = min(prompt, window + n_sinks)
    cache, found = SinkKVCache(window, n_sinks), []
    for part in [ids[:, :prompt], *ids[:, prompt:].split(1, dim=1)]:
        found.append(model(part, cache))
    expected = masked(model, ids, sink_mask(25, window, n_sinks))
    close(torch.cat(found, 1), expected, 1e-12)
    assert cache.length == 25


@torch.no_grad()
def test_memory_stays_constant():
    model, cache, sizes = decoder(), SinkKVCache(5, 2), []
    for _ in range(20):
        model(torch.tensor([[3]]), cache)
        sizes.append(cache.n_bytes)
    each = 2 * 2 * 2 * 8 * 8  # two layers, keys and values, two heads of width 8, float64
    assert sizes == [each * min(n, 7) for n in range(1, 21)]
    cache.reset()
    assert (cache.length, cache.n_bytes) == (0, 0)
    assert model(torch.tensor([[3]]), cache).isfinite().all()


@torch.no_grad()
def test_positions_inside_the_cache():
    """With frequencies, the last step equals a short text of sinks and window without a gap."""
    model, ids = decoder(), torch.randint(50, (1, 20))
    frequencies = rope_frequencies(8, 10_000.0)
    cache = SinkKVCache(4, 2, frequencies=frequencies)
    layer = cache.layer(0)
    attention = model.blocks[0].mixer
    x = random(1, 20, 32, dtype=torch.float64)
    for t in range(20):
        rotation = rope_rotation(torch.tensor([t]), frequencies, 1.0, torch.float64)
        last = attention(x[:, t : t + 1], rotation=rotation, cache=layer)
    kept = torch.cat([x[:, :2], x[:, 16:]], dim=1)
    rotation = rope_rotation(torch.arange(6), frequencies, 1.0, torch.float64)
    close(last[:, 0], attention(kept, rotation=rotation)[:, -1], 1e-12)
    assert model(ids[:, :5], SinkKVCache(4, 2, frequencies=frequencies)).isfinite().all()


def test_key_positions_name_the_slots():
    cache, layer = SinkKVCache(3, 2), None
    for t in range(9):
        expected = cache.key_positions(1).tolist()
        layer = cache.layer(0)
        keys = torch.full((1, 1, 1, 2), float(t))
        found, _ = layer.update(keys, keys)
        assert found[0, 0, :, 0].tolist() == expected
    assert sorted(expected) == [0, 1, 6, 7, 8]


def test_moved_sinks_keep_their_norm():
    frequencies = rope_frequencies(8, 10_000.0)
    cache = SinkKVCache(3, 2, frequencies=frequencies)
    keys = random(1, 1, 2, 8, dtype=torch.float64)
    moved = cache.moved(keys, 5)
    close(moved.norm(dim=-1), keys.norm(dim=-1), 1e-12)
    rotation = rope_rotation(torch.full((2,), 5), frequencies, 1.0, torch.float64)
    close(moved, apply_rotation(keys, rotation), 1e-12)
    assert cache.moved(keys, 0) is keys


# --- bad input ----------------------------------------------------------------------------------


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: linear_attention(*qkv(4), chunk_size=0), "chunk_size must be positive, got 0"),
        (lambda: linear_attention(random(2, 4, 8), *qkv(4)[1:]), "expected .batch, heads, seq, d."),
        (lambda: linear_attention(random(2, 3, 4, 8), *qkv(4)[1:]), "divisor of q's 3"),
        (
            lambda: linear_attention(random(2, 4, 4, 7), *qkv(4)[1:]),
            "k has head_dim 8, expected 7 as q",
        ),
        (lambda: recurrent_linear_attention(*qkv(4, 6)), "4 tokens, k 6"),
        (lambda: SinkKVCache(0), "window must be positive, got 0"),
        (lambda: SinkKVCache(4, -1), "n_sinks must be at least 0, got -1"),
        (lambda: decoder()(torch.zeros(1, 9).long(), SinkKVCache(4, 2)), "one at a time"),
    ],
)
def test_bad_input_names_the_value(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.bad_input
def test_an_empty_state_cannot_be_read():
    with pytest.raises(RuntimeError, match="the state is empty"):
        LinearState().read(random(1, 1, 1, 8))


@pytest.mark.bad_input
def test_a_window_that_is_no_integer():
    with pytest.raises(TypeError, match="window must be an integer"):
        SinkKVCache(4.0)
