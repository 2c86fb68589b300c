"""Unit tests of llmlib.position_encoding: formulas by hand, properties, traps, bad input."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmlib.position_encoding import (
    LearnedPositions,
    alibi_bias,
    alibi_bias_at,
    alibi_slopes,
    apply_rotation,
    rope_amplitude,
    rope_frequencies,
    rope_rotation,
    rotate,
    sinusoidal,
)

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 2048}


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


# --- sinusoids and learned positions ---------------------------------------------------------


def test_sinusoids_by_hand():
    found = sinusoidal(torch.tensor([0, 3]), 4)
    expected = [[0, 1, 0, 1], [math.sin(3), math.cos(3), math.sin(0.03), math.cos(0.03)]]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_sinusoids_turn_by_the_same_angle_for_every_step():
    """PE[p + k] is a rotation of PE[p] that depends on k alone."""
    table = sinusoidal(torch.arange(200), 16).double()
    pairs = table.unflatten(-1, (8, 2))
    dots = (pairs[5:] * pairs[:-5]).sum(-1)
    torch.testing.assert_close(dots, dots[:1].expand_as(dots), rtol=0, atol=1e-5)


def test_learned_positions_are_rows_of_a_table():
    positions = LearnedPositions(10, 4)
    assert torch.equal(positions(torch.tensor([[3, 9]])), positions.weight[[3, 9]][None])
    assert sum(p.numel() for p in positions.parameters()) == 40


@pytest.mark.parametrize("wrong", [10, -1])
def test_learned_positions_end_with_the_context(wrong):
    with pytest.raises(ValueError, match="expected 0 to 9"):
        LearnedPositions(10, 4)(torch.tensor([0, wrong]))


# --- ALiBi -----------------------------------------------------------------------------------


def test_slopes_of_eight_heads_are_the_papers():
    assert alibi_slopes(8).tolist() == [2.0**-h for h in range(1, 9)]


def test_slopes_of_sixteen_heads_start_at_the_root_of_one_half():
    torch.testing.assert_close(alibi_slopes(16)[:2], torch.tensor([2**-0.5, 0.5]))


@pytest.mark.parametrize(
    ("n_heads", "exponents"),
    [
        (6, [2, 4, 6, 8, 1, 3]),
        (12, [1, 2, 3, 4, 5, 6, 7, 8, 0.5, 1.5, 2.5, 3.5]),
        (20, [i / 2 for i in range(1, 17)] + [0.25, 0.75, 1.25, 1.75]),
        (1, [8]),
        (3, [4, 8, 2]),
    ],
)
def test_slopes_for_heads_that_are_no_power_of_two(n_heads, exponents):
    torch.testing.assert_close(alibi_slopes(n_heads), torch.tensor([2.0**-e for e in exponents]))


def test_bias_grows_with_the_distance_from_the_last_query():
    bias = alibi_bias(8, 2, 4)
    assert bias.shape == (8, 2, 4)
    assert (bias[0] / 0.5).tolist() == [[-2, -1, 0, -1], [-3, -2, -1, 0]]


def test_bias_of_a_step_with_a_cache_is_a_row_of_the_matrix():
    assert torch.equal(alibi_bias(6, 1, 9), alibi_bias(6, 9, 9)[:, -1:])


def test_bias_at_positions_follows_the_keys_wherever_they_lie():
    order = torch.tensor([4, 2, 0, 1, 3])
    found = alibi_bias_at(alibi_slopes(6), torch.tensor([4]), order)
    assert torch.equal(found, alibi_bias(6, 1, 5)[:, :, order])


# --- RoPE ------------------------------------------------------------------------------------


def test_frequencies_are_a_geometric_row():
    found = rope_frequencies(8, 10_000.0)
    torch.testing.assert_close(found, torch.tensor([1, 0.1, 0.01, 0.001], dtype=torch.float64))
    assert found.dtype == torch.float64


@pytest.mark.parametrize("layout", ["half", "interleaved"])
def test_rotation_is_a_complex_product(layout):
    """A pair (a, b) is a + ib, turned by exp(i p theta); all in float64."""
    x, positions = random(2, 3, 7, 10), torch.arange(7) * 1000
    theta = rope_frequencies(10)
    found = rotate(x, positions, theta, layout)
    turn = torch.polar(torch.ones(7, 5, dtype=torch.float64), positions[:, None] * theta)
    a, b = (x[..., :5], x[..., 5:]) if layout == "half" else (x[..., 0::2], x[..., 1::2])
    product = torch.complex(a, b) * turn
    parts = [product.real, product.imag]
    expected = torch.cat(parts, -1) if layout == "half" else torch.stack(parts, -1).flatten(-2)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_layouts_differ_by_a_permutation_of_features():
    """The trap: the same weights under the other layout are another model."""
    x, positions, theta = random(1, 1, 6, 8), torch.arange(6), rope_frequencies(8)
    to_half = torch.tensor([0, 2, 4, 6, 1, 3, 5, 7])
    interleaved = rotate(x, positions, theta, "interleaved")
    half = rotate(x[..., to_half], positions, theta, "half")
    torch.testing.assert_close(interleaved[..., to_half], half)
    assert (rotate(x, positions, theta, "half") - interleaved).abs().max() > 0.1


def test_position_zero_is_left_alone_and_lengths_are_kept():
    x = random(1, 2, 5, 16)
    found = rotate(x, torch.arange(5), rope_frequencies(16))
    assert torch.equal(found[:, :, 0], x[:, :, 0])
    torch.testing.assert_close(found.norm(dim=-1), x.norm(dim=-1))


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 100_000),
    st.integers(0, 2_000),
    st.integers(0, 100_000),
    st.sampled_from(["half", "interleaved"]),
    st.sampled_from([10_000.0, 500_000.0]),
)
def test_score_depends_on_the_distance_alone(m, distance, shift, layout, base):
    q, k = random(1, 32), random(1, 32, seed=1)
    theta = rope_frequencies(32, base)

    def score(at):
        turned = [rotate(x, torch.tensor([p]), theta, layout)
                  for x, p in ((q, at), (k, at + distance))]  # fmt: skip
        return (turned[0] * turned[1]).sum().item()

    assert score(m) == pytest.approx(score(m + shift), abs=1e-5)


def test_rows_of_a_batch_may_stand_at_other_positions():
    x, theta = random(2, 3, 4, 8), rope_frequencies(8)
    positions = torch.tensor([[0, 1, 2, 3], [0, 0, 0, 1]])
    found = rotate(x, positions, theta)
    for row in range(2):
        torch.testing.assert_close(found[row], rotate(x[row], positions[row], theta))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_phases_in_16_bit_would_be_wrong_at_position_4096(dtype):
    """The trap: bfloat16 has 8 bits, so 4,097 and 4,096 are one number, and angles lose turns."""
    x = random(1, 1, 8, 64, dtype=torch.float32).to(dtype)
    positions, theta = torch.arange(4096, 4104), rope_frequencies(64)
    found = rotate(x, positions, theta)
    assert found.dtype == dtype
    exact = rotate(x.double(), positions, theta)
    assert (found.double() - exact).abs().max() <= 4 * torch.finfo(dtype).eps
    phases = positions.to(dtype)[:, None] * theta.to(dtype)
    rounded = apply_rotation(x.double(), (phases.double().cos(), phases.double().sin()))
    assert (rounded - exact).abs().max() > 1


def test_tables_are_float32_and_phases_are_not():
    """Position 1,000,003 times 1 radian needs more than float32's 24 bits to keep its digits."""
    cos, sin = rope_rotation(torch.tensor([1_000_003]), rope_frequencies(4))
    assert cos.dtype == sin.dtype == torch.float32
    assert cos[0, 0].item() == pytest.approx(math.cos(1_000_003), abs=1e-7)


