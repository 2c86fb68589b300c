"""Flash attention as Triton kernels: forward, backward and decoding, for NVIDIA GPUs.

Letters as in the chapter: a program owns BLOCK_Q queries and visits BLOCK_K keys at a time. It
keeps a running maximum m, a running denominator l and a running output; when a larger score
arrives, what was summed so far is multiplied by 2^(old m - new m). Scores are kept in units of
log2, since the chip's exponential is 2^x.

The kernels take explicit tile sizes; `launch.py` chooses them.

Source: dao2022flashattention, dao2023flashattention2, dao2023flashdecoding
"""

import triton
import triton.language as tl

LOG2E = tl.constexpr(1.4426950408889634)
LN2 = tl.constexpr(0.6931471805599453)
HIDDEN = tl.constexpr(float("-inf"))


# --- shared by all kernels --------------------------------------------------------------------


@triton.jit
def load_rows(pointer, rows, row_stride, n_rows, D: tl.constexpr, BLOCK_D: tl.constexpr):
    """(rows, BLOCK_D) from memory; 0 beyond the last row and the last feature."""
    features = tl.arange(0, BLOCK_D)
    there = (rows[:, None] < n_rows) & (features[None, :] < D)
    return tl.load(pointer + rows[:, None] * row_stride + features[None, :], there, 0.0)


@triton.jit
def store_rows(pointer, x, rows, row_stride, n_rows, D: tl.constexpr, BLOCK_D: tl.constexpr):
    """The inverse of `load_rows`, in the type of the memory."""
    features = tl.arange(0, BLOCK_D)
    there = (rows[:, None] < n_rows) & (features[None, :] < D)
    x = x.to(pointer.dtype.element_ty)
    tl.store(pointer + rows[:, None] * row_stride + features[None, :], x, there)


@triton.jit
def tanh(x):
    """By the sigmoid, which every version of Triton has."""
    return 2 * tl.sigmoid(2 * x) - 1


@triton.jit
def score_tile(
    q, k, rows, keys, slope, seq_q, seq_k, scale, softcap, window,
    CAUSAL: tl.constexpr, WINDOW: tl.constexpr, ALIBI: tl.constexpr, SOFTCAP: tl.constexpr,
    MASKED: tl.constexpr,
):  # fmt: skip
    """Scores in units of log2, hidden ones -inf; and tanh before the cap, for the gradient."""
    s = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
    t = s
    if SOFTCAP:
        t = tanh(s / softcap)
        s = softcap * t
    behind = rows[:, None] + (seq_k - seq_q) - keys[None, :]  # how far the key lies back
    if ALIBI:
        s -= slope * tl.abs(behind)
    s *= LOG2E
    if MASKED:
        visible = (keys[None, :] < seq_k) & (rows[:, None] < seq_q)
        if CAUSAL:
            visible &= behind >= 0
        if WINDOW:
            visible &= behind < window
            if not CAUSAL:
                visible &= -behind < window
        s = tl.where(visible, s, HIDDEN)
    return s, t


