"""Passes with a cache: in any pieces, modes and types, interrupted, copied, under gradients."""

import copy
import pickle
from itertools import pairwise

import pytest
import torch

import llmlib.architecture as arch
from llmlib.attention import Attention, LatentAttention
from llmlib.decoder import Decoder, DecoderConfig, generate
from llmlib.kv_cache import (
    FixedKVCache,
    KVCache,
    LatentKVCache,
    QuantizedKVCache,
    RollingKVCache,
)
from llmlib.position_encoding import rope_frequencies
from llmlib.sparse_attention import SinkKVCache

LATENT = arch.Latent(4, kv_rank=10, rope_dim=4, plain_dim=6, value_dim=5)


def model(dtype=torch.float64, **changes):
    torch.manual_seed(0)
    sizes = {"vocab_size": 50, "dim": 32, "n_layers": 2, "n_heads": 4, "context": 40}
    made = Decoder(DecoderConfig(**{**sizes, **changes})).to(dtype).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.ndim > 1:
                parameter.mul_(10)
    return made


def sinks(**more):
    return SinkKVCache(6, 3, frequencies=rope_frequencies(8), **more)


CACHES = {
    "full": ({}, KVCache),
    "grouped, small at first": ({"n_kv_heads": 2}, lambda: KVCache(capacity=1)),
    "fixed": ({}, lambda: FixedKVCache(40)),
    "quantized": ({}, QuantizedKVCache),
    "rolling": ({"window": 4}, lambda: RollingKVCache(4)),
    "rolling, window 1": ({"window": 1}, lambda: RollingKVCache(1)),
    "full under a window": ({"window": 4}, KVCache),
    "latent": ({"latent": LATENT}, LatentKVCache),
    "latent in a full one": ({"latent": LATENT}, KVCache),
    "sinks": ({}, sinks),
}
every_cache = pytest.mark.parametrize(("changes", "make"), CACHES.values(), ids=CACHES)
IDS = torch.randint(0, 50, (2, 9), generator=torch.Generator().manual_seed(1))


def fed(decoder, cache, pieces, ids=IDS):
    return torch.cat([decoder(piece, cache) for piece in ids.split(pieces, 1)], 1)


def reference(decoder, changes, make, pieces, ids=IDS):
    """What the cache should give: the plain model, or for rounded keys a cache of their own."""
    return fed(decoder, make(), pieces, ids) if make is QuantizedKVCache else decoder(ids)


# --- pieces -----------------------------------------------------------------------------------

PADDED = torch.tensor([[0] * 5 + [1] * 7, [1] * 12, [0] * 1 + [1] * 11])
PIECES = [[12], [1] * 12, [3, 1, 1, 7], [7, 1, 4], [2, 5, 5]]


@pytest.mark.parametrize("pieces", PIECES)
@pytest.mark.parametrize("position", ["rope", "learned", "alibi"])
@pytest.mark.parametrize("name", ["full", "fixed", "rolling", "full under a window", "latent"])
@torch.no_grad()
def test_pieces_of_a_padded_batch_are_each_row_alone(name, position, pieces):
    """Left padding, a window and a ring that turns over, in one batch."""
    changes, make = CACHES[name]
    decoder, cache = model(position=position, **changes), make()
    ids = torch.randint(0, 50, (3, 12))
    ends = [0, *torch.tensor(pieces).cumsum(0).tolist()]
    fixed = isinstance(cache, FixedKVCache)
    wide = torch.cat([PADDED, torch.ones(3, 28, dtype=torch.long)], 1)
    found = torch.cat(
        [decoder(ids[:, start:end], cache, attention_mask=wide if fixed else PADDED[:, :end])
         for start, end in pairwise(ends)], 1,
    )  # fmt: skip
    for row, mask in enumerate(PADDED.bool()):
        alone = decoder(ids[row : row + 1, mask])[0]
        torch.testing.assert_close(found[row, mask], alone)


