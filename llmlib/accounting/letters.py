"""The alphabet of the book: each letter, its field, what it stands for, its place in a product.

`LETTERS` and `SWITCHES` are for descriptions and counts; `CONTROLS` are letters that only the
calculators in the pages have.
"""

from dataclasses import dataclass
from typing import Literal

import sympy


@dataclass(frozen=True)
class Letter:
    """A row of the alphabet."""

    name: str  # as a formula has it
    field: str  # of a description, or the argument of a count
    meaning: str
    place: int = 99  # in a product, from the left: counts first, then widths
    kind: Literal["size", "switch", "choice", "number"] = "size"  # switch: 0 or 1

    @property
    def symbol(self) -> sympy.Symbol:
        """The letter in formulas. What is the same in name and kind is the same symbol."""
        return _symbol(self.name, self.kind)


def _symbol(name: str, kind: str = "size") -> sympy.Symbol:
    if kind == "size":
        return sympy.Symbol(name, integer=True, positive=True)
    if kind == "number":
        return sympy.Symbol(name, positive=True)
    return sympy.Symbol(name, integer=True, nonnegative=True)


ALPHABET: tuple[Letter, ...] = (
    Letter("d", "dim", "width of the residual stream", 12),
    Letter("L", "n_layers", "blocks, one after the other", 6),
    Letter("H", "n_heads", "query heads", 15),
    Letter("G", "n_kv_heads", "groups: heads of keys and values", 16),
    Letter("d_head", "head_dim", "width of a head", 19),
    Letter("d_ff", "ffn_dim", "hidden width of the feed-forward block", 25),
    Letter("V", "vocab_size", "tokens in the vocabulary", 7),
    Letter("n_ctx", "context", "rows of the position table", 8),
    Letter("E", "n_experts", "experts to choose from", 9),
    Letter("k", "n_active", "experts that a token passes through", 10),
    Letter("E_shared", "n_shared", "experts that every token passes through", 11),
    Letter("d_expert", "expert_dim", "hidden width of an expert, where it is not d_ff", 26),
    Letter("L_dense", "n_dense_layers", "layers without experts, where others have them", 27),
    Letter("L_full", "n_full_layers", "layers that see all, where others have a window or a state",
           28),
    Letter("L_src", "n_source_layers", "layers of the encoder, where it has not L", 29),
    Letter("r", "kv_rank", "latent of keys and values", 14),
    Letter("r_q", "query_rank", "latent of queries", 13),
    Letter("d_rope", "rope_dim", "rotated part of a head, beside a latent", 21),
    Letter("d_plain", "plain_dim", "part of a head that is not rotated", 20),
    Letter("d_value", "value_dim", "width of a head's values", 23),
    Letter("H_key", "n_key_heads", "heads of queries and keys of a layer with a state", 17),
    Letter("H_value", "n_value_heads", "its heads of values, each with a state", 18),
    Letter("d_key", "key_dim", "width of its queries and keys", 22),
    Letter("c", "conv", "positions that its short convolution sees", 24),
    Letter("b", "batch", "texts side by side", 1),
    Letter("s", "seq", "tokens of each that go through the model", 2),
    Letter("p", "past", "tokens whose keys and values a cache holds", 3),
    Letter("s_src", "source_seq", "tokens of the source in an encoder-decoder", 4),
    Letter("W", "window", "keys that a query sees", 5),
    *(
        Letter(name, name, meaning, kind="switch")
        for name, meaning in {
            "tied": "the head is the embedding's matrix",
            "gated": "a third matrix in the feed-forward block",
            "qkv_bias": "biases of queries, keys and values",
            "out_bias": "a bias of attention's output projection",
            "ffn_bias": "biases in the feed-forward block",
            "norm_bias": "a shift in the norms",
        }.items()
    ),
    *(
        Letter(name, name, meaning, kind="choice")
        for name, meaning in {
            "qk_norm": "norms over each head's query and key",
            "learned": "a table of positions",
            "norms": "norms of a block, their number",
            "final_norm": "a norm after the last block",
            "embedding_norm": "a norm after the embedding",
            "causal": "only pairs that a causal mask leaves",
            "last_only": "logits of the last position alone",
            "mixed": "mixed precision",
            "adamw": "an optimizer with two moments",
            "flash": "attention without matrices",
            "checkpointing": "blocks are computed again",
            "moment": "the fullest moment of a step, its number",
        }.items()
    ),
    *(
        Letter(name, name, meaning, kind="number")
        for name, meaning in {
            "w": "bytes of a weight",
            "w_cache": "bytes of a cached number",
            "peak": "FLOPs a second of a chip",
            "bandwidth": "bytes a second between a chip and its memory",
            "memory": "bytes of a chip's memory",
        }.items()
    ),
)  # fmt: skip


def _of_kind(*kinds: str) -> dict[str, sympy.Symbol]:
    return {row.field: row.symbol for row in ALPHABET if row.kind in kinds}


LETTERS: dict[str, sympy.Symbol] = _of_kind("size")
"""Field or argument -> its letter."""

SWITCHES: dict[str, sympy.Symbol] = _of_kind("switch")
"""Choices of a description as letters that stand for 0 or 1, for formulas that hold for both."""

CONTROLS: dict[str, sympy.Symbol] = _of_kind("choice", "number")
"""What only calculators have as letters."""

_PLACES = {row.name: row.place for row in ALPHABET}


def indexed(field: str, k: int) -> sympy.Symbol:
    """The letter of a field's k-th value, where a model has several: H_1, d_ff,2."""
    name = str(LETTERS[field])
    return _symbol(f"{name}{',' if '_' in name else '_'}{k}")


def place(name: str) -> int:
    """Where a letter stands in a product; one that is not in the alphabet stands last."""
    plain = name.rstrip("0123456789").rstrip(",_") if name not in _PLACES else name
    return _PLACES.get(plain, 99)