@triton.jit
def key_tiles(
    first, seq_q, seq_k, window,
    CAUSAL: tl.constexpr, WINDOW: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """Where the tiles of a run of queries start, need no mask, need one again, and end.

    Every number but the last is a multiple of BLOCK_K.
    """
    low = first + seq_k - seq_q
    high = low + BLOCK_Q - 1
    start = 0
    end = seq_k
    full_start = 0
    full_end = seq_k
    if WINDOW:
        start = tl.maximum(low - window + 1, 0) // BLOCK_K * BLOCK_K
        full_start = tl.cdiv(tl.maximum(high - window + 1, 0), BLOCK_K) * BLOCK_K
        if not CAUSAL:
            end = tl.minimum(seq_k, high + window)
            full_end = tl.minimum(seq_k, low + window)
    if CAUSAL:
        end = tl.minimum(seq_k, high + 1)
        full_end = tl.minimum(seq_k, low + 1)
    full_end = tl.maximum(full_end, 0) // BLOCK_K * BLOCK_K
    full_start = tl.maximum(full_start, start)
    full_end = tl.maximum(full_end, full_start)
    return start, full_start, full_end, end


@triton.jit
def weighted_sum(out, p, v, MASKED: tl.constexpr):
    """out + p v, where a weight of 0 takes nothing: a product with NaN or inf would be NaN."""
    if MASKED:
        bad = (v != v) | (tl.abs(v) == float("inf"))
        if tl.max(tl.max(bad.to(tl.int32), 1), 0) > 0:
            seen = tl.dot((p > 0).to(v.dtype), bad.to(v.dtype), input_precision="ieee")
            out = tl.where(seen > 0, float("nan"), out)
            v = tl.where(bad, 0.0, v)
    return tl.dot(p.to(v.dtype), v, out, input_precision="ieee")


# --- forward ----------------------------------------------------------------------------------


@triton.jit
def attend(
    m, l, out, q, k_ptr, v_ptr, k_row, v_row, rows, slope, start, end,
    seq_q, seq_k, scale, softcap, window,
    D: tl.constexpr, BLOCK_D: tl.constexpr, DV: tl.constexpr, BLOCK_DV: tl.constexpr,
    BLOCK_K: tl.constexpr, CAUSAL: tl.constexpr, WINDOW: tl.constexpr, ALIBI: tl.constexpr,
    SOFTCAP: tl.constexpr, MASKED: tl.constexpr,
):  # fmt: skip
    """The online softmax over the keys from start to end."""
    for begin in range(start, end, BLOCK_K):
        keys = begin + tl.arange(0, BLOCK_K)
        k = load_rows(k_ptr, keys, k_row, seq_k, D, BLOCK_D)
        s, _ = score_tile(
            q, k, rows, keys, slope, seq_q, seq_k, scale, softcap, window,
            CAUSAL, WINDOW, ALIBI, SOFTCAP, MASKED,
        )  # fmt: skip
        new_m = tl.maximum(m, tl.max(s, 1))
        known = tl.where(new_m == HIDDEN, 0.0, new_m)  # -inf - -inf would be NaN
        p = tl.exp2(s - known[:, None])
        shrink = tl.exp2(m - known)
        l = l * shrink + tl.sum(p, 1)
        v = load_rows(v_ptr, keys, v_row, seq_k, DV, BLOCK_DV)
        out = weighted_sum(out * shrink[:, None], p, v, MASKED)
        m = new_m
    return m, l, out


@triton.jit
def forward_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, lse_ptr, slopes_ptr,
    q_batch, q_head, q_row, k_batch, k_head, k_row, v_batch, v_head, v_row,
    out_batch, out_head, out_row,
    seq_q, seq_k, heads, group, scale, softcap, window,
    D: tl.constexpr, BLOCK_D: tl.constexpr, DV: tl.constexpr, BLOCK_DV: tl.constexpr,
    BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr, CAUSAL: tl.constexpr, WINDOW: tl.constexpr,
    ALIBI: tl.constexpr, SOFTCAP: tl.constexpr,
):  # fmt: skip
    """BLOCK_Q queries of one head: their averages and the log-sum-exp of their scores."""
    first = tl.program_id(0) * BLOCK_Q
    row_of_heads = tl.program_id(1)
    batch, head = row_of_heads // heads, row_of_heads % heads
    rows = first + tl.arange(0, BLOCK_Q)
    q_ptr += batch.to(tl.int64) * q_batch + head * q_head
    k_ptr += batch.to(tl.int64) * k_batch + head // group * k_head
    v_ptr += batch.to(tl.int64) * v_batch + head // group * v_head
    out_ptr += batch.to(tl.int64) * out_batch + head * out_head
    slope = 0.0
    if ALIBI:
        slope = tl.load(slopes_ptr + row_of_heads)
    q = load_rows(q_ptr, rows, q_row, seq_q, D, BLOCK_D)
    m = tl.full((BLOCK_Q,), HIDDEN, tl.float32)
    l = tl.zeros((BLOCK_Q,), tl.float32)
    out = tl.zeros((BLOCK_Q, BLOCK_DV), tl.float32)
    start, full_start, full_end, end = key_tiles(
        first, seq_q, seq_k, window, CAUSAL, WINDOW, BLOCK_Q, BLOCK_K
    )
    if WINDOW:
        m, l, out = attend(
            m, l, out, q, k_ptr, v_ptr, k_row, v_row, rows, slope, start,
            tl.minimum(full_start, end), seq_q, seq_k, scale, softcap, window,
            D, BLOCK_D, DV, BLOCK_DV, BLOCK_K, CAUSAL, WINDOW, ALIBI, SOFTCAP, True,
        )  # fmt: skip
    m, l, out = attend(
        m, l, out, q, k_ptr, v_ptr, k_row, v_row, rows, slope, full_start, full_end,
        seq_q, seq_k, scale, softcap, window,
        D, BLOCK_D, DV, BLOCK_DV, BLOCK_K, CAUSAL, WINDOW, ALIBI, SOFTCAP, False,
    )  # fmt: skip
    m, l, out = attend(
        m, l, out, q, k_ptr, v_ptr, k_row, v_row, rows, slope, full_end, end,
        seq_q, seq_k, scale, softcap, window,
        D, BLOCK_D, DV, BLOCK_DV, BLOCK_K, CAUSAL, WINDOW, ALIBI, SOFTCAP, True,
    )  # fmt: skip
    seen = l != 0
    out = tl.where(seen[:, None], out / tl.where(seen, l, 1.0)[:, None], 0.0)
    lse = tl.where(seen, m * LN2 + tl.log(tl.where(seen, l, 1.0)), HIDDEN)
    store_rows(out_ptr, out, rows, out_row, seq_q, DV, BLOCK_DV)
    tl.store(lse_ptr + row_of_heads.to(tl.int64) * seq_q + rows, lse, rows < seq_q)


