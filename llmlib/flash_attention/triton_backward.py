"""The backward pass of flash attention as Triton kernels: tiles are computed again, not stored.

    P = exp(S - lse)    dV = P^T dO    dS = P * (dO V^T - delta)    dQ = scale dS K
    delta = rowsum(dO * O) - dlse                                   dK = scale dS^T Q

One kernel owns queries and writes dQ, one owns keys and writes dK and dV: no two programs write to
the same place, so nothing has to be added across them and two runs agree to the last bit.

Source: dao2022flashattention, dao2023flashattention2
"""

# Triton compiles these functions and knows the types from each call:
# mypy: ignore-errors

from llmlib.flash_attention.triton_kernels import (
    HIDDEN,
    LOG2E,
    load_rows,
    note_nan,
    reach,
    rows_at,
    score_tile,
    slope_of,
    store_rows,
    text_at,
    this_program,
    tiles_within,
    weighted_sum,
)
from llmlib.flash_attention.triton_package import tl, triton


@triton.jit
def delta_kernel(
    out_ptr, d_out_ptr, d_lse_ptr, delta_ptr, out_steps, d_out_steps, lse_steps, n_rows,
    DV: tl.constexpr, BLOCK_DV: tl.constexpr, BLOCK_Q: tl.constexpr,
):  # fmt: skip
    """delta = rowsum(dO * O) - dlse: what the gradients of a row's scores have in common."""
    first, head, batch = tl.program_id(0) * BLOCK_Q, tl.program_id(1), tl.program_id(2)
    left, members = n_rows - first, tl.arange(0, BLOCK_Q)
    out_ptr = rows_at(out_ptr, out_steps, batch, head, first)
    d_out_ptr = rows_at(d_out_ptr, d_out_steps, batch, head, first)
    out = load_rows(out_ptr, out_steps[2], left, BLOCK_Q, DV, BLOCK_DV).to(tl.float32)
    d_out = load_rows(d_out_ptr, d_out_steps[2], left, BLOCK_Q, DV, BLOCK_DV).to(tl.float32)
    delta = tl.sum(out * d_out, 1)
    if d_lse_ptr is not None:
        d_lse_ptr = rows_at(d_lse_ptr, lse_steps, batch, head, first)
        delta -= tl.load(d_lse_ptr + members, members < left, 0.0)
    delta_ptr = rows_at(delta_ptr, lse_steps, batch, head, first)
    tl.store(delta_ptr + members, delta, members < left)


@triton.jit
def load_vectors(lse_ptr, delta_ptr, n_rows, ROWS: tl.constexpr):
    """lse in units of log2, as the scores are, and delta; 0 beyond the last row."""
    members = tl.arange(0, ROWS)
    lse = tl.load(lse_ptr + members, members < n_rows, 0.0) * LOG2E
    return lse, tl.load(delta_ptr + members, members < n_rows, 0.0)


@triton.jit
def weights_and_gradient(
    q, k, d_out, v, lse, delta, rows, keys, lengths, scale, softcap, window, slope,
    CAUSAL: tl.constexpr, MASKED: tl.constexpr,
):  # fmt: skip
    """A tile computed again: p = exp(s - lse) and ds = p * (dO v^T - delta).

    lse, delta and rows are columns, keys is a row. With each pair swapped (q and k, dO and v) and
    each vector turned, both results come out transposed.
    """
    s, t = score_tile(q, k, rows, keys, lengths, scale, softcap, window, slope, CAUSAL, MASKED)
    p = tl.exp2(s - lse)
    dp = tl.dot(d_out, tl.trans(v), input_precision="ieee")
    ds = p * (dp - delta)
    # A hidden key, or a query that does not see it, may hold NaN, and a row without a key has
    # lse = -inf; whatever came of that ends here.
    if MASKED:
        p = tl.where(s == HIDDEN, 0.0, p)
        ds = tl.where(s == HIDDEN, 0.0, ds)
    if softcap is not None:
        ds *= 1 - t * t  # the derivative of the cap
    return p, ds


# --- dQ ---------------------------------------------------------------------------------------


