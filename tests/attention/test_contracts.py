"""What attention owes to autograd, to PyTorch's modes, and to those who give it the wrong thing."""

import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.autograd import forward_ad, functional
from torch.utils.checkpoint import checkpoint

import llmlib.architecture as arch
from llmlib.attention import Attention, LatentAttention, attention, reference_attention
from llmlib.decoder import Decoder, DecoderConfig
from llmlib.flash_attention import TileSizes, flash_attention
from llmlib.sparse_attention import elu_plus_one, linear_attention, reference_linear_attention

Function = Callable[..., Any]


def drawn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


Q, K, V = drawn(1, 4, 5, 4), drawn(1, 2, 6, 4, seed=1), drawn(1, 2, 6, 3, seed=2)
T = drawn(1, 4, 5, 4, seed=3)

# --- derivatives of every kind ----------------------------------------------------------------


def penalty(f: Function) -> Tensor:
    given = [x.clone().requires_grad_() for x in (Q, K, V)]
    loss = f(*given).square().sum()
    steep = torch.autograd.grad(loss, given, create_graph=True)
    (loss + sum(x.square().sum() for x in steep)).backward()
    return torch.cat([x.grad.flatten() for x in given if x.grad is not None])


def one_tensor_thrice(f: Function) -> Tensor:
    x = drawn(1, 2, 5, 4).requires_grad_()
    (first,) = torch.autograd.grad(f(x, x, x).pow(2).sum(), x, create_graph=True)
    return torch.autograd.grad(first.pow(2).sum(), x)[0]


def third(f: Function) -> Tensor:
    x = Q.clone().requires_grad_()
    (first,) = torch.autograd.grad(f(x, K, V).pow(2).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.pow(2).sum(), x, create_graph=True)
    return torch.autograd.grad(second.pow(2).sum(), x)[0]


def many_gradients(f: Function) -> Tensor:
    x = Q.clone().requires_grad_()
    out = f(x, K, V)
    several = torch.stack([torch.ones_like(out), out.detach()])
    return torch.autograd.grad(out, x, several, is_grads_batched=True)[0]


def tangent(f: Function) -> Tensor:
    with forward_ad.dual_level():
        out = forward_ad.unpack_dual(f(forward_ad.make_dual(Q, T), K, V)).tangent
    assert out is not None
    return out


def recomputed(f: Function, reentrant: bool) -> Tensor:
    given = [x.clone().requires_grad_() for x in (Q, K, V)]
    checkpoint(f, *given, use_reentrant=reentrant).square().sum().backward()
    return torch.cat([x.grad.flatten() for x in given if x.grad is not None])


DERIVATIVES: dict[str, Callable[[Function], Any]] = {
    "Hessian by q": lambda f: functional.hessian(lambda x: f(x, K, V).square().sum(), Q),
    "Hessian by k": lambda f: functional.hessian(lambda x: f(Q, x, V).sum(), K),
    "Hessian by v": lambda f: functional.hessian(lambda x: f(Q, K, x).square().sum(), V),
    "Hessian at once": lambda f: functional.hessian(
        lambda x: f(x, K, V).square().sum(), Q, vectorize=True
    ),
    "by k and v": lambda f: functional.hessian(lambda x, y: f(Q, x, y).sum(), (K, V))[0][1],
    "jvp": lambda f: functional.jvp(lambda x: f(x, K, V), Q, T)[1],
    "vhp": lambda f: functional.vhp(lambda x: f(x, K, V).sum(), Q, T)[1],
    "Jacobian forward": lambda f: functional.jacobian(
        lambda x: f(x, K, V), Q, vectorize=True, strategy="forward-mode"
    ),
    "func.grad": lambda f: torch.func.grad(lambda x: f(x, K, V).square().sum())(Q),
    "func.vjp": lambda f: torch.func.vjp(lambda x: f(x, K, V), Q)[1](T[..., :3])[0],
    "func.jvp": lambda f: torch.func.jvp(lambda x: f(x, K, V), (Q,), (T,))[1],
    "func.jacfwd": lambda f: torch.func.jacfwd(lambda x: f(x, K, V))(Q),
    "func.hessian": lambda f: torch.func.hessian(lambda x: f(x, K, V).square().sum())(Q),
    "vmap": lambda f: torch.vmap(lambda x: f(x, K, V))(torch.stack([Q, T])),
    "vmap of values": lambda f: torch.vmap(lambda x: f(Q, K, x))(torch.stack([V, V + 1])),
    "gradients by sample": lambda f: torch.vmap(
        torch.func.grad(lambda x: f(x, K, V).square().sum())
    )(torch.stack([Q, T])),
    "gradient penalty": penalty,
    "q is k is v": one_tensor_thrice,
    "third derivative": third,
    "many gradients": many_gradients,
    "forward mode": tangent,
    "checkpoint": lambda f: recomputed(f, False),
    "reentrant checkpoint": lambda f: recomputed(f, True),
}