@pytest.mark.parametrize("position", ["rope", "learned", "alibi", "none"])
@torch.no_grad()
def test_padding_anywhere_is_as_if_it_were_not_there(position):
    """A prompt that is padded on the right, then its continuation."""
    decoder, ids = model(position=position), torch.randint(0, 50, (1, 15))
    mask = torch.tensor([[1] * 6 + [0] * 4 + [1] * 5])
    real = mask[0].bool()
    expected = decoder(ids[:, real])
    torch.testing.assert_close(decoder(ids, attention_mask=mask)[:, real], expected)
    cache = KVCache()
    parts = [
        decoder(ids[:, a:b], cache, attention_mask=mask[:, :b]) for a, b in ((0, 10), (10, 15))
    ]
    torch.testing.assert_close(torch.cat(parts, 1)[:, real], expected)


@pytest.mark.bad_input
@pytest.mark.parametrize("mask", [[1] * 6 + [0] * 4 + [1] * 5, [0] + [1] * 3 + [0] + [1] * 10])
def test_padding_between_tokens_and_a_window_is_refused(mask):
    decoder = model(window=4)
    mask = torch.tensor([[1] * 15, mask])
    with pytest.raises(ValueError, match="row 1 of attention_mask has padding between its tokens"):
        decoder(torch.zeros(2, 15, dtype=torch.long), attention_mask=mask)
    with pytest.raises(ValueError, match="padding between its tokens"):
        generate(decoder, torch.zeros(2, 15, dtype=torch.long), 2, attention_mask=mask)


# --- sinks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("pieces", [[9], [1] * 9, [2, 7], [3, 6], [4, 1, 4], [8, 1]])
@torch.no_grad()
def test_sinks_stay_in_place_while_nothing_is_dropped(pieces):
    decoder = model()  # 3 sinks and a window of 6 hold 9 tokens
    torch.testing.assert_close(fed(decoder, sinks(), pieces), decoder(IDS))


@torch.no_grad()
def test_a_text_with_sinks_has_no_end():
    """Positions inside the cache stay below its 9 places, whatever the context of the model."""
    decoder, cache = model(n_layers=1, context=12), sinks()
    ids = torch.randint(0, 50, (1, 60))
    found = torch.cat([decoder(piece, cache) for piece in ids.split(1, 1)], 1)
    assert cache.length == 60
    for end in (12, 13, 60):  # one layer: keys depend on their own token alone
        held = torch.cat([ids[:, :3], ids[:, end - 6 : end]], 1)
        torch.testing.assert_close(found[:, end - 1], decoder(held)[:, -1])
    assert len(list(generate(decoder, [1, 2, 3], 50, cache=sinks()))) == 50
    with pytest.raises(ValueError, match="13 tokens do not fit"):
        fed(decoder, SinkKVCache(6, 3), 1, ids)  # the sinks' distance grows with the text


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("changes", "make", "named"),
    [
        ({"window": 4}, sinks, "has a window of 4 of its own"),
        ({"window": 40}, sinks, "has a window of 40 of its own"),
        ({"rope_base": 500.0}, sinks, "not those of the model's RoPE"),
        ({"position": "alibi"}, sinks, "not those of the model's RoPE"),
        ({"rope_layout": "interleaved"}, sinks, "layout 'half' are not those"),
        ({}, lambda: sinks(layout="interleaved"), "layout 'interleaved' are not those"),
        ({"latent": LATENT}, lambda: SinkKVCache(6, 3, frequencies=rope_frequencies(4)),
         "rotated whole"),
        ({"window": 5}, lambda: RollingKVCache(4), "the cache keeps 4 tokens, expected 5"),
        ({"n_kv_heads": 1}, LatentKVCache, "serves latent attention"),
    ],
)  # fmt: skip
def test_caches_that_are_not_exact_for_a_model(changes, make, named):
    with pytest.raises(ValueError, match=named):
        model(**changes)(IDS, make())


