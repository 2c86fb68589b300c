"""What moves information between the positions of a text: the first half of a block.

The union `Mixer` is closed: whoever tells its members apart by `match` ends with `assert_never`,
and mypy lists the rooms that have not learned a new one.
"""

from typing import Literal

from llmlib.architecture.parts import Norm, Rope
from llmlib.architecture.said import Described, Size, Switch, described, is_letter


@described
class Attention(Described):
    """Softmax attention: multi-head, grouped or multi-query by the number of key/value heads."""

    n_heads: Size  # H, of queries
    n_kv_heads: Size  # G, of keys and values, a divisor of H
    head_dim: Size  # d_head, of a query and a key
    rope: Rope | None = None  # None: this layer's scores know no positions, unless by `alibi`
    window: Size | None = None  # W, keys a query sees, itself included
    alibi: bool = False  # a bias that falls with the distance
    value_dim: Size | None = None  # of a value; None: head_dim
    qkv_bias: Switch = False
    out_bias: Switch = False
    qk_norm: Norm | None = None  # over queries and keys, before they turn
    qk_norm_over: Literal["head", "all heads"] = "head"
    scale: float | None = None  # of the scores; None: 1 / sqrt(head_dim)
    softcap: float | None = None  # c of c tanh(score / c)
    sinks: bool = False  # a learned logit of each head joins the softmax, and takes its part away
    gate: bool = False  # each head's average times the sigmoid of a projection of x

    def check(self) -> None:
        heads, groups = self.n_heads, self.n_kv_heads
        if not is_letter(heads) and not is_letter(groups) and heads % groups:
            raise ValueError(f"n_kv_heads is {groups}, expected a divisor of {heads} heads")
        if self.softcap is not None and not self.softcap > 0:
            raise ValueError(f"softcap is {self.softcap}, expected a number above 0")

    @property
    def value_width(self) -> Size:
        """Features of a value."""
        return self.head_dim if self.value_dim is None else self.value_dim


@described
class Latent(Described):
    """Multi-head latent attention: one latent a token instead of keys and values for each head."""

    n_heads: Size
    kv_rank: Size  # r, numbers of a latent
    rope_dim: Size  # of a head's rotated part, and of the rotated key that all heads share
    plain_dim: Size  # of a head's query and key without position
    value_dim: Size  # of a head's value
    query_rank: Size | None = None  # queries are compressed to so many numbers; None: not at all
    rope: Rope | None = None
    alibi: bool = False
    qkv_bias: Switch = False  # of the projections of x
    out_bias: Switch = False
    norm: Norm = Norm()  # over latents
    scale: float | None = None  # None: 1 / sqrt(plain_dim + rope_dim)

    @property
    def head_dim(self) -> Size:
        """Width of a head's query."""
        return self.plain_dim + self.rope_dim

    @property
    def row(self) -> Size:
        """Numbers that a cache holds for a token and layer."""
        return self.kv_rank + self.rope_dim


@described
class GatedDelta(Described):
    """Linear attention with a gated delta rule: a state of fixed size instead of a cache."""

    n_key_heads: Size
    n_value_heads: Size
    key_dim: Size  # of a head
    value_dim: Size  # of a head
    conv: Size = 4  # positions that the short convolution before it sees


Mixer = Attention | Latent | GatedDelta
