"""Checks with a name of their own, run in the interpreter by `tests.kernels.worker`.

Each returns None, or what is wrong. Extreme inputs, what is hidden, empty tensors, the repaired
bfloat16, the operator with its gradient, the choice of tiles.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tests.kernels.cases import Case


class OnCuda(torch.Tensor):
    """A tensor that says it lies on a GPU."""

    is_cuda = True  # type: ignore[assignment]


Check = Callable[[], str | None]
NAMED: dict[str, Check] = {}
SIGHT = [{"causal": True}, {"window": 7}, {"causal": True, "window": 7}]


def named(check: Check) -> Check:
    """Registers a check by its name."""
    NAMED[check.__name__] = check
    return check


def results(case: Case, change: Callable[[Any], None] | None = None) -> tuple[Any, list[Tensor]]:
    """Inputs, changed, and what the kernels make of them: out, lse, dq, dk, dv, parts."""
    from tests.kernels.worker import Inputs, kernels, split

    inputs = Inputs(case)
    if change is not None:
        change(inputs)
    return inputs, [*kernels(inputs), *split(inputs)]


def differences(found: list[Tensor], expected: list[Tensor]) -> str | None:
    """Which tensors are not the same, bit for bit."""
    pairs = enumerate(zip(found, expected, strict=True))
    wrong = [i for i, (x, y) in pairs if not torch.equal(x, y)]
    return f"results {wrong} differ" if wrong else None


# --- extreme inputs ---------------------------------------------------------------------------


@named
def scores_of_ten_thousand() -> str | None:
    """The rule; but float32 knows an lse of 1e4 to 1e-3, hence the weights of the backward pass."""
    from tests.kernels.reference import error
    from tests.kernels.worker import Inputs, check_inputs, exact_results, kernels

    for dtype in ("float32", "bfloat16"):
        for causal in (False, True):
            inputs = Inputs(Case((33, 66), (32, 32), causal=causal, dtype=dtype, size=3e3))
            exact, shares = exact_results(inputs), check_inputs(inputs)
            if not exact[1].abs().max() > 8e3:
                return f"the scores are no larger than {exact[1].abs().max()}"
            if not max(share for name, share in shares.items() if not name.startswith("d")) <= 1:
                return f"{dtype}: {shares}"
            for x, y in zip(kernels(inputs)[2:], exact[2:], strict=True):
                if not error(x, y) < (2e-3 if dtype == "float32" else 1e-2):
                    return f"{dtype}: a gradient is off by {error(x, y)} of its largest value"
    return None


@named
def all_scores_very_negative() -> str | None:
    """Nothing starts from a maximum of 0: adding a constant to all scores changes no weight."""

    def shift(by: float) -> Callable[[Any], None]:
        def change(inputs: Any) -> None:
            inputs.q[..., 0], inputs.k[..., 0] = by * math.sqrt(32), 1.0

        return change

    case = Case((17, 70), causal=True)
    for by in (-1e4, 1e4):
        _, base = results(case, shift(0.0))
        _, moved = results(case, shift(by))
        apart = (moved[0] - base[0]).abs().max().item(), (moved[5] - base[5]).abs().max().item()
        if not max(apart) < 5e-3:  # scores of 1e4 have steps of 1e-3 in float32
            return f"outputs move by {apart} when scores move by {by}"
        if not ((moved[1] - base[1] - by).abs() < 0.01).all():
            return "lse does not move with the scores"
        if not all(bool(x.isfinite().all()) for x in moved):
            return "not finite"
    return None


@named
def one_hot_rows() -> str | None:
    """A score far above the others takes all the weight: the output is that key's value."""
    n = 40

    def change(inputs: Any) -> None:
        inputs.q.zero_(), inputs.k.zero_()
        for i in range(n):
            inputs.q[:, :, i, i % 32] = inputs.k[:, :, i, i % 32] = 100.0 + 20 * (i // 32)

    inputs, found = results(Case((n, n), heads=(2, 2), causal=True, seed=3), change)
    # Query i >= 32 shares its axis with key i - 32, whose score is far lower than its own.
    return None if torch.equal(found[0], inputs.v) else "the output is not the value of one key"


# --- what is hidden ---------------------------------------------------------------------------


@named
def rows_that_see_nothing_give_zero() -> str | None:
    for extra in ({"causal": True}, {"causal": True, "window": 7, "alibi": True}, {"window": 3}):
        _, found = results(Case((70, 5), dtype="float16", heads=(2, 2), **extra))
        out, lse, dq = found[:3]
        blind = 65 if "causal" in extra else 63  # without causal a query sees 2 keys ahead
        if out[:, :, :blind].any() or dq[:, :, :blind].any():
            return f"{extra}: not 0"
        if not bool((lse[:, :, :blind] == -math.inf).all()) or bool(
            lse[:, :, blind:].isinf().any()
        ):
            return f"{extra}: lse {lse[0, 0, blind - 2 : blind + 2]}"
        if not all(bool(x.isfinite().all()) for x in (out, *found[2:5])):
            return f"{extra}: not finite"
    return None


@named
def what_nobody_sees_does_not_leak() -> str | None:
    """NaN and inf in keys and values that no query sees change no result and no gradient."""
    for bad in (math.nan, math.inf):
        for dtype in ("float32", "bfloat16"):
            case = Case((20, 97), causal=True, window=7, dtype=dtype)  # keys 0 to 70: nobody's

            def spoil(inputs: Any, bad: float = bad) -> None:
                inputs.k[:, :, 60:71], inputs.v[:, :, 60:71] = bad, bad

            _, clean = results(case)
            _, found = results(case, spoil)
            if (wrong := differences(found, clean)) is not None:
                return f"{bad} {dtype}: {wrong}"
    return None


@named
def a_key_that_some_see_spoils_only_them() -> str | None:
    """NaN in a late key: earlier queries keep their outputs and gradients, in every kernel."""
    for sight in SIGHT:
        for bad in (math.nan, math.inf, -math.inf):
            case = Case((64, 64), causal=sight.get("causal", False), window=sight.get("window"))
            first = 50 if case.causal else 50 - 6  # the first query that sees key 50

            def spoil(inputs: Any, bad: float = bad) -> None:
                inputs.k[:, :, 50], inputs.v[:, :, 50] = bad, bad

            _, clean = results(case)
            _, found = results(case, spoil)
            for i in (0, 1, 2):
                if not torch.equal(found[i][:, :, :first], clean[i][:, :, :first]):
                    return f"{sight} {bad}: result {i} of a query that does not see the key"
            if bool(found[0][:, :, 50].isfinite().any()):
                return f"{sight} {bad}: a query that sees the key hides it"
    return None


@named
def a_visible_value_counts_feature_by_feature() -> str | None:
    """NaN in one feature of a value reaches that feature of the queries that see it, no other."""
    for sight in SIGHT:
        case = Case((64, 64), causal=sight.get("causal", False), window=sight.get("window"))

        def spoil(inputs: Any) -> None:
            inputs.v[:, :, 50, 3] = math.nan

        _, clean = results(case)
        _, found = results(case, spoil)
        rows = torch.arange(64)
        sees = rows >= 50 if case.causal else rows > 43
        if case.window is not None:
            sees &= rows < 57
        expected = torch.zeros(64, 32, dtype=torch.bool)
        expected[sees, 3] = True
        if not torch.equal(found[0].isnan(), expected.expand_as(found[0])):
            return f"{sight}: NaN elsewhere than expected"
        kept = ~expected.expand_as(found[0])
        if not torch.equal(found[0][kept], clean[0][kept]):
            return f"{sight}: another feature changed"
    return None


@named
def a_query_with_nan_spoils_only_its_row() -> str | None:
    """NaN in query 10: no other row, and no gradient of a key that it does not see."""
    for sight in SIGHT:
        case = Case((64, 64), causal=sight.get("causal", False), window=sight.get("window"))

        def spoil(inputs: Any) -> None:
            inputs.q[:, :, 10] = math.nan

        _, clean = results(case)
        _, found = results(case, spoil)
        others = torch.arange(64) != 10
        for i in (0, 1, 2):
            if not torch.equal(found[i][:, :, others], clean[i][:, :, others]):
                return f"{sight}: result {i} of another row"
        for i in (3, 4):
            if not torch.equal(found[i][:, :, 17:], clean[i][:, :, 17:]):
                return f"{sight}: gradient {i} of a key that the query does not see"
        if bool(found[3][:, :, 10].isfinite().any()):
            return f"{sight}: the query's own key hides it"
    return None


@named
def packed_texts_do_not_see_each_other() -> str | None:
    """NaN in one text leaves the others as they were."""
    lengths = ((20, 33), (17, 17), (40, 9))
    for causal in (False, True):
        case = Case(packed=lengths, causal=causal)

        def spoil(inputs: Any) -> None:
            inputs.q[:, :, 20:37], inputs.k[:, :, 33:50] = math.nan, math.nan
            inputs.v[:, :, 33:50] = math.nan

        _, clean = results(case)
        _, found = results(case, spoil)
        of_queries = [*range(20), *range(37, 77)]
        of_keys = [*range(33), *range(50, 59)]
        for i, rows in enumerate([of_queries] * 3 + [of_keys] * 2):
            if not torch.equal(found[i][:, :, rows], clean[i][:, :, rows]):
                return f"causal {causal}: result {i}"
    return None


# --- empty, small, the operator ---------------------------------------------------------------


def attention(q: Tensor, k: Tensor, v: Tensor, slopes: Tensor | None = None, **more: Any) -> Any:
    """`triton_attention` with the tiles that it chooses."""
    from llmlib.flash_attention.launch import Options, triton_attention

    options = {"causal": False, "window": None, "scale": 0.2, "softcap": None, **more}
    packed = options.pop("packed", None)
    return triton_attention(q, k, v, slopes, Options(**options), packed)


@named
def empty_sequences() -> str | None:
    for seq_q, seq_k, batch in ((0, 5, 1), (5, 0, 1), (0, 0, 1), (3, 3, 0), (1, 300, 0)):
        q = torch.randn(batch, 2, seq_q, 32, requires_grad=True)
        k, v = (torch.randn(batch, 2, seq_k, 32, requires_grad=True) for _ in range(2))
        out, lse = attention(q, k, v, causal=True)
        if out.shape != q.shape or lse.shape != q.shape[:-1] or out.any():
            return f"{seq_q} {seq_k}: {out}"
        if seq_k == 0 and not bool((lse == -math.inf).all()):
            return "lse is not -inf without keys"
        if any(bool(g.any()) for g in torch.autograd.grad(out.sum(), (q, k, v))):
            return "a gradient is not 0"
    return None


@named
def the_operator_and_its_gradient() -> str | None:
    """With chosen tiles, through output and lse, against the formula in float64."""
    from tests.kernels.reference import GRADIENT, ratio, with_gradient
    from tests.kernels.worker import Inputs

    for case in (
        Case((40, 55), (40, 24), causal=True, alibi=True, seed=5),
        Case((40, 55), window=9, softcap=3.0, dtype="bfloat16", seed=6),
        Case(packed=((17, 17), (30, 41)), causal=True, alibi=True, seed=7),
    ):
        inputs = Inputs(case)
        one = case.packed is not None
        given = [x[0] if one else x for x in (inputs.q, inputs.k, inputs.v)]
        leaves = [x.detach().clone().requires_grad_() for x in given]
        out, lse = attention(
            *leaves, inputs.slopes, causal=case.causal, window=case.window,
            scale=inputs.options.scale, softcap=case.softcap, packed=inputs.packed,
        )  # fmt: skip
        d_out, d_lse = (x[0] if one else x for x in (inputs.d_out, inputs.d_lse))
        found = [out, lse, *torch.autograd.grad((out, lse), leaves, (d_out, d_lse))]
        found = [x.detach()[None] if one else x.detach() for x in found]
        about = (inputs.slopes, case, inputs.d_out, inputs.d_lse)
        tensors = [inputs.q, inputs.k, inputs.v]
        exact = with_gradient(tensors, *about, torch.float64)
        naive = with_gradient(tensors, *about, inputs.q.dtype)
        shares = [ratio(*three, GRADIENT) for three in zip(found, exact, naive, strict=True)]
        if not max(shares) <= 1:
            return f"{case.name}: {shares}"
    return None


@named
def the_operator_obeys_pytorch() -> str | None:
    """Schema, shapes without data, registration of the gradient, tracing: PyTorch's own checks."""
    from llmlib.flash_attention.launch import flash_forward

    q, k, v = (torch.randn(1, 2, n, 16, requires_grad=True) for n in (5, 9, 9))
    numbers = (True, 4, 0.25, None, None, None, 0, 0)
    torch.library.opcheck(flash_forward, (q, k, v, torch.rand(1, 2), *numbers))
    torch.library.opcheck(flash_forward, (q, k, v, None, *numbers))
    return None


@named
def the_dispatcher_hands_over() -> str | None:
    """`flash_attention` and packed texts with the engine that cannot run here, as on a GPU."""
    from unittest import mock

    from llmlib import flash_attention as package
    from tests.kernels.worker import Inputs

    inputs = Inputs(Case((33, 37), (16, 24), heads=(4, 2)))
    slopes, offsets = torch.rand(4), torch.tensor([0, 20, 33])
    options: dict[str, Any] = {"causal": True, "alibi_slopes": slopes, "return_lse": True}
    given = [x.contiguous() for x in (inputs.q, inputs.k, inputs.v)]
    packed = given[0][0], *(x[0, :, :33] for x in given[1:])
    expected = [
        *package.flash_attention(*given, **options, engine="blocked"),
        *package.flash_attention_packed(*packed, offsets, **options, engine="blocked"),
    ]
    # Queries that say they lie on a GPU: with engine "auto" Triton then takes the call.
    given[0], packed = given[0].as_subclass(OnCuda), (packed[0].as_subclass(OnCuda), *packed[1:])
    # Under capture no tiles are timed, which takes a GPU.
    with (
        mock.patch.object(torch.cuda, "get_device_capability", return_value=(9, 0)),
        mock.patch.object(torch.cuda, "is_current_stream_capturing", return_value=True),
    ):
        found = [
            *package.flash_attention(*given, **options),
            *package.flash_attention_packed(*packed, offsets, **options),
        ]
    off = [float((x - y).abs().max()) for x, y in zip(found, expected, strict=True)]
    return None if max(off) < 1e-5 else f"off by {off}"


@named
def only_the_lse_is_used() -> str | None:
    q, k, v = (torch.randn(1, 2, n, 16, requires_grad=True) for n in (5, 9, 9))
    _, lse = attention(q, k, v)
    gradient = torch.autograd.grad(lse.sum(), q)[0]
    wide_q, wide_k = q.detach().double().requires_grad_(), k.detach().double()
    exact = torch.logsumexp(wide_q @ wide_k.transpose(-1, -2) * 0.2, -1)
    expected = torch.autograd.grad(exact.sum(), wide_q)[0]
    apart = (gradient - expected).abs().max().item()
    return None if apart < 1e-5 else f"the gradient is off by {apart}"


# --- decoding ---------------------------------------------------------------------------------


@named
def decoding_splits_the_cache() -> str | None:
    """Few queries and a long cache go to the split kernel, with a window or a cap as well."""
    from llmlib.flash_attention import launch
    from llmlib.flash_attention.tiles import Tiles
    from tests.kernels.reference import FORWARD, ratio, with_gradient
    from tests.kernels.worker import Inputs

    alike = []
    for case in (
        Case((1, 300), causal=True, seed=1),
        Case((1, 257), (40, 24), heads=(6, 2), causal=True, window=100, alibi=True, seed=2),
        Case((4, 300), causal=True, window=70, softcap=2.0, dtype="bfloat16", seed=3),
        Case((3, 290), window=50, alibi=True, seed=4),
    ):
        inputs = Inputs(case)
        found = attention(
            inputs.q, inputs.k, inputs.v, inputs.slopes, causal=case.causal,
            window=case.window, scale=inputs.options.scale, softcap=case.softcap,
        )  # fmt: skip
        # To the bit what the split kernel gives, whose sums are in another order than `forward`'s.
        if (other := differences(list(found), list(launch.decoded(inputs.problem())))) is not None:
            return f"{case.name}: not by the decoding kernel: {other}"
        alike.append(torch.equal(found[0], launch.forward(inputs.problem(), Tiles(32, 32))[0]))
        about = ([inputs.q, inputs.k, inputs.v], inputs.slopes, case, inputs.d_out, inputs.d_lse)
        exact, naive = (with_gradient(*about, kind) for kind in (torch.float64, inputs.q.dtype))
        shares = [ratio(x, *two, FORWARD) for x, *two in zip(found, exact, naive, strict=False)]
        if not max(shares) <= 1:
            return f"{case.name}: {shares}"
    return "both kernels give the same bits: nothing was told apart" if all(alike) else None


@named
def parts_without_a_visible_key() -> str | None:
    """With a window most parts of the cache hold nothing for a query, and one may see no part."""
    from tests.kernels.worker import check_case

    for case in (
        Case((8, 151), causal=True, window=7, splits=5),
        Case((40, 33), heads=(2, 2), causal=True, splits=2),  # the first queries see nothing
    ):
        if (problem := check_case(case)[0]) is not None:
            return f"{case.name}: {problem}"
    return None


@named
def decoding_hides_nan() -> str | None:
    """Keys outside a window do not leak into the parts either."""
    case = Case((8, 151), causal=True, window=7)

    def spoil(inputs: Any) -> None:
        inputs.k[:, :, 130:137], inputs.v[:, :, 130:137] = math.nan, math.nan  # the last is next

    _, clean = results(case)
    _, found = results(case, spoil)
    return differences(found, clean)


# --- tiles ------------------------------------------------------------------------------------


@named
def the_fastest_tiles_that_fit_are_kept() -> str | None:
    from triton.runtime.errors import OutOfResources

    from llmlib.flash_attention.launch import choose
    from llmlib.flash_attention.tiles import Tiles

    large, quick, slow = Tiles(256, 256), Tiles(64, 64), Tiles(32, 32)
    asked = []

    def seconds(tiles: Tiles) -> float:
        asked.append(tiles)
        if tiles == large:
            raise OutOfResources(300_000, 232_448, "shared memory")
        return {quick: 1.0, slow: 2.0}[tiles]

    for _ in range(2):
        if choose(("test",), [large, slow, quick], seconds) != quick:
            return "not the fastest"
    if asked != [large, slow, quick]:
        return f"measured {asked}: once each was expected"
    asked.clear()
    if choose(("short",), [slow, quick], lambda tiles: asked.append(tiles) or 0.0) != slow:
        return "not the first, although nothing was measured"
    if asked != [slow]:
        return "others were tried although the first fits"
    try:
        choose(("nothing fits",), [large], seconds)
    except RuntimeError:
        return None
    return "no error when nothing fits"


# --- the interpreter itself -------------------------------------------------------------------


@named
def bfloat16_is_rounded_as_torch_rounds() -> str | None:
    from tests.kernels.interpreter import narrow, widen

    bits = torch.arange(2**16, dtype=torch.int32).to(torch.int16)
    exact = bits.view(torch.bfloat16).float()
    if not torch.equal(
        torch.from_numpy(widen(bits.numpy().view("uint16"))).nan_to_num(7), exact.nan_to_num(7)
    ):
        return "widening differs"
    near = torch.cat([exact, *(torch.nextafter(exact, torch.tensor(far)) for far in (-9e9, 9e9))])
    halves = (exact.view(torch.int32) | 0x8000).view(torch.float32)  # ties
    values = torch.cat([near, halves, torch.randn(100_000) * 1e3, torch.rand(1000) * 1e-39])
    ours = torch.from_numpy(narrow(values.numpy()).view("int16").copy()).view(torch.bfloat16)
    same = (ours == values.bfloat16()) | (ours.isnan() & values.isnan())
    return None if bool(same.all()) else f"{int((~same).sum())} of {len(values)} round otherwise"


@named
def a_bfloat16_product_is_exact() -> str | None:
    from tests.kernels.probe import product

    x, y = (torch.randn(32, 32).bfloat16() for _ in range(2))
    found = product(x, y)
    expected = x.float() @ y.float()
    apart = (found - expected).abs().max().item()
    return None if apart < 1e-4 else f"off by {apart}"