@pytest.mark.bad_input
def test_a_cache_with_sinks_takes_no_padding():
    with pytest.raises(ValueError, match="cache with sinks, expected no padding"):
        model()(IDS[:, :3], sinks(), attention_mask=torch.tensor([[0, 1, 1], [1, 1, 1]]))


@pytest.mark.bad_input
@pytest.mark.parametrize("wrong", [{"frequencies": 1e4}, {"frequencies": torch.ones(2, 3)}])
def test_frequencies_that_are_none(wrong):
    with pytest.raises(TypeError, match="frequencies are"):
        SinkKVCache(4, **wrong)
    with pytest.raises(ValueError, match="layout is 'whole'"):
        SinkKVCache(4, layout="whole")


@pytest.mark.bad_input
def test_keys_of_one_head_are_no_latents():
    """Multi-query attention has one head too; its values would be replaced by keys."""
    keys = torch.ones(1, 1, 3, 8)
    with pytest.raises(ValueError, match="for latents"):
        LatentKVCache().layer(0).update(keys, -keys)


# --- modes and types --------------------------------------------------------------------------


@every_cache
def test_a_cache_outlives_the_mode_in_which_it_was_filled(changes, make):
    decoder, cache = model(**changes), make()
    with torch.no_grad():
        expected = fed(decoder, make(), [5, 1, 3])
    with torch.inference_mode():
        first = decoder(IDS[:, :5], cache)
    second = decoder(IDS[:, 5:6], cache)  # with gradients, as a notebook runs
    with torch.no_grad():
        third = decoder(IDS[:, 6:], cache)
    torch.testing.assert_close(torch.cat([first, second.detach(), third], 1), expected)
    cache.reset()
    with torch.no_grad():
        torch.testing.assert_close(fed(decoder, cache, [5, 1, 3]), expected)


def test_generation_over_the_same_cache_inside_and_outside_of_inference_mode():
    decoder, cache, texts = model(), KVCache(), []
    for mode in (torch.inference_mode(), torch.no_grad(), torch.enable_grad()):
        cache.reset()
        with mode:
            texts.append(list(generate(decoder, [1, 2, 3], 4, cache=cache)))
    assert texts[0] == texts[1] == texts[2]
    stream = generate(decoder, [1, 2, 3], 4)
    with torch.inference_mode():
        first = next(stream)
    assert [first, *stream] == texts[0]
    assert torch.is_grad_enabled()


@pytest.mark.bad_input
@pytest.mark.parametrize("name", ["full", "rolling", "sinks", "fixed", "latent", "quantized"])
@torch.no_grad()
def test_another_batch_or_type_needs_a_reset_and_then_works(name):
    changes, make = CACHES[name]
    decoder, narrow, cache = model(**changes), model(torch.float32, **changes), make()
    decoder(IDS[:, :4], cache)
    before = (cache.length, cache.n_bytes)
    others = [(decoder, IDS[:1, 4:5])] + [(narrow, IDS[:, 4:5])] * (name != "quantized")
    for other, ids in others:
        with pytest.raises(ValueError, match=r"the cache holds .* reset it"):
            other(ids, cache)
        assert (cache.length, cache.n_bytes) == before
    torch.testing.assert_close(
        decoder(IDS[:, 4:5], cache), fed(decoder, make(), [4, 1], IDS[:, :5])[:, 4:]
    )
    for other, ids in ((decoder, IDS[:1]), (narrow, IDS)):
        cache.reset()
        torch.testing.assert_close(
            fed(other, cache, [4, 1, 4], ids), fed(other, make(), [4, 1, 4], ids)
        )


@pytest.mark.bad_input
@pytest.mark.parametrize("make", [KVCache, QuantizedKVCache, lambda: RollingKVCache(6),
                                  lambda: FixedKVCache(9), lambda: SinkKVCache(4, 2)])  # fmt: skip