@triton.jit
def add_keys(
    dq, q, d_out, lse, delta, k_ptr, v_ptr, k_row, v_row, rows, start, end,
    lengths, scale, softcap, window, slope,
    D: tl.constexpr, BLOCK_D: tl.constexpr, DV: tl.constexpr, BLOCK_DV: tl.constexpr,
    BLOCK_K: tl.constexpr, CAUSAL: tl.constexpr, MASKED: tl.constexpr, GUARD: tl.constexpr,
):  # fmt: skip
    """dq + dS K over the keys from start to end."""
    seq_k = lengths[1]
    for begin in range(start, end, BLOCK_K):
        at = tl.cast(begin, tl.int64)
        k = load_rows(k_ptr + at * k_row, k_row, seq_k - begin, BLOCK_K, D, BLOCK_D)
        v = load_rows(v_ptr + at * v_row, v_row, seq_k - begin, BLOCK_K, DV, BLOCK_DV)
        keys = begin + tl.arange(0, BLOCK_K)[None, :]
        _, ds = weights_and_gradient(
            q, k, d_out, v, lse[:, None], delta[:, None], rows, keys,
            lengths, scale, softcap, window, slope, CAUSAL, MASKED,
        )  # fmt: skip
        dq = weighted_sum(dq, ds, k, GUARD)
    return dq


@triton.jit
def query_gradient(
    q, d_out, lse, delta, k_ptr, v_ptr, k_row, v_row, first,
    lengths, scale, softcap, window, slope,
    D: tl.constexpr, BLOCK_D: tl.constexpr, DV: tl.constexpr, BLOCK_DV: tl.constexpr,
    BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr, CAUSAL: tl.constexpr, GUARD: tl.constexpr,
):  # fmt: skip
    """dS K of the queries from `first`, over all their keys, as in the forward pass."""
    seq_q, seq_k = lengths
    low, rows = first + seq_k - seq_q, first + tl.arange(0, BLOCK_Q)[:, None]
    back, ahead = reach(window, CAUSAL)
    start, full_start, full_end, end = tiles_within(
        low, low + BLOCK_Q - 1, back, ahead, seq_k, BLOCK_K
    )
    dq = tl.zeros((BLOCK_Q, BLOCK_D), tl.float32)
    if window is not None:
        dq = add_keys(
            dq, q, d_out, lse, delta, k_ptr, v_ptr, k_row, v_row, rows, start,
            tl.minimum(full_start, end), lengths, scale, softcap, window, slope,
            D, BLOCK_D, DV, BLOCK_DV, BLOCK_K, CAUSAL, True, GUARD,
        )  # fmt: skip
    dq = add_keys(
        dq, q, d_out, lse, delta, k_ptr, v_ptr, k_row, v_row, rows, full_start, full_end,
        lengths, scale, softcap, window, slope,
        D, BLOCK_D, DV, BLOCK_DV, BLOCK_K, CAUSAL, False, False,
    )  # fmt: skip
    return add_keys(
        dq, q, d_out, lse, delta, k_ptr, v_ptr, k_row, v_row, rows, full_end, end,
        lengths, scale, softcap, window, slope,
        D, BLOCK_D, DV, BLOCK_DV, BLOCK_K, CAUSAL, True, GUARD,
    )  # fmt: skip


