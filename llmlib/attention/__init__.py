"""Attention: one module for its multi-head, multi-query and grouped forms, and MLA beside it.

`formula` holds the function of queries, keys and values: the weights and the weighted average
written out (`reference_attention`), and the same on PyTorch's kernel (`attention`); `engines`
chooses between them and flash attention, and `with engine("reference"):` chooses for all that
happens inside. `Attention` puts projections around it; its numbers of heads make it multi-head
(n_kv_heads = n_heads), grouped-query or multi-query (n_kv_heads = 1), and a context makes it
cross-attention. `latent` is multi-head latent attention, which shrinks the cache in another way.

Positions come from outside (a rotation of queries and keys, or a bias on the scores), because all
layers of a model share them. Not here: sparse patterns; caches.
"""

import copy

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from llmlib.attention.engines import (
    AttentionEngine,
    attend,
    check_attention_engine,
    engine,
    engine_asked,
)
from llmlib.attention.formula import (
    attention,
    attention_weights,
    reference_attention,
    visible_after,
    visible_at,
    visible_keys,
)
from llmlib.attention.latent import LatentAttention
from llmlib.checks import check_options
from llmlib.kv_cache import LayerCache, without_gradient
from llmlib.normalization import RMSNorm
from llmlib.position_encoding import Layout, Rotation
from llmlib.position_encoding.rotation import turned
from llmlib.sizes import check_sizes

__all__ = [
    "Attention",
    "AttentionEngine",
    "KeysValues",
    "LatentAttention",
    "attend",
    "attention",
    "attention_weights",
    "check_attention_engine",
    "engine",
    "engine_asked",
    "pool_heads",
    "reference_attention",
    "visible_after",
    "visible_at",
    "visible_keys",
]

KeysValues = tuple[Tensor, Tensor]


