"""Bugs planted in the Triton kernels on purpose, and the few cases that must see each of them.

A mutant is one replacement in the source of one module; what it replaces occurs there once. Its
`tries` says which cases to begin with, to save time: the others follow.
"""

# ruff: noqa: E501 - a quoted line of source stays whole

from collections.abc import Callable
from dataclasses import dataclass

from tests.kernels.cases import Case


@dataclass(frozen=True)
class Mutant:
    """`new` in the place of `old` in llmlib/flash_attention/<module>.py."""

    module: str
    old: str
    new: str
    tries: str = ""  # the beginning of the names of cases


FORWARD, BACKWARD, DECODE = "triton_kernels", "triton_backward", "triton_decode"
MUTANTS = {
    "causal: a query sees the key after it": Mutant(
        FORWARD, "visible &= behind >= 0", "visible &= behind >= -1"
    ),
    "causal: aligned to the top left": Mutant(
        FORWARD, "behind = rows + (seq_k - seq_q) - keys", "behind = rows - keys"
    ),
    "window: one key too many": Mutant(FORWARD, "tl.abs(behind) < window", "tl.abs(behind) <= window", tries="20x70"),
    "window: first tile skipped too early": Mutant(
        FORWARD, "start = tl.maximum(low - back, 0)", "start = tl.maximum(low - back + BLOCK, 0)",
        tries="40x75",
    ),
    "full tiles start one tile early": Mutant(
        FORWARD, "tl.cdiv(tl.maximum(high - back, 0), BLOCK) * BLOCK",
        "tl.maximum(high - back, 0) // BLOCK * BLOCK",
        tries="80x150",
    ),
    "full tiles end one key late": Mutant(
        FORWARD, "full_end = tl.minimum(n, low + ahead + 1)", "full_end = tl.minimum(n, low + ahead + 2)",
        tries="37x67",
    ),
    "last visible key left out": Mutant(
        FORWARD, "end = tl.minimum(n, high + ahead + 1)", "end = tl.minimum(n, high + ahead)"
    ),
    "keys beyond the end are seen": Mutant(
        FORWARD, "visible = (keys < seq_k) & (rows < seq_q)", "visible = (keys < seq_k + 1) & (rows < seq_q)"
    ),
    "output is not rescaled": Mutant(FORWARD, "out * shrink[:, None], p, v", "out, p, v"),
    "denominator is not rescaled": Mutant(
        FORWARD, "ell = ell * shrink + tl.sum(p, 1)", "ell = ell + tl.sum(p, 1)"
    ),
    "running maximum starts at 0": Mutant(
        FORWARD, "    m = tl.full((BLOCK_Q,), HIDDEN, tl.float32)", "    m = tl.zeros((BLOCK_Q,), tl.float32)",
        tries="extreme",
    ),
    "no guard for rows without a key": Mutant(
        FORWARD, "known = tl.where(new_m == HIDDEN, 0.0, new_m)", "known = new_m",
        tries="60x37",
    ),
    "division by an empty denominator": Mutant(
        FORWARD, "tl.where(ell[:, None] == 0, 0.0, out / ell[:, None])", "out / ell[:, None]",
        tries="60x37",
    ),
    "lse in base 2": Mutant(FORWARD, "m * LN2 + tl.log(ell)", "m + tl.log2(ell)"),
    "scores in base e": Mutant(FORWARD, "s *= scale * LOG2E", "s *= scale"),
    "ALiBi favors the far": Mutant(FORWARD, "s -= slope * LOG2E", "s += slope * LOG2E"),
    "ALiBi signed beyond the query": Mutant(
        FORWARD, "slope * LOG2E * tl.abs(behind)", "slope * LOG2E * behind",
        tries="20x39",
    ),
    "ALiBi slope of another head": Mutant(
        FORWARD, "slopes_ptr + batch * heads + head)", "slopes_ptr + batch * heads)"
    ),
    "heads tiled, not grouped": Mutant(
        FORWARD, "k_ptr = rows_at(k_ptr, k_steps, batch, head // group, first_k)",
        "k_ptr = rows_at(k_ptr, k_steps, batch, head % (tl.num_programs(1) // group), first_k)",
    ),
    "packed: keys start at the queries' offset": Mutant(
        FORWARD, "tl.load(cu_q_ptr + batch), tl.load(cu_k_ptr + batch)",
        "tl.load(cu_q_ptr + batch), tl.load(cu_q_ptr + batch)",
        tries="17x30",
    ),
    "packed: lengths of the first text": Mutant(
        FORWARD, "seq_k = tl.load(cu_k_ptr + batch + 1) - first_k", "seq_k = tl.load(cu_k_ptr + 1)",
        tries="17x30",
    ),
    "packed: the last tile of a text is skipped": Mutant(
        FORWARD, "    if first >= seq_q:", "    if first + BLOCK_Q > seq_q:",
        tries="17x30",
    ),
    "features beyond the head are read": Mutant(
        FORWARD, "(rows < n_rows) & (features < D), 0.0)", "(rows < n_rows) & (features < BLOCK_D), 0.0)"
    ),
    "rows beyond the last are written": Mutant(
        FORWARD, "features, x, (rows < n_rows) & (features < D))", "features, x, (rows < n_rows + 1) & (features < D))"
    ),
    "cap without its factor": Mutant(FORWARD, "s = softcap * LOG2E * t", "s = LOG2E * t", tries="20x70"),
    "guard keeps what is hidden": Mutant(FORWARD, "tl.where(odd, 0.0, wide)", "tl.where(odd, wide, wide)", tries="leak"),
    "guard takes NaN from what is hidden": Mutant(FORWARD, "(p != 0).to(x.dtype)", "(p == p).to(x.dtype)", tries="leak"),
    "nothing is noted": Mutant(
        FORWARD, "spoiled = (total != total) & (members < n_rows)", "spoiled = (total != total) & (members < 0)",
        tries="leak",
    ),
    "delta without dlse": Mutant(
        BACKWARD, "delta -= tl.load(d_lse_ptr + members, members < left, 0.0)", "delta -= 0.0"
    ),
    "delta with dlse added": Mutant(
        BACKWARD, "delta -= tl.load(d_lse_ptr", "delta += tl.load(d_lse_ptr"
    ),
    "backward: lse taken for base 2": Mutant(
        BACKWARD, "members < n_rows, 0.0) * LOG2E", "members < n_rows, 0.0)"
    ),
    "backward: p of hidden scores is kept": Mutant(
        BACKWARD, "p = tl.where(s == HIDDEN, 0.0, p)", "p = tl.where(s == HIDDEN, p, p)", tries="60x37"
    ),
    "backward: dS of hidden scores is kept": Mutant(
        BACKWARD, "ds = tl.where(s == HIDDEN, 0.0, ds)", "ds = tl.where(s == HIDDEN, ds, ds)", tries="60x37"
    ),
    "dS without delta": Mutant(BACKWARD, "ds = p * (dp - delta)", "ds = p * dp"),
    "cap without its derivative": Mutant(BACKWARD, "ds *= 1 - t * t", "ds *= 1", tries="20x70"),
    "dQ without the scale": Mutant(BACKWARD, "dq_ptr, dq * scale,", "dq_ptr, dq,"),
    "dK without the scale": Mutant(BACKWARD, "dk_ptr, dk * scale,", "dk_ptr, dk,"),
    "dK and dV of the first member of a group": Mutant(
        BACKWARD, "head = kv_head * group + member", "head = kv_head * group",
        tries="20x39",
    ),
    "dK and dV of one head of a group": Mutant(
        BACKWARD, "for member in range(group):", "for member in range(1):"
    ),
    "dK looks the wrong way along a window": Mutant(
        BACKWARD, "ahead, back = reach(window, CAUSAL)", "back, ahead = reach(window, CAUSAL)",
        tries="20x70",
    ),
    "dK: position of a key taken for its number": Mutant(
        BACKWARD, "low, keys = first + seq_q - seq_k,", "low, keys = first,"
    ),
    "dQ: position of a query taken for its number": Mutant(
        BACKWARD, "low, rows = first + seq_k - seq_q,", "low, rows = first,"
    ),
    "dV from dS": Mutant(BACKWARD, "dv = weighted_sum(dv, p, d_out", "dv = weighted_sum(dv, ds, d_out"),
    "merge without the maximum": Mutant(
        DECODE, "known = tl.where(top == HIDDEN, 0.0, top)", "known = 0.0 * top",
        tries="extreme",
    ),
    "merge of nothing divides by 0": Mutant(
        DECODE, "tl.where(total == 0, 0.0, tl.sum(parts * share[:, None], 0) / total)",
        "tl.sum(parts * share[:, None], 0) / total", tries="60x37",
    ),
    "merge with equal shares": Mutant(
        DECODE, "share = tl.exp(lse - known)", "share = tl.exp(0 * lse)"
    ),
    "parts overlap by a key": Mutant(
        DECODE, "start = split * keys_each", "start = tl.maximum(split * keys_each - 1, 0)",
        tries="8x151",
    ),
    "a part is cut short": Mutant(
        DECODE, "tl.minimum(start + keys_each, seq_k)", "tl.minimum(start + keys_each - BLOCK_K, seq_k)",
        tries="8x151",
    ),
    "decoding: query and head mixed up": Mutant(
        DECODE, "tl.where(there, members // seq_q, 0)", "tl.where(there, members % group, 0)",
        tries="8x151",
    ),
    "decoding: parts of one head written to another": Mutant(
        DECODE, "(batch * heads + head) * seq_q + rows", "(batch * heads + kv_head) * seq_q + rows",
        tries="8x151",
    ),
}  # fmt: skip


