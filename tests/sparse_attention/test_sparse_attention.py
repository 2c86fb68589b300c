"""Unit tests of llmlib.sparse_attention: masks, counts, sparse computations, traps, bad input."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmlib.attention import reference_attention, visible_keys
from llmlib.book.widgets import MaskGrid, Slider
from llmlib.sparse_attention import (
    LongformerAttention,
    bigbird_attention,
    bigbird_mask,
    bigbird_pairs,
    longformer_attention,
    longformer_mask,
    longformer_pairs,
    path_lengths,
    peak_bytes,
    sink_attention,
    sink_mask,
    sliding_window_attention,
    sliding_window_mask,
    sliding_window_pairs,
    window_influence,
)


def random(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def qkv(seq_q=12, seq_k=None, heads=4, kv_heads=2, width=8, dtype=torch.float32):
    seq_k = seq_q if seq_k is None else seq_k
    q = random(2, heads, seq_q, width, dtype=dtype)
    k = random(2, kv_heads, seq_k, width, seed=1, dtype=dtype)
    return q, k, random(2, kv_heads, seq_k, width, seed=2, dtype=dtype)


def close(found, expected, tolerance=1e-5):
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


# Short texts must cross the borders of chunks too.
small_chunks = pytest.mark.parametrize("chunk", [3, 64])


# --- masks by hand and by a loop ----------------------------------------------------------------


def test_window_masks_by_hand():
    assert sliding_window_mask(4, 2, causal=True).int().tolist() == [
        [1, 0, 0, 0],
        [1, 1, 0, 0],
        [0, 1, 1, 0],
        [0, 0, 1, 1],
    ]
    dilated = sliding_window_mask(6, 2, dilation=2)
    assert dilated[2].tolist() == [1, 0, 1, 0, 1, 0]


def test_window_off_by_one():
    """The trap: W keys with the query itself (here), or W keys before it, W + 1 in all."""
    mask = sliding_window_mask(9, 4, causal=True)
    assert mask[8].nonzero().flatten().tolist() == [5, 6, 7, 8]
    assert mask.sum(1).max() == 4
    both_sides = sliding_window_mask(9, 4)
    assert both_sides[4].sum() == 2 * 4 - 1


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(("seq", "seq_k"), [(5, 5), (3, 7), (1, 6), (7, 3)])
def test_window_mask_is_that_of_attention(seq, seq_k, causal):
    """One convention in the whole library, bottom-right alignment included."""
    for window in (1, 2, 4, 9):
        found = sliding_window_mask(seq, window, causal=causal, seq_k=seq_k)
        assert torch.equal(found, visible_keys(seq, seq_k, causal=causal, window=window))


def test_longformer_mask_is_the_union_and_symmetric():
    mask = longformer_mask(10, 2, [0, 6])
    for i in range(10):
        for j in range(10):
            assert mask[i, j] == (abs(i - j) < 2 or i in (0, 6) or j in (0, 6))
    assert torch.equal(mask, mask.T)
    causal = longformer_mask(10, 2, [0, 6], causal=True)
    assert torch.equal(causal, mask.tril())


def test_bigbird_mask_has_its_three_parts():
    mask = bigbird_mask(20, 2, 2, 3, seed=5)
    assert mask[:2].all()
    assert mask[:, :2].all()
    without = longformer_mask(20, 2, [0, 1])
    assert not (without & ~mask).any()
    assert (mask & ~without).sum(1)[2:].tolist() == [3] * 18
    assert not torch.equal(mask, bigbird_mask(20, 2, 2, 3, seed=6))
    assert torch.equal(mask, bigbird_mask(20, 2, 2, 3, seed=5))


def test_bigbird_random_keys_are_uniform():
    """Every key outside window and globals is drawn equally often."""
    counts = sum(bigbird_mask(10, 1, 1, 2, seed=seed)[5].int() for seed in range(400))
    assert counts[0] == counts[5] == 400
    others = counts[[1, 2, 3, 4, 6, 7, 8, 9]]
    assert others.sum() == 800
    assert others.min() > 70
    assert others.max() < 130


def test_bigbird_blocks_repeat_the_pattern():
    small = bigbird_mask(6, 2, 1, 1, seed=3)
    large = bigbird_mask(24, 2, 1, 1, block_size=4, seed=3)
    assert torch.equal(large[::4, ::4], small)
    assert torch.equal(large, small.repeat_interleave(4, 0).repeat_interleave(4, 1))


def test_sink_mask_is_window_or_first():
    mask = sink_mask(9, 3, 2)
    assert mask[8].nonzero().flatten().tolist() == [0, 1, 6, 7, 8]
    assert torch.equal(sink_mask(9, 3, 0), sliding_window_mask(9, 3, causal=True))
    assert torch.equal(sink_mask(2, 3, 2, seq_k=9), mask[-2:])
    assert not mask.triu(1).any()


SIZES = st.tuples(st.integers(1, 40), st.integers(1, 45), st.integers(1, 5), st.booleans())


@given(SIZES, st.sets(st.integers(0, 39), max_size=6))
def test_counts_by_formula_are_counts_of_masks(sizes, tokens):
    seq, window, dilation, causal = sizes
    options = {"causal": causal, "dilation": dilation}
    found = sliding_window_pairs(seq, window, **options)
    assert found == sliding_window_mask(seq, window, **options).sum()
    inside = [token for token in tokens if token < seq]
    found = longformer_pairs(seq, window, inside, **options)
    assert found == longformer_mask(seq, window, inside, **options).sum()


@given(
    st.tuples(st.integers(1, 12), st.integers(1, 4), st.booleans(), st.integers(0, 99)),
    st.tuples(st.integers(1, 14), st.integers(0, 5), st.integers(0, 6)),
)
def test_bigbird_count_is_the_same_for_every_seed(shape, parts):
    n_blocks, block_size, causal, seed = shape
    options = {"block_size": block_size, "causal": causal}
    mask = bigbird_mask(n_blocks * block_size, *parts, seed=seed, **options)
    assert bigbird_pairs(n_blocks * block_size, *parts, **options) == mask.sum()


def test_longformer_pairs_of_the_source():
    """512 neighbors and one global token on 4,096: 2.04 M pairs; 513 n + 2 n counts some twice."""
    assert longformer_pairs(4096, 257, [0]) == 2_043_134
    assert 513 * 4096 + 2 * 4096 == 2_109_440


# --- the same without the matrix ----------------------------------------------------------------


@small_chunks
@settings(max_examples=30)
@given(
    st.tuples(st.integers(1, 33), st.integers(1, 33)),
    st.tuples(st.integers(1, 36), st.integers(1, 4), st.booleans()),
)
def test_window_attention_is_the_masked_reference(chunk, lengths, band):
    window, dilation, causal = band
    q, k, v = qkv(*lengths)
    options = {"causal": causal, "dilation": dilation}
    mask = sliding_window_mask(lengths[0], window, seq_k=lengths[1], **options)
    found = sliding_window_attention(q, k, v, window=window, **options, chunk=chunk)
    close(found, reference_attention(q, k, v, mask=mask))


@small_chunks
@settings(max_examples=30)
@given(
    st.integers(1, 33),
    st.tuples(st.integers(1, 36), st.integers(1, 3), st.booleans()),
    st.sets(st.integers(0, 32), max_size=5),
)
def test_longformer_attention_is_the_masked_reference(chunk, seq, band, tokens):
    window, dilation, causal = band
    q, k, v = qkv(seq)
    options = {"causal": causal, "dilation": dilation}
    inside = [token for token in tokens if token < seq]
    mask = longformer_mask(seq, window, inside, **options)
    found = longformer_attention(
        q, k, v, window=window, global_tokens=inside, **options, chunk=chunk
    )
    close(found, reference_attention(q, k, v, mask=mask))


@settings(max_examples=30)
@given(
    st.tuples(st.integers(1, 9), st.integers(1, 4), st.booleans(), st.integers(0, 9)),
    st.tuples(st.integers(1, 10), st.integers(0, 4), st.integers(0, 4)),
)
def test_bigbird_attention_is_the_masked_reference(shape, parts):
    n_blocks, block_size, causal, seed = shape
    q, k, v = qkv(n_blocks * block_size)
    names = ("window", "n_global", "n_random")
    options = {"block_size": block_size, "causal": causal, "seed": seed}
    mask = bigbird_mask(n_blocks * block_size, *parts, **options)
    found = bigbird_attention(q, k, v, **dict(zip(names, parts, strict=True)), **options)
    close(found, reference_attention(q, k, v, mask=mask))


@small_chunks
@settings(max_examples=30)
@given(st.tuples(st.integers(1, 33), st.integers(1, 33)), st.integers(1, 36), st.integers(0, 40))
def test_sink_attention_is_the_masked_reference(chunk, lengths, window, n_sinks):
    q, k, v = qkv(*lengths)
    mask = sink_mask(lengths[0], window, n_sinks, seq_k=lengths[1])
    found = sink_attention(q, k, v, window=window, n_sinks=n_sinks, chunk=chunk)
    close(found, reference_attention(q, k, v, mask=mask))


@small_chunks
@pytest.mark.parametrize("causal", [True, False])
def test_a_window_over_everything_is_full_attention(chunk, causal):
    q, k, v = qkv(23)
    full = reference_attention(q, k, v, causal=causal)
    for window in (23, 40):
        close(sliding_window_attention(q, k, v, window=window, causal=causal, chunk=chunk), full)
    options = {"window": 1, "n_global": 0, "n_random": 23, "block_size": 1}
    close(bigbird_attention(q, k, v, causal=causal, **options), full)
    found = longformer_attention(
        q, k, v, window=1, global_tokens=range(23), causal=causal, chunk=chunk
    )
    close(found, full)


CAUSAL = {
    "window": lambda q, k, v, chunk: sliding_window_attention(
        q, k, v, window=5, causal=True, dilation=2, chunk=chunk
    ),
    "longformer": lambda q, k, v, chunk: longformer_attention(
        q, k, v, window=4, global_tokens=[0, 13], causal=True, chunk=chunk
    ),
    "bigbird": lambda q, k, v, chunk: bigbird_attention(
        q, k, v, window=1, n_global=1, n_random=2, block_size=4, causal=True
    ),
    "sinks": lambda q, k, v, chunk: sink_attention(q, k, v, window=4, n_sinks=2, chunk=chunk),
}


@pytest.mark.parametrize("name", CAUSAL)
@small_chunks
def test_causal_leak_is_exactly_zero(chunk, name):
    q, k, v = qkv(20)
    before = CAUSAL[name](q, k, v, chunk)
    k[:, :, 14:] += 100
    v[:, :, 14:] -= 100
    after = CAUSAL[name](q, k, v, chunk)
    assert torch.equal(after[:, :, :14], before[:, :, :14])
    assert not torch.equal(after, before)


@small_chunks
def test_rows_that_see_nothing_are_zero(chunk):
    """All-masked rows: queries that stand before the first key, and no NaN."""
    q, k, v = qkv(9, 4)
    for found in (
        sliding_window_attention(q, k, v, window=3, causal=True, chunk=chunk),
        sink_attention(q, k, v, window=3, n_sinks=1, chunk=chunk),
    ):
        assert torch.equal(found[:, :, :5], torch.zeros_like(found[:, :, :5]))
        assert found[:, :, 5:].abs().min() > 0
    both_sides = sliding_window_attention(q, k, v, window=3, chunk=chunk)
    assert torch.equal(both_sides[:, :, :3], torch.zeros_like(both_sides[:, :, :3]))


@small_chunks
def test_gradients_are_those_of_the_masked_reference(chunk):
    inputs = [x.requires_grad_() for x in qkv(14, dtype=torch.float64)]
    runs = [
        (
            lambda q, k, v: sliding_window_attention(q, k, v, window=3, dilation=2, chunk=chunk),
            sliding_window_mask(14, 3, dilation=2),
        ),
        (
            lambda q, k, v: longformer_attention(
                q, k, v, window=2, global_tokens=[3, 9], chunk=chunk
            ),
            longformer_mask(14, 2, [3, 9]),
        ),
        (
            lambda q, k, v: bigbird_attention(
                q, k, v, window=1, n_global=1, n_random=1, block_size=2
            ),
            bigbird_mask(14, 1, 1, 1, block_size=2),
        ),
    ]
    upstream = random(2, 4, 14, 8, seed=4, dtype=torch.float64)
    for run, mask in runs:
        found = torch.autograd.grad(run(*inputs), inputs, upstream)
        expected = torch.autograd.grad(reference_attention(*inputs, mask=mask), inputs, upstream)
        for mine, theirs in zip(found, expected, strict=True):
            close(mine, theirs, 1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bit_stays_near_the_reference(dtype):
    q, k, v = qkv(70, dtype=dtype)
    found = sliding_window_attention(q, k, v, window=9, causal=True)
    assert found.dtype == dtype
    expected = reference_attention(q, k, v, causal=True, window=9)
    close(found.float(), expected.float(), 2e-2)


def attentions(q, k, v):
    """Each sparse computation as a run without arguments."""
    return {
        "window": lambda: sliding_window_attention(q, k, v, window=64, causal=True),
        "dilated": lambda: sliding_window_attention(q, k, v, window=64, dilation=4),
        "longformer": lambda: longformer_attention(q, k, v, window=64, global_tokens=[0]),
        "bigbird": lambda: bigbird_attention(
            q, k, v, window=2, n_global=1, n_random=2, block_size=32
        ),
        "sinks": lambda: sink_attention(q, k, v, window=64, n_sinks=4),
    }


def test_peak_memory_grows_linearly():
    """The log-log slope of the peak is 1 or less, where the full matrix has 2."""
    peaks = {}
    for seq in (1024, 2048, 4096):
        q, k, v = (random(1, 1, seq, 8) for _ in range(3))
        runs = attentions(q, k, v)
        if seq < 4096:
            runs["full"] = lambda q=q, k=k, v=v: reference_attention(q, k, v)
        for name, run in runs.items():
            peaks[name, seq] = peak_bytes(run)
    for name in ("window", "dilated", "longformer", "bigbird", "sinks"):
        assert peaks[name, 4096] / peaks[name, 1024] <= 4**1.15, name
    assert peaks["full", 2048] / peaks["full", 1024] > 2**1.9
    assert peaks["window", 2048] < peaks["full", 2048] / 20


def test_peak_bytes_counts_what_is_alive():
    kept = torch.zeros(1000)
    assert peak_bytes(lambda: kept + 1) == 4000
    assert peak_bytes(lambda: (kept + 1) + 1) == 8000  # the first is freed after the second is made
    assert peak_bytes(lambda: kept.view(10, 100)) == 0


# --- the module ---------------------------------------------------------------------------------


def test_longformer_module_starts_as_masked_attention():
    """Global projections start as copies, so at first they change nothing."""
    module = LongformerAttention(16, 4, window=3)
    x = random(2, 11, 16)
    found = module(x, [0, 7])
    masked = module.local(x, mask=longformer_mask(11, 3, [0, 7]))
    close(found, masked, 1e-6)
    assert sum(p.numel() for p in module.parameters()) == 7 * (16 * 16 + 16)


def test_longformer_module_uses_its_global_projections_for_global_rows_only():
    module = LongformerAttention(16, 4, window=3)
    x = random(2, 11, 16)
    before = module(x, [5])
    torch.nn.init.normal_(module.global_value.weight)
    changed = (module(x, [5]) - before).abs().amax((0, 2)) > 1e-6
    assert changed.nonzero().flatten().tolist() == [5]
    assert torch.equal(module(x), module(x, []))


# --- reach and influence ------------------------------------------------------------------------


def test_path_lengths_are_powers_of_the_mask():
    mask = bigbird_mask(15, 1, 0, 2, seed=1)
    lengths, power = path_lengths(mask), torch.eye(15)
    for layers in range(6):
        assert torch.equal((lengths >= 0) & (lengths <= layers), power > 0)
        power = ((power @ (mask | torch.eye(15, dtype=torch.bool)).float()) > 0).float()


def test_path_lengths_of_a_window_and_of_a_global_token():
    line = path_lengths(sliding_window_mask(12, 3, causal=True))
    for i in range(12):
        for j in range(12):
            assert line[i, j] == (-(-(i - j) // 2) if j <= i else -1)
    assert path_lengths(longformer_mask(12, 1, [4])).max() == 2
    # Under a causal mask a first token sees nothing behind it: it relays nothing.
    assert path_lengths(longformer_mask(12, 1, [0], causal=True))[11, 5] == -1


@pytest.mark.parametrize(("layers", "window"), [(1, 4), (3, 4), (4, 8), (5, 16)])
def test_reach_is_layers_times_window_less_one(layers, window):
    """E2-057's numbers: 3, 9, 28, 75 with the query itself in the window."""
    lengths = path_lengths(sliding_window_mask(100, window, causal=True))[99]
    reached = 99 - int(((lengths >= 0) & (lengths <= layers)).nonzero()[0])
    assert reached == layers * (window - 1)


