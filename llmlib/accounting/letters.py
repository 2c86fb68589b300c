"""The letters of the book as sympy symbols, and arithmetic that takes them as it takes numbers."""

from typing import Any

import sympy

from llmlib.accounting.breakdown import Count

LETTERS: dict[str, sympy.Symbol] = {
    field: sympy.Symbol(name, integer=True, positive=True)
    for field, name in {
        "vocab_size": "V",
        "dim": "d",
        "n_layers": "L",
        "n_heads": "H",
        "n_kv_heads": "G",
        "head_dim": "d_head",
        "ffn_dim": "d_ff",
        "context": "n_ctx",
        "window": "W",
        "batch": "b",
        "seq": "s",
        "past": "p",
        "source_seq": "s_src",
        "kv_rank": "r",
        "query_rank": "r_q",
        "rope_dim": "d_rope",
        "plain_dim": "d_plain",
        "value_dim": "d_value",
        "n_experts": "E",
        "n_active": "k",
        "n_shared": "E_shared",
        "n_dense_layers": "L_dense",
        "expert_dim": "d_expert",
    }.items()
}
"""Field or argument -> its letter."""

SWITCHES: dict[str, sympy.Symbol] = {
    name: sympy.Symbol(name, integer=True, nonnegative=True)
    for name in ("tied", "gated", "qkv_bias", "out_bias", "ffn_bias", "norm_bias", "qk_norm")
}
"""Choices as letters that stand for 0 or 1, for formulas that hold for both."""


# --- numbers or formulas ----------------------------------------------------------------------


def is_number(x: Any) -> bool:
    """True for what is no formula."""
    return not isinstance(x, sympy.Basic)


def least(a: Count, b: Count) -> Count:
    """The smaller of two sizes, as a formula where one of them is."""
    return min(a, b) if is_number(a) and is_number(b) else sympy.Min(a, b)


def largest(*sizes: Count) -> Count:
    """The largest of some sizes, as a formula where one of them is."""
    return max(sizes) if all(map(is_number, sizes)) else sympy.Max(*sizes)


def without_past(count: Count, past: Count) -> Count:
    """The count where no cache holds anything yet, else 0; a formula where a past may be 0."""
    if is_number(past):
        return count if past == 0 else 0
    return sympy.Piecewise((count, sympy.Eq(past, 0)), (0, True))
