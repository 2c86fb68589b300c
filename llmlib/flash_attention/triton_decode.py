"""Decoding as Triton kernels: few queries, a long cache, split over the whole chip.

One query alone would leave most of the chip idle and read the keys once for each query head. Here
the queries of all heads that share keys are the rows of one tile, and the cache is split: each
program averages over its own part, and a second kernel merges the parts by their log-sum-exp.

Source: dao2023flashdecoding
"""

# Triton compiles these functions and knows the types from each call:
# mypy: ignore-errors

from llmlib.flash_attention.triton_kernels import HIDDEN, attend, finish, rows_at, slope_of
from llmlib.flash_attention.triton_package import tl, triton


@triton.jit
def decode_kernel(
    q_ptr, k_ptr, v_ptr, part_ptr, part_lse_ptr, slopes_ptr, q_steps, k_steps, v_steps,
    seq_q, seq_k, group, keys_each, scale, softcap, window,
    D: tl.constexpr, BLOCK_D: tl.constexpr, DV: tl.constexpr, BLOCK_DV: tl.constexpr,
    BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr, CAUSAL: tl.constexpr, GUARD: tl.constexpr,
):  # fmt: skip
    """The queries of one group of heads against one part of their cache, of `keys_each` keys."""
    split, kv_head, batch = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    heads = tl.num_programs(1) * group
    members, features = tl.arange(0, BLOCK_Q), tl.arange(0, BLOCK_D)
    there = members < group * seq_q
    head = kv_head * group + tl.where(there, members // seq_q, 0)
    rows = tl.where(there, members % seq_q, seq_q)  # beyond the queries: hidden
    at = head.to(tl.int64) * q_steps[1] + rows * q_steps[2]
    q_ptr = rows_at(q_ptr, q_steps, batch, 0, 0) + at[:, None] + features[None, :]
    q = tl.load(q_ptr, there[:, None] & (features[None, :] < D), 0.0)
    slope = slope_of(slopes_ptr, batch, heads, head)  # a column: the rows are of several heads
    if slopes_ptr is not None:
        slope = slope[:, None]
    start = split * keys_each
    m = tl.full((BLOCK_Q,), HIDDEN, tl.float32)
    ell = tl.zeros((BLOCK_Q,), tl.float32)
    out = tl.zeros((BLOCK_Q, BLOCK_DV), tl.float32)
    m, ell, out = attend(
        m, ell, out, q, rows_at(k_ptr, k_steps, batch, kv_head, 0),
        rows_at(v_ptr, v_steps, batch, kv_head, 0), k_steps[2], v_steps[2], rows[:, None], start,
        tl.minimum(start + keys_each, seq_k), (seq_q, seq_k), scale, softcap, window, slope,
        D, BLOCK_D, DV, BLOCK_DV, BLOCK_K, CAUSAL, True, GUARD,
    )  # fmt: skip
    out, lse = finish(m, ell, out)
    n_rows = tl.num_programs(2) * heads * seq_q  # of all heads together
    at = split.to(tl.int64) * n_rows + (batch * heads + head) * seq_q + rows
    features = tl.arange(0, BLOCK_DV)
    inside = there[:, None] & (features[None, :] < DV)
    tl.store(part_ptr + at[:, None] * DV + features[None, :], out, inside)
    tl.store(part_lse_ptr + at, lse, there)


@triton.jit
def merge_kernel(
    part_ptr, part_lse_ptr, out_ptr, lse_ptr, n_rows, n_splits,
    DV: tl.constexpr, BLOCK_DV: tl.constexpr, SPLITS: tl.constexpr,
):  # fmt: skip
    """The parts of one query's average, weighted by the share of their keys: exp(lse_i - lse)."""
    row = tl.cast(tl.program_id(0), tl.int64)
    splits, features = tl.arange(0, SPLITS), tl.arange(0, BLOCK_DV)
    at = splits * tl.cast(n_rows, tl.int64) + row
    lse = tl.load(part_lse_ptr + at, splits < n_splits, HIDDEN)
    top = tl.max(lse, 0)
    known = tl.where(top == HIDDEN, 0.0, top)
    share = tl.exp(lse - known)
    total = tl.sum(share, 0)
    inside = (splits[:, None] < n_splits) & (features[None, :] < DV)
    parts = tl.load(part_ptr + at[:, None] * DV + features[None, :], inside, 0.0)
    out = tl.where(total == 0, 0.0, tl.sum(parts * share[:, None], 0) / total)
    tl.store(out_ptr + row * DV + features, out.to(out_ptr.dtype.element_ty), features < DV)
    tl.store(lse_ptr + row, known + tl.log(total))