@pytest.mark.parametrize("tiles", [TileSizes(), TileSizes(0, 2, 3)], ids=["one", "many"])
@pytest.mark.parametrize("name", DERIVATIVES)
def test_every_derivative_is_that_of_the_formula(name: str, tiles: TileSizes) -> None:
    for options in ({}, {"causal": True, "window": 3}):
        expected = DERIVATIVES[name](lambda *x, o=options: reference_attention(*x, **o))
        found = DERIVATIVES[name](lambda *x, o=options: flash_attention(*x, tiles=tiles, **o))
        torch.testing.assert_close(found, expected)
        assert bool(expected.any())


@pytest.mark.parametrize("tiles", [TileSizes(), TileSizes(0, 2, 3)], ids=["one", "many"])
def test_second_derivatives_through_cap_slopes_and_log_sum_exp(tiles: TileSizes) -> None:
    given = [x[:, :, :4].clone().requires_grad_() for x in (Q, K, V)]
    slopes = torch.tensor([0.5, 0.25, 0.1, 0.7])

    def f(*x: Tensor) -> Any:
        options: dict[str, Any] = {"causal": True, "window": 3, "softcap": 2.0}
        return flash_attention(*x, alibi_slopes=slopes, return_lse=True, tiles=tiles, **options)

    assert torch.autograd.gradgradcheck(f, given)


def test_input_that_is_changed_before_the_backward_pass_is_refused() -> None:
    for i in range(3):
        given = [x.clone().requires_grad_() for x in (Q, K, V)]
        out = flash_attention(*given)
        assert isinstance(out, Tensor)
        with torch.no_grad():
            given[i].add_(1)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            out.sum().backward()


# --- modes ------------------------------------------------------------------------------------

ENGINES: dict[str, Function] = {
    "reference": reference_attention,
    "kernel": attention,
    "flash": flash_attention,
}


