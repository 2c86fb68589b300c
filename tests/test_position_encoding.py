"""Unit tests of llmlib.position_encoding: formulas by hand, properties, traps, bad input."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmlib.attention import Attention, attention_weights
from llmlib.decoder import Decoder, DecoderConfig
from llmlib.position_encoding import (
    LearnedPositions,
    RelativeBias,
    alibi_bias,
    alibi_bias_at,
    alibi_slopes,
    apply_rotation,
    convert_rope_layout,
    dynamic_ntk,
    rope_amplitude,
    rope_frequencies,
    rope_matrix,
    rope_order,
    rope_rotation,
    rotate,
    sinusoidal,
    t5_bucket,
)

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
FACTORS = {"rope_type": "factors"}
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


# --- without positions -----------------------------------------------------------------------


def stack(n_layers, causal):
    torch.manual_seed(0)
    return [Attention(16, 4, causal=causal).double() for _ in range(n_layers)]


def through(layers, x):
    with torch.no_grad():
        for layer in layers:
            x = x + layer(x)
    return x


def test_without_mask_and_positions_attention_is_permutation_equivariant():
    x, order = random(1, 9, 16), torch.randperm(9, generator=torch.Generator().manual_seed(1))
    layers = stack(3, causal=False)
    torch.testing.assert_close(through(layers, x[:, order]), through(layers, x)[:, order])


@pytest.mark.parametrize(("n_layers", "moves"), [(1, False), (2, True)])
def test_a_causal_mask_tells_the_last_token_of_the_order_from_the_second_layer_on(n_layers, moves):
    """One layer gives the last token a set of values; the second one reads states that differ."""
    x, order = random(1, 9, 16), torch.tensor([3, 0, 6, 2, 7, 1, 5, 4, 8])
    layers = stack(n_layers, causal=True)
    change = (through(layers, x[:, order]) - through(layers, x))[:, -1].abs().max()
    assert (change > 1e-3) == moves
    assert moves or change < 1e-12


# --- T5 --------------------------------------------------------------------------------------


def test_t5_buckets_by_hand():
    """32 buckets a decoder: 16 single distances, then doubling three times to 128."""
    distances = torch.tensor([0, 1, 15, 16, 18, 127, 128, 10_000])
    found = t5_bucket(-distances, bidirectional=False)
    assert found.tolist() == [0, 1, 15, 16, 16, 31, 31, 31]
    assert t5_bucket(torch.tensor([5, 100]), bidirectional=False).tolist() == [0, 0]


def test_t5_buckets_tell_past_from_future():
    found = t5_bucket(torch.tensor([-3, 0, 3, -1000, 1000]))
    assert found.tolist() == [3, 0, 19, 15, 31]


@given(st.integers(2, 40), st.integers(50, 400), st.booleans())
@settings(max_examples=30, deadline=None)
def test_t5_buckets_only_grow_with_the_distance_and_are_all_used(half, max_distance, bidirectional):
    buckets = 2 * half
    past = t5_bucket(-torch.arange(2 * max_distance), bidirectional, buckets, max_distance)
    assert (past.diff() >= 0).all()
    assert past[0] == 0
    assert past[max_distance:].unique().tolist() == [(half if bidirectional else buckets) - 1]


def test_relative_bias_is_one_number_a_bucket_and_head():
    bias = RelativeBias(3, bidirectional=False, n_buckets=8, max_distance=20)
    assert sum(p.numel() for p in bias.parameters()) == 24
    at = torch.arange(30)
    found = bias(at, at)
    assert found.shape == (3, 30, 30)
    assert torch.equal(found[:, 29, 29], bias.weight[0])
    torch.testing.assert_close(found[:, 1:, 1:], found[:, :-1, :-1])  # depends on i - j alone
    rows = bias(at[None, 5:7], at[None])
    assert torch.equal(rows[0], found[:, 5:7])


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


def decoder(position, dtype=torch.float64, **changes):
    torch.manual_seed(3)
    model = Decoder(DecoderConfig(50, 24, 2, 6, 2, context=64, ffn_dim=40, position=position,
                                  **changes)).to(dtype).eval()  # fmt: skip
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


def test_left_padding_with_alibi_changes_nothing():
    """The trap: padding takes part in no distance, so it has to be masked and nothing else."""
    model, ids = decoder("alibi"), torch.tensor([[7, 3, 9, 21, 4]])
    padded = torch.cat([torch.zeros(1, 3, dtype=torch.long), ids], 1)
    mask = (torch.arange(8) >= 3).long()[None]
    with torch.no_grad():
        alone, found = model(ids), model(padded, attention_mask=mask)[:, 3:]
        unmasked = model(padded)[:, 3:]
    torch.testing.assert_close(found, alone)
    assert (unmasked - alone).abs().max() > 0.01


def test_alibi_by_slot_and_by_position_agree_on_padded_rows():
    """Both count the same steps between two tokens: a common offset drops out."""
    slots, slopes = torch.arange(8), alibi_slopes(6)
    positions = (slots - 3).clamp(min=0)
    real = (slots >= 3)[:, None] & (slots >= 3)
    by_slot, by_position = (alibi_bias_at(slopes, at, at) for at in (slots, positions))
    assert torch.equal(by_slot[:, real], by_position[:, real])


def test_a_shift_of_all_positions_leaves_alibis_weights_alone():
    q, k = random(1, 6, 5, 8), random(1, 6, 5, 8, seed=1)
    near, far = (attention_weights(q, k, causal=True,
                                   bias=alibi_bias_at(alibi_slopes(6), at, at))
                 for at in (torch.arange(5), torch.arange(5) + 1000))  # fmt: skip
    assert torch.equal(near, far)


# --- RoPE ------------------------------------------------------------------------------------


def test_matrix_is_the_rotation_of_interleaved_pairs():
    x = random(1, 1, 1, 10)
    found = rotate(x, torch.tensor([37]), rope_frequencies(10), "interleaved")
    torch.testing.assert_close(found[0, 0, 0], rope_matrix(37, 10) @ x[0, 0, 0])


def test_matrix_by_hand():
    c, s = math.cos(3), math.sin(3)
    e, t = math.cos(0.03), math.sin(0.03)
    expected = [[c, -s, 0, 0], [s, c, 0, 0], [0, 0, e, -t], [0, 0, t, e]]
    torch.testing.assert_close(rope_matrix(3, 4), torch.tensor(expected, dtype=torch.float64))


@given(st.integers(-100_000, 100_000), st.integers(-100_000, 100_000))
@settings(max_examples=30, deadline=None)
def test_matrices_add_and_their_transpose_is_the_inverse(m, n):
    eye = torch.eye(12, dtype=torch.float64)
    turned = rope_matrix(m, 12)
    torch.testing.assert_close(turned.T @ turned, eye, rtol=0, atol=1e-12)
    torch.testing.assert_close(turned.T @ rope_matrix(n, 12), rope_matrix(n - m, 12),
                               rtol=0, atol=1e-10)  # fmt: skip


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


def test_orders_of_the_layouts_undo_each_other():
    assert rope_order(6, "half").tolist() == [0, 2, 4, 1, 3, 5]
    assert rope_order(6, "interleaved").tolist() == [0, 3, 1, 4, 2, 5]
    assert torch.equal(rope_order(10, "half")[rope_order(10, "interleaved")], torch.arange(10))


def test_interleaved_and_half_split_weights():
    """The trap: converted, a model under the other layout is the same; unconverted it is not."""
    half, other = decoder("rope", qkv_bias=True), decoder("rope", rope_layout="interleaved")
    other = decoder("rope", qkv_bias=True, rope_layout="interleaved")
    ids = torch.arange(20)[None]
    with torch.no_grad():
        expected, wrong = half(ids), other(ids)
        for block in other.blocks:
            attention = block.mixer
            for linear, heads in ((attention.query, 6), (attention.key, 2)):
                for weight in (linear.weight, linear.bias):
                    weight.copy_(convert_rope_layout(weight, heads, "interleaved"))
        converted = other(ids)
    torch.testing.assert_close(converted, expected)
    assert (wrong - expected).abs().max() > 0.1


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


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 100_000), st.integers(0, 2_000), st.sampled_from(["half", "interleaved"]))
def test_score_depends_on_the_distance_alone_in_float32(m, distance, layout):
    """Unit vectors: each factor is rounded at 2^-24, whatever the position."""
    q, k = (torch.nn.functional.normalize(random(1, 64, seed=s).float()) for s in (0, 1))
    theta = rope_frequencies(64)

    def score(at_q, at_k):
        turned = [rotate(x, torch.tensor([p]), theta, layout) for x, p in ((q, at_q), (k, at_k))]
        return (turned[0] * turned[1]).sum().item()

    assert score(m, m + distance) == pytest.approx(score(0, distance), abs=1e-5)


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


def test_ntk_keeps_the_fastest_pair_and_divides_the_slowest():
    plain = rope_frequencies(64)
    found = rope_frequencies(64, scaling={"rope_type": "ntk", "factor": 8.0})
    assert found[0] == plain[0]
    assert (plain[-1] / found[-1]).item() == pytest.approx(8.0)
    assert ((plain / found).diff() > 0).all()


def test_dynamic_ntk_begins_where_the_training_context_ends():
    scaling = {"factor": 2.0, "original_max_position_embeddings": 100}
    factors = [dynamic_ntk(scaling, length)["factor"] for length in (1, 100, 150, 400)]
    assert factors == [1.0, 1.0, 2.0, 7.0]


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


def test_factors_divide_the_frequency_of_each_pair():
    """What GGUF files of Llama 3 hold: its scaling worked out is its scaling."""
    plain, scaled = rope_frequencies(128, 5e5), rope_frequencies(128, 5e5, LLAMA3)
    factors = {**FACTORS, "factors": (plain / scaled).tolist()}
    assert factors["factors"][0] == 1
    assert factors["factors"][-1] == pytest.approx(8)
    torch.testing.assert_close(rope_frequencies(128, 5e5, factors), scaled, rtol=1e-12, atol=0)
    assert rope_amplitude(factors) == 1
    assert rope_amplitude({**factors, "attention_factor": 1.2}) == 1.2


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
        (lambda: rope_frequencies(4, scaling=FACTORS), "factors is None, expected 2"),
        (lambda: rope_frequencies(4, scaling={**FACTORS, "factors": [1.0]}), "expected 2, one for"),
        (lambda: rope_frequencies(4, scaling={**FACTORS, "factors": [1, 0]}), "is 0, expected a n"),
        (lambda: rotate(torch.zeros(1, 2, 8), torch.arange(2), rope_frequencies(6)), "head_dim 8"),
        (lambda: rotate(torch.zeros(2, 8), torch.arange(2), rope_frequencies(8), "both"), "'both'"),
        (lambda: alibi_slopes(0), "n_heads must be positive"),
        (lambda: alibi_bias(4, 0, 3), "seq_q must be positive"),
        (lambda: sinusoidal(torch.arange(3), 5), "dim is 5, expected an even number"),
        (lambda: rope_frequencies(2, scaling={"rope_type": "ntk", "factor": 2}), "at least 4"),
        (lambda: rope_frequencies(8, scaling={"rope_type": "ntk"}), "factor of the ntk"),
        (lambda: dynamic_ntk({"factor": 2.0}, 8), "original_max_position_embeddings"),
        (lambda: rope_matrix(3, 5), "head_dim is 5"),
        (lambda: rope_order(6, "both"), "'both'"),
        (lambda: convert_rope_layout(torch.zeros(9, 2), 2, "half"), "9 rows"),
        (lambda: convert_rope_layout(torch.zeros(6, 2), 2, "half"), "head_dim is 3"),
        (lambda: t5_bucket(torch.arange(3), n_buckets=7), "n_buckets is 7"),
        (lambda: t5_bucket(torch.arange(3), n_buckets=2), "at least 2 for each"),
        (lambda: t5_bucket(torch.arange(3), max_distance=8), "max_distance is 8"),
        (lambda: RelativeBias(0), "n_heads must be positive"),
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