def test_keys_and_values_of_different_tokens(make):
    layer = make().layer(0)
    for keys, values in (((2, 3, 4, 8), (2, 3, 3, 8)), ((2, 3, 4, 8), (1, 3, 4, 8)),
                         ((2, 3, 0, 8), (2, 3, 0, 8))):  # fmt: skip
        with pytest.raises(ValueError, match=r"expected \(batch, heads, seq, width\)"):
            layer.update(torch.zeros(keys), torch.zeros(values))
        assert layer.length == 0


# --- interrupted ------------------------------------------------------------------------------


class Stopped(Exception):
    pass


def stop(*_):
    raise Stopped


@every_cache
@pytest.mark.parametrize("pieces", [[4], [4, 1]])
@torch.no_grad()
def test_a_pass_that_is_interrupted_between_layers(changes, make, pieces):
    decoder, cache = model(**changes), make()
    ids = IDS[:, : sum(pieces)]
    for n, piece in enumerate(ids.split(pieces, 1)):
        if n + 1 == len(pieces):
            hook = decoder.blocks[1].register_forward_pre_hook(stop)
            with pytest.raises(Stopped):
                decoder(piece, cache)
            hook.remove()
        else:
            decoder(piece, cache)
    expected = fed(decoder, make(), pieces, ids)
    if isinstance(cache, FixedKVCache):  # it counts when a pass is over: the pass may be repeated
        torch.testing.assert_close(decoder(piece, cache), expected[:, -piece.shape[1] :])
        return
    with pytest.raises(RuntimeError, match=f"seen {ids.shape[1]} tokens in layer 1, .* reset it"):
        decoder(piece, cache)
    cache.reset()
    torch.testing.assert_close(fed(decoder, cache, pieces, ids), expected)


class Interrupting(torch.overrides.TorchFunctionMode):
    """Raises at one of the operations of an update, as Ctrl-C may."""

    def __init__(self, at):
        super().__init__()
        self.left = at

    def __torch_function__(self, function, types, args=(), kwargs=None):
        self.left -= 1
        if self.left == 0:
            raise Stopped
        return function(*args, **(kwargs or {}))


@pytest.mark.unchecked
@every_cache
def test_an_update_that_is_interrupted_anywhere_can_be_repeated(changes, make):
    """After any number of its operations, for one new token and for several."""
    width, values = (14, 10) if "latent" in changes else (8, 8)
    x = torch.randn(2, 1, 9, width)
    for n_new in (1, 3):
        pieces = [(0, 5), (5, 5 + n_new)]
        for at in range(1, 200):
            cache, expected = make(), make()
            for a, b in pieces:
                whole = expected.layer(0).update(x[:, :, a:b], x[:, :, a:b, :values])
                if a == 0:
                    cache.layer(0).update(x[:, :, a:b], x[:, :, a:b, :values])
                    if isinstance(cache, FixedKVCache):
                        cache.advance(b), expected.advance(b)
            done = False
            try:
                with Interrupting(at):
                    cache.layer(0).update(x[:, :, a:b], x[:, :, a:b, :values])
                    done = True
            except Stopped:
                assert cache.length == 5
                found = cache.layer(0).update(x[:, :, a:b], x[:, :, a:b, :values])
                torch.testing.assert_close(found, whole)
            if done:
                assert at > 2
                break
        else:
            raise AssertionError("never finished")


@torch.no_grad()
def test_a_generator_that_is_closed_early_leaves_nothing_behind():
    decoder, cache = model(), KVCache()
    modes = torch.is_grad_enabled(), torch.get_num_threads(), torch.get_rng_state()
    stream = generate(decoder, [1, 2, 3], 9, cache=cache)
    next(stream), next(stream)
    stream.close()
    assert cache.length == 4
    assert (torch.is_grad_enabled(), torch.get_num_threads()) == modes[:2]
    assert torch.equal(torch.get_rng_state(), modes[2])
    with pytest.raises(ValueError, match="cache must be empty"):
        generate(decoder, [1], 3, cache=cache)

    def broken(logits):
        raise OSError("disk")

    cache.reset()
    with pytest.raises(OSError, match="disk"):
        list(generate(decoder, [1, 2], 3, sampler=broken, cache=cache))
    assert cache.length == 2


