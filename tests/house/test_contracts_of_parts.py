"""Unit tests of what the small functions promise: kinds of input, modes, numbers far out."""

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode

from llmlib.attention import Attention, AttentionEngine, attend, reference_attention
from llmlib.position_encoding import (
    LearnedPositions,
    RelativeBias,
    alibi_bias_at,
    alibi_slopes,
    rope_frequencies,
    rope_rotation,
    rotate,
    t5_bucket,
)
from llmlib.quantization import int8_weights
from llmlib.sparse_attention import (
    LinearState,
    bigbird_attention,
    linear_attention,
    longformer_attention,
    recurrent_linear_attention,
    reference_linear_attention,
    sink_attention,
    sliding_window_attention,
)

INTEGERS = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.uint16]
SPARSE = {
    "window": lambda q, k, v: sliding_window_attention(q, k, v, window=3),
    "longformer": lambda q, k, v: longformer_attention(
        q, k, v, window=2, global_tokens=[0, 9], global_qkv=(q[:, :, [0, 9]], k, v)
    ),
    "bigbird": lambda q, k, v: bigbird_attention(
        q, k, v, window=1, n_global=1, n_random=1, block_size=4
    ),
    "sink": lambda q, k, v: sink_attention(q, k, v, window=3, n_sinks=2, chunk=4),
}


def qkv(seq: int = 16, shift: float = 0.0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, 4, seq, 8, generator=generator) + shift for _ in range(3)]


# --- linear attention ---------------------------------------------------------------------------


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("shift", [-30.0, -60.0, -80.0])
def test_linear_attention_of_queries_and_keys_far_below_zero(shift: float, causal: bool) -> None:
    """exp(-60) * exp(-60) is 0 in float32; the average that it is a weight of is not."""
    (q, k, _), (_, _, v) = qkv(40, shift), qkv(40)
    expected = linear_attention(q.double(), k.double(), v.double(), causal=causal).float()
    assert expected.abs().max() > 0.5
    runs = {
        "linear": linear_attention(q, k, v, causal=causal),
        "quadratic": reference_linear_attention(q, k, v, causal=causal),
    }
    if causal:
        runs["recurrent"] = recurrent_linear_attention(q, k, v)
    for name, found in runs.items():
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4, msg=name)


def test_derivatives_of_linear_attention_far_below_zero() -> None:
    q, k, v = (x.double().requires_grad_() for x in qkv(5, -400.0))
    assert torch.autograd.gradcheck(linear_attention, (q, k, v))
    assert torch.autograd.gradgradcheck(linear_attention, (q, k, v))


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_a_key_that_is_no_number_spoils_no_query_before_it(wrong: float) -> None:
    q, k, v = qkv(20, -3.0)
    expected = linear_attention(q, k, v, causal=True)[:, :, :9]
    k[:, :, 9] = wrong
    found = linear_attention(q, k, v, causal=True, chunk_size=4)[:, :, :9]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("autocast", [False, True])
