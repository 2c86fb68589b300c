"""Unit tests of multi-head latent attention: formula, both orders, cache, decoder, bad input."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import llmlib.architecture as arch
from llmlib.attention import Attention, LatentAttention, reference_attention
from llmlib.decoder import Decoder, DecoderConfig, generate, pool_kv_heads
from llmlib.kv_cache import FixedKVCache, KVCache, LatentKVCache, QuantizedKVCache
from llmlib.position_encoding import rope_frequencies, rope_rotation

SIZES = {"kv_rank": 10, "rope_dim": 4, "plain_dim": 6, "value_dim": 5, "query_rank": 7}


def random(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def module(sizes=SIZES, n_heads=3, **options):
    torch.manual_seed(1)
    made = LatentAttention(12, n_heads, **sizes, **{"causal": True, **options}).double()
    for norm in (made.latent_norm, made.query_norm):
        if norm is not None:
            torch.nn.init.normal_(norm.weight, 1, 0.2)
    return made


def rotation(n, rope_dim=4, start=0):
    at = torch.arange(start, start + n)
    return rope_rotation(at, rope_frequencies(rope_dim, 100), dtype=torch.float64)


# --- the formula -----------------------------------------------------------------------------


def test_a_loop_over_heads_gives_the_same():
    """Every product of the paper's equations, head by head."""
    mla, x, turn = module(), random(2, 6, 12), rotation(6)
    c = mla.latent_norm(x @ mla.latent.weight.T)
    key_r = mla.compress(x, turn)[:, 0, :, 10:]
    q_low = mla.query_norm(x @ mla.query_down.weight.T)
    found = mla(x, rotation=turn)
    outs = []
    for h in range(3):
        q = q_low @ mla.query.weight[10 * h : 10 * (h + 1)].T
        turned = module().queries(x, turn)[:, h, :, 6:]
        key = c @ mla.key_up.weight[6 * h : 6 * (h + 1)].T
        scores = (q[..., :6] @ key.mT + turned @ key_r.mT) / math.sqrt(10)
        scores = scores.masked_fill(torch.ones(6, 6).triu(1).bool(), -math.inf)
        outs.append(scores.softmax(-1) @ (c @ mla.value_up.weight[5 * h : 5 * (h + 1)].T))
    expected = torch.cat(outs, -1) @ mla.output.weight.T
    torch.testing.assert_close(found, expected)


def test_only_the_rotated_part_knows_the_position():
    mla, x = module(), random(1, 6, 12)
    here, there = mla.compress(x, rotation(6)), mla.compress(x, rotation(6, start=50))
    assert torch.equal(here[..., :10], there[..., :10])
    assert (here[..., 10:] - there[..., 10:]).abs().max() > 0.1
    torch.testing.assert_close(mla(x, rotation=rotation(6)), mla(x, rotation=rotation(6, start=50)))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_absorbed_equals_expanded(data):
    """For random sizes, masks, biases, and pieces that meet a cache."""
    sizes = {
        "kv_rank": data.draw(st.integers(1, 8), "rank"),
        "rope_dim": 2 * data.draw(st.integers(1, 3), "pairs"),
        "plain_dim": data.draw(st.integers(1, 6), "plain"),
        "value_dim": data.draw(st.integers(1, 6), "value"),
        "query_rank": data.draw(st.sampled_from([None, 3]), "query rank"),
    }
    heads, seq = data.draw(st.integers(1, 4), "heads"), data.draw(st.integers(1, 7), "seq")
    mla, x = module(sizes, heads, causal=data.draw(st.booleans(), "causal")), random(2, seq, 12)
    seen = {"rotation": rotation(seq, sizes["rope_dim"])}
    if data.draw(st.booleans(), "mask"):
        seen["mask"] = random(2, 1, seq, seq, seed=3) > -0.5
    if data.draw(st.booleans(), "bias"):
        seen["bias"] = random(heads, seq, seq, seed=4)
    expanded, absorbed = (mla(x, **seen, absorbed=choice) for choice in (False, True))
    torch.testing.assert_close(absorbed, expanded, rtol=0, atol=1e-10)