@pytest.mark.bad_input
@torch.no_grad()
def test_a_cache_of_another_model():
    cache, ids = KVCache(), IDS[:, :4]
    model(n_layers=2)(ids, cache)
    for n_layers in (1, 3):
        with pytest.raises(RuntimeError, match="was another model's; reset it"):
            model(n_layers=n_layers)(ids, cache)
    cache.reset()
    for n_layers in (1, 3, 1):  # after a reset it serves any
        decoder = model(n_layers=n_layers)
        torch.testing.assert_close(fed(decoder, cache, [4, 1], IDS[:, :5]), decoder(IDS[:, :5]))
        assert cache.length == 5
        cache.reset()


@every_cache
@torch.no_grad()
def test_a_copy_goes_its_own_way(changes, make):
    decoder, cache = model(**changes), make()
    decoder(IDS[:, :5], cache)
    for other in (copy.deepcopy(cache), pickle.loads(pickle.dumps(cache))):
        found = [decoder(IDS[:, 5:6], c) for c in (other, copy.deepcopy(cache))]
        assert torch.equal(*found)
        assert (other.length, cache.length) == (6, 5)
    expected = fed(decoder, make(), [5, 1], IDS[:, :6])[:, 5:]
    torch.testing.assert_close(decoder(IDS[:, 5:6], cache), expected)


# --- gradients --------------------------------------------------------------------------------


@every_cache
def test_gradients_through_a_cache_are_refused_and_logits_are_not(changes, make):
    decoder, cache = model(**changes), make()
    first, second = decoder(IDS[:, :5], cache), decoder(IDS[:, 5:6], cache)
    with torch.no_grad():
        expected = fed(decoder, make(), [5, 1], IDS[:, :6])
    torch.testing.assert_close(torch.cat([first, second], 1).detach(), expected)
    for loss in (first.sum(), first.sum() + second.sum()):
        with pytest.raises(ValueError, match="a pass with a cache has no gradients"):
            loss.backward(retain_graph=True)


def test_gradients_behind_a_frozen_cached_model_are_right():
    """A head that is trained on what a frozen model makes needs no gradient of the cache."""
    decoder = model(tied=False).requires_grad_(False)
    decoder.output.weight.requires_grad_(True)
    decoder(IDS, KVCache()).square().sum().backward()
    found, decoder.output.weight.grad = decoder.output.weight.grad, None
    decoder(IDS).square().sum().backward()
    torch.testing.assert_close(found, decoder.output.weight.grad)


def test_a_module_by_itself_refuses_gradients_through_its_cache():
    x = torch.randn(1, 4, 32, requires_grad=True)
    latent = LatentAttention(32, 4, 10, 4, 6, 5, causal=True)
    for module, cache in ((Attention(32, 4, causal=True), KVCache()), (latent, LatentKVCache())):
        with pytest.raises(ValueError, match="no gradients"):
            module(x, cache=cache.layer(0)).sum().backward()


# --- bytes ------------------------------------------------------------------------------------


@every_cache
@torch.no_grad()
def test_bytes_are_those_of_the_tensors(changes, make):
    decoder, cache = model(**changes), make()
    fed(decoder, cache, [4, 1, 1, 1, 1, 1])
    tensors, seen = [], set()

    def collect(x):
        if torch.is_tensor(x):
            tensors.append(x)
        elif isinstance(x, list | tuple) or (id(x) not in seen and hasattr(x, "__dict__")):
            seen.add(id(x))
            for inner in x if isinstance(x, list | tuple) else vars(x).values():
                collect(inner)

    for layer in cache.layers:
        collect([value for name, value in vars(layer).items() if name != "owner"])
    assert cache.allocated_bytes == sum(x.untyped_storage().nbytes() for x in tensors)
    assert 0 < cache.n_bytes <= cache.allocated_bytes
    cache.reset()
    assert (cache.n_bytes, cache.length) == (0, 0)
