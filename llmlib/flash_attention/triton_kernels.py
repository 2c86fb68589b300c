"""Flash attention as a Triton kernel: the forward pass, and what the other kernels share with it.

Letters as in the chapter: a program owns BLOCK_Q queries of one head and visits BLOCK_K keys at a
time. It keeps a running maximum m, a running denominator ell and a running output; when a larger
score arrives, what was summed so far is multiplied by 2^(old m - new m). Scores are kept in units
of log2, since the chip's exponential is 2^x. `*_steps` says how far apart in memory two batches,
two heads and two rows are. An option that is None is compiled away.

The kernels take explicit tile sizes; `tiles.py` knows them, `launch.py` starts the kernels.

Source: dao2022flashattention, dao2023flashattention2
"""

# Triton compiles these functions and knows the types from each call:
# mypy: ignore-errors

from llmlib.flash_attention.triton_package import tl, triton

LOG2E = tl.constexpr(1.4426950408889634)
LN2 = tl.constexpr(0.6931471805599453)
HIDDEN = tl.constexpr(float("-inf"))


# --- memory -----------------------------------------------------------------------------------


@triton.jit
def rows_at(pointer, steps, batch, head, first):
    """Where row `first` of a head lies. In 64 bits: a long cache has more than 2^31 numbers."""
    start = tl.cast(batch, tl.int64) * steps[0] + tl.cast(head, tl.int64) * steps[1]
    return pointer + start + tl.cast(first, tl.int64) * steps[2]


@triton.jit
def load_rows(
    pointer, row_step, n_rows, ROWS: tl.constexpr, D: tl.constexpr, BLOCK_D: tl.constexpr
):
    """(ROWS, BLOCK_D) from memory; 0 beyond the last row and the last feature."""
    rows, features = tl.arange(0, ROWS)[:, None], tl.arange(0, BLOCK_D)[None, :]
    return tl.load(pointer + rows * row_step + features, (rows < n_rows) & (features < D), 0.0)


@triton.jit
def store_rows(
    pointer, x, row_step, n_rows, ROWS: tl.constexpr, D: tl.constexpr, BLOCK_D: tl.constexpr
):
    """The inverse of `load_rows`, in the type of the memory."""
    rows, features = tl.arange(0, ROWS)[:, None], tl.arange(0, BLOCK_D)[None, :]
    x = x.to(pointer.dtype.element_ty)
    tl.store(pointer + rows * row_step + features, x, (rows < n_rows) & (features < D))


@triton.jit
def text_at(batch, cu_q_ptr, cu_k_ptr, seq_q, seq_k):
    """First query and key of a text, and how many it has of each; packed texts lie end to end."""
    first_q, first_k = 0, 0
    if cu_q_ptr is not None:
        first_q, first_k = tl.load(cu_q_ptr + batch), tl.load(cu_k_ptr + batch)
        seq_q = tl.load(cu_q_ptr + batch + 1) - first_q
        seq_k = tl.load(cu_k_ptr + batch + 1) - first_k
    return first_q, first_k, seq_q, seq_k


@triton.jit
def slope_of(slopes_ptr, batch, heads, head):
    """The ALiBi slope of a head, from (batch, heads); None without ALiBi."""
    slope = slopes_ptr
    if slopes_ptr is not None:
        slope = tl.load(slopes_ptr + batch * heads + head)
    return slope


@triton.jit
def this_program():
    """The number of this program among those of the grid (tiles, heads, batch)."""
    row_of_heads = tl.program_id(2) * tl.num_programs(1) + tl.program_id(1)
    return row_of_heads * tl.num_programs(0) + tl.program_id(0)


# --- scores and what is visited ---------------------------------------------------------------


@triton.jit
def score_tile(
    q, k, rows, keys, lengths, scale, softcap, window, slope,
    CAUSAL: tl.constexpr, MASKED: tl.constexpr,
):  # fmt: skip
    """Scores in units of log2, hidden ones -inf; and tanh before the cap, for the gradient.

    rows is a column and keys a row of numbers; with q and k, rows and keys the other way round the
    tile comes out transposed.
    """
    seq_q, seq_k = lengths
    s = tl.dot(q, tl.trans(k), input_precision="ieee")
    t = s
    if softcap is not None:
        t = 2 * tl.sigmoid(2 * scale / softcap * s) - 1  # tanh(scale * s / softcap)
        s = softcap * LOG2E * t
    else:
        s *= scale * LOG2E
    behind = rows + (seq_k - seq_q) - keys  # how far the key lies back
    if slope is not None:
        s -= slope * LOG2E * tl.abs(behind)
    if MASKED:
        visible = (keys < seq_k) & (rows < seq_q)
        if CAUSAL:
            visible &= behind >= 0
        if window is not None:
            visible &= tl.abs(behind) < window
        s = tl.where(visible, s, HIDDEN)
    return s, t