@pytest.mark.parametrize("name", [*ENGINES, "linear", "linear formula"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_rounds_the_input_and_nothing_inside(name: str, dtype: torch.dtype) -> None:
    linear = {"linear": linear_attention, "linear formula": reference_linear_attention}
    f = {**ENGINES, **linear}[name]
    q, k, v = (drawn(1, 4, 64, 32, seed=i, dtype=torch.float32) for i in range(3))
    exact = f(*(x.to(dtype).double() for x in (q, k, v)))
    with torch.autocast("cpu", dtype=dtype):
        found = f(q, k, v)
        loud = f(100 * q, 100 * k, v)
    assert found.dtype == dtype
    allowed = 2 * (exact.to(dtype).double() - exact).abs().max() + 1e-6
    assert (found.double() - exact).abs().max() <= allowed * (2 if name == "kernel" else 1)
    assert not loud.isnan().any()


CONFIGS: dict[str, dict[str, Any]] = {
    "llama": {"n_kv_heads": 2},
    "window": {"window": 7},
    "alibi": {"position": "alibi"},
    "learned": {"position": "learned"},
    "latent": {"latent": arch.Latent(4, 16, 4, 8, 8)},
    "reference": {},
}


def decoder(name: str) -> Decoder:
    torch.manual_seed(0)
    config = DecoderConfig(50, 32, 1, 4, context=64, **CONFIGS[name])
    return Decoder(config, engine="reference" if name == "reference" else "auto")


@pytest.mark.unchecked
@pytest.mark.parametrize("name", CONFIGS)
def test_one_program_serves_every_length(name: str) -> None:
    model = decoder(name)
    texts = {seq: torch.arange(2 * seq).view(2, seq) % 50 for seq in (8, 9, 20)}
    length = torch.export.Dim("length", min=2, max=64)
    exported = torch.export.export(model, (texts[8],), dynamic_shapes=({1: length},)).module()
    torch._dynamo.reset()
    program = torch.compile(model, backend="eager", fullgraph=True)
    for ids in texts.values():
        expected = model(ids)
        torch.testing.assert_close(exported(ids), expected)
        torch.testing.assert_close(program(ids), expected)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_model_runs_on_shapes_alone(name: str) -> None:
    with torch.device("meta"):
        model = decoder(name)
        assert model(torch.zeros(2, 8, dtype=torch.long)).shape == (2, 8, 50)
    with FakeTensorMode():
        assert decoder(name)(torch.zeros(2, 8, dtype=torch.long)).shape == (2, 8, 50)


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("seq", [8, 800])
def test_attention_runs_on_shapes_alone(name: str, seq: int) -> None:
    q = torch.randn(1, 4, seq, 16, device="meta")
    slopes = {"alibi_slopes": torch.ones(4)} if name == "flash" else {}
    assert ENGINES[name](q, q, q, causal=True, **slopes).shape == q.shape
    with FakeTensorMode():
        q = torch.randn(1, 4, seq, 16)
        assert ENGINES[name](q, q, q, causal=True).shape == q.shape


@pytest.mark.parametrize("name", ENGINES)
def test_vmap(name: str) -> None:
    x = drawn(3, 2, 5, 8)
    found = torch.vmap(lambda a: ENGINES[name](a[None], a[None], a[None], causal=True)[0])(x)
    torch.testing.assert_close(found, reference_attention(x, x, x, causal=True))


def test_vmap_of_a_hidden_nan() -> None:
    """Where Python cannot look, what is hidden still does not touch the result."""
    x = drawn(2, 2, 6, 8)
    bad = x.clone()
    bad[:, :, 4:] = math.nan
    for f in (reference_attention, flash_attention):
        found = torch.vmap(lambda a, b, f=f: f(a[None], b[None], b[None], causal=True)[0])(x, bad)
        expected = reference_attention(x, x, x, causal=True)
        torch.testing.assert_close(found[:, :, :4], expected[:, :, :4])


@pytest.mark.parametrize("where", ["thread", "exit"])
def test_attention_outlives_the_main_thread(where: str) -> None:
    program = f"""
import atexit, threading, time, torch
from llmlib.flash_attention import flash_attention
torch.set_num_threads(2)
q = torch.randn(8, 4, 300, 16)
def work():
    time.sleep(0.2)
    print(flash_attention(q, q, q, causal=True).isfinite().all().item(), torch.get_num_threads())
{"threading.Thread(target=work).start()" if where == "thread" else "atexit.register(work)"}
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.stdout.split(), done.returncode) == (["True", "2"], 0), done.stderr


# --- numbers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_feature_map_keeps_the_digits_of_the_exponential(dtype: torch.dtype) -> None:
    x = torch.linspace(-80, 3, 200, dtype=dtype)
    exact = torch.where(x > 0, x.double() + 1, x.double().exp()).to(dtype)
    torch.testing.assert_close(elu_plus_one(x), exact, rtol=4 * torch.finfo(dtype).eps, atol=1e-37)
    near = torch.tensor([-1.0, -1e-3, 0.0, 1e-3], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(elu_plus_one(near).sum(), near)
    torch.testing.assert_close(slope, near.detach().clamp(max=0).exp())


def test_linear_attention_of_keys_far_below_zero() -> None:
    q, k, v = (drawn(1, 2, 9, 8, seed=i) for i in range(3))
    k = k - 25
    for causal in (False, True):
        exact = linear_attention(q, k, v, causal=causal)
        found = linear_attention(q.float(), k.float(), v.float(), causal=causal)
        torch.testing.assert_close(found.double(), exact, rtol=1e-4, atol=1e-5)
    assert exact.abs().max() > 0.5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("lowest", [torch.finfo(torch.float32).min, -math.inf, -1e5])
def test_a_bias_that_its_type_cannot_hold_is_as_in_the_formula(
    dtype: torch.dtype, lowest: float
) -> None:
    q, k, v = (drawn(2, 4, 6, 8, seed=i).to(dtype) for i in range(3))
    bias = torch.zeros(6, 6)
    bias[0], bias[1, 2:] = lowest, lowest
    # The kernel and the formula round at other places: one step of the type apart, no more.
    step = max(torch.finfo(dtype).eps, 1e-5)
    found, expected = attention(q, k, v, bias=bias), reference_attention(q, k, v, bias=bias)
    torch.testing.assert_close(found, expected, rtol=step, atol=step)


# --- wrong input ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["reference", "kernel"])
@pytest.mark.parametrize("shape", [(), (6,), (6, 6), (5, 1), (4, 1, 6), (2, 1, 1, 6), (2, 4, 6, 6)])
@pytest.mark.parametrize("kind", ["mask", "bias"])
def test_masks_and_biases_broadcast(name: str, shape: tuple[int, ...], kind: str) -> None:
    q, k, v = drawn(2, 4, 6, 8), drawn(2, 2, 6, 8, seed=1), drawn(2, 2, 6, 8, seed=2)
    if shape == (5, 1):
        q = q[:, :, :5]
    x: Tensor = drawn(*shape, seed=3) if kind == "bias" else drawn(*shape, seed=3) > -1
    whole = x.expand(2, 4, q.shape[2], 6)
    found = ENGINES[name](q, k, v, **{kind: x})
    torch.testing.assert_close(found, reference_attention(q, k, v, **{kind: whole}))


X = torch.zeros(2, 4, 6, 8)
WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "0/1 mask": ({"mask": torch.ones(6, 6)}, TypeError, "mask is torch.float32, expected torch.bo"),
    "integer mask": ({"mask": torch.ones(6, 6).long()}, TypeError, "mask is torch.int64"),
    "listed mask": ({"mask": [True] * 6}, TypeError, "mask is list, expected a tensor"),
    "bool bias": ({"bias": torch.ones(6, 6).bool()}, TypeError, "bias is torch.bool, expected flo"),
    "integer bias": ({"bias": torch.ones(6, 6).int()}, TypeError, "bias is torch.int32"),
    "other batch": ({"mask": torch.ones(3, 1, 6, 6).bool()}, ValueError, r"mask has shape \(3, 1"),
    "larger batch": ({"bias": torch.ones(5, 2, 4, 6, 6)}, ValueError, "bias has shape"),
    "other keys": ({"mask": torch.ones(6, 5).bool()}, ValueError, r"\(6, 5\), expected one that b"),
    "other device": ({"mask": torch.ones(6, 6, device="meta").bool()}, TypeError, "lies on meta"),
    "flag": ({"causal": 1}, TypeError, "causal is 1, expected True or False"),
    "flag tensor": ({"causal": torch.tensor(True)}, TypeError, "causal is tensor"),
    "window flag": ({"window": True}, TypeError, "window must be an integer, got True"),
    "window float": ({"window": 2.0}, TypeError, "window must be an integer, got 2.0"),
    "no window": ({"window": 0}, ValueError, "window must be positive, got 0"),
    "scale": ({"scale": math.nan}, ValueError, "scale is nan, expected a finite number"),
    "scale tensor": ({"scale": torch.ones(())}, TypeError, "scale is tensor"),
    "types": ({"k": X.double()}, TypeError, "k is torch.float64 on cpu, expected torch.float32"),
    "integers": ({n: X.long() for n in "qkv"}, TypeError, "q is torch.int64, expected floats"),
    "complex": ({n: X.cfloat() for n in "qkv"}, TypeError, "q is torch.complex64, expected float"),
    "three axes": ({"q": X[0]}, ValueError, r"q has shape \(4, 6, 8\)"),
    "five axes": ({"k": X[None]}, ValueError, r"k has shape \(1, 2, 4, 6, 8\)"),
    "heads": ({"k": X[:, :3], "v": X[:, :3]}, ValueError, "k has 3 heads, expected a divisor"),
    "array": ({"q": X.numpy()}, TypeError, "q is ndarray, expected a tensor"),
}


@pytest.mark.bad_input
@pytest.mark.parametrize("function", ["reference", "kernel"])
@pytest.mark.parametrize("name", WRONG)
def test_wrong_input(name: str, function: str) -> None:
    changes, error, message = WRONG[name]
    given = {"q": X, "k": X, "v": X, **changes}
    with pytest.raises(error, match=message):
        ENGINES[function](given.pop("q"), given.pop("k"), given.pop("v"), **given)


@pytest.mark.bad_input
@pytest.mark.parametrize("engine", ["auto", "sdpa", "reference"])
def test_modules_refuse_a_mask_of_numbers(engine: Any) -> None:
    x, mask = torch.randn(2, 6, 32), torch.ones(6, 6)
    latent = LatentAttention(32, 4, 16, 4, 8, 8, engine=engine)
    for layer in (Attention(32, 4, engine=engine), latent):
        with pytest.raises(TypeError, match=r"mask is torch.float32, expected torch.bool"):
            layer(x, mask=mask)
        with pytest.raises(TypeError, match=r"bias is torch.bool, expected floats"):
            layer(x, bias=mask.bool())
        with pytest.raises(TypeError, match=r"mask is torch.float32, expected torch.bool"):
            layer.weights(x, mask=mask)
