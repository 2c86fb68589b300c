"""What a decoder and `generate` refuse, and what they take in another form."""

import inspect
import math
import re

import numpy as np
import pytest
import torch

from llmlib.decoder import Decoder, DecoderConfig, generate, pool_kv_heads
from llmlib.kv_cache import FixedKVCache, KVCache, RollingKVCache

PROMPT = [5, 80, 3, 41, 7, 96, 0, 22, 13, 64]


def config(**changes):
    sizes = {"vocab_size": 97, "dim": 24, "n_layers": 2, "n_heads": 6, "n_kv_heads": 2}
    return DecoderConfig(**{**sizes, "context": 48, "ffn_dim": 40, **changes})


def model(**changes):
    torch.manual_seed(3)
    return Decoder(config(**changes)).double().eval()


# --- bad input -------------------------------------------------------------------------------


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("changes", "error", "named"),
    [
        ({"dim": 0}, ValueError, "dim must be positive, got 0"),
        ({"n_layers": 2.0}, TypeError, "n_layers must be an integer"),
        ({"position": "rotary"}, ValueError, "position is 'rotary', expected one of rope"),
        ({"norm": "batch"}, ValueError, "norm is 'batch'"),
        ({"norm_position": "around"}, ValueError, "norm_position is 'around'"),
        ({"context": -1}, ValueError, "context must be positive"),
    ],
)
def test_impossible_settings(changes, error, named):
    with pytest.raises(error, match=named):
        config(**changes)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"n_kv_heads": 4}, "n_kv_heads is 4"),
        ({"head_dim": 5}, "head_dim is 5, expected an even number"),
        ({"activation": "swich"}, "did you mean 'swish'"),
        ({"rope_scaling": {"rope_type": "magic"}}, "rope_type of rope_scaling is 'magic'"),
    ],
)
def test_models_that_cannot_be_built(changes, named):
    with pytest.raises(ValueError, match=named):
        Decoder(config(**changes))


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("ids", "named"),
    [
        ([[97]], "token id 97 is outside 0 .. 96"),
        ([[-1]], "token id -1"),
        ([1, 2], r"shape \(2,\)"),
        ([[1.0]], "torch.float32"),
        ([[]], "at least one"),
        ([[1] * 49], "49 tokens do not fit: the model's context is 48"),
    ],
)
def test_ids_that_no_model_takes(ids, named):
    with pytest.raises(ValueError, match=named):
        model()(torch.tensor(ids))


@pytest.mark.bad_input
def test_cached_tokens_count_for_the_context():
    decoder, cache = model(), KVCache()
    decoder(torch.tensor([PROMPT * 4]), cache)
    with pytest.raises(ValueError, match="50 tokens do not fit"):
        decoder(torch.tensor([PROMPT]), cache)
    assert cache.length == 40


@pytest.mark.bad_input
def test_mask_that_forgets_the_cached_tokens():
    decoder, cache = model(), KVCache()
    decoder(torch.tensor([PROMPT]), cache)
    with pytest.raises(ValueError, match=r"shape \(1, 1\), expected \(1, 11\)"):
        decoder(torch.tensor([[1]]), cache, attention_mask=torch.ones(1, 1))