def test_window_influence_is_a_power_of_the_averaging_matrix():
    averaging = sliding_window_mask(40, 5, causal=True).double()
    averaging = averaging / 5
    for residual in (0.0, 0.5):
        step = (1 - residual) * averaging + residual * torch.eye(40, dtype=torch.float64)
        row = torch.linalg.matrix_power(step, 4)[39].flip(0)
        found = window_influence(5, 4, residual)
        assert found.shape == (17,)
        close(found, row[:17], 1e-12)
        assert found.sum().item() == pytest.approx(1)


# --- the picture of a mask ----------------------------------------------------------------------


def mask_grid(rows):
    return MaskGrid(
        controls=[Slider("n_global", "global tokens", [0, 1])],
        size=2,
        parts=["window", "global"],
        frame=lambda n_global: {"mask": rows, "layers": ["0.", ".0"], "note": f"{n_global}"},
        alt="a mask",
    )


def test_mask_grid_holds_its_frames():
    widget = mask_grid(["1.", ".1"])
    assert [frame["mask"] for frame in widget.frames] == [["1.", ".1"]] * 2
    assert widget.spec["parts"] == ["window", "global"]
    assert 'data-kind="mask_grid"' in widget.static_html()


# --- bad input ----------------------------------------------------------------------------------


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mask_grid(["1."]), "mask: expected 2 texts of 2 characters"),
        (lambda: mask_grid(["1.", "1"]), "mask: expected 2 texts of 2 characters"),
        (lambda: sliding_window_mask(8, 0), "window must be positive, got 0"),
        (lambda: sliding_window_mask(8, 2, dilation=0), "dilation must be positive, got 0"),
        (lambda: sliding_window_mask(-1, 2), "seq must be positive, got -1"),
        (lambda: longformer_mask(8, 2, [8]), "global token at 8, expected a position 0 .. 7"),
        (lambda: longformer_mask(8, 2, [-1]), "global token at -1"),
        (lambda: bigbird_mask(10, 2, 1, 1, block_size=4), "multiple of block_size 4"),
        (lambda: bigbird_mask(8, 2, -1, 1), "n_global must be at least 0, got -1"),
        (lambda: bigbird_mask(8, 2, 1, -2), "n_random must be at least 0, got -2"),
        (lambda: sink_mask(8, 2, -1), "n_sinks must be at least 0, got -1"),
        (lambda: path_lengths(torch.ones(2, 3, dtype=torch.bool)), r"shape \(2, 3\)"),
        (lambda: window_influence(0, 1), "window 0"),
        (lambda: window_influence(4, 1, 1.5), "residual 1.5"),
        (lambda: sliding_window_attention(*qkv(4), window=0), "window must be positive, got 0"),
        (lambda: longformer_attention(*qkv(4, 6), window=2, global_tokens=[0]), "4 tokens, k 6"),
        (lambda: longformer_attention(*qkv(4), window=2, global_tokens=[4]), "global token at 4"),
        (
            lambda: bigbird_attention(*qkv(6), window=1, n_global=1, n_random=0, block_size=4),
            "seq is 6",
        ),
        (lambda: LongformerAttention(10, 4, 2), "does not divide"),
        (lambda: LongformerAttention(8, 4, 0), "window must be positive, got 0"),
        (lambda: LongformerAttention(8, 4, 2)(random(1, 5, 8), [5]), "global token at 5"),
    ],
)
def test_bad_input_names_the_value(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "call",
    [
        lambda: sliding_window_mask(8, 2.0),
        lambda: longformer_mask(8, 2, [1.5]),
        lambda: bigbird_mask(8, True, 1, 1),
        lambda: sink_mask(8, 2, "4"),
    ],
)
def test_a_wrong_kind_is_a_type_error(call):
    with pytest.raises(TypeError, match="must be an integer"):
        call()