@triton.jit
def dq_kernel(
    q_ptr, k_ptr, v_ptr, d_out_ptr, lse_ptr, delta_ptr, dq_ptr,
    slopes_ptr, cu_q_ptr, cu_k_ptr, noted_ptr,
    q_steps, k_steps, v_steps, d_out_steps, lse_steps, dq_steps,
    seq_q, seq_k, group, scale, softcap, window,
    D: tl.constexpr, BLOCK_D: tl.constexpr, DV: tl.constexpr, BLOCK_DV: tl.constexpr,
    BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr, CAUSAL: tl.constexpr, GUARD: tl.constexpr,
):  # fmt: skip
    """dQ = scale * dS K for BLOCK_Q queries of one head."""
    if GUARD:  # noqa: SIM102 - known when the kernel is compiled, unlike the next line
        if tl.load(noted_ptr + this_program()) == 0:
            return
    head, batch = tl.program_id(1), tl.program_id(2)
    first = (tl.num_programs(0) - 1 - tl.program_id(0)) * BLOCK_Q
    first_q, first_k, seq_q, seq_k = text_at(batch, cu_q_ptr, cu_k_ptr, seq_q, seq_k)
    if first >= seq_q:
        return
    at, left = first_q + first, seq_q - first
    q_ptr, d_out_ptr, dq_ptr, lse_ptr, delta_ptr = (
        rows_at(q_ptr, q_steps, batch, head, at), rows_at(d_out_ptr, d_out_steps, batch, head, at),
        rows_at(dq_ptr, dq_steps, batch, head, at), rows_at(lse_ptr, lse_steps, batch, head, at),
        rows_at(delta_ptr, lse_steps, batch, head, at),
    )  # fmt: skip
    k_ptr = rows_at(k_ptr, k_steps, batch, head // group, first_k)
    v_ptr = rows_at(v_ptr, v_steps, batch, head // group, first_k)
    slope = slope_of(slopes_ptr, batch, tl.num_programs(1), head)
    q = load_rows(q_ptr, q_steps[2], left, BLOCK_Q, D, BLOCK_D)
    d_out = load_rows(d_out_ptr, d_out_steps[2], left, BLOCK_Q, DV, BLOCK_DV)
    lse, delta = load_vectors(lse_ptr, delta_ptr, left, BLOCK_Q)
    dq = query_gradient(
        q, d_out, lse, delta, k_ptr, v_ptr, k_steps[2], v_steps[2], first,
        (seq_q, seq_k), scale, softcap, window, slope,
        D, BLOCK_D, DV, BLOCK_DV, BLOCK_Q, BLOCK_K, CAUSAL, GUARD,
    )  # fmt: skip
    store_rows(dq_ptr, dq * scale, dq_steps[2], left, BLOCK_Q, D, BLOCK_D)
    if noted_ptr is not None and not GUARD:
        note_nan(noted_ptr, dq, left, BLOCK_Q)


# --- dK and dV --------------------------------------------------------------------------------


@triton.jit
def add_queries(
    dk, dv, k, v, q_ptr, d_out_ptr, lse_ptr, delta_ptr, q_row, d_out_row, keys, start, end,
    lengths, scale, softcap, window, slope,
    D: tl.constexpr, BLOCK_D: tl.constexpr, DV: tl.constexpr, BLOCK_DV: tl.constexpr,
    BLOCK_Q: tl.constexpr, CAUSAL: tl.constexpr, MASKED: tl.constexpr, GUARD: tl.constexpr,
):  # fmt: skip
    """dk + dS^T Q and dv + P^T dO over the queries from start to end."""
    seq_q = lengths[0]
    for begin in range(start, end, BLOCK_Q):
        at, left = tl.cast(begin, tl.int64), seq_q - begin
        q = load_rows(q_ptr + at * q_row, q_row, left, BLOCK_Q, D, BLOCK_D)
        d_out = load_rows(d_out_ptr + at * d_out_row, d_out_row, left, BLOCK_Q, DV, BLOCK_DV)
        lse, delta = load_vectors(lse_ptr + at, delta_ptr + at, left, BLOCK_Q)
        rows = begin + tl.arange(0, BLOCK_Q)[None, :]
        p, ds = weights_and_gradient(  # transposed: keys down, queries across
            k, q, v, d_out, lse[None, :], delta[None, :], rows, keys,
            lengths, scale, softcap, window, slope, CAUSAL, MASKED,
        )  # fmt: skip
        dv = weighted_sum(dv, p, d_out, GUARD)
        dk = weighted_sum(dk, ds, q, GUARD)
    return dk, dv


@triton.jit
def add_head(
    dk, dv, k, v, q_ptr, d_out_ptr, lse_ptr, delta_ptr, q_row, d_out_row, first,
    lengths, scale, softcap, window, slope,
    D: tl.constexpr, BLOCK_D: tl.constexpr, DV: tl.constexpr, BLOCK_DV: tl.constexpr,
    BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr, CAUSAL: tl.constexpr, GUARD: tl.constexpr,
):  # fmt: skip
    """One head's share of dK and dV: the queries that see a key of the run from `first`."""
    seq_q, seq_k = lengths
    low, keys = first + seq_q - seq_k, first + tl.arange(0, BLOCK_K)[:, None]
    ahead, back = reach(window, CAUSAL)  # seen from a key, queries ahead look back at it
    start, full_start, full_end, end = tiles_within(
        low, low + BLOCK_K - 1, back, ahead, seq_q, BLOCK_Q
    )
    if window is not None or CAUSAL:
        dk, dv = add_queries(
            dk, dv, k, v, q_ptr, d_out_ptr, lse_ptr, delta_ptr, q_row, d_out_row, keys, start,
            tl.minimum(full_start, end), lengths, scale, softcap, window, slope,
            D, BLOCK_D, DV, BLOCK_DV, BLOCK_Q, CAUSAL, True, GUARD,
        )  # fmt: skip
    if window is None:  # rows beyond the last query load as 0 and add nothing
        full_end = end
    dk, dv = add_queries(
        dk, dv, k, v, q_ptr, d_out_ptr, lse_ptr, delta_ptr, q_row, d_out_row, keys, full_start,
        full_end, lengths, scale, softcap, window, slope,
        D, BLOCK_D, DV, BLOCK_DV, BLOCK_Q, CAUSAL, False, False,
    )  # fmt: skip
    if window is not None:
        dk, dv = add_queries(
            dk, dv, k, v, q_ptr, d_out_ptr, lse_ptr, delta_ptr, q_row, d_out_row, keys, full_end,
            end, lengths, scale, softcap, window, slope,
            D, BLOCK_D, DV, BLOCK_DV, BLOCK_Q, CAUSAL, True, GUARD,
        )  # fmt: skip
    return dk, dv


@triton.jit
def dk_dv_kernel(
    q_ptr, k_ptr, v_ptr, d_out_ptr, lse_ptr, delta_ptr, dk_ptr, dv_ptr,
    slopes_ptr, cu_q_ptr, cu_k_ptr, noted_ptr,
    q_steps, k_steps, v_steps, d_out_steps, lse_steps, dk_steps, dv_steps,
    seq_q, seq_k, group, scale, softcap, window,
    D: tl.constexpr, BLOCK_D: tl.constexpr, DV: tl.constexpr, BLOCK_DV: tl.constexpr,
    BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr, CAUSAL: tl.constexpr, GUARD: tl.constexpr,
):  # fmt: skip
    """dK = scale * dS^T Q and dV = P^T dO for BLOCK_K keys, over all query heads of their group."""
    if GUARD:  # noqa: SIM102 - known when the kernel is compiled, unlike the next line
        if tl.load(noted_ptr + this_program()) == 0:
            return
    first, kv_head, batch = tl.program_id(0) * BLOCK_K, tl.program_id(1), tl.program_id(2)
    first_q, first_k, seq_q, seq_k = text_at(batch, cu_q_ptr, cu_k_ptr, seq_q, seq_k)
    if first >= seq_k:
        return
    at, left = first_k + first, seq_k - first
    k_ptr, v_ptr = (rows_at(k_ptr, k_steps, batch, kv_head, at),
                    rows_at(v_ptr, v_steps, batch, kv_head, at))  # fmt: skip
    k = load_rows(k_ptr, k_steps[2], left, BLOCK_K, D, BLOCK_D)
    v = load_rows(v_ptr, v_steps[2], left, BLOCK_K, DV, BLOCK_DV)
    dk, dv = tl.zeros((BLOCK_K, BLOCK_D), tl.float32), tl.zeros((BLOCK_K, BLOCK_DV), tl.float32)
    for member in range(group):
        head = kv_head * group + member
        slope = slope_of(slopes_ptr, batch, tl.num_programs(1) * group, head)
        dk, dv = add_head(
            dk, dv, k, v, rows_at(q_ptr, q_steps, batch, head, first_q),
            rows_at(d_out_ptr, d_out_steps, batch, head, first_q),
            rows_at(lse_ptr, lse_steps, batch, head, first_q),
            rows_at(delta_ptr, lse_steps, batch, head, first_q), q_steps[2], d_out_steps[2], first,
            (seq_q, seq_k), scale, softcap, window, slope,
            D, BLOCK_D, DV, BLOCK_DV, BLOCK_Q, BLOCK_K, CAUSAL, GUARD,
        )  # fmt: skip
    dk_ptr, dv_ptr = (rows_at(dk_ptr, dk_steps, batch, kv_head, at),
                      rows_at(dv_ptr, dv_steps, batch, kv_head, at))  # fmt: skip
    store_rows(dk_ptr, dk * scale, dk_steps[2], left, BLOCK_K, D, BLOCK_D)
    store_rows(dv_ptr, dv, dv_steps[2], left, BLOCK_K, DV, BLOCK_DV)
    if noted_ptr is not None and not GUARD:
        note_nan(noted_ptr, dk, left, BLOCK_K)
        note_nan(noted_ptr, dv, left, BLOCK_K)
