"""Flash attention: what it means, extreme input, packed texts, engines, and wrong input."""

import functools
import math
import multiprocessing
import threading
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import llmlib.architecture as arch
from llmlib.attention import Attention, engine, reference_attention
from llmlib.decoder import Decoder, DecoderConfig, generate
from llmlib.decoder.premises import why_not
from llmlib.flash_attention import TileSizes, flash_attention, flash_attention_packed
from llmlib.flash_attention.strips import Mask
from llmlib.flash_attention.workers import run_all
from llmlib.kv_cache import KVCache
from llmlib.position_encoding import alibi_bias, alibi_slopes
from llmlib.pretrained import smollm2
from tests.flash_cases import check_against_naive, drawn, naive

pytestmark = pytest.mark.usefixtures("two_threads")
SMALL = TileSizes(scores=0, queries=8, keys=20)  # so small that short texts have many


@pytest.fixture(params=["one tile", "many tiles"])
def flash(request: pytest.FixtureRequest) -> Any:
    """Flash attention both ways: in one tile, and in many."""
    tiles = TileSizes() if request.param == "one tile" else SMALL
    return functools.partial(flash_attention, tiles=tiles)


def qkv(seq_q: int, seq_k: int | None = None, heads: tuple[int, int] = (4, 2)) -> list[Tensor]:
    return drawn(1, seq_q, seq_k or seq_q, heads, (16, 24), torch.float64)[:3]


# --- what it computes -------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 70), st.integers(1, 70), st.sampled_from([(1, 1), (4, 2), (3, 1)]),
    st.booleans(), st.none() | st.integers(1, 80), st.floats(0.01, 30), st.booleans(),
)  # fmt: skip
def test_equals_the_reference(
    seq_q: int, seq_k: int, heads: tuple[int, int], causal: bool, window: int | None, scale: float,
    small: bool,
) -> None:  # fmt: skip
    q, k, v = qkv(seq_q, seq_k, heads)
    options = {"causal": causal, "window": window, "scale": scale}
    tiles = SMALL if small else TileSizes()
    found = flash_attention(q, k, v, tiles=tiles, **options)  # type: ignore[arg-type]
    expected = reference_attention(q, k, v, **options)  # type: ignore[arg-type]
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


def test_alibi_is_the_bias(flash: Any) -> None:
    q, k, v = qkv(30, 41)
    expected = reference_attention(q, k, v, causal=True, bias=alibi_bias(4, 30, 41).double())
    for slopes in (alibi_slopes(4), alibi_slopes(4).expand(2, 4)):
        found = flash(q, k, v, causal=True, alibi_slopes=slopes)
        torch.testing.assert_close(found, expected, atol=1e-7, rtol=0)  # slopes are float32


def test_slopes_of_each_text(flash: Any) -> None:
    q, k, v = qkv(30)
    slopes = torch.rand(2, 4, dtype=torch.float64)
    both = flash(q, k, v, alibi_slopes=slopes)
    for b in range(2):
        text = (x[b : b + 1] for x in (q, k, v))
        alone = flash(*text, alibi_slopes=slopes[b])
        torch.testing.assert_close(both[b : b + 1], alone)


