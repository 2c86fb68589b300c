"""Starts the Triton kernels: grids, tile sizes, the gradient, and when to split the cache.

`forward`, `backward` and `decode` start kernels with the tiles they are given; `triton_attention`
chooses and is what `flash_attention` calls. It is registered with PyTorch as an operator, so
`torch.compile` does not look inside.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from llmlib.flash_attention.inputs import Options
from llmlib.flash_attention.tiles import Tiles, block, candidates, guarded
from llmlib.flash_attention.triton_backward import delta_kernel, dk_dv_kernel, dq_kernel
from llmlib.flash_attention.triton_decode import decode_kernel, merge_kernel
from llmlib.flash_attention.triton_kernels import forward_kernel
from llmlib.flash_attention.triton_package import OutOfResources, do_bench, triton

DELTA_ROWS = 64
MOST_DECODED = 16  # rows of a tile of `decode_kernel`: queries times heads that share keys
LEAST_CACHE = 256  # keys, below which a split is not worth a second kernel
MOST_SPLITS, MERGE_WARPS = 128, 8
WORTH_TUNING = 2**22  # pairs of a query and a key


@dataclass(frozen=True)
class Packed:
    """Texts end to end: text t has the queries cu_q[t] to cu_q[t + 1], and keys likewise."""

    cu_q: Tensor
    cu_k: Tensor
    longest_q: int
    longest_k: int


class Problem:
    """A call as the kernels see it: pointers, steps from row to row, lengths, constants."""

    def __init__(
        self, q: Tensor, k: Tensor, v: Tensor, slopes: Tensor | None, options: Options,
        packed: Packed | None,
    ) -> None:  # fmt: skip
        self.q, self.k, self.v = rows_of(q), rows_of(k), rows_of(v)
        self.slopes, self.options, self.packed = slopes, options, packed
        self.heads, self.kv_heads = q.shape[-3], k.shape[-3]
        self.batch = q.shape[0] if packed is None else len(packed.cu_q) - 1
        self.seq_q = q.shape[-2] if packed is None else packed.longest_q
        self.seq_k = k.shape[-2] if packed is None else packed.longest_k

    @cached_property
    def arguments(self) -> dict[str, Any]:
        """What all kernels but two take."""
        cu_q, cu_k = (self.packed.cu_q, self.packed.cu_k) if self.packed else (None, None)
        return {
            **pointers(q=self.q, k=self.k, v=self.v),
            "slopes_ptr": self.slopes, "cu_q_ptr": cu_q, "cu_k_ptr": cu_k,
            **self.numbers,
        }  # fmt: skip

    @property
    def numbers(self) -> dict[str, Any]:
        """Lengths and options."""
        return {
            "seq_q": self.seq_q, "seq_k": self.seq_k, "group": self.heads // self.kv_heads,
            "scale": self.options.scale, "softcap": self.options.softcap,
            "window": self.options.window,
        }  # fmt: skip

    def constants(self, tiles: Tiles) -> dict[str, Any]:
        """What a kernel is compiled for."""
        d, dv = self.q.shape[-1], self.v.shape[-1]
        return {
            "D": d, "BLOCK_D": block(d), "DV": dv, "BLOCK_DV": block(dv),
            "BLOCK_Q": tiles.queries, "BLOCK_K": tiles.keys, "CAUSAL": self.options.causal,
            "num_warps": tiles.warps, "num_stages": tiles.stages,
        }  # fmt: skip

    def run(
        self, name: str, kernel: Any, n_tiles: int, heads: int, tiles: Tiles, **more: Any
    ) -> None:
        """One program a tile, a head and a text; then, with care, the tiles that met NaN."""
        grid = (n_tiles, heads, self.batch)
        if 0 in grid:
            return
        if not self.options.hides:
            arguments = {**self.arguments, **more, "noted_ptr": None}
            kernel[grid](**arguments, GUARD=False, **self.constants(tiles))
            return
        noted = torch.zeros(math.prod(grid), dtype=torch.int32, device=self.q.device)
        arguments = {**self.arguments, **more, "noted_ptr": noted}
        kernel[grid](**arguments, GUARD=False, **self.constants(tiles))
        kernel[grid](**arguments, GUARD=True, **self.constants(guarded(name, tiles)))


def rows_of(x: Tensor) -> Tensor:
    """x with its features side by side, as the kernels read them."""
    return x if x.stride(-1) == 1 else x.contiguous()


def steps(x: Tensor) -> tuple[int, int, int]:
    """How far apart two texts, two heads and two rows lie; packed texts lie in the same rows."""
    return (x.stride(0) if x.ndim == 4 else 0, x.stride(-3), x.stride(-2))


def pointers(**tensors: Tensor) -> dict[str, Any]:
    """The arguments name_ptr and name_steps of some tensors."""
    return {
        **{f"{name}_ptr": x for name, x in tensors.items()},
        **{f"{name}_steps": steps(x) for name, x in tensors.items()},
    }


# --- the kernels with given tiles -------------------------------------------------------------


def forward(problem: Problem, tiles: Tiles) -> tuple[Tensor, Tensor]:
    """Output and log-sum-exp."""
    q = problem.q
    out = q.new_empty(*q.shape[:-1], problem.v.shape[-1])
    lse = q.new_empty(q.shape[:-1], dtype=torch.float32)
    problem.run(
        "forward", forward_kernel, triton.cdiv(problem.seq_q, tiles.queries), problem.heads, tiles,
        lse_ptr=lse, lse_steps=steps(lse[..., None]), **pointers(out=out),
    )  # fmt: skip
    return out, lse


def row_deltas(out: Tensor, d_out: Tensor, d_lse: Tensor | None) -> Tensor:
    """rowsum(dO * O) - dlse, like lse."""
    delta = out.new_empty(out.shape[:-1], dtype=torch.float32)
    n_rows, heads, batch = out.shape[-2], out.shape[-3], len(out) if out.ndim == 4 else 1
    if delta.numel():
        delta_kernel[(triton.cdiv(n_rows, DELTA_ROWS), heads, batch)](
            **pointers(out=out, d_out=d_out), n_rows=n_rows,
            d_lse_ptr=None if d_lse is None else d_lse.contiguous(), delta_ptr=delta,
            lse_steps=steps(delta[..., None]),
            DV=out.shape[-1], BLOCK_DV=block(out.shape[-1]), BLOCK_Q=DELTA_ROWS,
        )  # fmt: skip
    return delta


def query_gradient(problem: Problem, given: dict[str, Any], tiles: Tiles) -> Tensor:
    """dQ."""
    dq = torch.empty_like(problem.q, memory_format=torch.contiguous_format)
    n_tiles = triton.cdiv(problem.seq_q, tiles.queries)
    problem.run("dq", dq_kernel, n_tiles, problem.heads, tiles, **given, **pointers(dq=dq))
    return dq


def key_gradients(problem: Problem, given: dict[str, Any], tiles: Tiles) -> tuple[Tensor, Tensor]:
    """dK and dV."""
    layout = torch.contiguous_format
    dk, dv = (torch.empty_like(x, memory_format=layout) for x in (problem.k, problem.v))
    n_tiles = triton.cdiv(problem.seq_k, tiles.keys)
    problem.run(
        "dk_dv", dk_dv_kernel, n_tiles, problem.kv_heads, tiles, **given, **pointers(dk=dk, dv=dv)
    )
    return dk, dv


def for_backward(out: Tensor, lse: Tensor, d_out: Tensor, d_lse: Tensor | None) -> dict[str, Any]:
    """What both kernels of the backward pass are given beside q, k and v."""
    d_out = rows_of(d_out)
    delta = row_deltas(out, d_out, d_lse)
    places = {"lse_ptr": lse, "delta_ptr": delta, "lse_steps": steps(lse[..., None])}
    return {**pointers(d_out=d_out), **places}


def decode(problem: Problem, tiles: Tiles, n_splits: int) -> tuple[Tensor, Tensor]:
    """Output and log-sum-exp for few queries: seq_q * heads / kv_heads <= tiles.queries."""
    q, seq_k, dv = problem.q, problem.seq_k, problem.v.shape[-1]
    keys_each = triton.cdiv(triton.cdiv(seq_k, n_splits), tiles.keys) * tiles.keys
    n_splits = triton.cdiv(seq_k, keys_each)
    out = q.new_empty(*q.shape[:-1], dv)
    lse = q.new_empty(q.shape[:-1], dtype=torch.float32)
    part = q.new_empty(n_splits, *out.shape, dtype=torch.float32)
    part_lse = q.new_empty(n_splits, *lse.shape, dtype=torch.float32)
    decode_kernel[(n_splits, problem.kv_heads, problem.batch)](
        **pointers(q=q, k=problem.k, v=problem.v), part_ptr=part, part_lse_ptr=part_lse,
        slopes_ptr=problem.slopes, keys_each=keys_each, **problem.numbers,
        GUARD=problem.options.hides, **problem.constants(tiles),
    )  # fmt: skip
    merge_kernel[(lse.numel(),)](
        part, part_lse, out, lse, lse.numel(), n_splits,
        DV=dv, BLOCK_DV=block(dv), SPLITS=triton.next_power_of_2(n_splits),
        num_warps=MERGE_WARPS,
    )  # fmt: skip
    return out, lse


# --- which tiles ------------------------------------------------------------------------------

_chosen: dict[tuple[Any, ...], Tiles] = {}


def choose(key: tuple[Any, ...], among: list[Tiles], seconds: Callable[[Tiles], float]) -> Tiles:
    """The fastest of some tiles, leaving out those the chip has no room for; remembered by key.

    Where `seconds` gives 0, nothing was measured, and the first that fit are taken.
    """
    if key not in _chosen:
        times = {}
        for tiles in among:
            try:
                times[tiles] = seconds(tiles)
            except OutOfResources:
                continue
            if times[tiles] == 0:
                break
        if not times:
            raise RuntimeError(f"no tiles of {among} fit into the shared memory of this GPU")
        _chosen[key] = min(times, key=times.__getitem__)
    return _chosen[key]


def tuned(name: str, problem: Problem, run: Callable[[Tiles], Any]) -> Any:
    """run(tiles) with the best tiles: measured once for a chip and a kind of call.

    Short calls take the first that fit: timing them would cost more than it saves.
    """
    q, dv, options = problem.q, problem.v.shape[-1], problem.options
    chip = torch.cuda.get_device_capability(q.device) if q.is_cuda else (8, 0)
    among = candidates(name, chip, max(q.shape[-1], dv), q.dtype)
    if not q.is_cuda or torch.cuda.is_current_stream_capturing():
        return run(among[0])
    device = torch.cuda.get_device_name(q.device)
    long = problem.seq_q * problem.seq_k >= WORTH_TUNING
    kind = (q.shape[-1], dv, q.dtype, options.causal, options.window is not None)

    def seconds(tiles: Tiles) -> float:
        run(tiles)
        return float(do_bench(lambda: run(tiles), warmup=5, rep=20)) if long else 0.0

    return run(choose((name, device, long, *kind), among, seconds))


# --- the operator -----------------------------------------------------------------------------


def is_decoding(problem: Problem) -> bool:
    """Whether there are few queries and many keys."""
    rows = problem.seq_q * problem.heads // problem.kv_heads
    few = 0 < rows <= MOST_DECODED and problem.batch > 0
    return problem.packed is None and few and problem.seq_k >= LEAST_CACHE


def decoded(problem: Problem) -> tuple[Tensor, Tensor]:
    """`decode` over the part of the cache that somebody sees, split over the whole chip."""
    options, k, v = problem.options, problem.k, problem.v
    if options.window is not None:
        oldest = max(0, problem.seq_k - problem.seq_q - options.window + 1)
        k, v = k[..., oldest:, :], v[..., oldest:, :]
    if problem.seq_q == 1:  # the last query sees every key that is left
        options = Options(False, None, options.scale, options.softcap)
    seen = Problem(problem.q, k, v, problem.slopes, options, None)
    processors = 1
    if seen.q.is_cuda:
        processors = torch.cuda.get_device_properties(seen.q.device).multi_processor_count
    wanted = triton.cdiv(2 * processors, seen.batch * seen.kv_heads)

    def run(tiles: Tiles) -> tuple[Tensor, Tensor]:
        return decode(seen, tiles, min(wanted, triton.cdiv(seen.seq_k, tiles.keys), MOST_SPLITS))

    return tuned("decode", seen, run)


def attend(problem: Problem) -> tuple[Tensor, Tensor]:
    """Output and log-sum-exp by whichever kernel suits."""
    with torch.cuda.device_of(problem.q):
        if is_decoding(problem):
            return decoded(problem)
        return tuned("forward", problem, lambda t: forward(problem, t))


def problem_of(q: Tensor, k: Tensor, v: Tensor, slopes: Tensor | None, *numbers: Any) -> Problem:
    """A problem from what an operator takes: tensors and numbers only, one by one."""
    causal, window, scale, softcap, cu_q, cu_k, longest_q, longest_k = numbers
    packed = None if cu_q is None else Packed(cu_q, cu_k, longest_q, longest_k)
    return Problem(q, k, v, slopes, Options(causal, window, scale, softcap), packed)


@torch.library.custom_op("llmlib::flash_forward", mutates_args=())
def flash_forward(
    q: Tensor, k: Tensor, v: Tensor, slopes: Tensor | None, causal: bool, window: int | None,
    scale: float, softcap: float | None, cu_q: Tensor | None, cu_k: Tensor | None,
    longest_q: int, longest_k: int,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Output and log-sum-exp."""
    numbers = (causal, window, scale, softcap, cu_q, cu_k, longest_q, longest_k)
    return attend(problem_of(q, k, v, slopes, *numbers))