@pytest.mark.bad_input
@pytest.mark.parametrize("window", [None, 5])
def test_rolling_cache_of_another_window(window):
    with pytest.raises(ValueError, match="the cache keeps 4 tokens"):
        model(window=window)(torch.tensor([PROMPT]), RollingKVCache(4))


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("prompt", "n", "options", "named"),
    [
        ([], 3, {}, "expected at least one token"),
        ([[1, 2, 3], [4, 5, 6]], 3, {}, r"shape \(2, 3\), expected one list of ids; give a tensor"),
        ([[1, 2], [3]], 3, {}, "prompt_ids is no list of ids"),
        (np.ones((2, 3), dtype=int), 3, {}, r"shape \(2, 3\), expected one list of ids"),
        (torch.tensor([1, 2]), 3, {}, r"shape \(2,\), expected .* a tensor \(batch, seq\)"),
        (torch.zeros(0, 3).long(), 3, {}, r"shape \(0, 3\), expected at least one token"),
        ([1, 97], 3, {}, "token id 97 is outside 0 .. 96"),
        ([-1], 3, {}, "token id -1 is outside"),
        (PROMPT, 3, {"stop_ids": [97]}, "stop id 97 is outside 0 .. 96"),
        (PROMPT, 3, {"cache": FixedKVCache(11)}, "12 tokens do not fit in a cache of 11"),
        (PROMPT, 3, {"cache": RollingKVCache(4)}, "the cache keeps 4 tokens, expected None"),
        ([1, 2], 3, {"attention_mask": torch.tensor([[0, 2]])}, "holds 2, expected 0 and 1"),
        ([1, 2], 3, {"attention_mask": torch.tensor([[-math.inf, 0.0]])}, "holds -inf"),
        (PROMPT, 40, {}, "49 tokens do not fit: the model's context is 48"),
        (PROMPT, -1, {}, "max_new_tokens is -1"),
        (PROMPT, 3, {"use_cache": False, "compile": True}, "nothing to compile"),
        (PROMPT, 3, {"use_cache": False, "cache": KVCache()}, "nothing to compile"),
        (PROMPT, 3, {"cache": KVCache(), "compile": True}, "cannot be chosen"),
        (PROMPT, 3, {"attention_mask": torch.ones(1, 3)}, r"expected \(1, 10\)"),
        ([1, 2], 3, {"attention_mask": torch.tensor([[1, 0]])}, "row 0 ends in padding"),
    ],
)
def test_requests_that_cannot_be_met_raise_before_the_first_token(prompt, n, options, named):
    with pytest.raises(ValueError, match=named):
        generate(model(), prompt, n, **options)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("prompt", "n", "options", "named"),
    [
        ("text", 3, {}, "prompt_ids is a str, expected a list of ids"),
        ({"input_ids": [1]}, 3, {}, "prompt_ids is a dict"),
        (None, 3, {}, "prompt_ids is a NoneType"),
        (5, 3, {}, "prompt_ids is a int"),
        ([1.0, 2.0], 3, {}, "prompt_ids holds torch.float32, expected integers"),
        ([True, False], 3, {}, "prompt_ids holds torch.bool"),
        (torch.ones(1, 2), 3, {}, "prompt_ids holds torch.float32"),
        (PROMPT, True, {}, "max_new_tokens must be an integer, got True"),
        (PROMPT, 2.0, {}, "max_new_tokens must be an integer, got 2.0"),
        (PROMPT, 3, {"stop_ids": 5}, "stop_ids is 5, expected a collection"),
        (PROMPT, 3, {"stop_ids": "ab"}, "stop_ids is 'ab'"),
        (PROMPT, 3, {"stop_ids": [2.0]}, "stop_ids holds 2.0, expected integers"),
        (PROMPT, 3, {"stop_ids": [True]}, "stop_ids holds True"),
        (PROMPT, 3, {"attention_mask": [[1] * 10]}, "attention_mask is a list"),
        (PROMPT, 3, {"cache": KVCache}, "cache is KVCache, expected a KVCache()"),
        (PROMPT, 3, {"cache": KVCache().layer(0)}, "cache is a FullLayer"),
        (PROMPT, 3, {"sampler": None}, "sampler is None, expected a function"),
        (PROMPT, 3, {"use_cache": "no"}, "use_cache is 'no', expected True or False"),
    ],
)
def test_requests_of_another_kind(prompt, n, options, named):
    with pytest.raises(TypeError, match=re.escape(named)):
        generate(model(), prompt, n, **options)
    with pytest.raises(TypeError, match="model is a NoneType, expected a Decoder"):
        generate(None, PROMPT, 3)


@pytest.mark.bad_input
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize(
    ("choice", "error", "named"),
    [
        (lambda z: z.argmax(-1).float(), ValueError, "sampler returned torch.float32 of shape"),
        (lambda z: z.argmax(-1)[:, None], ValueError, "sampler returned torch.int64 of shape"),
        (lambda z: torch.tensor(3), ValueError, r"of shape \(\), expected integers"),
        (lambda z: z.argmax(-1) * 0 + 97, ValueError, "sampler returned id 97, outside 0 .. 96"),
        (lambda z: z.argmax(-1) * 0 - 1, ValueError, "sampler returned id -1"),
        (lambda z: 3, TypeError, "sampler returned a int"),
        (lambda z: z.argmax(-1).tolist(), TypeError, "sampler returned a list"),
    ],
)
def test_samplers_that_return_no_ids(choice, error, named, batch):
    with pytest.raises(error, match=named):
        next(generate(model(), torch.tensor([PROMPT] * batch), 3, sampler=choice))