# --- backward ---------------------------------------------------------------------------------


@triton.jit
def delta_kernel(
    out_ptr, d_out_ptr, d_lse_ptr, delta_ptr,
    out_batch, out_head, out_row, d_out_batch, d_out_head, d_out_row, seq_q, heads,
    DV: tl.constexpr, BLOCK_DV: tl.constexpr, BLOCK_Q: tl.constexpr,
):  # fmt: skip
    """delta = rowsum(dO * O) - dlse: what every weight's gradient of a row has in common."""
    rows = tl.program_id(0) * BLOCK_Q + tl.arange(0, BLOCK_Q)
    row_of_heads = tl.program_id(1)
    batch, head = row_of_heads // heads, row_of_heads % heads
    out_ptr += batch.to(tl.int64) * out_batch + head * out_head
    d_out_ptr += batch.to(tl.int64) * d_out_batch + head * d_out_head
    out = load_rows(out_ptr, rows, out_row, seq_q, DV, BLOCK_DV).to(tl.float32)
    d_out = load_rows(d_out_ptr, rows, d_out_row, seq_q, DV, BLOCK_DV).to(tl.float32)
    at = row_of_heads.to(tl.int64) * seq_q + rows
    delta = tl.sum(out * d_out, 1) - tl.load(d_lse_ptr + at, rows < seq_q, 0.0)
    tl.store(delta_ptr + at, delta, rows < seq_q)