# --- longer contexts -------------------------------------------------------------------------


def test_linear_scaling_divides_every_angle():
    scaling = {"rope_type": "linear", "factor": 4.0}
    torch.testing.assert_close(rope_frequencies(16, scaling=scaling) * 4, rope_frequencies(16))


def test_llama3_keeps_fast_pairs_and_divides_slow_ones():
    plain, found = rope_frequencies(128, 5e5), rope_frequencies(128, 5e5, LLAMA3)
    turns = 8192 * plain / (2 * math.pi)
    assert torch.equal(found[turns > 4], plain[turns > 4])
    torch.testing.assert_close(found[turns < 1], plain[turns < 1] / 8)
    between = (turns > 1) & (turns < 4)
    assert between.sum() > 2
    assert ((found < plain) & (found > plain / 8))[between].all()


def test_yarn_keeps_fast_pairs_divides_slow_ones_and_sharpens():
    plain, found = rope_frequencies(128), rope_frequencies(128, scaling=YARN)
    turns = 2048 * plain / (2 * math.pi)
    torch.testing.assert_close(found[turns > 40], plain[turns > 40])
    torch.testing.assert_close(found[turns < 0.5], plain[turns < 0.5] / 4)
    assert rope_amplitude(YARN) == pytest.approx(0.1 * math.log(4) + 1)