def test_gradients_are_the_derivatives(flash: Any) -> None:
    tensors = [x.requires_grad_() for x in drawn(3, 9, 13, (2, 1), (4, 3), torch.float64)[:3]]

    def attention(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        slopes = alibi_slopes(2)
        return flash(  # type: ignore[return-value]
            q, k, v, causal=True, window=7, alibi_slopes=slopes, softcap=2.0, return_lse=True
        )

    assert torch.autograd.gradcheck(attention, tensors)


def test_the_log_sum_exp_joins_parts(flash: Any) -> None:
    q, k, v = qkv(20, 60)
    parts = [flash(q, k[:, :, a:b], v[:, :, a:b], return_lse=True) for a, b in ((0, 17), (17, 60))]
    whole, lse = flash(q, k, v, return_lse=True)
    joined = torch.logaddexp(parts[0][1], parts[1][1])
    torch.testing.assert_close(lse, joined)
    shares = [(part[1] - joined).exp()[..., None] for part in parts]
    summed = sum(part[0] * share for part, share in zip(parts, shares, strict=True))
    torch.testing.assert_close(summed, whole)


def test_no_key_ahead_is_touched() -> None:
    q, k, v = qkv(50)
    before = flash_attention(q, k, v, causal=True)
    k[:, :, 30:], v[:, :, 30:] = 7.0, -5.0
    assert torch.equal(flash_attention(q, k, v, causal=True)[:, :, :30], before[:, :, :30])


def test_what_is_kept_for_the_backward_pass_grows_with_the_length_only() -> None:
    kept: dict[int, int] = {}
    for seq in (256, 512):
        q, k, v = (x.float().requires_grad_() for x in qkv(seq))
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda x, sizes=sizes: sizes.append(x.numel()) or x, lambda x: x
        ):
            flash_attention(q, k, v, causal=True)
        kept[seq] = sum(sizes)
        assert kept[seq] == q.numel() + k.numel() + v.numel() + 2 * 4 * seq * (24 + 1)
    assert kept[512] == 2 * kept[256]


@pytest.mark.parametrize("window", [None, 1, 5, 64])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("sizes", [(40, 40), (40, 90), (90, 40), (1, 70), (70, 1)])
def test_the_tiles_that_are_skipped_are_empty(
    sizes: tuple[int, int], causal: bool, window: int | None
) -> None:
    mask = Mask(*sizes, causal, window)
    visible = mask.pattern(*sizes, mask.position(0), torch.zeros(())) == 0
    assert visible.any(-1).logical_not().sum() == mask.n_blind
    assert bool(visible.all()) == mask.shows_all
    for first in range(mask.n_blind, sizes[0], 8):
        last = min(first + 8, sizes[0])
        start, end = mask.keys(first, last)
        seen = visible[first:last].any(0).nonzero()[:, 0]
        assert (start, end) == (int(seen[0]), int(seen[-1]) + 1)
        tiles = list(mask.tiles(first, last, 20))
        assert [a for a, _ in tiles] == [start, *(b for _, b in tiles[:-1])]
        assert tiles[-1][1] == end
        assert max(b - a for a, b in tiles) <= 20


# --- extreme input ----------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1e4, -1e4])
def test_scores_of_ten_thousand(flash: Any, size: float) -> None:
    q, k, v = (x.float() for x in qkv(30))
    k = k.abs() * q.mean() / q.mean().abs() * size / 10
    tensors = [q, k, v, torch.randn(2, 4, 30, 24)]
    assert (q[:, 1] @ k[:, 0].mT * 0.25).abs().max() > 1e3
    check_against_naive(lambda *x, **o: flash(*x, **o, return_lse=True), tensors)


def test_one_hot_rows(flash: Any) -> None:
    eye = torch.eye(32)[None, None]
    found = flash(eye * 1e4, eye, torch.arange(32.0).expand(1, 1, 8, 32).mT.contiguous())
    assert torch.equal(found[0, 0, :, 0], torch.arange(32.0))