@triton.jit
def weights_and_gradient(
    q, k, v, d_out, lse, delta, rows, keys, slope, seq_q, seq_k, scale, softcap, window,
    CAUSAL: tl.constexpr, WINDOW: tl.constexpr, ALIBI: tl.constexpr, SOFTCAP: tl.constexpr,
):  # fmt: skip
    """A tile computed again: p = exp(s - lse) and ds = p * (dO v^T - delta)."""
    s, t = score_tile(
        q, k, rows, keys, slope, seq_q, seq_k, scale, softcap, window,
        CAUSAL, WINDOW, ALIBI, SOFTCAP, True,
    )  # fmt: skip
    # A row without a key has lse = -inf, and only hidden scores: 2^(-inf - 0) = 0.
    p = tl.exp2(s - tl.where(lse == HIDDEN, 0.0, lse * LOG2E)[:, None])
    dp = tl.dot(d_out, tl.trans(v), input_precision="ieee")
    ds = tl.where(p > 0, p * (dp - delta[:, None]), 0.0)
    if SOFTCAP:
        ds *= 1 - t * t
    return p, ds


@triton.jit
def dq_kernel(
    q_ptr, k_ptr, v_ptr, d_out_ptr, lse_ptr, delta_ptr, slopes_ptr, dq_ptr,
    q_batch, q_head, q_row, k_batch, k_head, k_row, v_batch, v_head, v_row,
    d_out_batch, d_out_head, d_out_row, dq_batch, dq_head, dq_row,
    seq_q, seq_k, heads, group, scale, softcap, window,
    D: tl.constexpr, BLOCK_D: tl.constexpr, DV: tl.constexpr, BLOCK_DV: tl.constexpr,
    BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr, CAUSAL: tl.constexpr, WINDOW: tl.constexpr,
    ALIBI: tl.constexpr, SOFTCAP: tl.constexpr,
):  # fmt: skip
    """dQ = scale * dS K for BLOCK_Q queries of one head."""
    first = tl.program_id(0) * BLOCK_Q
    row_of_heads = tl.program_id(1)
    batch, head = row_of_heads // heads, row_of_heads % heads
    rows = first + tl.arange(0, BLOCK_Q)
    q_ptr += batch.to(tl.int64) * q_batch + head * q_head
    k_ptr += batch.to(tl.int64) * k_batch + head // group * k_head
    v_ptr += batch.to(tl.int64) * v_batch + head // group * v_head
    d_out_ptr += batch.to(tl.int64) * d_out_batch + head * d_out_head
    dq_ptr += batch.to(tl.int64) * dq_batch + head * dq_head
    slope = 0.0
    if ALIBI:
        slope = tl.load(slopes_ptr + row_of_heads)
    q = load_rows(q_ptr, rows, q_row, seq_q, D, BLOCK_D)
    d_out = load_rows(d_out_ptr, rows, d_out_row, seq_q, DV, BLOCK_DV)
    at = row_of_heads.to(tl.int64) * seq_q + rows
    lse = tl.load(lse_ptr + at, rows < seq_q, HIDDEN)
    delta = tl.load(delta_ptr + at, rows < seq_q, 0.0)
    start, full_start, full_end, end = key_tiles(
        first, seq_q, seq_k, window, CAUSAL, WINDOW, BLOCK_Q, BLOCK_K
    )
    dq = tl.zeros((BLOCK_Q, BLOCK_D), tl.float32)
    for begin in range(start, end, BLOCK_K):
        keys = begin + tl.arange(0, BLOCK_K)
        k = load_rows(k_ptr, keys, k_row, seq_k, D, BLOCK_D)
        v = load_rows(v_ptr, keys, v_row, seq_k, DV, BLOCK_DV)
        p, ds = weights_and_gradient(
            q, k, v, d_out, lse, delta, rows, keys, slope, seq_q, seq_k, scale, softcap, window,
            CAUSAL, WINDOW, ALIBI, SOFTCAP,
        )  # fmt: skip
        dq = tl.dot(ds.to(k.dtype), k, dq, input_precision="ieee")
    store_rows(dq_ptr, dq * scale, rows, dq_row, seq_q, D, BLOCK_D)


