"""Unit tests of llmlib.sampling: the cuts on numbers done by hand, seeds, batches, bad input."""

import copy
import math
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmlib.sampling import Sampler, greedy

P = torch.tensor([0.4, 0.3, 0.2, 0.1])
LOGITS = P.log()


def close(found, expected):
    torch.testing.assert_close(found, torch.tensor(expected), rtol=0, atol=1e-6)


# --- distributions by hand -------------------------------------------------------------------


def test_greedy_takes_the_largest_of_each_row():
    assert greedy(torch.stack([LOGITS, LOGITS.flip(0)])).tolist() == [0, 3]
    assert greedy(LOGITS).item() == 0


def test_plain_sampler_is_the_softmax():
    torch.testing.assert_close(Sampler().probabilities(LOGITS), P)


def test_temperature_is_a_power_of_the_probabilities():
    squared = P.square() / P.square().sum()  # exp(log p / 0.5) = p^2
    torch.testing.assert_close(Sampler(temperature=0.5).probabilities(LOGITS), squared)
    flat = Sampler(temperature=1e6).probabilities(LOGITS)
    torch.testing.assert_close(flat, torch.full((4,), 0.25), rtol=0, atol=1e-5)


def test_temperature_zero_is_greedy():
    assert Sampler(temperature=0)(LOGITS).item() == 0
    close(Sampler(temperature=0).probabilities(LOGITS), [1.0, 0.0, 0.0, 0.0])


def test_top_k_keeps_k_and_renormalizes():
    close(Sampler(top_k=2).probabilities(LOGITS), [4 / 7, 3 / 7, 0.0, 0.0])
    torch.testing.assert_close(Sampler(top_k=99).probabilities(LOGITS), P)


def test_top_k_keeps_k_of_equal_tokens():
    assert (Sampler(top_k=3).probabilities(torch.zeros(8)) > 0).sum() == 3


def test_top_p_keeps_the_token_that_reaches_p():
    close(Sampler(top_p=0.5).probabilities(LOGITS), [4 / 7, 3 / 7, 0.0, 0.0])
    close(Sampler(top_p=0.39).probabilities(LOGITS), [1.0, 0.0, 0.0, 0.0])
    torch.testing.assert_close(Sampler(top_p=1.0).probabilities(LOGITS), P)


def test_top_p_always_keeps_one():
    close(Sampler(top_p=1e-9).probabilities(LOGITS), [1.0, 0.0, 0.0, 0.0])


def test_min_p_is_relative_to_the_largest():
    close(Sampler(min_p=0.6).probabilities(LOGITS), [4 / 7, 3 / 7, 0.0, 0.0])
    close(Sampler(min_p=1.0).probabilities(LOGITS), [1.0, 0.0, 0.0, 0.0])


def test_cuts_follow_each_other_renormalized():
    """After top_k = 3 the probabilities are 4/9, 3/9, 2/9: 0.75 then needs two of them."""
    close(Sampler(top_k=3, top_p=0.75).probabilities(LOGITS), [4 / 7, 3 / 7, 0.0, 0.0])
    close(Sampler(top_p=0.75).probabilities(LOGITS), [4 / 9, 3 / 9, 2 / 9, 0.0])


def test_order_of_the_vocabulary_does_not_matter():
    order = torch.tensor([2, 0, 3, 1])
    for sampler in (Sampler(top_k=2), Sampler(top_p=0.65), Sampler(min_p=0.4)):
        shuffled = sampler.probabilities(LOGITS[order])
        torch.testing.assert_close(shuffled, sampler.probabilities(LOGITS)[order])


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(-40, 40), min_size=2, max_size=30),
    st.floats(0.1, 5),
    st.integers(1, 40),
    st.floats(0.01, 1),
    st.floats(0, 1),
)
def test_any_cut_leaves_a_distribution_with_the_best_token(values, temperature, k, top_p, min_p):
    logits = torch.tensor(values) / 2
    p = Sampler(temperature, k, top_p, min_p).probabilities(logits)
    assert p.sum().item() == pytest.approx(1, abs=1e-5)
    assert p[logits == logits.max()].max() == p.max()
    assert (p > 0).sum() <= k


@pytest.mark.parametrize("seed", range(4))
def test_top_p_of_1_cuts_nothing_of_a_large_vocabulary(seed):
    logits = torch.randn(2, 128_256, generator=torch.Generator().manual_seed(seed)) * (1 + seed)
    p = Sampler().probabilities(logits)
    assert torch.equal(Sampler(top_p=1.0).probabilities(logits) == 0, p == 0)


EXTREMES = [
    ([10.0, 1.0], torch.float32, 1e-38),
    ([10.0, 1.0], torch.float32, 1e-320),
    ([10.0, 1.0], torch.bfloat16, 1e-30),
    ([6e4, 5e4], torch.float16, 1e-3),
    ([3e38, -3e38], torch.float32, 1.0),
    ([3e38, -3e38], torch.float32, 0.1),
    ([1e39, 1e38], torch.float64, 1.0),
    ([1e300, -1e300], torch.float64, 1e300),
]


