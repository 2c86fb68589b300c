"""Multi-head latent attention (MLA): one latent a token instead of keys and values for each head.

A token is compressed to a latent c of kv_rank numbers, from which every head makes its key and its
value. Rotations do not commute with that, so positions travel apart: each query has a second part
that is rotated, and meets one rotated key that all heads share. Latent and rotated key are all that
a cache holds.

There are two orders of computation. Expanded, keys and values are made for every head, and
attention is multi-head. Absorbed, the matrix that would make the keys goes to the query's side and
the one that would make the values behind the average: q (W c) = (q W) c. Then attention reads the
latents themselves, as one wide key head for all queries, and nothing is expanded.
"""

import math
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from llmlib.attention.engines import AttentionEngine, attend, check_attention_engine
from llmlib.attention.formula import attention_weights
from llmlib.kv_cache import LayerCache, without_gradient
from llmlib.normalization import RMSNorm
from llmlib.plain import why_not_plain
from llmlib.position_encoding import Layout, Rotation, apply_rotation
from llmlib.sizes import check_sizes

Heads = Float[Tensor, "batch heads seq _"]
Rows = Float[Tensor, "batch 1 seq_k row"]


class LatentAttention(nn.Module):
    """Self-attention whose keys and values are made from one cached latent a token.

    c = norm(W_latent x),  k_R = rotate(W_rope x)                 cached: c and k_R
    k_h = [W_key,h c, k_R],  v_h = W_value,h c,  q_h = [q_plain,h, rotate(q_rope,h)]
    output = W_output [softmax(q_h k_h^T / sqrt(plain_dim + rope_dim)) v_h for each head h]

    Args:
        dim: width of the residual stream.
        n_heads: heads of queries, and of the keys and values that a latent is expanded to.
        kv_rank: numbers of a latent.
        rope_dim: features of a head's rotated part, and of the shared rotated key.
        plain_dim: features of a head's query and key without position.
        value_dim: features of a head's value.
        query_rank: queries are compressed to so many numbers; None: not at all.
        causal: whether a query sees the keys up to its own position only.
        qkv_bias: whether the projections of x have one (those of a latent never do).
        out_bias: whether the last one has.
        norm_eps: of the norms over latents.
        rope_layout: see `llmlib.position_encoding.apply_rotation`.
        scale: of the scores; 1/sqrt(plain_dim + rope_dim) if None.
        engine: what computes it, see `llmlib.attention.attend`.

    Raises:
        TypeError, ValueError: sizes that are not positive integers.

    Source: deepseek2024v2
    """

    window = None  # every key up to the query's is seen

    def __init__(
        self,
        dim: int,
        n_heads: int,
        kv_rank: int,
        rope_dim: int,
        plain_dim: int,
        value_dim: int,
        query_rank: int | None = None,
        *,
        causal: bool = False,
        qkv_bias: bool = False,
        out_bias: bool = False,
        norm_eps: float = 1e-6,
        rope_layout: Layout = "half",
        scale: float | None = None,
        engine: AttentionEngine = "auto",
    ) -> None:
        super().__init__()
        check_attention_engine(engine)
        check_sizes(dim=dim, n_heads=n_heads, kv_rank=kv_rank, rope_dim=rope_dim)
        check_sizes(plain_dim=plain_dim, value_dim=value_dim)
        check_sizes(query_rank=1 if query_rank is None else query_rank)
        self.dim, self.n_heads, self.kv_rank, self.query_rank = dim, n_heads, kv_rank, query_rank
        self.rope_dim, self.plain_dim, self.value_dim = rope_dim, plain_dim, value_dim
        self.causal, self.rope_layout, self.engine = causal, rope_layout, engine
        head_dim = plain_dim + rope_dim
        self.scale = 1 / math.sqrt(head_dim) if scale is None else scale
        rank = query_rank
        self.query_down = None if rank is None else nn.Linear(dim, rank, bias=qkv_bias)
        self.query_norm = None if rank is None else RMSNorm(rank, norm_eps)
        self.query = nn.Linear(dim if rank is None else rank, n_heads * head_dim, bias=False)
        self.latent = nn.Linear(dim, kv_rank, bias=qkv_bias)
        self.rope_key = nn.Linear(dim, rope_dim, bias=qkv_bias)
        self.latent_norm = RMSNorm(kv_rank, norm_eps)
        self.key_up = nn.Linear(kv_rank, n_heads * plain_dim, bias=False)
        self.value_up = nn.Linear(kv_rank, n_heads * value_dim, bias=False)
        self.output = nn.Linear(n_heads * value_dim, dim, bias=out_bias)

    def forward(
        self,
        x: Float[Tensor, "batch seq dim"],
        *,
        rotation: Rotation | None = None,
        bias: Float[Tensor, "..."] | None = None,
        mask: Bool[Tensor, "..."] | None = None,
        alibi_slopes: Float[Tensor, " heads"] | None = None,
        cache: LayerCache | None = None,
        absorbed: bool | None = None,
    ) -> Float[Tensor, "batch seq dim"]:
        """Every position's weighted average of what it sees.

        Args:
            x: the residual stream, normalized.
            rotation: RoPE's cosine and sine at the positions of x, for rope_dim features.
            bias, mask: as for `reference_attention`; seq_k counts the cached keys too.
            alibi_slopes: ALiBi by its slopes instead of a bias.
            cache: this layer's latents so far; those of x are added to it, without a gradient:
                a backward pass through the result raises ValueError.
            absorbed: which order of computation; None takes the cheaper one with a cache, and
                the expanded one without, or where the matrices cannot be taken out of their layers.

        Raises:
            ValueError: absorbed, and the layers that expand a latent are no plain matrices.
        """
        q, rows = self.queries(x, rotation), self.compress(x, rotation)
        latents, causal = rows[..., : self.kv_rank], self.causal
        if cache is not None:
            rows, latents = cache.update(rows.detach(), latents.detach())
            causal = causal and cache.aligned
        if absorbed is None:
            cheaper = cache is not None and self.absorbing_is_cheaper(x.shape[1])
            absorbed = cheaper and self.why_not_absorbed() is None
        elif absorbed:
            self._check_absorbed()
        seen: dict[str, Any] = {"causal": causal, "bias": bias, "mask": mask, "scale": self.scale}
        seen |= {"alibi_slopes": alibi_slopes, "engine": self.engine}
        if absorbed:
            out = attend(self.absorb(q), rows, latents, **seen)
            out = out @ self._by_head(self.value_up).transpose(-1, -2)
        else:
            out = attend(q, *self.expand(rows), **seen)
        out = out if cache is None else without_gradient(out)
        return self.output(out.transpose(1, 2).flatten(2))

    def queries(self, x: Tensor, rotation: Rotation | None = None) -> Heads:
        """Queries by head: the plain part, then the rotated part."""
        if self.query_down is not None and self.query_norm is not None:
            x = self.query_norm(self.query_down(x))
        q = self.query(x).unflatten(-1, (self.n_heads, -1)).transpose(1, 2)
        if rotation is None:
            return q
        plain, turned = q.split([self.plain_dim, self.rope_dim], dim=-1)
        return torch.cat([plain, apply_rotation(turned, rotation, self.rope_layout)], dim=-1)

    def compress(self, x: Tensor, rotation: Rotation | None = None) -> Rows:
        """What is cached of each token: its latent, then the rotated key, one row for all heads."""
        latent, key = self.latent_norm(self.latent(x))[:, None], self.rope_key(x)[:, None]
        if rotation is not None:
            key = apply_rotation(key, rotation, self.rope_layout)
        return torch.cat([latent, key], dim=-1)

    def expand(self, rows: Rows) -> tuple[Heads, Heads]:
        """Keys and values of every head, made from the rows of a cache."""
        latents, key = rows.split([self.kv_rank, self.rope_dim], dim=-1)
        plain, values = (
            up(latents[:, 0]).unflatten(-1, (self.n_heads, -1)).transpose(1, 2)
            for up in (self.key_up, self.value_up)
        )
        return torch.cat([plain, key.expand(-1, self.n_heads, -1, -1)], dim=-1), values

    def absorb(self, q: Heads) -> Heads:
        """Queries that meet a row of the cache as `q` meets the keys expanded from it."""
        plain, turned = q.split([self.plain_dim, self.rope_dim], dim=-1)
        return torch.cat([plain @ self._by_head(self.key_up), turned], dim=-1)

    def absorbing_is_cheaper(self, n_queries: int) -> bool:
        """Whether so many queries cost fewer FLOPs a key on latents than on expanded keys.

        Expanding a key and a value costs kv_rank * (plain_dim + value_dim) multiply-adds a head;
        the wider products of the absorbed form cost 2 * kv_rank - plain_dim - value_dim more for
        each query. What absorbing costs once for each query is left out: the cache is long.
        """
        narrow = self.plain_dim + self.value_dim
        return n_queries * (2 * self.kv_rank - narrow) < self.kv_rank * narrow

    def weights(
        self,
        x: Float[Tensor, "batch seq dim"],
        *,
        rotation: Rotation | None = None,
        bias: Float[Tensor, "..."] | None = None,
        mask: Bool[Tensor, "..."] | None = None,
    ) -> Float[Tensor, "batch heads seq seq"]:
        """The attention map of each head, without a cache: what `forward` averages with."""
        q, (k, _) = self.queries(x, rotation), self.expand(self.compress(x, rotation))
        return attention_weights(q, k, causal=self.causal, bias=bias, mask=mask, scale=self.scale)

    def _check_absorbed(self) -> None:
        reason = self.why_not_absorbed()
        if reason is not None:
            raise ValueError(f"absorbed=True takes matrices out of their layers, but {reason}")

    def why_not_absorbed(self) -> str | None:
        """Why the layers that expand a latent are more than their matrices, or None."""
        for name in ("key_up", "value_up"):
            layer = getattr(self, name)
            found = why_not_plain(layer, nn.Linear)
            if found is None and layer.bias is not None:
                found = "it has a bias"
            if found is not None:
                return f"{name}: {found}"
        return None

    def _by_head(self, up: nn.Linear) -> Tensor:
        """The matrices that expand a latent, (heads, width, kv_rank)."""
        return up.weight.unflatten(0, (self.n_heads, -1))

    def extra_repr(self) -> str:
        widths = f"kv_rank={self.kv_rank}, rope_dim={self.rope_dim}, plain_dim={self.plain_dim}"
        heads = f"n_heads={self.n_heads}, {widths}, value_dim={self.value_dim}"
        return f"{heads}, query_rank={self.query_rank}, causal={self.causal}"