def test_rows_that_see_nothing(flash: Any) -> None:
    q, k, v = (x.requires_grad_() for x in qkv(40, 15))
    out, lse = flash(q, k, v, causal=True, return_lse=True)
    assert out[:, :, :25].abs().max() == 0
    assert bool((lse[:, :, :25] == -math.inf).all())
    assert bool(lse[:, :, 25:].isfinite().all())
    dq, dk, dv = torch.autograd.grad(out.sum(), (q, k, v))
    assert dq[:, :, :25].abs().max() == 0
    assert all(bool(x.isfinite().all()) for x in (dq, dk, dv))


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "options", [{"causal": True}, {"window": 5}, {"causal": True, "window": 5}]
)
def test_nan_and_inf_behind_the_mask_do_not_leak(
    flash: Any, poison: float, options: dict[str, Any]
) -> None:
    q, k, v, d_out = drawn(5, 24, 31, (4, 2), (16, 24), torch.float64)
    clean = [x.requires_grad_() for x in (q, k, v)]
    expected = flash(*clean, **options)
    gradients = torch.autograd.grad(expected[:, :, :11], clean, d_out[:, :, :11])
    bad_k, bad_v = k.detach().clone(), v.detach().clone()
    # The first 11 queries see keys to 21 at most; some share a strip with queries that see more.
    bad_k[:, :, 22:], bad_v[:, :, 22:] = poison, poison
    given = [x.requires_grad_() for x in (q.detach(), bad_k, bad_v)]
    out = flash(*given, **options)
    assert isinstance(out, Tensor)
    assert torch.equal(out[:, :, :11].isfinite(), torch.ones_like(out[:, :, :11], dtype=torch.bool))
    torch.testing.assert_close(out[:, :, :11], expected[:, :, :11])
    zero = torch.zeros_like(d_out)
    zero[:, :, :11] = d_out[:, :, :11]
    found = torch.autograd.grad(out, given, zero)
    torch.testing.assert_close(found[0][:, :, :11], gradients[0][:, :, :11])


def test_a_visible_nan_is_seen(flash: Any) -> None:
    q, k, v = qkv(12)
    v[:, :, 3, 5] = math.nan
    out = flash(q, k, v, causal=True)
    assert bool(out[:, :, 3:, 5].isnan().all())
    assert bool(out[..., :5].isfinite().all())
    assert bool(out[:, :, :3].isfinite().all())


def test_scores_of_minus_infinity_in_every_tile(flash: Any) -> None:
    q, k, v = qkv(12, 50)
    q, k[:] = q.abs(), -math.inf
    out, lse = flash(q, k, v, return_lse=True)
    assert not out.any()
    assert bool((lse == -math.inf).all())


def test_infinite_scores(flash: Any) -> None:
    q, k, v = qkv(12)
    q = q.abs()
    k[:, :, 4] = -math.inf
    expected = reference_attention(q, k, v)
    torch.testing.assert_close(flash(q, k, v), expected)
    k[:] = -math.inf
    assert flash(q, k, v).abs().max() == 0
    assert reference_attention(q, k, v).abs().max() == 0


@pytest.mark.parametrize("sizes", [(0, 5), (5, 0), (0, 0)])
def test_empty_sequences(flash: Any, sizes: tuple[int, int]) -> None:
    q, k, v, _ = drawn(0, *sizes, (4, 2), (16, 24))
    q, k, v = (x.requires_grad_() for x in (q, k, v))
    out, lse = flash(q, k, v, causal=True, return_lse=True)
    assert out.shape == (2, 4, sizes[0], 24)
    assert not out.any()
    assert bool((lse == -math.inf).all())
    assert not any(x.any() for x in torch.autograd.grad(out.sum(), (q, k, v)))


def test_no_texts() -> None:
    out = flash_attention(*(x[:0] for x in qkv(5)))
    assert out.shape == (0, 4, 5, 24)


def test_views_of_any_stride(flash: Any) -> None:
    q, k, v = qkv(20)
    expected = flash(q, k, v, causal=True)
    apart = [torch.stack([x, x + 1], -1)[..., 0] for x in (q, k, v)]
    turned = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in (q, k, v)]
    for views in (apart, turned):
        assert not any(x.is_contiguous() for x in views)
        torch.testing.assert_close(flash(*views, causal=True), expected)
    one = v[:, :, :1].expand_as(v).requires_grad_()
    flash(q, k, one, causal=True).sum().backward()


def test_16_bit_input_gives_16_bit_output_and_a_float32_log_sum_exp() -> None:
    q, k, v = (x.bfloat16() for x in qkv(20))
    out, lse = flash_attention(q, k, v, return_lse=True)
    assert (out.dtype, lse.dtype) == (torch.bfloat16, torch.float32)
    torch.testing.assert_close(lse, naive(q.float(), k.float(), v.float())[1])


