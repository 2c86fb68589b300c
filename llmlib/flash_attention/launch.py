"""Calls the Triton kernels: sizes of tiles by chip and head width, grids, and the gradient."""

from dataclasses import dataclass
from typing import Any

import torch
import triton
from torch import Tensor

from llmlib.flash_attention import triton_kernels as kernels


@dataclass(frozen=True)
class Tiles:
    """Queries and keys of a tile; warps and pipeline stages of a program."""

    queries: int
    keys: int
    warps: int = 4
    stages: int = 2


def block(width: int) -> int:
    """The power of two that holds a head's features; tensor cores want 16."""
    return max(16, triton.next_power_of_2(width))


@dataclass(frozen=True)
class Options:
    """What a call asks for, beside its tensors."""

    causal: bool
    window: int | None
    scale: float
    softcap: float | None

    def numbers(self) -> tuple[float, float, int]:
        """scale, softcap, window as the kernels take them."""
        return self.scale, self.softcap or 0.0, self.window or 0

    def constants(self, d: int, dv: int, tiles: Tiles, alibi: bool) -> dict[str, Any]:
        """What a kernel is compiled for."""
        return {
            "D": d, "BLOCK_D": block(d), "DV": dv, "BLOCK_DV": block(dv),
            "BLOCK_Q": tiles.queries, "BLOCK_K": tiles.keys,
            "CAUSAL": self.causal, "WINDOW": self.window is not None,
            "ALIBI": alibi, "SOFTCAP": self.softcap is not None,
        }  # fmt: skip


def rows_of(x: Tensor) -> Tensor:
    """x with its features next to each other, as the kernels read them."""
    return x if x.stride(-1) == 1 else x.contiguous()


def forward(
    q: Tensor, k: Tensor, v: Tensor, slopes: Tensor | None, options: Options, tiles: Tiles
) -> tuple[Tensor, Tensor]:
    """Output and log-sum-exp."""
    q, k, v = rows_of(q), rows_of(k), rows_of(v)
    (batch, heads, seq_q, d), (groups, seq_k, dv) = q.shape, v.shape[1:]
    out = q.new_empty(batch, heads, seq_q, dv)
    lse = q.new_empty(batch, heads, seq_q, dtype=torch.float32)
    grid = (triton.cdiv(seq_q, tiles.queries), batch * heads)
    kernels.forward_kernel[grid](
        q, k, v, out, lse, lse if slopes is None else slopes,
        *q.stride()[:3], *k.stride()[:3], *v.stride()[:3], *out.stride()[:3],
        seq_q, seq_k, heads, heads // groups, *options.numbers(),
        **options.constants(d, dv, tiles, slopes is not None),
        num_warps=tiles.warps, num_stages=tiles.stages,
    )  # fmt: skip
    return out, lse


def backward(
    q: Tensor, k: Tensor, v: Tensor, slopes: Tensor | None, out: Tensor, lse: Tensor,
    d_out: Tensor, d_lse: Tensor, options: Options, dq_tiles: Tiles, dk_dv_tiles: Tiles,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of q, k and v."""
    q, k, v, d_out = rows_of(q), rows_of(k), rows_of(v), rows_of(d_out)
    (batch, heads, seq_q, d), (groups, seq_k, dv_width) = q.shape, v.shape[1:]
    delta = torch.empty_like(lse)
    kernels.delta_kernel[(triton.cdiv(seq_q, 64), batch * heads)](
        out, d_out, d_lse.contiguous(), delta, *out.stride()[:3], *d_out.stride()[:3], seq_q, heads,
        DV=dv_width, BLOCK_DV=block(dv_width), BLOCK_Q=64,
    )  # fmt: skip
    dq, dk, dv = (torch.empty_like(x, memory_format=torch.contiguous_format) for x in (q, k, v))
    given = (q, k, v, d_out, lse, delta, lse if slopes is None else slopes)
    strides = [*q.stride()[:3], *k.stride()[:3], *v.stride()[:3], *d_out.stride()[:3]]
    numbers = (seq_q, seq_k, heads, heads // groups, *options.numbers())
    alibi = slopes is not None
    kernels.dq_kernel[(triton.cdiv(seq_q, dq_tiles.queries), batch * heads)](
        *given, dq, *strides, *dq.stride()[:3], *numbers,
        **options.constants(d, dv_width, dq_tiles, alibi),
        num_warps=dq_tiles.warps, num_stages=dq_tiles.stages,
    )  # fmt: skip
    kernels.dk_dv_kernel[(triton.cdiv(seq_k, dk_dv_tiles.keys), batch * groups)](
        *given, dk, dv, *strides, *dk.stride()[:3], *dv.stride()[:3], *numbers,
        **options.constants(d, dv_width, dk_dv_tiles, alibi),
        num_warps=dk_dv_tiles.warps, num_stages=dk_dv_tiles.stages,
    )  # fmt: skip
    return dq, dk, dv


def decode(
    q: Tensor, k: Tensor, v: Tensor, slopes: Tensor | None, options: Options, tiles: Tiles,
    n_splits: int,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Output and log-sum-exp for few queries: seq_q * heads / kv_heads <= tiles.queries."""
    q, k, v = rows_of(q), rows_of(k), rows_of(v)
    (batch, heads, seq_q, d), (groups, seq_k, dv) = q.shape, v.shape[1:]
    keys_each = triton.cdiv(triton.cdiv(seq_k, n_splits), tiles.keys) * tiles.keys
    n_splits = triton.cdiv(seq_k, keys_each)
    n_rows = batch * heads * seq_q
    part = q.new_empty(n_splits, n_rows, dv, dtype=torch.float32)
    part_lse = q.new_empty(n_splits, n_rows, dtype=torch.float32)
    kernels.decode_kernel[(n_splits, batch * groups)](
        q, k, v, part, part_lse, part_lse if slopes is None else slopes,
        *q.stride()[:3], *k.stride()[:3], *v.stride()[:3],
        seq_q, seq_k, heads, heads // groups, keys_each, *options.numbers(),
        **options.constants(d, dv, tiles, slopes is not None),
        num_warps=tiles.warps, num_stages=tiles.stages,
    )  # fmt: skip
    out = q.new_empty(batch, heads, seq_q, dv)
    lse = q.new_empty(batch, heads, seq_q, dtype=torch.float32)
    kernels.merge_kernel[(n_rows,)](
        part, part_lse, out, lse, n_rows, n_splits,
        DV=dv, BLOCK_DV=block(dv), SPLITS=triton.next_power_of_2(n_splits),
    )  # fmt: skip
    return out, lse
