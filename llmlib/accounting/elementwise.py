"""How many operations stand between the matrix products: norms, softmax, activations, sums.

`forward_flops` leaves them out, as everybody does. This module says how few they are: one operation
for each number that an addition, a product, a comparison or a function such as exp makes. What it
does not say is how long they take. They do little with every number they read, so their time is
that of memory, not of arithmetic.
"""

import dataclasses

import llmlib.architecture as arch
from llmlib.accounting.arithmetic import on
from llmlib.accounting.breakdown import Breakdown, Count
from llmlib.accounting.checks import check_choices, check_config, check_counts, check_past
from llmlib.accounting.flops import Pairs, visible_pairs
from llmlib.accounting.layers import norms_of, over_layers

PER_FEATURE = {"layer": 7, "rms": 4}
"""A norm's: mean 1, center 1, square and mean 2, scale 1, gain 1, shift 1; RMSNorm's without
centering and shift."""

PER_SCORE = 5
"""Softmax's: maximum, subtraction, exp, sum, division. Its scale is one factor of the query."""

PER_ACTIVATION = {
    "relu": 1,
    "relu_squared": 2,
    "swish": 4,
    "silu": 4,
    "gelu": 5,
    "gelu_tanh": 9,
}
"""Of x / (1 + e⁻ˣ): negation, exp, sum, division. Of ½ x (1 + erf(x / √2)): two products around
erf, a sum, a product; with tanh(√(2/π) (x + 0.044715 x³)) four more."""

PER_TURN = 3
"""RoPE's for each feature: two products and a sum."""


def elementwise_operations(
    config: arch.ModelConfig,
    batch: Count,
    seq: Count,
    *,
    past: Count = 0,
    pairs: Pairs = "all",
) -> Breakdown:
    """The operations of a forward pass beside its matrix products, by kind.

    Args:
        config: as for `forward_flops`; a decoder or an encoder of softmax attention without
            latents, gates and sinks, and with one feed-forward block a layer.
        batch, seq, past, pairs: as for `forward_flops`.

    Raises:
        TypeError, ValueError: as `forward_flops`, and for other kinds of models.
    """
    check_config(config)
    check_counts(1, batch=batch, seq=seq)
    check_past(config, past)
    check_choices(pairs=(pairs, Pairs))
    stack, tokens = config.stack, batch * seq
    if config.source is not None:
        raise ValueError("family is 'encoder-decoder', expected a decoder or an encoder")
    step = _Step(config.dim, seq, past, pairs == "visible" and stack.causal)
    counts = over_layers(stack.runs, step.block)
    added = isinstance(stack.positions, arch.Learned | arch.Sinusoidal)
    once = sum(_norm(norm, config.dim) for norm in (stack.last_norm, stack.first_norm))
    counts["norms"] = counts["norms"] + once
    counts["positions"] = counts["positions"] + int(added) * config.dim
    each = {name: batch if name == "softmax" else tokens for name in counts}
    return Breakdown({name: each[name] * x for name, x in counts.items()})


def _known(block: arch.Block) -> tuple[arch.Attention, arch.FeedForward]:
    """The two parts of a block. ValueError where their operations are not known here."""
    mixer, part = block.mixer, block.feed_forward
    if not isinstance(mixer, arch.Attention):
        raise ValueError(f"mixer is {mixer!r}, expected Attention")
    for name in ("gate", "sinks", "softcap"):
        if getattr(mixer, name):
            raise ValueError(f"{name} is {getattr(mixer, name)}, expected none: not counted here")
    if not isinstance(part, arch.FeedForward):
        raise ValueError(f"feed_forward is {part!r}, expected FeedForward: experts are not counted")
    if part.activation not in PER_ACTIVATION:
        known = ", ".join(PER_ACTIVATION)
        raise ValueError(f"activation is {part.activation!r}, expected one of {known}")
    return mixer, part


def _norm(norm: arch.Norm | None, width: Count) -> Count:
    return 0 if norm is None else width * PER_FEATURE[norm.kind]


@dataclasses.dataclass(frozen=True)
class _Step:
    """What goes through each block."""

    dim: Count
    seq: Count
    past: Count
    visible: bool

    def block(self, block: arch.Block) -> dict[str, Count]:
        """The operations of one block, for each token but the softmax's, which are a text's."""
        (a, part), d = _known(block), self.dim
        normed = (a.n_heads + a.n_kv_heads) * a.head_dim
        every = self.seq * (self.past + self.seq)
        pairs = visible_pairs(self.seq, self.past, a.window) if self.visible else every
        return {
            "norms": sum(norms_of(block)) * _norm(block.norm, d) + _norm(a.qk_norm, normed),
            "positions": _turns(a),
            "softmax": pairs * a.n_heads * (PER_SCORE + int(a.alibi)),
            "scale": a.n_heads * a.head_dim,
            "activation": part.ffn_dim * PER_ACTIVATION[part.activation],
            "gate": on(part.gated) * part.ffn_dim,
            "biases": self._biases(a, part),
            "residuals": 2 * d,
        }

    def _biases(self, a: arch.Attention, part: arch.FeedForward) -> Count:
        """An addition for each output of a projection that has one."""
        projected = (a.n_heads + a.n_kv_heads) * a.head_dim + a.n_kv_heads * a.value_width
        attention = on(a.qkv_bias) * projected + on(a.out_bias) * self.dim
        return attention + on(part.bias) * ((1 + on(part.gated)) * part.ffn_dim + self.dim)


def _turns(a: arch.Attention) -> Count:
    """RoPE's, of queries and keys."""
    if a.rope is None:
        return 0
    return (a.n_heads + a.n_kv_heads) * a.rope.turned(a.head_dim) * PER_TURN