@pytest.mark.parametrize(("values", "dtype", "temperature"), EXTREMES)
def test_no_temperature_and_no_size_of_logits_overflows(values, dtype, temperature):
    logits = torch.tensor(values, dtype=dtype)
    gap = (logits[0].double() - logits[1].double()).item() / temperature
    expected = [1 / (1 + math.exp(-min(gap, 700))), 1 / (1 + math.exp(min(gap, 700)))]
    sampler = Sampler(temperature=temperature, top_p=0.999, seed=0)
    plain = Sampler(temperature=temperature).probabilities(logits)
    torch.testing.assert_close(plain, torch.tensor(expected), rtol=0, atol=1e-6)
    assert sampler(logits).item() == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_16_bit_logits_are_widened_before_anything_is_done(dtype):
    logits = (torch.randn(64, generator=torch.Generator().manual_seed(0)) * 20 + 300).to(dtype)
    expected = (logits.double() / 0.7).softmax(-1)
    found = Sampler(temperature=0.7).probabilities(logits)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-9)


def test_copies_draw_the_same():
    rows, sampler = LOGITS.expand(50, 4), Sampler(seed=3)
    sampler(rows)
    for other in (copy.deepcopy(sampler), pickle.loads(pickle.dumps(sampler))):
        assert torch.equal(other(rows), copy.deepcopy(sampler)(rows))


# --- draws -----------------------------------------------------------------------------------


def test_draws_follow_the_distribution():
    draws = Sampler(seed=0)(LOGITS.expand(20_000, 4))
    shares = torch.bincount(draws, minlength=4) / 20_000
    torch.testing.assert_close(shares, P, rtol=0, atol=4 * math.sqrt(0.25 / 20_000))


def test_cut_tokens_are_never_drawn():
    assert set(Sampler(top_k=2, seed=0)(LOGITS.expand(5_000, 4)).tolist()) == {0, 1}


def test_equal_seeds_repeat_and_others_differ():
    rows = LOGITS.expand(50, 4)
    first, again, other = (Sampler(seed=s) for s in (3, 3, 4))
    a, b = first(rows), first(rows)
    assert torch.equal(a, again(rows))
    assert torch.equal(b, again(rows))
    assert not torch.equal(a, b)
    assert not torch.equal(a, other(rows))


def test_a_seed_leaves_torchs_generator_alone():
    state = torch.get_rng_state()
    Sampler(seed=1)(LOGITS)
    assert torch.equal(state, torch.get_rng_state())


def test_without_a_seed_torchs_generator_draws():
    torch.manual_seed(5)
    a = Sampler()(LOGITS.expand(20, 4))
    torch.manual_seed(5)
    assert torch.equal(a, Sampler()(LOGITS.expand(20, 4)))


@pytest.mark.parametrize("shape", [(), (3,), (2, 5), (1,)])
@pytest.mark.parametrize("choose", [greedy, Sampler(seed=0)])
def test_shape_of_a_batch_is_kept(shape, choose):
    found = choose(torch.randn(*shape, 7))
    assert found.shape == shape
    assert found.dtype == torch.long


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_types_of_logits(dtype):
    p = Sampler(top_p=0.9).probabilities(LOGITS.to(dtype))
    assert p.dtype == torch.float32
    assert p.sum().item() == pytest.approx(1)


def test_minus_infinity_is_a_token_that_cannot_come():
    logits = torch.tensor([0.0, -math.inf, 0.0])
    close(Sampler(min_p=0.0).probabilities(logits), [0.5, 0.0, 0.5])


# --- bad input -------------------------------------------------------------------------------


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"temperature": -1}, "temperature is -1"),
        ({"temperature": math.inf}, "temperature is inf"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"top_k": 0}, "top_k is 0"),
        ({"top_k": 2.5}, "top_k is 2.5"),
        ({"top_k": True}, "top_k is True"),
        ({"top_p": 0}, "top_p is 0"),
        ({"top_p": 1.1}, "top_p is 1.1"),
        ({"min_p": -0.1}, "min_p is -0.1"),
        ({"min_p": 2}, "min_p is 2"),
    ],
)
def test_settings_out_of_range(settings, named):
    with pytest.raises(ValueError, match=named):
        Sampler(**settings)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"temperature": True}, "temperature is True, expected a number"),
        ({"temperature": "1"}, "temperature is '1', expected a number"),
        ({"temperature": None}, "temperature is None"),
        ({"top_p": True}, "top_p is True"),
        ({"min_p": "0.1"}, "min_p is '0.1'"),
        ({"seed": 1.5}, "seed must be an integer, got 1.5"),
        ({"seed": True}, "seed must be an integer, got True"),
    ],
)
def test_settings_of_another_kind(settings, named):
    with pytest.raises(TypeError, match=named):
        Sampler(**settings)


@pytest.mark.bad_input
def test_a_seed_of_more_than_64_bits():
    with pytest.raises(ValueError, match="expected an integer of 64 bits"):
        Sampler(seed=2**64)


@pytest.mark.bad_input
@pytest.mark.parametrize("choose", [greedy, Sampler()])
@pytest.mark.parametrize("values", [[0.0, math.nan], [-math.inf, -math.inf], [0.0, math.inf]])
def test_logits_that_nothing_follows_from(choose, values):
    with pytest.raises(ValueError, match="logits hold"):
        choose(torch.tensor(values))


@pytest.mark.bad_input
@pytest.mark.parametrize("choose", [greedy, Sampler()])
def test_wrong_kinds_of_logits(choose):
    with pytest.raises(TypeError, match="floating-point"):
        choose(torch.tensor([1, 2]))
    with pytest.raises(TypeError, match="list"):
        choose([1.0, 2.0])
    with pytest.raises(ValueError, match="vocab"):
        choose(torch.empty(2, 0))