def test_amplitude_is_one_without_yarn():
    assert rope_amplitude(None) == rope_amplitude(LLAMA3) == 1.0
    assert rope_amplitude({**YARN, "attention_factor": 1.5}) == 1.5
    assert rope_amplitude({**YARN, "factor": 0.5}) == 1.0


def test_default_scaling_is_none():
    assert torch.equal(rope_frequencies(8, scaling={"rope_type": "default"}), rope_frequencies(8))


def test_frequencies_have_numbers_while_a_model_is_built_without_memory():
    with torch.device("meta"):
        assert rope_frequencies(8, 10.0, YARN).device.type == "cpu"


# --- bad input -------------------------------------------------------------------------------


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: rope_frequencies(7), "head_dim is 7, expected an even number"),
        (lambda: rope_frequencies(0), "head_dim must be positive"),
        (lambda: rope_frequencies(8, -1.0), "base is -1.0"),
        (lambda: rope_frequencies(8, math.inf), "base is inf"),
        (lambda: rope_frequencies(8, scaling={"rope_type": "longrope"}), "'longrope'"),
        (lambda: rope_frequencies(8, scaling={}), "rope_type is None"),
        (lambda: rope_frequencies(8, scaling={"rope_type": "linear"}), "factor of the linear"),
        (lambda: rope_frequencies(8, scaling={**LLAMA3, "factor": 0}), "factor of the llama3"),
        (lambda: rope_frequencies(8, scaling={**LLAMA3, "low_freq_factor": 9.0}), "below high"),
        (lambda: rotate(torch.zeros(1, 2, 8), torch.arange(2), rope_frequencies(6)), "head_dim 8"),
        (lambda: rotate(torch.zeros(2, 8), torch.arange(2), rope_frequencies(8), "both"), "'both'"),
        (lambda: alibi_slopes(0), "n_heads must be positive"),
        (lambda: alibi_bias(4, 0, 3), "seq_q must be positive"),
        (lambda: sinusoidal(torch.arange(3), 5), "even number"),
        (lambda: LearnedPositions(0, 4), "context must be positive"),
    ],
)
def test_impossible_values_are_named(call, named):
    with pytest.raises(ValueError, match=named):
        call()


@pytest.mark.bad_input
@pytest.mark.parametrize("wrong", [2.0, True, "8", None])
def test_sizes_of_another_kind(wrong):
    with pytest.raises(TypeError, match="must be an integer"):
        alibi_slopes(wrong)
    with pytest.raises(TypeError, match="must be an integer"):
        rope_frequencies(wrong)