def test_absorbed_form_is_multi_query_attention_on_the_rows():
    mla, x = module(), random(2, 6, 12)
    rows, q = mla.compress(x, rotation(6)), mla.absorb(mla.queries(x, rotation(6)))
    assert rows.shape == (2, 1, 6, 14)
    assert q.shape == (2, 3, 6, 14)
    out = reference_attention(q, rows, rows[..., :10], causal=True, scale=1 / math.sqrt(10))
    out = out @ mla.value_up.weight.unflatten(0, (3, 5)).mT
    expected = mla.output(out.transpose(1, 2).flatten(2))
    torch.testing.assert_close(mla(x, rotation=rotation(6)), expected)


def test_scores_are_scaled_by_the_whole_width_of_a_query():
    assert module().scale == pytest.approx(1 / math.sqrt(6 + 4))


def test_absorbing_is_cheaper_for_few_queries():
    """DeepSeek-V2: 512 * 256 / (1024 - 256) = 170.7 queries."""
    with torch.device("meta"):
        mla = LatentAttention(5120, 128, 512, 64, 128, 128, 1536)
    assert mla.absorbing_is_cheaper(170)
    assert not mla.absorbing_is_cheaper(171)


def test_number_of_weights_of_deepseek_v2():
    """The paper's sizes, d_c = 512, d_c' = 1536, d_h = 128, d_h^R = 64, 128 heads, d = 5120."""
    with torch.device("meta"):
        mla = LatentAttention(5120, 128, 512, 64, 128, 128, 1536)
    down = 5120 * (1536 + 512 + 64)
    up = 1536 * 128 * 192 + 512 * 128 * 256
    assert sum(p.numel() for p in mla.parameters()) == down + up + 128 * 128 * 5120 + 1536 + 512


def test_causal_leak_is_exactly_zero():
    mla, x = module(), random(1, 7, 12)
    before = mla(x, rotation=rotation(7))
    x[:, 5:] += 100
    assert torch.equal(mla(x, rotation=rotation(7))[:, :5], before[:, :5])


def test_maps_are_what_the_values_are_averaged_with():
    mla, x = module(), random(1, 6, 12)
    maps = mla.weights(x, rotation=rotation(6))
    _, values = mla.expand(mla.compress(x, rotation(6)))
    expected = mla.output((maps @ values).transpose(1, 2).flatten(2))
    torch.testing.assert_close(mla(x, rotation=rotation(6)), expected)


def test_gradients_reach_every_weight():
    mla = module(qkv_bias=True, out_bias=True)
    mla(random(1, 4, 12), rotation=rotation(4)).square().sum().backward()
    assert [name for name, p in mla.named_parameters() if p.grad is None] == []


# --- the cache -------------------------------------------------------------------------------


@pytest.mark.parametrize("absorbed", [True, False, None])
@pytest.mark.parametrize("pieces", [[1] * 9, [4, 1, 4], [9]])
@pytest.mark.parametrize("kind", [LatentKVCache, KVCache])
def test_cached_equals_uncached(kind, pieces, absorbed):
    mla, x, cache = module(), random(2, 9, 12), kind()
    expected, found, start = mla(x, rotation=rotation(9)), [], 0
    for piece in x.split(pieces, dim=1):
        turn = rotation(piece.shape[1], start=start)
        found.append(mla(piece, rotation=turn, cache=cache.layer(0), absorbed=absorbed))
        start += piece.shape[1]
    torch.testing.assert_close(torch.cat(found, 1), expected)


def decoder(**changes):
    torch.manual_seed(3)
    sizes = {"vocab_size": 30, "dim": 12, "n_layers": 2, "n_heads": 3}
    sizes["latent"] = arch.Latent(3, **SIZES)
    return Decoder(DecoderConfig(**{**sizes, **changes}))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_bytes_are_rank_and_rotated_key_of_every_token_and_layer(dtype):
    model, cache = decoder().to(dtype), LatentKVCache()
    model(torch.randint(30, (2, 11)), cache)
    assert cache.n_bytes == 2 * 2 * 11 * (10 + 4) * dtype.itemsize
    assert cache.length == 11
    cache.reset()
    assert (cache.n_bytes, cache.length) == (0, 0)
    assert cache.allocated_bytes > 0


def test_heads_do_not_matter_for_the_bytes():
    sizes = []
    for n_heads in (1, 3, 6):
        cache = LatentKVCache()
        decoder(n_heads=n_heads)(torch.randint(30, (1, 5)), cache)
        sizes.append(cache.n_bytes)
    assert len(set(sizes)) == 1