@triton.jit
def reach(window, CAUSAL: tl.constexpr):
    """How many keys behind its own position a query sees, and how many ahead; None: all."""
    back, ahead = window, window
    if window is not None:
        back, ahead = window - 1, window - 1
    if CAUSAL:
        ahead = 0
    return back, ahead


@triton.jit
def tiles_within(low, high, back, ahead, n, BLOCK: tl.constexpr):
    """Where tiles start, need no mask, need one again, and end, for owners low, ..., high.

    An owner at p meets the members from p - back to p + ahead, of 0, ..., n - 1. Every number but
    the last is a multiple of BLOCK.
    """
    start, full_start, full_end, end = 0, 0, n, n
    if back is not None:
        start = tl.maximum(low - back, 0) // BLOCK * BLOCK
        full_start = tl.cdiv(tl.maximum(high - back, 0), BLOCK) * BLOCK
    if ahead is not None:
        full_end = tl.minimum(n, low + ahead + 1)
        end = tl.minimum(n, high + ahead + 1)
    full_end = tl.maximum(tl.maximum(full_end, 0) // BLOCK * BLOCK, full_start)
    return start, full_start, full_end, end


# --- what is hidden stays hidden --------------------------------------------------------------
#
# A weight of 0 times NaN is NaN, so a hidden key with NaN or inf in v would spoil whoever does not
# see it. To look for that in every tile costs registers that the loop needs. So the kernels run
# unguarded and note for each tile whether it came out with NaN (it must, if anything leaked). Then
# the same kernel runs with GUARD: its programs end at once where nothing was noted, and compute
# the tile again, with care, where something was. The host never waits.


@triton.jit
def weighted_sum(total, p, x, GUARD: tl.constexpr):
    """total + p x; with GUARD a weight of 0 takes nothing, others take NaN from NaN and inf."""
    if GUARD:
        wide = x.to(tl.float32)
        odd = (wide != wide) | (tl.abs(wide) == float("inf"))
        taken = tl.dot((p != 0).to(x.dtype), odd.to(x.dtype), input_precision="ieee")
        x = tl.where(odd, 0.0, wide).to(x.dtype)
        total += tl.where(taken > 0, float("nan"), 0.0)
    return tl.dot(p.to(x.dtype), x, total, input_precision="ieee")


@triton.jit
def note_nan(noted_ptr, x, n_rows, ROWS: tl.constexpr):
    """Writes 1 at this program's number if a row that is stored holds NaN (or inf)."""
    total = tl.sum(x * 0, 1)  # NaN as soon as one of its terms is
    members = tl.arange(0, ROWS)
    spoiled = (total != total) & (members < n_rows)
    # All rows write to the same place: a reduction to one number for the whole tile does not
    # compile for sm_100.
    tl.store(noted_ptr + this_program() + 0 * members, spoiled.to(tl.int32), spoiled)


# --- forward ----------------------------------------------------------------------------------


@triton.jit
def attend(
    m, ell, out, q, k_ptr, v_ptr, k_row, v_row, rows, start, end,
    lengths, scale, softcap, window, slope,
    D: tl.constexpr, BLOCK_D: tl.constexpr, DV: tl.constexpr, BLOCK_DV: tl.constexpr,
    BLOCK_K: tl.constexpr, CAUSAL: tl.constexpr, MASKED: tl.constexpr, GUARD: tl.constexpr,
):  # fmt: skip
    """The online softmax over the keys from start to end."""
    seq_k = lengths[1]
    for begin in range(start, end, BLOCK_K):
        at = tl.cast(begin, tl.int64)
        k = load_rows(k_ptr + at * k_row, k_row, seq_k - begin, BLOCK_K, D, BLOCK_D)
        keys = begin + tl.arange(0, BLOCK_K)[None, :]
        s, _ = score_tile(q, k, rows, keys, lengths, scale, softcap, window, slope, CAUSAL, MASKED)
        new_m = tl.maximum(m, tl.max(s, 1))
        known = tl.where(new_m == HIDDEN, 0.0, new_m)  # -inf - -inf would be NaN
        p = tl.exp2(s - known[:, None])
        shrink = tl.exp2(m - known)
        ell = ell * shrink + tl.sum(p, 1)
        v = load_rows(v_ptr + at * v_row, v_row, seq_k - begin, BLOCK_K, DV, BLOCK_DV)
        out = weighted_sum(out * shrink[:, None], p, v, GUARD)
        m = new_m
    return m, ell, out


@triton.jit
def finish(m, ell, out):
    """The averages and the log-sum-exp, base e; for a row that saw nothing 0 and -inf."""
    out = tl.where(ell[:, None] == 0, 0.0, out / ell[:, None])
    return out, m * LN2 + tl.log(ell)


@triton.jit
def average(
    q, k_ptr, v_ptr, k_row, v_row, first,
    lengths, scale, softcap, window, slope,
    D: tl.constexpr, BLOCK_D: tl.constexpr, DV: tl.constexpr, BLOCK_DV: tl.constexpr,
    BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr, CAUSAL: tl.constexpr, GUARD: tl.constexpr,
):  # fmt: skip
    """The queries from `first` over all their keys; only tiles at the mask's edges are masked."""
    seq_q, seq_k = lengths
    low, rows = first + seq_k - seq_q, first + tl.arange(0, BLOCK_Q)[:, None]
    back, ahead = reach(window, CAUSAL)
    start, full_start, full_end, end = tiles_within(
        low, low + BLOCK_Q - 1, back, ahead, seq_k, BLOCK_K
    )
    m = tl.full((BLOCK_Q,), HIDDEN, tl.float32)
    ell = tl.zeros((BLOCK_Q,), tl.float32)
    out = tl.zeros((BLOCK_Q, BLOCK_DV), tl.float32)
    if window is not None:
        m, ell, out = attend(
            m, ell, out, q, k_ptr, v_ptr, k_row, v_row, rows, start, tl.minimum(full_start, end),
            lengths, scale, softcap, window, slope,
            D, BLOCK_D, DV, BLOCK_DV, BLOCK_K, CAUSAL, True, GUARD,
        )  # fmt: skip
    m, ell, out = attend(
        m, ell, out, q, k_ptr, v_ptr, k_row, v_row, rows, full_start, full_end,
        lengths, scale, softcap, window, slope,
        D, BLOCK_D, DV, BLOCK_DV, BLOCK_K, CAUSAL, False, False,
    )  # fmt: skip
    m, ell, out = attend(
        m, ell, out, q, k_ptr, v_ptr, k_row, v_row, rows, full_end, end,
        lengths, scale, softcap, window, slope,
        D, BLOCK_D, DV, BLOCK_DV, BLOCK_K, CAUSAL, True, GUARD,
    )  # fmt: skip
    return finish(m, ell, out)


@triton.jit
def forward_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, lse_ptr, slopes_ptr, cu_q_ptr, cu_k_ptr, noted_ptr,
    q_steps, k_steps, v_steps, out_steps, lse_steps, seq_q, seq_k, group, scale, softcap, window,
    D: tl.constexpr, BLOCK_D: tl.constexpr, DV: tl.constexpr, BLOCK_DV: tl.constexpr,
    BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr, CAUSAL: tl.constexpr, GUARD: tl.constexpr,
):  # fmt: skip
    """BLOCK_Q queries of one head: their averages and the log-sum-exp of their scores."""
    if GUARD:  # noqa: SIM102 - known when the kernel is compiled, unlike the next line
        if tl.load(noted_ptr + this_program()) == 0:
            return
    head, batch = tl.program_id(1), tl.program_id(2)
    # Under a causal mask the last queries see the most keys: the longest work comes first.
    first = (tl.num_programs(0) - 1 - tl.program_id(0)) * BLOCK_Q
    first_q, first_k, seq_q, seq_k = text_at(batch, cu_q_ptr, cu_k_ptr, seq_q, seq_k)
    if first >= seq_q:  # of packed texts, this one is shorter than the longest
        return
    q_ptr = rows_at(q_ptr, q_steps, batch, head, first_q + first)
    k_ptr = rows_at(k_ptr, k_steps, batch, head // group, first_k)
    v_ptr = rows_at(v_ptr, v_steps, batch, head // group, first_k)
    out_ptr = rows_at(out_ptr, out_steps, batch, head, first_q + first)
    lse_ptr = rows_at(lse_ptr, lse_steps, batch, head, first_q + first)
    slope = slope_of(slopes_ptr, batch, tl.num_programs(1), head)
    q = load_rows(q_ptr, q_steps[2], seq_q - first, BLOCK_Q, D, BLOCK_D)
    out, lse = average(
        q, k_ptr, v_ptr, k_steps[2], v_steps[2], first,
        (seq_q, seq_k), scale, softcap, window, slope,
        D, BLOCK_D, DV, BLOCK_DV, BLOCK_Q, BLOCK_K, CAUSAL, GUARD,
    )  # fmt: skip
    store_rows(out_ptr, out, out_steps[2], seq_q - first, BLOCK_Q, DV, BLOCK_DV)
    members = tl.arange(0, BLOCK_Q)
    tl.store(lse_ptr + members, lse, members < seq_q - first)
    if noted_ptr is not None and not GUARD:
        note_nan(noted_ptr, out, seq_q - first, BLOCK_Q)