@pytest.mark.unchecked
def test_ids_in_other_containers_and_types():
    decoder, expected = model(), list(generate(model(), PROMPT, 4))
    for prompt in (tuple(PROMPT), np.array(PROMPT, dtype=np.uint16), list(torch.tensor(PROMPT))):
        assert list(generate(decoder, prompt, 4)) == expected
    for dtype in (torch.uint8, torch.int16, torch.int32):
        found = list(generate(decoder, torch.tensor([PROMPT], dtype=dtype), 4))
        assert [int(chosen) for chosen in found] == expected
    stops = expected[1]
    for stop_ids in ({stops}, torch.tensor([stops]), np.array([stops])):
        found = list(generate(decoder, PROMPT, 4, stop_ids=stop_ids))
        assert found == expected[: expected.index(stops) + 1]
    narrow = list(generate(decoder, PROMPT, 4, sampler=lambda z: z.argmax(-1).int()))
    assert narrow == expected


WRONG = [True, False, 0, -1, 1.5, "x", "", None, math.nan, math.inf, [], {}, torch.tensor(3)]
ALLOWED = {
    "n_kv_heads": [None], "head_dim": [None], "ffn_dim": [None], "window": [None],
    "norm_eps": [0, 1.5], "rope_base": [1.5], "rope_scaling": [None], "latent": [None],
    **{name: [True, False] for name in ("gated", "bias", "qk_norm", "tied", "embedding_norm")},
    **{name: [True, False, None] for name in ("qkv_bias", "out_bias", "ffn_bias")},
}  # fmt: skip


@pytest.mark.bad_input
@pytest.mark.parametrize("field", inspect.signature(DecoderConfig).parameters)
def test_every_field_refuses_what_is_no_value_of_it(field):
    for value in WRONG:
        if any(value is x or (type(value) is type(x) and value == x)
               for x in ALLOWED.get(field, [])):  # fmt: skip
            config(**{field: value})
            continue
        with pytest.raises((TypeError, ValueError), match=field):
            config(**{field: value})


@pytest.mark.bad_input
def test_heads_that_do_not_divide():
    with pytest.raises(ValueError, match="dim 34 does not divide into 4 heads; give head_dim"):
        DecoderConfig(50, 34, 2, 4)
    with pytest.raises(ValueError, match="n_kv_heads is 3, expected a divisor of 4 heads"):
        DecoderConfig(50, 32, 2, 4, 3)
    assert Decoder(DecoderConfig(50, 34, 2, 4, head_dim=6))(torch.tensor([[1]])).shape == (1, 1, 50)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("ids", "error", "named"),
    [
        ([[1, 2]], TypeError, "token_ids is a list"),
        (torch.ones(1, 2, dtype=torch.bool), ValueError, "token_ids is torch.bool"),
        (torch.ones(1, 2, dtype=torch.uint8), ValueError, "token_ids is torch.uint8"),
    ],
)
def test_ids_of_another_kind(ids, error, named):
    with pytest.raises(error, match=named):
        model()(ids)


@pytest.mark.bad_input
def test_masks_and_caches_of_another_kind():
    decoder, ids = model(), torch.tensor([PROMPT])
    with pytest.raises(TypeError, match="attention_mask is a list"):
        decoder(ids, attention_mask=[[1] * 10])
    for wrong in (2, -1, 0.5, math.nan, -math.inf):
        with pytest.raises(ValueError, match=f"attention_mask holds {wrong}, expected 0 and 1"):
            decoder(ids, attention_mask=torch.full((1, 10), wrong))
    with pytest.raises(TypeError, match="cache is a tuple, expected a KVCache"):
        decoder(ids, ())
    with pytest.raises(IndexError, match="10 tokens do not fit in a cache of 9"):
        decoder(ids, FixedKVCache(9))


@pytest.mark.bad_input
def test_blocks_that_are_none_are_named():
    decoder = model()
    decoder.blocks[1] = torch.nn.Sequential(decoder.blocks[1])
    with pytest.raises(TypeError, match="a block is a Sequential, expected a Block"):
        decoder.attention_maps(torch.tensor([PROMPT]))
    with pytest.raises(TypeError, match="a block is a Sequential"):
        pool_kv_heads(decoder, 1)


def test_shapes_without_values():
    """On the meta device nothing can be read, so only shapes are checked."""
    ids = torch.tensor([PROMPT], device="meta")
    mask = torch.ones(1, 10, device="meta")
    for changes in ({}, {"window": 3}, {"position": "learned"}):
        decoder = model(**changes).to("meta")
        assert decoder(ids, attention_mask=mask).shape == (1, 10, 97)
        assert decoder(ids, KVCache()).shape == (1, 10, 97)
