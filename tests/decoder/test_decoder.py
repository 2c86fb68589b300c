"""Unit tests of llmlib.decoder: settings, caches, generation, the fast step, traps."""

from itertools import pairwise

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from llmlib.attention import engine
from llmlib.decoder import Decoder, DecoderConfig, generate
from llmlib.decoder.premises import why_not
from llmlib.decoder.single_step import SingleStep
from llmlib.kv_cache import FixedKVCache, KVCache, QuantizedKVCache, RollingKVCache
from llmlib.position_encoding import rope_frequencies
from llmlib.sampling import Sampler

PROMPT = [5, 80, 3, 41, 7, 96, 0, 22, 13, 64]


def config(**changes):
    sizes = {"vocab_size": 97, "dim": 24, "n_layers": 3, "n_heads": 6, "n_kv_heads": 2}
    return DecoderConfig(**{**sizes, "context": 48, "ffn_dim": 40, **changes})


def model(dtype=torch.float64, **changes):
    """A random model whose logits tell tokens apart."""
    torch.manual_seed(3)
    found = Decoder(config(**changes)).to(dtype).eval()
    with torch.no_grad():
        for name, parameter in found.named_parameters():
            spread = 0.3 if parameter.ndim == 2 else 0.1
            parameter.copy_(torch.randn(parameter.shape) * spread + (parameter.ndim == 1
                            and name.endswith("weight")))  # fmt: skip
    return found


GPT2 = {"norm": "layer", "activation": "gelu_tanh", "gated": False, "bias": True,
        "position": "learned", "n_kv_heads": 6}  # fmt: skip
SETTINGS = {
    "llama": {},
    "gpt2": GPT2,
    "gpt1, post-norm": {**GPT2, "norm_position": "post"},
    "mistral": {"window": 4},
    "qwen2": {"qkv_bias": True, "tied": False},
    "qwen3": {"qk_norm": True, "head_dim": 10},
    "bloom": {**GPT2, "position": "alibi", "embedding_norm": True},
    "bloom with a window": {**GPT2, "position": "alibi", "window": 4},
    "no positions": {"position": "none"},
    "interleaved": {"rope_layout": "interleaved"},
    "yarn": {"rope_scaling": {"rope_type": "yarn", "factor": 4.0,
                              "original_max_position_embeddings": 12}},
}  # fmt: skip
every_setting = pytest.mark.parametrize("changes", SETTINGS.values(), ids=SETTINGS)


def caches(changes):
    """Every cache that is exact for these settings."""
    rolling = [RollingKVCache(changes["window"])] if "window" in changes else []
    return [KVCache(), KVCache(capacity=2), FixedKVCache(48), *rolling]


# --- settings --------------------------------------------------------------------------------


def test_defaults_follow_from_other_fields():
    found = DecoderConfig(vocab_size=10, dim=12, n_layers=1, n_heads=3, bias=True)
    attention, feed_forward = found.block.mixer, found.block.feed_forward
    assert (attention.n_kv_heads, attention.head_dim, feed_forward.ffn_dim) == (3, 4, 48)
    assert attention.qkv_bias
    assert attention.out_bias
    assert feed_forward.bias
    assert DecoderConfig(10, 12, 1, 3, qkv_bias=True).block.mixer.out_bias is False


def test_number_of_parameters_of_gpt2():
    gpt2 = DecoderConfig(50257, 768, 12, 12, context=1024, **{**GPT2, "n_kv_heads": 12})
    with torch.device("meta"):
        found = sum(p.numel() for p in Decoder(gpt2).parameters())
    assert found == 124_439_808


def test_number_of_parameters_of_mistral_7b():
    mistral = DecoderConfig(32000, 4096, 32, 32, 8, ffn_dim=14336, window=4096, tied=False)
    with torch.device("meta"):
        found = sum(p.numel() for p in Decoder(mistral).parameters())
    assert found == 7_241_732_096


def test_start_is_small_and_shrinks_with_the_depth():
    torch.manual_seed(0)
    found = Decoder(config(dim=120, n_heads=6, n_layers=8))
    assert found.embedding.weight.std().item() == pytest.approx(0.02, rel=0.05)
    deep = found.blocks[0].mixer.output.weight.std().item()
    assert deep == pytest.approx(0.02 / 4, rel=0.05)


# --- the forward pass ------------------------------------------------------------------------