@torch.library.custom_op("llmlib::flash_backward", mutates_args=())
def flash_backward(
    q: Tensor, k: Tensor, v: Tensor, slopes: Tensor | None, causal: bool, window: int | None,
    scale: float, softcap: float | None, cu_q: Tensor | None, cu_k: Tensor | None,
    longest_q: int, longest_k: int, out: Tensor, lse: Tensor, d_out: Tensor, d_lse: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """dQ, dK and dV."""
    numbers = (causal, window, scale, softcap, cu_q, cu_k, longest_q, longest_k)
    problem = problem_of(q, k, v, slopes, *numbers)
    with torch.cuda.device_of(q):
        given = for_backward(out, lse, d_out, d_lse)
        dq = tuned("dq", problem, lambda t: query_gradient(problem, given, t))
        dk, dv = tuned("dk_dv", problem, lambda t: key_gradients(problem, given, t))
    return dq, dk, dv


@flash_forward.register_fake
def _(q, k, v, slopes, *numbers):  # type: ignore[no-untyped-def]
    return q.new_empty(*q.shape[:-1], v.shape[-1]), q.new_empty(q.shape[:-1], dtype=torch.float32)


@flash_backward.register_fake
def _(q, k, v, slopes, *others):  # type: ignore[no-untyped-def]
    return tuple(torch.empty_like(x, memory_format=torch.contiguous_format) for x in (q, k, v))


def keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    """What the gradient needs: no score, only the inputs and two results of a row each."""
    q, k, v, slopes, causal, window, scale, softcap, cu_q, cu_k, *longest = inputs
    ctx.save_for_backward(q, k, v, slopes, cu_q, cu_k, *output)
    ctx.numbers = (causal, window, scale, softcap)
    ctx.longest = longest
    ctx.set_materialize_grads(False)


def gradient(ctx: Any, d_out: Tensor | None, d_lse: Tensor | None) -> tuple[Tensor | None, ...]:
    """From the gradients of output and log-sum-exp to those of q, k and v."""
    q, k, v, slopes, cu_q, cu_k, out, lse = ctx.saved_tensors
    d_out = torch.zeros_like(out) if d_out is None else d_out
    found = flash_backward(
        q, k, v, slopes, *ctx.numbers, cu_q, cu_k, *ctx.longest, out, lse, d_out, d_lse
    )
    return (*found, *[None] * 9)


flash_forward.register_autograd(gradient, setup_context=keep)


def triton_attention(
    q: Tensor, k: Tensor, v: Tensor, slopes: Tensor | None, options: Options,
    packed: Packed | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Output and log-sum-exp, differentiable in q, k and v.

    Args:
        q, k, v: (batch, heads, seq, width); for packed texts (heads, total, width). The heads of k
            and v divide those of q.
        slopes: float32, (batch, heads), or (texts, heads) for packed texts; None without ALiBi.
        options: scale, cap, mask.
        packed: where each text starts and ends.
    """
    cu_q, cu_k, *longest = (
        (None, None, 0, 0)
        if packed is None
        else (packed.cu_q, packed.cu_k, packed.longest_q, packed.longest_k)
    )
    numbers = (options.causal, options.window, float(options.scale), options.softcap)
    slopes = None if slopes is None else slopes.contiguous()
    out, lse = flash_forward(q, k, v, slopes, *numbers, cu_q, cu_k, *longest)
    return out, lse