def test_a_state_keeps_counting_in_16_bit(autocast: bool) -> None:
    """In bfloat16 256 + 1 is 256: a sum of single tokens would stay there."""
    state, one = LinearState(), torch.ones(1, 2, 1, 4, dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        for _ in range(400):
            state.add(one, one)
        read = state.read(one)
    assert state.total is not None
    assert torch.equal(state.total, torch.full((1, 2, 4), 400.0))
    assert read.dtype == torch.bfloat16
    assert torch.equal(read, one)


@pytest.mark.bad_input
def test_states_are_not_stretched() -> None:
    state = LinearState()
    state.add(torch.rand(2, 2, 5, 4), torch.rand(2, 2, 5, 3))
    wrong = [
        ((2, 1, 5, 4), (2, 1, 5, 3)),
        ((2, 2, 5, 4), (2, 2, 4, 3)),
        ((2, 2, 5, 4), (2, 2, 5, 1)),
    ]
    for keys, values in wrong:
        with pytest.raises(ValueError, match=r"have shape"):
            state.add(torch.rand(keys), torch.rand(values))
    for queries in ((1, 2, 5, 4), (2, 2, 5, 3), (5, 4)):
        with pytest.raises(ValueError, match="the state"):
            state.read(torch.rand(queries))


@pytest.mark.bad_input
def test_a_feature_map_of_another_shape_is_named() -> None:
    for wrong in (lambda x: x.sum(-1), lambda x: x.sum(-2, keepdim=True)):
        with pytest.raises(ValueError, match="feature_map returned"):
            linear_attention(*qkv(), feature_map=wrong)


# --- sparse attention in modes ------------------------------------------------------------------


@pytest.mark.parametrize("name", SPARSE)
def test_sparse_attention_under_autocast_is_that_of_rounded_input(name: str) -> None:
    q, k, v = qkv()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = SPARSE[name](q, k, v)
        dense = reference_attention(q, k, v)
    assert found.dtype == dense.dtype == torch.bfloat16
    rounded = SPARSE[name](*(x.bfloat16().float() for x in (q, k, v)))
    torch.testing.assert_close(found.float(), rounded, rtol=0, atol=2e-2)


@pytest.mark.parametrize("name", SPARSE)
def test_sparse_attention_runs_on_shapes_alone(name: str) -> None:
    expected = SPARSE[name](*qkv()).shape
    assert SPARSE[name](*(x.to("meta") for x in qkv())).shape == expected
    with FakeTensorMode() as mode:
        fake = [mode.from_tensor(x) for x in qkv()]
        assert SPARSE[name](*fake).shape == expected


# --- positions and distances --------------------------------------------------------------------


@pytest.mark.parametrize("dtype", INTEGERS)
def test_positions_of_any_integer_type(dtype: torch.dtype) -> None:
    """0 - 1 is 255 in uint8, and -(-128) is -128 in int8."""
    at, exact = torch.tensor([0, 5, 100], dtype=dtype), torch.tensor([0, 5, 100])
    slopes, relative_bias = alibi_slopes(4), RelativeBias(2)
    assert torch.equal(alibi_bias_at(slopes, at, at), alibi_bias_at(slopes, exact, exact))
    assert torch.equal(relative_bias(at, at), relative_bias(exact, exact))
    table = LearnedPositions(128, 4)
    assert torch.equal(table(at), table(exact))
    ends = torch.tensor([torch.iinfo(dtype).min, torch.iinfo(dtype).max], dtype=dtype)
    for bidirectional in (False, True):
        found = t5_bucket(ends, bidirectional)
        assert torch.equal(found, t5_bucket(ends.long(), bidirectional))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_distances_beyond_16_bit(dtype: torch.dtype) -> None:
    slopes, keys = alibi_slopes(8).to(dtype), torch.arange(0, 70001, 7)
    found = alibi_bias_at(slopes, torch.tensor([70000]), keys)
    assert torch.equal(found, alibi_bias_at(slopes.float(), torch.tensor([70000]), keys))
    assert found.isfinite().all()


@pytest.mark.bad_input
@pytest.mark.parametrize("wrong", [torch.tensor([1.5]), torch.tensor([True])])
def test_positions_that_are_no_integers(wrong: Tensor) -> None:
    right = torch.tensor([1])
    calls = [
        lambda: t5_bucket(wrong),
        lambda: alibi_bias_at(alibi_slopes(2), wrong, right),
        lambda: alibi_bias_at(alibi_slopes(2), right, wrong),
        lambda: RelativeBias(2)(right, wrong),
        lambda: LearnedPositions(4, 2)(wrong),
    ]
    for call in calls:
        with pytest.raises(TypeError, match="expected a tensor of integers"):
            call()


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("x", "positions"),
    [((1, 2, 5, 8), (1,)), ((1, 2, 1, 8), (5,)), ((1, 2, 5, 8), (2, 5)), ((1, 2, 5, 8), ()),
     ((3, 5, 8), (2, 5)), ((8,), (1,))],
)  # fmt: skip
def test_a_rotation_is_one_position_a_vector(
    x: tuple[int, ...], positions: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match="shape"):
        rotate(torch.ones(x), torch.ones(positions), rope_frequencies(8))


@pytest.mark.bad_input
def test_rotations_of_other_positions_or_kinds_are_refused() -> None:
    layer, x = Attention(32, 4), torch.ones(2, 5, 32)
    for n in (1, 4, 6):
        rotation = rope_rotation(torch.arange(n), rope_frequencies(8))
        with pytest.raises(ValueError, match="expected a row for each position"):
            layer(x, rotation=rotation)
    with pytest.raises(TypeError, match=r"torch\.int64"):
        rotate(torch.ones(2, 8).long(), torch.arange(2), rope_frequencies(8))


# --- slopes -------------------------------------------------------------------------------------

ENGINES = ["auto", "blocked", "sdpa", "reference"]


@pytest.mark.parametrize("engine", ENGINES)
def test_slopes_of_each_text(engine: AttentionEngine) -> None:
    q, k, v = qkv()
    slopes = torch.tensor([[0.5, 0.25, 0.1, 0.0], [1.0, 0.3, 0.2, 0.7]])
    found = attend(q, k, v, causal=True, alibi_slopes=slopes, engine=engine)
    distance = (torch.arange(16)[:, None] - torch.arange(16)).abs()
    bias = -slopes[:, :, None, None] * distance
    expected = reference_attention(q, k, v, causal=True, bias=bias)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.bad_input
@pytest.mark.parametrize("engine", ENGINES)
def test_slopes_that_are_not_one_a_head(engine: AttentionEngine) -> None:
    for shape in ((1,), (3,), (1, 4), (4, 2), ()):
        with pytest.raises(ValueError, match="alibi_slopes has shape"):
            attend(*qkv(), alibi_slopes=torch.ones(shape), engine=engine)
    with pytest.raises(TypeError, match="alibi_slopes is"):
        attend(*qkv(), alibi_slopes=torch.ones(4).long(), engine=engine)


# --- 8 bits -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64])
def test_8_bit_layers_take_bfloat16_after_their_model_was_moved(dtype: torch.dtype) -> None:
    """The kernel's scales are bfloat16; autocast hands bfloat16 to a model in another type."""
    model = int8_weights(nn.Sequential(nn.Linear(64, 4, bias=False)))
    x = torch.linspace(-1, 1, 64).bfloat16()[None]
    expected = model(x)
    found = model.to(dtype)(x)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-2)