@torch.no_grad()
def test_values_are_a_view_of_the_rows():
    cache = LatentKVCache(capacity=8)
    rows = random(1, 1, 3, 14)
    keys, values = cache.layer(0).update(rows, rows[..., :10])
    assert keys.data_ptr() == values.data_ptr()
    assert torch.equal(values, rows[..., :10])
    assert cache.allocated_bytes == 8 * 14 * 8


@torch.no_grad()
@pytest.mark.parametrize("use_cache", [True, False])
def test_generation_uses_the_latent_cache(use_cache):
    model, caches = decoder().double(), set()
    seen = model.register_forward_pre_hook(lambda _, inputs: caches.add(type(inputs[1])))
    found = list(generate(model, [1, 2, 3], 6, use_cache=use_cache))
    seen.remove()
    assert caches == {LatentKVCache if use_cache else type(None)}
    text = [1, 2, 3]
    for token in found:
        assert int(model(torch.tensor([text]))[0, -1].argmax()) == token
        text.append(token)


@torch.no_grad()
@pytest.mark.parametrize("kind", [lambda: FixedKVCache(16), QuantizedKVCache])
def test_other_caches_serve_too(kind):
    model, ids = decoder().double(), torch.randint(30, (2, 9))
    cache = kind()
    found = torch.cat([model(piece, cache) for piece in ids.split([4, 1, 1, 3], dim=1)], 1)
    torch.testing.assert_close(found, model(ids), rtol=0, atol=2e-3)


@torch.no_grad()
def test_left_padding_in_a_batch():
    model, ids = decoder().double(), torch.randint(30, (1, 6))
    padded = torch.cat([torch.zeros(1, 2, dtype=torch.long), ids], 1)
    mask = torch.tensor([[0, 0] + [1] * 6])
    cache = LatentKVCache()
    first = model(padded[:, :5], cache, attention_mask=mask[:, :5])[:, 2:]
    rest = model(padded[:, 5:], cache, attention_mask=mask)
    torch.testing.assert_close(torch.cat([first, rest], 1), model(ids))


def test_attention_maps_of_the_decoder():
    maps = decoder().attention_maps(torch.randint(30, (1, 5)))
    assert [tuple(m.shape) for m in maps] == [(1, 3, 5, 5)] * 2


# --- bad input -------------------------------------------------------------------------------


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("sizes", "error", "named"),
    [
        ({"kv_rank": 0}, ValueError, "kv_rank must be positive, got 0"),
        ({"value_dim": -1}, ValueError, "value_dim must be positive, got -1"),
        ({"query_rank": 2.5}, TypeError, "query_rank must be an integer"),
    ],
)
def test_impossible_sizes(sizes, error, named):
    with pytest.raises(error, match=named):
        LatentAttention(12, 3, **{**SIZES, **sizes})


@pytest.mark.bad_input
def test_impossible_heads():
    with pytest.raises(ValueError, match="n_heads must be positive"):
        LatentAttention(12, 0, **SIZES)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"window": 4}, "window is 4, expected None beside latent attention"),
        ({"qk_norm": True}, "qk_norm is True"),
        ({"n_kv_heads": 1}, "n_kv_heads is 1, expected 3"),
        ({"head_dim": 4}, "head_dim is 4, expected 10"),
    ],
)
def test_settings_that_latent_attention_does_not_have(changes, named):
    with pytest.raises(ValueError, match=named):
        decoder(**changes)


@pytest.mark.bad_input
def test_latent_cache_is_for_latents():
    module = Attention(12, 3, causal=True)
    with pytest.raises(ValueError, match="keys have 3 heads of width 4, values width 4; expected"):
        module(torch.zeros(1, 2, 12), cache=LatentKVCache().layer(0))
    rows = torch.zeros(1, 1, 2, 4)
    with pytest.raises(ValueError, match="values width 5"):
        LatentKVCache().layer(0).update(rows, torch.zeros(1, 1, 2, 5))


@pytest.mark.bad_input
def test_latents_have_no_heads_to_pool():
    with pytest.raises(ValueError, match="latent attention"):
        pool_kv_heads(decoder(), 1)