def leak() -> tuple[str | None, float]:
    """NaN in what nobody sees, and in what some see."""
    from tests.kernels.named import NAMED

    for name in ("what_nobody_sees_does_not_leak", "a_visible_value_counts_feature_by_feature"):
        if (problem := NAMED[name]()) is not None:
            return problem, 0.0
    return None, 0.0


def extreme() -> tuple[str | None, float]:
    """Very negative scores; rows that see nothing."""
    from tests.kernels.named import NAMED

    for name in ("all_scores_very_negative", "rows_that_see_nothing_give_zero"):
        if (problem := NAMED[name]()) is not None:
            return problem, 0.0
    return None, 0.0


SMALL: list[Case | Callable[[], tuple[str | None, float]]] = [
    Case((33, 66), (24, 16), causal=True, alibi=True, seed=1),
    Case((20, 70), (16, 16), window=7, softcap=2.0, alibi=True, seed=2),
    Case((40, 75), (16, 16), causal=True, window=9, seed=3),
    Case((60, 37), (16, 16), (2, 2), causal=True, seed=4),
    Case((37, 67), (16, 16), (2, 1), causal=True, seed=10),
    Case((20, 39), (16, 24), (6, 2), alibi=True, seed=5),
    Case((80, 150), (16, 16), (2, 1), causal=True, window=70, seed=9),
    Case((8, 151), (16, 16), (4, 2), causal=True, splits=4, seed=6),
    Case((8, 151), (16, 16), (4, 2), causal=True, window=7, splits=4, seed=7),
    Case(packed=((17, 30), (0, 4), (40, 40)), widths=(16, 16), causal=True, alibi=True, seed=8),
    leak,
    extreme,
]