@triton.jit
def dk_dv_kernel(
    q_ptr, k_ptr, v_ptr, d_out_ptr, lse_ptr, delta_ptr, slopes_ptr, dk_ptr, dv_ptr,
    q_batch, q_head, q_row, k_batch, k_head, k_row, v_batch, v_head, v_row,
    d_out_batch, d_out_head, d_out_row, dk_batch, dk_head, dk_row, dv_batch, dv_head, dv_row,
    seq_q, seq_k, heads, group, scale, softcap, window,
    D: tl.constexpr, BLOCK_D: tl.constexpr, DV: tl.constexpr, BLOCK_DV: tl.constexpr,
    BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr, CAUSAL: tl.constexpr, WINDOW: tl.constexpr,
    ALIBI: tl.constexpr, SOFTCAP: tl.constexpr,
):  # fmt: skip
    """dK = scale * dS^T Q and dV = P^T dO for BLOCK_K keys of one key/value head.

    All query heads of the group and all queries that may see a key are visited, so nothing has to
    be added across programs.
    """
    first_key = tl.program_id(0) * BLOCK_K
    groups = heads // group
    batch, kv_head = tl.program_id(1) // groups, tl.program_id(1) % groups
    keys = first_key + tl.arange(0, BLOCK_K)
    k_ptr += batch.to(tl.int64) * k_batch + kv_head * k_head
    v_ptr += batch.to(tl.int64) * v_batch + kv_head * v_head
    k = load_rows(k_ptr, keys, k_row, seq_k, D, BLOCK_D)
    v = load_rows(v_ptr, keys, v_row, seq_k, DV, BLOCK_DV)
    dk = tl.zeros((BLOCK_K, BLOCK_D), tl.float32)
    dv = tl.zeros((BLOCK_K, BLOCK_DV), tl.float32)
    # Query i stands at i + seq_k - seq_q: which of them see some key of this run?
    shift = seq_q - seq_k
    start, end = 0, seq_q
    if CAUSAL:
        start = tl.maximum(first_key + shift, 0)
    if WINDOW:
        end = tl.minimum(seq_q, first_key + BLOCK_K - 1 + window + shift)
        if not CAUSAL:
            start = tl.maximum(first_key - window + 1 + shift, 0)
    for member in range(group):
        head = kv_head * group + member
        q_base = q_ptr + batch.to(tl.int64) * q_batch + head * q_head
        d_out_base = d_out_ptr + batch.to(tl.int64) * d_out_batch + head * d_out_head
        row_of_heads = (batch * heads + head).to(tl.int64)
        slope = 0.0
        if ALIBI:
            slope = tl.load(slopes_ptr + row_of_heads)
        for first in range(start // BLOCK_Q * BLOCK_Q, end, BLOCK_Q):
            rows = first + tl.arange(0, BLOCK_Q)
            q = load_rows(q_base, rows, q_row, seq_q, D, BLOCK_D)
            d_out = load_rows(d_out_base, rows, d_out_row, seq_q, DV, BLOCK_DV)
            at = row_of_heads * seq_q + rows
            lse = tl.load(lse_ptr + at, rows < seq_q, HIDDEN)
            delta = tl.load(delta_ptr + at, rows < seq_q, 0.0)
            p, ds = weights_and_gradient(
                q, k, v, d_out, lse, delta, rows, keys, slope, seq_q, seq_k, scale, softcap,
                window, CAUSAL, WINDOW, ALIBI, SOFTCAP,
            )  # fmt: skip
            dv = tl.dot(tl.trans(p.to(d_out.dtype)), d_out, dv, input_precision="ieee")
            dk = tl.dot(tl.trans(ds.to(q.dtype)), q, dk, input_precision="ieee")
    dk_ptr += batch.to(tl.int64) * dk_batch + kv_head * dk_head
    dv_ptr += batch.to(tl.int64) * dv_batch + kv_head * dv_head
    store_rows(dk_ptr, dk * scale, keys, dk_row, seq_k, D, BLOCK_D)
    store_rows(dv_ptr, dv, keys, dv_row, seq_k, DV, BLOCK_DV)


# --- decoding ---------------------------------------------------------------------------------


@triton.jit
def decode_kernel(
    q_ptr, k_ptr, v_ptr, part_ptr, part_lse_ptr, slopes_ptr,
    q_batch, q_head, q_row, k_batch, k_head, k_row, v_batch, v_head, v_row,
    seq_q, seq_k, heads, group, keys_each, scale, softcap, window,
    D: tl.constexpr, BLOCK_D: tl.constexpr, DV: tl.constexpr, BLOCK_DV: tl.constexpr,
    BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr, CAUSAL: tl.constexpr, WINDOW: tl.constexpr,
    ALIBI: tl.constexpr, SOFTCAP: tl.constexpr,
):  # fmt: skip
    """A few queries against one part of a long cache, of `keys_each` keys.

    One query alone would leave most of the chip idle and read the keys once for each query head.
    Here all queries of a group are the rows of one tile, and the cache is split over programs;
    `merge_kernel` puts the parts together.
    """
    split = tl.program_id(0)
    groups = heads // group
    batch, kv_head = tl.program_id(1) // groups, tl.program_id(1) % groups
    members = tl.arange(0, BLOCK_Q)
    there = members < group * seq_q
    head = kv_head * group + tl.minimum(members // seq_q, group - 1)
    rows = tl.where(there, members % seq_q, seq_q)  # beyond the queries: hidden
    features = tl.arange(0, BLOCK_D)
    at = batch.to(tl.int64) * q_batch + head * q_head + rows * q_row
    inside = there[:, None] & (features[None, :] < D)
    q = tl.load(q_ptr + at[:, None] + features[None, :], inside, 0.0)
    k_ptr += batch.to(tl.int64) * k_batch + kv_head * k_head
    v_ptr += batch.to(tl.int64) * v_batch + kv_head * v_head
    slope = 0.0
    if ALIBI:
        slope = tl.load(slopes_ptr + batch * heads + head)[:, None]
    m = tl.full((BLOCK_Q,), HIDDEN, tl.float32)
    l = tl.zeros((BLOCK_Q,), tl.float32)
    out = tl.zeros((BLOCK_Q, BLOCK_DV), tl.float32)
    start = split * keys_each
    m, l, out = attend(
        m, l, out, q, k_ptr, v_ptr, k_row, v_row, rows, slope, start,
        tl.minimum(start + keys_each, seq_k), seq_q, seq_k, scale, softcap, window,
        D, BLOCK_D, DV, BLOCK_DV, BLOCK_K, CAUSAL, WINDOW, ALIBI, SOFTCAP, True,
    )  # fmt: skip
    seen = l != 0
    out = tl.where(seen[:, None], out / tl.where(seen, l, 1.0)[:, None], 0.0)
    lse = tl.where(seen, m * LN2 + tl.log(tl.where(seen, l, 1.0)), HIDDEN)
    n_rows = tl.num_programs(1).to(tl.int64) * group * seq_q  # of all heads together
    at = split * n_rows + (batch * heads + head).to(tl.int64) * seq_q + rows
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
    row = tl.program_id(0).to(tl.int64)
    splits, features = tl.arange(0, SPLITS), tl.arange(0, BLOCK_DV)
    at = splits * n_rows + row
    lse = tl.load(part_lse_ptr + at, splits < n_splits, HIDDEN)
    top = tl.max(lse, 0)
    known = tl.where(top == HIDDEN, 0.0, top)
    share = tl.exp(lse - known)
    total = tl.sum(share, 0)
    inside = (splits[:, None] < n_splits) & (features[None, :] < DV)
    parts = tl.load(part_ptr + at[:, None] * DV + features[None, :], inside, 0.0)
    out = tl.sum(parts * share[:, None], 0) / tl.where(total == 0, 1.0, total)
    tl.store(out_ptr + row * DV + features, out.to(out_ptr.dtype.element_ty), features < DV)
    lse = tl.where(total == 0, HIDDEN, known + tl.log(tl.where(total == 0, 1.0, total)))
    tl.store(lse_ptr + row, lse)