@every_setting
@torch.no_grad()
def test_no_position_sees_the_future(changes):
    decoder, ids = model(**changes), torch.tensor([PROMPT])
    before = decoder(ids)
    ids[0, 6:] = 1
    assert torch.equal(decoder(ids)[:, :6], before[:, :6])
    assert (decoder(ids)[:, 6:] - before[:, 6:]).abs().max() > 0.1


@every_setting
@torch.no_grad()
def test_cached_equals_uncached(changes):
    decoder, ids = model(**changes), torch.tensor([PROMPT, PROMPT[::-1]])
    expected = decoder(ids)
    for cache in caches(changes):
        found = [decoder(piece, cache) for piece in ids.split([4, 1, 1, 3, 1], dim=1)]
        torch.testing.assert_close(torch.cat(found, 1), expected)


@every_setting
@torch.no_grad()
def test_left_padding_changes_nothing(changes):
    """The trap: positions have to count tokens, in the prompt and in every step with a cache."""
    decoder, ids = model(**changes), torch.tensor([PROMPT])
    expected = decoder(ids)
    padded = torch.cat([torch.full((1, 3), 9), ids], 1)
    mask = torch.tensor([[0] * 3 + [1] * 10])
    torch.testing.assert_close(decoder(padded, attention_mask=mask)[:, 3:], expected)
    for cache in caches(changes)[:2] + caches(changes)[3:]:
        ends = [0, 2, 5, 10, 11, 12, 13]
        found = [decoder(padded[:, start:end], cache, attention_mask=mask[:, :end])
                 for start, end in pairwise(ends)]  # fmt: skip
        torch.testing.assert_close(torch.cat(found, 1)[:, 3:], expected)


@torch.no_grad()
def test_padding_that_sees_nothing_gives_no_nan():
    decoder, ids = model(), torch.tensor([PROMPT])
    mask = torch.tensor([[0] * 4 + [1] * 6])
    assert decoder(ids, attention_mask=mask).isfinite().all()


@torch.no_grad()
def test_last_only_is_the_last_position():
    decoder, ids = model(), torch.tensor([PROMPT])
    torch.testing.assert_close(decoder(ids, last_only=True), decoder(ids)[:, -1:])


@torch.no_grad()
def test_hidden_states_lead_to_the_logits():
    decoder, ids = model(), torch.tensor([PROMPT])
    states = decoder.hidden_states(ids)
    assert len(states) == 4
    torch.testing.assert_close(states[0], decoder.embedding(ids))
    torch.testing.assert_close(decoder.head(states[-1]), decoder(ids))


@every_setting
@torch.no_grad()
def test_attention_maps_are_distributions_over_the_past(changes):
    maps = model(**changes).attention_maps(torch.tensor([PROMPT]))
    assert len(maps) == 3
    for found in maps:
        assert found.shape == (1, 6, 10, 10)
        torch.testing.assert_close(found.sum(-1), torch.ones_like(found[..., 0]))
        assert found.triu(1).abs().max() == 0
        if changes.get("window"):
            assert found.tril(-4).abs().max() == 0


def test_post_norm_has_no_norm_at_the_end():
    decoder = model(**SETTINGS["gpt1, post-norm"])
    assert decoder.norm is None
    assert list(decoder.blocks[0].norms) == ["mixer_sum", "feed_forward_sum"]


def test_angles_are_not_rounded_with_the_weights():
    decoder = model().to(torch.bfloat16)
    cos, _ = decoder.rotation(torch.tensor([4097]))
    assert cos.dtype == torch.float32
    torch.testing.assert_close(cos[0], (4097 * rope_frequencies(4)).cos().float())


def test_a_decoder_can_be_trained():
    decoder = model(torch.float32)
    decoder(torch.tensor([PROMPT])).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in decoder.parameters())


@torch.no_grad()
def test_quantized_cache_is_close():
    decoder, ids = model(), torch.tensor([PROMPT])
    cache = QuantizedKVCache()
    found = torch.cat([decoder(piece, cache) for piece in ids.split(1, dim=1)], 1)
    difference = (found - decoder(ids)).abs().max()
    assert 1e-4 < difference < 0.2


# --- the step that is written for speed ------------------------------------------------------


@pytest.mark.parametrize("name", ["llama", "mistral", "qwen2", "qwen3", "yarn"])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4), (torch.bfloat16, 0.15)]
)
@torch.no_grad()
def test_single_step_equals_the_model(name, dtype, tolerance):
    decoder = model(dtype, **SETTINGS[name])
    assert why_not(decoder) is None
    step = SingleStep(decoder)
    for kind in (KVCache, QuantizedKVCache, *([lambda: RollingKVCache(4)] * (name == "mistral"))):
        one, other = kind(), kind()
        prompt = torch.tensor([PROMPT])
        decoder(prompt, one)
        decoder(prompt, other)
        for token in (4, 77, 8):
            ids = torch.tensor([[token]])
            found, expected = step(ids, one), decoder(ids, other)
            scale = expected.abs().max() if dtype == torch.bfloat16 else 1
            torch.testing.assert_close(found / scale, expected / scale, rtol=0, atol=tolerance)