def test_16_bit_results_are_rounded_once(flash: Any) -> None:
    q, k, v = (x.bfloat16() for x in qkv(40))
    wide = flash(q.float(), k.float(), v.float(), causal=True)
    assert isinstance(wide, Tensor)
    assert torch.equal(flash(q, k, v, causal=True), wide.bfloat16())


# --- packed texts -----------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"causal": True, "window": 6}, {"softcap": 2.0}])
def test_packed_texts_equal_each_alone(options: dict[str, Any]) -> None:
    lengths_q, lengths_k = [5, 0, 9, 30], [7, 3, 9, 20]
    ends_q, ends_k = (torch.tensor([0, *x]).cumsum(0) for x in (lengths_q, lengths_k))
    q, k, v = (torch.randn(h, n, 16, dtype=torch.float64, requires_grad=True)
               for h, n in ((4, 44), (2, 39), (2, 39)))  # fmt: skip
    slopes = torch.rand(4, 4, dtype=torch.float64)
    out, lse = flash_attention_packed(
        q, k, v, ends_q.int(), ends_k.int(), alibi_slopes=slopes, return_lse=True, **options
    )
    assert (out.shape, lse.shape) == ((4, 44, 16), (4, 44))
    for i in range(4):
        a, b, c, d = *ends_q[i : i + 2].tolist(), *ends_k[i : i + 2].tolist()
        text = (q[None, :, a:b], k[None, :, c:d], v[None, :, c:d])
        alone = flash_attention(*text, alibi_slopes=slopes[i], return_lse=True, **options)
        torch.testing.assert_close(out[None, :, a:b], alone[0])
        torch.testing.assert_close(lse[None, :, a:b], alone[1])
    gradients = torch.autograd.grad(out.square().sum(), (q, k, v))
    assert all(bool(x.isfinite().all()) and bool(x.any()) for x in gradients)


def test_packed_without_texts() -> None:
    q = torch.randn(4, 0, 16)
    out = flash_attention_packed(q, q, q, torch.tensor([0]))
    assert out.shape == (4, 0, 16)


# --- engines, threads, models -----------------------------------------------------------------


def test_threads_are_given_back_and_do_not_change_the_result() -> None:
    q, k, v = (x.float() for x in qkv(700))
    before, found = torch.get_num_threads(), {}
    try:
        for n in (1, 2):
            torch.set_num_threads(n)
            found[n] = flash_attention(q, k, v, causal=True)
            assert torch.get_num_threads() == n
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[1], found[2])


def test_tasks_run_on_threads_of_their_own_and_an_error_comes_through() -> None:
    before, seen = torch.get_num_threads(), set()

    def task(i: int) -> None:
        seen.add(threading.get_ident())
        assert not torch.is_grad_enabled()
        assert torch.get_num_threads() == 1
        if i == 3:
            raise RuntimeError("the fourth task")

    try:
        torch.set_num_threads(2)
        with pytest.raises(RuntimeError, match="the fourth task"):
            run_all(functools.partial(task, i) for i in range(4))
        assert threading.get_ident() not in seen
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_every_mode_of_gradients_on_two_threads() -> None:
    q, k, v = (x.float() for x in qkv(700))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        given = [x.clone().requires_grad_() for x in (q, k, v)]
        out = flash_attention(*given, causal=True)
        assert isinstance(out, Tensor)
        torch.autograd.grad(out.sum(), given)
        with torch.inference_mode():
            assert torch.equal(flash_attention(q, k, v, causal=True), out)
        loss = flash_attention(*given).square().sum()  # type: ignore[union-attr]
        torch.autograd.grad(loss, given, create_graph=True)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_counted_flops_are_those_of_the_visited_tiles(device: str) -> None:
    q = torch.zeros(1, 8, 1024, 64, device=device)
    with FlopCounterMode(display=False) as counter:
        flash_attention(q, q, q, causal=True)
    strips = [(first + 128) * 128 for first in range(0, 1024, 128)]
    assert counter.get_total_flops() == 4 * 8 * 64 * sum(strips)


