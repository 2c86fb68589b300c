"""Unit tests of llmlib.kv_cache: bytes counted exactly, order, growth, rounding, bad input."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmlib.kv_cache import (
    FixedKVCache,
    KVCache,
    QuantizedKVCache,
    RollingKVCache,
    dequantize,
    quantize,
)

BATCH, HEADS, WIDTH, LAYERS = 2, 3, 8, 4


def tokens(n, start=0, dtype=torch.float32):
    """Keys that hold their position, and values that hold its negative."""
    at = torch.arange(start, start + n, dtype=dtype)[:, None].expand(BATCH, HEADS, n, WIDTH)
    return at.contiguous(), -at


def feed(cache, pieces, dtype=torch.float32):
    """Give every layer these numbers of tokens; return what the last update returned."""
    start, found = 0, None
    for n in pieces:
        for layer in range(LAYERS):
            found = cache.layer(layer).update(*tokens(n, start, dtype))
        if isinstance(cache, FixedKVCache):
            cache.advance(n)
        start += n
    return found


def held(keys):
    """The positions of the keys, read from what they hold."""
    return keys[0, 0, :, 0].long().tolist()


CACHES = {
    "full": KVCache,
    "full with room": lambda: KVCache(capacity=5),
    "quantized": QuantizedKVCache,
    "rolling": lambda: RollingKVCache(6),
    "fixed": lambda: FixedKVCache(200),
}
every_cache = pytest.mark.parametrize("make", CACHES.values(), ids=CACHES)


# --- what comes back -------------------------------------------------------------------------


@pytest.mark.parametrize("make", [KVCache, lambda: KVCache(capacity=3), QuantizedKVCache])
def test_full_caches_return_everything_in_order(make):
    keys, values = feed(make(), [70, 1, 1, 30])
    torch.testing.assert_close(keys, tokens(102)[0], rtol=0, atol=0.5)
    torch.testing.assert_close(values, tokens(102)[1], rtol=0, atol=0.5)


@every_cache
def test_length_counts_every_token_and_reset_none(make):
    cache = make()
    assert (cache.length, cache.n_bytes) == (0, 0)
    feed(cache, [9, 1, 1])
    assert cache.length == 11
    cache.reset()
    assert cache.length == 0
    keys, _ = feed(cache, [4])
    assert held(keys)[:4] == [0, 1, 2, 3]


@every_cache
def test_key_positions_foretell_what_an_update_returns(make):
    cache = make()
    for n in (4, 1, 1, 1, 1, 9, 1, 2):
        start, expected = cache.length, cache.key_positions(n).tolist()
        assert cache.positions(n).tolist() == list(range(start, start + n))
        keys, _ = cache.layer(0).update(*tokens(n, start))
        if isinstance(cache, FixedKVCache):
            cache.advance(n)
            keys, expected = keys[:, :, : start + n], expected[: start + n]
        assert held(keys) == expected


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 7), st.lists(st.integers(1, 9), min_size=1, max_size=8))
def test_rolling_cache_returns_the_window_of_every_new_token(window, pieces):
    """Whatever the pieces: a new query finds the window - 1 keys before it, and nothing twice."""
    cache, start = RollingKVCache(window), 0
    for n in pieces:
        keys, values = cache.layer(0).update(*tokens(n, start))
        found = held(keys)
        oldest = max(0, start - window + 1)
        assert sorted(found) == list(range(oldest, start + n))
        if n > 1:
            assert found == sorted(found)
        assert torch.equal(values, -keys)
        start += n


def test_fixed_cache_keeps_its_shape_and_address():
    cache = FixedKVCache(16)
    first, _ = feed(cache, [3])
    again, _ = feed(cache, [1])
    assert first.shape == (BATCH, HEADS, 16, WIDTH)
    assert first.data_ptr() == again.data_ptr()


@every_cache
def test_a_new_batch_after_reset(make):
    cache = make()
    feed(cache, [3])
    cache.reset()
    if isinstance(cache, FixedKVCache):
        return  # its buffers are one batch's for good
    keys, _ = cache.layer(0).update(torch.ones(5, HEADS, 2, WIDTH), torch.ones(5, HEADS, 2, WIDTH))
    assert keys.shape == (5, HEADS, 2, WIDTH)


# --- bytes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("capacity", [None, 7, 500])
def test_bytes_of_a_full_cache_are_the_formula(dtype, capacity):
    cache = KVCache(capacity)
    feed(cache, [100, 1], dtype)
    assert cache.n_bytes == 2 * BATCH * LAYERS * HEADS * WIDTH * dtype.itemsize * 101
    assert cache.allocated_bytes >= cache.n_bytes


def test_given_capacity_is_allocated_at_once_and_exactly():
    cache = KVCache(capacity=50)
    feed(cache, [1])
    first = cache.layer(0).buffers[0].data
    feed(cache, [])
    assert cache.allocated_bytes == 2 * BATCH * LAYERS * HEADS * WIDTH * 4 * 50
    for at in range(1, 50):
        cache.layer(0).update(*tokens(1, at))
    assert cache.layer(0).buffers[0].data is first


def test_growth_by_doubling_copies_less_than_twice():
    cache, rooms = KVCache(), []
    for at in range(1000):
        cache.layer(0).update(*tokens(1, at))
        rooms.append(cache.layer(0).buffers[0].data.shape[2])
    assert sorted(set(rooms)) == [64, 128, 256, 512, 1024]


def test_bytes_of_a_rolling_cache_stop_growing():
    cache, counts = RollingKVCache(6), []
    for at in range(30):
        cache.layer(0).update(*tokens(1, at))
        counts.append(cache.n_bytes)
    token = 2 * BATCH * HEADS * WIDTH * 4
    assert counts[:6] == [token * (n + 1) for n in range(6)]
    assert set(counts[5:]) == {token * 6}
    assert cache.allocated_bytes == token * 6


def test_bytes_of_a_quantized_cache_are_one_a_number_and_four_a_row():
    cache = QuantizedKVCache()
    feed(cache, [10])
    assert cache.n_bytes == 2 * BATCH * LAYERS * HEADS * 10 * (WIDTH + 4)


# --- rounding to 8 bits ----------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.floats(1e-6, 1e6), st.integers(0, 1000))
def test_rounding_error_is_half_a_step(scale, seed):
    x = torch.randn(5, 16, generator=torch.Generator().manual_seed(seed)) * scale
    numbers, step = quantize(x)
    assert numbers.dtype == torch.int8
    error = (dequantize(numbers, step) - x).abs()
    assert (error <= step * 0.5001).all()
    torch.testing.assert_close(step, x.abs().amax(-1, keepdim=True) / 127)


def test_zeros_stay_zeros():
    numbers, step = quantize(torch.zeros(2, 4))
    assert torch.equal(dequantize(numbers, step), torch.zeros(2, 4))


def test_an_outlier_costs_its_own_row_only():
    x = torch.ones(2, 8)
    x[0, 0] = 1e4
    error = (dequantize(*quantize(x)) - x).abs()
    assert error[0].max() > 0.9
    assert error[1].max() < 1e-6


def test_quantized_cache_does_not_depend_on_the_pieces():
    x = torch.randn(BATCH, HEADS, 9, WIDTH)
    one, many = QuantizedKVCache(), QuantizedKVCache()
    whole = one.layer(0).update(x, -x)
    for piece in x.split([4, 1, 4], dim=2):
        found = many.layer(0).update(piece, -piece)
    assert torch.equal(whole[0], found[0])
    assert torch.equal(whole[1], found[1])


def test_quantized_cache_returns_the_type_it_was_given():
    keys, _ = QuantizedKVCache().layer(0).update(*tokens(3, dtype=torch.bfloat16))
    assert keys.dtype == torch.bfloat16


# --- bad input -------------------------------------------------------------------------------


@pytest.mark.bad_input
@pytest.mark.parametrize("make", [KVCache, QuantizedKVCache, lambda: RollingKVCache(6)])
def test_another_batch_needs_a_reset(make):
    cache = make()
    cache.layer(0).update(*tokens(3))
    with pytest.raises(ValueError, match="reset it"):
        cache.layer(0).update(torch.zeros(7, HEADS, 1, WIDTH), torch.zeros(7, HEADS, 1, WIDTH))


@pytest.mark.bad_input
@pytest.mark.parametrize("kind", [KVCache, QuantizedKVCache, RollingKVCache, FixedKVCache])
def test_sizes(kind):
    with pytest.raises(ValueError, match="must be positive, got 0"):
        kind(0)
    with pytest.raises(TypeError, match="must be an integer"):
        kind(2.5)


@pytest.mark.bad_input
def test_fixed_cache_is_full_at_its_capacity():
    cache = FixedKVCache(4)
    feed(cache, [4])
    with pytest.raises(IndexError):
        cache.layer(0).update(*tokens(1))