class Attention(nn.Module):
    """Attention with its four projections: MHA, GQA or MQA by the number of K and V heads.

    dim * (n_heads + n_kv_heads) * (head_dim + value_dim) weights where context_dim is dim; a gate,
    sinks, norms and biases come on top.

    Args:
        dim: width of the residual stream.
        n_heads: query heads H.
        n_kv_heads: key/value heads G, a divisor of H; H if None. G = 1 is multi-query attention.
        head_dim: dim / n_heads if None.
        window: keys a query sees, itself included; None is no limit.
        causal: whether a query sees the keys up to its own position only.
        value_dim: width of a value; head_dim if None.
        qkv_bias, out_bias: whether those projections have one.
        qk_norm: RMSNorm over each head's query and key, before the rotation (Qwen3).
        norm_eps: of that norm.
        query_norm, key_norm: other norms in its place. One as wide as a head is for each head, one
            as wide as all heads together is for all of them at once (OLMo 2).
        rope_layout: see `llmlib.position_encoding.apply_rotation`.
        scale, softcap: of the scores, see `reference_attention`.
        sinks: a learned logit of each head joins its softmax (gpt-oss); it begins at 0.
        gate: each head's average is multiplied by the sigmoid of a projection of x (Qwen3-Next).
        context_dim: width of the stream that keys and values come from; dim if None.
        engine: what computes it, see `attend`.

    Raises:
        TypeError, ValueError: sizes that are not positive integers, or that do not divide.

    Source: vaswani2017attention; shazeer2019mqa (MQA), ainslie2023gqa, openai2025gptoss (sinks)
    """

    def __init__(
        self,
        dim: int,
        n_heads: int,
        n_kv_heads: int | None = None,
        head_dim: int | None = None,
        window: int | None = None,
        *,
        causal: bool = False,
        value_dim: int | None = None,
        qkv_bias: bool = False,
        out_bias: bool = False,
        qk_norm: bool = False,
        norm_eps: float = 1e-6,
        query_norm: nn.Module | None = None,
        key_norm: nn.Module | None = None,
        rope_layout: Layout = "half",
        scale: float | None = None,
        softcap: float | None = None,
        sinks: bool = False,
        gate: bool = False,
        context_dim: int | None = None,
        engine: AttentionEngine = "auto",
    ) -> None:
        _check(engine, causal, window, scale)
        super().__init__()
        n_kv_heads, head_dim = _heads(dim, n_heads, _or(n_kv_heads, n_heads), head_dim)
        value_dim, context_dim = _or(value_dim, head_dim), _or(context_dim, dim)
        check_sizes(value_dim=value_dim, context_dim=context_dim)
        self.dim, self.n_heads, self.n_kv_heads, self.head_dim = dim, n_heads, n_kv_heads, head_dim
        self.value_dim, self.window, self.causal, self.engine = value_dim, window, causal, engine
        self.rope_layout, self.scale, self.softcap = rope_layout, scale, softcap
        self.query = nn.Linear(dim, n_heads * head_dim, bias=qkv_bias)
        self.key = nn.Linear(context_dim, n_kv_heads * head_dim, bias=qkv_bias)
        self.value = nn.Linear(context_dim, n_kv_heads * value_dim, bias=qkv_bias)
        self.output = nn.Linear(n_heads * value_dim, dim, bias=out_bias)
        self.query_norm = RMSNorm(head_dim, norm_eps) if qk_norm else query_norm
        self.key_norm = RMSNorm(head_dim, norm_eps) if qk_norm else key_norm
        self.sinks = nn.Parameter(torch.zeros(n_heads)) if sinks else None
        self.gate = nn.Linear(dim, n_heads * value_dim, bias=False) if gate else None

    def forward(
        self,
        x: Float[Tensor, "batch seq dim"],
        *,
        context: Tensor | KeysValues | None = None,
        rotation: Rotation | None = None,
        bias: Float[Tensor, "..."] | None = None,
        mask: Bool[Tensor, "..."] | None = None,
        alibi_slopes: Float[Tensor, " heads"] | None = None,
        cache: LayerCache | None = None,
    ) -> Float[Tensor, "batch seq dim"]:
        """Every position's weighted average of what it sees.

        Args:
            x: the residual stream, normalized.
            context: cross-attention: what the keys and values are made from, (batch, seq_k,
                context_dim), or what `keys_values` made of it, to be used again at every step.
            rotation: RoPE's cosine and sine at the positions of x (`rope_rotation`); where they are
                for fewer features than a head has, the first of them turn.
            bias, mask: as for `reference_attention`; seq_k counts the cached keys too.
            alibi_slopes: ALiBi by its slopes instead of a bias.
            cache: this layer's keys and values so far; those of x are added to it, without a
                gradient: a backward pass through the result raises ValueError.

        Raises:
            ValueError: a context together with a causal mask, a window, a rotation or a cache,
                which all mean positions of x itself.
        """
        if context is not None:
            self._check_context(rotation, cache)
        q, k, v = self.project(x, rotation, context)
        causal, window = self.causal, self.window
        if cache is not None:
            k, v = cache.update(k.detach(), v.detach())
            if not cache.aligned:
                causal, window = False, None
        out = attend(
            q, k, v, engine=self.engine, causal=causal, window=window, bias=bias, mask=mask,
            alibi_slopes=alibi_slopes, scale=self.scale, softcap=self.softcap, sinks=self.sinks,
        )  # fmt: skip
        out = out if cache is None else without_gradient(out)
        out = out.transpose(1, 2).flatten(2)
        return self.output(out if self.gate is None else out * torch.sigmoid(self.gate(x)))

    def project(
        self,
        x: Tensor,
        rotation: Rotation | None = None,
        context: Tensor | KeysValues | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values by head, normalized and rotated as the scores need them."""
        q = _by_head(self.query(x), self.head_dim, self.query_norm)
        source = x if context is None else context
        k, v = source if isinstance(source, tuple) else self.keys_values(source)
        if rotation is not None:
            _check_rotation(q, rotation)
            q, k = turned(q, rotation, self.rope_layout), turned(k, rotation, self.rope_layout)
        return q, k, v

    def keys_values(self, context: Float[Tensor, "batch seq_k context_dim"]) -> KeysValues:
        """Keys, normalized but not rotated, and values, each (batch, kv_heads, seq_k, width)."""
        k = _by_head(self.key(context), self.head_dim, self.key_norm)
        return k, _by_head(self.value(context), self.value_dim)

    def weights(
        self,
        x: Float[Tensor, "batch seq dim"],
        *,
        context: Tensor | KeysValues | None = None,
        rotation: Rotation | None = None,
        bias: Float[Tensor, "..."] | None = None,
        mask: Bool[Tensor, "..."] | None = None,
    ) -> Float[Tensor, "batch heads seq seq_k"]:
        """The attention map of each head, without a cache: what `forward` averages with."""
        if context is not None:
            self._check_context(rotation, None)
        q, k, _ = self.project(x, rotation, context)
        return attention_weights(
            q, k, causal=self.causal, window=self.window, bias=bias, mask=mask, scale=self.scale,
            softcap=self.softcap, sinks=self.sinks,
        )  # fmt: skip

    def pooled(self, n_kv_heads: int) -> "Attention":
        """A copy with fewer key/value heads, each the mean of those whose place it takes.

        The start of GQA from a multi-head checkpoint; a little more training repairs the rest.

        Raises:
            TypeError, ValueError: n_kv_heads that is no divisor of this module's.

        Source: ainslie2023gqa
        """
        made = copy.deepcopy(self)
        for linear in (made.key, made.value):
            linear.weight = nn.Parameter(pool_heads(linear.weight, self.n_kv_heads, n_kv_heads))
            linear.out_features = len(linear.weight)
            if linear.bias is not None:
                linear.bias = nn.Parameter(pool_heads(linear.bias, self.n_kv_heads, n_kv_heads))
        made.n_kv_heads = n_kv_heads
        return made

    def _check_context(self, rotation: Rotation | None, cache: LayerCache | None) -> None:
        """A mask, turn or memory by position of x says nothing about another sequence."""
        refused = {"causal=True": self.causal, "a window": self.window is not None}
        refused |= {"a rotation": rotation is not None, "a cache": cache is not None}
        for what, there in refused.items():
            if there:
                raise ValueError(
                    f"context is given with {what}, which means positions of x itself; expected a "
                    "context alone, or with a mask or bias over its positions"
                )

    def extra_repr(self) -> str:
        heads = f"n_heads={self.n_heads}, n_kv_heads={self.n_kv_heads}, head_dim={self.head_dim}"
        return f"{heads}, window={self.window}, causal={self.causal}"


def _check(engine: AttentionEngine, causal: bool, window: int | None, scale: float | None) -> None:
    check_attention_engine(engine)
    check_options(causal, window, scale)


def _or(size: int | None, usual: int) -> int:
    return usual if size is None else size


def _heads(dim: int, n_heads: int, n_kv_heads: int, head_dim: int | None) -> tuple[int, int]:
    """How many key/value heads there are and how wide a head is, checked and filled in."""
    check_sizes(dim=dim, n_heads=n_heads, n_kv_heads=n_kv_heads)
    if head_dim is None and dim % n_heads:
        raise ValueError(f"dim {dim} does not divide into {n_heads} heads; give head_dim")
    head_dim = dim // n_heads if head_dim is None else head_dim
    check_sizes(head_dim=head_dim)
    if n_heads % n_kv_heads:
        raise ValueError(f"n_kv_heads is {n_kv_heads}, expected a divisor of {n_heads} heads")
    return n_kv_heads, head_dim


def _by_head(x: Tensor, width: int, norm: nn.Module | None = None) -> Tensor:
    """(batch, seq, heads * width) -> (batch, heads, seq, width), normalized on the way."""
    heads = x.unflatten(-1, (-1, width))
    if norm is not None:
        heads = norm(heads) if norm.dim == width else norm(x).view_as(heads)
    return heads.transpose(1, 2)


def _check_rotation(q: Tensor, rotation: Rotation) -> None:
    """Tables of one row would be stretched over all positions, and too wide ones cannot turn."""
    rows, width = rotation[0].shape[-2], 2 * rotation[0].shape[-1]
    if width > q.shape[-1] or (rows != q.shape[2] and not torch.compiler.is_compiling()):
        found = f"the rotation has rows for {rows} positions and turns {width} features"
        expected = f"a row for each position of x, {q.shape[2]}, and at most {q.shape[-1]} features"
        raise ValueError(f"{found}; expected {expected}")


def pool_heads(
    rows: Float[Tensor, "rows *width"], n_heads: int, n_groups: int
) -> Float[Tensor, "pooled *width"]:
    """The heads of a key or value projection averaged group by group, neighbors together.

    Args:
        rows: its weight (heads * head_dim, dim) or bias (heads * head_dim).
        n_heads: how many heads it has.
        n_groups: how many are left, a divisor of n_heads.

    Raises:
        TypeError, ValueError: numbers that are not positive integers, or that do not divide.

    Source: ainslie2023gqa
    """
    check_sizes(n_heads=n_heads, n_groups=n_groups)
    if n_heads % n_groups or rows.shape[0] % n_heads:
        raise ValueError(f"{rows.shape[0]} rows, {n_heads} heads: cannot pool into {n_groups}")
    with torch.no_grad():
        return rows.unflatten(0, (n_groups, n_heads // n_groups, -1)).mean(1).flatten(0, 1)