# Made once, here: PyTorch's own loops hang in a process forked behind a loop on several cores.
LONG = [x.float() for x in qkv(700)]


def _in_a_child(seed: int) -> float:
    out = flash_attention(*LONG, causal=True)
    assert isinstance(out, Tensor)
    return float(out[-1, -1, -1, -1])


def test_works_in_a_process_that_was_forked_after_a_call() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        expected = _in_a_child(0)
        with multiprocessing.get_context("fork").Pool(2) as pool:
            assert pool.map_async(_in_a_child, [0, 1]).get(timeout=60) == [expected] * 2
    finally:
        torch.set_num_threads(before)


def test_inference_mode_reaches_the_workers() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with torch.inference_mode():
            found = flash_attention(*LONG, causal=True)
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(found, flash_attention(*LONG, causal=True))


def test_autocast_does_not_reach_the_backward_pass(flash: Any) -> None:
    given = [x.float().requires_grad_() for x in qkv(30)]
    out = flash(*given, causal=True)
    assert isinstance(out, Tensor)
    expected = torch.autograd.grad(out.sum(), given, retain_graph=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = torch.autograd.grad(out.sum(), given)
    torch.testing.assert_close(found, expected)


def test_autocast_computes_in_its_type() -> None:
    q, k, v = (x.float() for x in qkv(30))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = flash_attention(q, k, v)
    assert torch.equal(out, flash_attention(q.bfloat16(), k.bfloat16(), v.bfloat16()))


CONFIGS = {
    "llama": {"n_kv_heads": 2},
    "window": {"window": 7},
    "bloom": {"position": "alibi", "norm": "layer", "gated": False, "activation": "gelu"},
    "latent": {"latent": arch.Latent(4, 16, 4, 8, 8), "n_kv_heads": None},
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_decoder_trains_and_decodes_as_with_the_reference(name: str) -> None:
    ids = torch.arange(60).view(2, 30) * 7 % 50
    logits, gradients, cached = {}, {}, {}
    for how in ("reference", "sdpa", "auto", "blocked"):
        torch.manual_seed(0)
        settings: Any = {"n_layers": 2, "n_heads": 4, **CONFIGS[name]}
        model = Decoder(DecoderConfig(50, 32, **settings), engine=how).double()
        logits[how] = model(ids)
        logits[how].square().mean().backward()
        gradients[how] = [p.grad for p in model.parameters() if p.grad is not None]
        cache = KVCache()
        with torch.no_grad():
            pieces = [model(piece, cache) for piece in ids.split([11, 1, 1, 17], 1)]
        cached[how] = torch.cat(pieces, 1)
    for how in ("sdpa", "auto", "blocked"):
        torch.testing.assert_close(logits[how], logits["reference"])
        torch.testing.assert_close(gradients[how], gradients["reference"])
        torch.testing.assert_close(cached[how], logits["reference"])


def test_the_real_model_decodes_as_with_the_reference() -> None:
    """Its prompt goes through flash attention, each further token through the fast step."""
    model, tokenizer = smollm2()
    prompt = tokenizer.encode("The Shawshank Redemption is a film about hope, and")
    assert why_not(model) is None
    found = list(generate(model, prompt, 12))
    with engine("reference"):
        assert "reference" in str(why_not(model))
        assert found == list(generate(model, prompt, 12))


# --- wrong input ------------------------------------------------------------------------------

X = torch.zeros(1, 4, 6, 8)
BAD: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "three axes": ({"q": X[0]}, ValueError, r"q has shape \(4, 6, 8\)"),
    "heads": ({"k": X[:, :3], "v": X[:, :3]}, ValueError, "k has 3 heads, expected a divisor"),
    "widths": ({"q": torch.zeros(1, 4, 6, 9)}, ValueError, "k has head_dim 8, expected 9"),
    "no width": ({n: torch.zeros(1, 4, 6, 0) for n in "qkv"}, ValueError, "head_dim 0"),
    "keys": ({"v": X[:, :, :5]}, ValueError, r"v has \(heads, seq\) \(4, 5\), expected \(4, 6\)"),
    "integers": ({n: X.long() for n in "qkv"}, TypeError, "q is torch.int64, expected floats"),
    "types": ({"k": X.double()}, TypeError, "k is torch.float64 on cpu, expected torch.float32"),
    "devices": ({"v": X.to("meta")}, TypeError, "v is torch.float32 on meta"),
    "flag": ({"causal": 1}, TypeError, "causal is 1, expected True or False"),
    "scale kind": ({"scale": torch.ones(())}, TypeError, "scale is tensor"),
    "no cap": ({"softcap": 0}, ValueError, "softcap is 0, expected a positive number"),
    "no tensor": ({"q": [[1.0]]}, TypeError, "q is list, expected a tensor"),
    "slopes kind": ({"alibi_slopes": [1.0] * 4}, TypeError, "alibi_slopes is list"),
    "window": ({"window": 0}, ValueError, "window must be positive, got 0"),
    "window kind": ({"window": 2.5}, TypeError, "window must be an integer, got 2.5"),
    "scale": ({"scale": math.nan}, ValueError, "scale is nan, expected a finite number"),
    "softcap": ({"softcap": -1.0}, ValueError, "softcap is -1.0, expected a positive number"),
    "slopes": ({"alibi_slopes": torch.ones(3)}, ValueError, r"\(3,\), expected \(4,\) or \(1, 4\)"),
    "learned slopes": (
        {"alibi_slopes": torch.ones(4, requires_grad=True)}, ValueError, "requires a gradient"
    ),
    "engine": ({"engine": "cuda"}, ValueError, "engine is 'cuda', expected one of auto, blocked"),
    "triton": ({"engine": "triton"}, ValueError, "'triton' cannot run: .*q lies on 'cpu'"),
    "triton float64": (
        {**{n: X.double() for n in "qkv"}, "engine": "triton"}, ValueError, "q is torch.float64"
    ),
    "triton width": (
        {**{n: torch.zeros(1, 4, 6, 300) for n in "qkv"}, "engine": "triton"},
        ValueError, "300 wide",
    ),
}  # fmt: skip


@pytest.mark.bad_input
@pytest.mark.parametrize("name", BAD)
def test_bad_input(name: str) -> None:
    changes, error, message = BAD[name]
    given = {"q": X, "k": X, "v": X, **changes}
    with pytest.raises(error, match=message):
        flash_attention(given.pop("q"), given.pop("k"), given.pop("v"), **given)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("offsets", "message"),
    [
        (torch.tensor([0, 3]), r"cu_seqlens_q is \[0, 3\], expected to rise from 0 to 6 tokens"),
        (torch.tensor([1, 6]), r"is \[1, 6\]"),
        (torch.tensor([0, 4, 2, 6]), r"is \[0, 4, 2, 6\]"),
        (torch.tensor([]), "torch.float32 of shape"),
        (torch.tensor([0.0, 6.0]), "torch.float32 of shape"),
        (torch.tensor([[0, 6]]), r"of shape \(1, 2\), expected integers of shape \(texts"),
    ],
)
def test_bad_offsets(offsets: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        flash_attention_packed(X[0], X[0], X[0], offsets)


@pytest.mark.bad_input
def test_offsets_of_another_number_of_texts() -> None:
    with pytest.raises(ValueError, match=r"cu_seqlens_k is .*expected integers of shape \(2,\)"):
        flash_attention_packed(X[0], X[0], X[0], torch.tensor([0, 6]), torch.tensor([0, 2, 6]))


@pytest.mark.bad_input
def test_unknown_attention_engine() -> None:
    with pytest.raises(ValueError, match="attention engine is 'flash', expected one of auto"):
        Decoder(DecoderConfig(50, 32, n_layers=1, n_heads=4), engine="flash")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="attention engine is 'flash'"):
        Attention(32, 4, engine="flash")  # type: ignore[arg-type]
