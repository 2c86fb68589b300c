"""How many operations stand between the matrix products: norms, softmax, activations, sums.

`forward_flops` leaves them out, as everybody does. This module says how few they are: one operation
for each number that an addition, a product, a comparison or a function such as exp makes. What it
does not say is how long they take. They do little with every number they read, so their time is
that of memory, not of arithmetic.
"""

from typing import Any

from llmlib.accounting.breakdown import Breakdown, Count
from llmlib.accounting.checks import check_choices, check_counts, check_past
from llmlib.accounting.config import as_config
from llmlib.accounting.flops import Pairs, visible_pairs
from llmlib.model_cards import ModelConfig

PER_FEATURE = {"layer": 7, "rms": 4}
"""A norm's: mean 1, center 1, square and mean 2, scale 1, gain 1, shift 1; RMSNorm's without
centering and shift."""

PER_SCORE = 5
"""Softmax's: maximum, subtraction, exp, sum, division. Its scale is one factor of the query."""

PER_ACTIVATION = {"relu": 1, "swish": 4, "silu": 4, "gelu": 5, "gelu_tanh": 9}
"""Of x / (1 + e⁻ˣ): negation, exp, sum, division. Of ½ x (1 + erf(x / √2)): two products around
erf, a sum, a product; with tanh(√(2/π) (x + 0.044715 x³)) four more."""

PER_TURN = 3
"""RoPE's for each feature: two products and a sum."""


def elementwise_operations(
    config: Any,
    batch: Count,
    seq: Count,
    *,
    past: Count = 0,
    pairs: Pairs = "all",
) -> Breakdown:
    """The operations of a forward pass beside its matrix products, by kind.

    Args:
        config: as for `forward_flops`; a decoder or an encoder with one feed-forward block a layer
            and without latent attention.
        batch, seq, past, pairs: as for `forward_flops`.

    Raises:
        TypeError, ValueError: as `forward_flops`, and for other kinds of models.
    """
    c = as_config(config)
    check_counts(1, batch=batch, seq=seq)
    check_past(c, past)
    check_choices(pairs=(pairs, Pairs))
    for name, found, only in (
        ("family", c.family, ("decoder", "encoder")), ("latent", c.latent, (None,)),
        ("experts", c.experts, (None,)), ("activation", c.activation, PER_ACTIVATION),
    ):  # fmt: skip
        if found not in only:
            raise ValueError(f"{name} is {found!r}, expected {' or '.join(map(str, only))}")
    tokens = batch * seq
    causal = pairs == "visible" and c.family == "decoder"
    n_pairs = visible_pairs(seq, past, c.window) if causal else seq * (past + seq)
    return Breakdown(
        {
            "norms": tokens * _norms(c),
            "positions": tokens * _positions(c),
            "softmax": c.n_layers * batch * n_pairs * c.n_heads * _per_score(c),
            "scale": tokens * c.n_layers * c.n_heads * c.head_dim,
            "activation": tokens * c.n_layers * c.ffn_dim * PER_ACTIVATION[c.activation],
            "gate": tokens * c.n_layers * c.gated * c.ffn_dim,
            "biases": tokens * c.n_layers * _biases(c),
            "residuals": tokens * c.n_layers * 2 * c.dim,
        }
    )


def _norms(c: ModelConfig) -> Count:
    """Of the stream, before or behind each sublayer and at the end; of heads; of the embedding."""
    once = (c.norm_position == "pre") + c.embedding_norm
    stream = (c.n_layers * c.norms_per_block + once) * c.dim * PER_FEATURE[c.norm]
    heads = c.qk_norm * (c.n_heads + c.n_kv_heads) * c.head_dim
    return stream + c.n_layers * heads * PER_FEATURE["rms"]


def _positions(c: ModelConfig) -> Count:
    """Added to the embedding, or turned into queries and keys of every layer."""
    if c.position == "rope":
        return c.n_layers * (c.n_heads + c.n_kv_heads) * c.head_dim * PER_TURN
    return c.dim if c.position in ("learned", "sinusoidal") else 0


def _per_score(c: ModelConfig) -> int:
    """A bias by distance is one more."""
    return PER_SCORE + (c.position in ("alibi", "relative_bias"))


def _biases(c: ModelConfig) -> Count:
    """An addition for each output of a projection that has one."""
    attention = c.qkv_bias * (c.n_heads + 2 * c.n_kv_heads) * c.head_dim + c.out_bias * c.dim
    return attention + c.ffn_bias * ((1 + c.gated) * c.ffn_dim + c.dim)