def test_single_step_is_for_llamas_alone():
    for name in ("gpt2", "bloom", "interleaved", "no positions", "gpt1, post-norm"):
        assert why_not(model(**SETTINGS[name])) is not None
    assert why_not(model(), batch=2) == "there are 2 texts, not one"


@torch.no_grad()
def test_cost_of_a_token_grows_with_the_cache_by_the_formula():
    """4 L H d_head FLOPs and 2 L G d_head numbers for each cached token, and nothing else grows."""
    decoder, cache = model(torch.float32, context=200), KVCache()
    flops, n_bytes = [], []
    for length in (10, 60, 110):
        decoder(torch.ones(1, length - cache.length, dtype=torch.long), cache)
        n_bytes.append(cache.n_bytes)
        with engine("reference"), FlopCounterMode(display=False) as counter:
            decoder(torch.ones(1, 1, dtype=torch.long), cache)
        flops.append(counter.get_total_flops())
    assert [b - a for a, b in pairwise(flops)] == [50 * 4 * 3 * 6 * 4] * 2
    assert [b - a for a, b in pairwise(n_bytes)] == [50 * 2 * 3 * 2 * 4 * 4] * 2


# --- generation ------------------------------------------------------------------------------


@every_setting
def test_generation_with_and_without_a_cache(changes):
    decoder = model(**changes)

    def sampled(**options):  # greedy ends in a circle, which would tell little apart
        return list(generate(decoder, PROMPT, 8, sampler=Sampler(3.0, seed=0), **options))

    expected = sampled(use_cache=False)
    assert len(set(expected)) > 4
    assert sampled() == sampled(cache=KVCache()) == expected
    assert all(isinstance(token, int) for token in expected)


@every_setting
@pytest.mark.parametrize("use_cache", [True, False])
def test_left_padded_batch_continues_as_each_prompt_alone(changes, use_cache):
    decoder = model(**changes)
    prompts = [PROMPT, PROMPT[3:7], [50]]
    alone = [list(generate(decoder, prompt, 5)) for prompt in prompts]
    ids = torch.tensor([[0] * (10 - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (10 - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    stream = list(generate(decoder, ids, 5, attention_mask=mask, use_cache=use_cache))
    assert all(step.shape == (3,) for step in stream)
    assert torch.stack(stream).T.tolist() == alone


def test_generation_is_lazy_and_streams():
    decoder, calls = model(), []
    decoder.register_forward_hook(lambda *_: calls.append(1))
    stream = generate(decoder, PROMPT, 30, cache=QuantizedKVCache())
    assert not calls
    next(stream)
    assert len(calls) == 1


def test_stop_ids_end_the_text_and_come_last():
    decoder = model()
    whole = list(generate(decoder, PROMPT, 20))
    stop = whole[4]
    assert list(generate(decoder, PROMPT, 20, stop_ids=[stop])) == whole[: whole.index(stop) + 1]


def test_rows_that_have_stopped_repeat_their_stop_id():
    decoder = model()
    ids = torch.tensor([PROMPT, PROMPT[::-1]])
    free = torch.stack(list(generate(decoder, ids, 12))).T
    stop = free[0, 2].item()
    found = torch.stack(list(generate(decoder, ids, 12, stop_ids=(stop,)))).T
    first = free[0].tolist().index(stop)
    assert found[0, first:].eq(stop).all()
    until = [*free[1].tolist(), stop].index(stop)
    assert torch.equal(found[1, :until], free[1, :until])


def test_sampling_repeats_with_its_seed():
    decoder = model()
    draws = [list(generate(decoder, PROMPT, 9, sampler=Sampler(2.0, seed=s))) for s in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]


def test_nothing_to_generate():
    assert list(generate(model(), PROMPT, 0)) == []


def test_generation_leaves_no_graph():
    (token,) = generate(model(), torch.tensor([PROMPT]), 1)
    assert not token.requires_grad


def test_the_context_can_be_filled_to_its_end():
    """48 positions: 10 of the prompt and 38 that are fed; the 39th token is never fed."""
    assert len(list(generate(model(), PROMPT, 39))) == 39
