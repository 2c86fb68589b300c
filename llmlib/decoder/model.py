"""The decoder's block and the stack: token ids in, logits out.

The module reads as the forward pass runs: the block (attention, then the feed-forward block, each
around a residual), the model (embedding, blocks, head).
"""

import math
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from llmlib.activations import FeedForward, GatedFeedForward
from llmlib.attention import (
    Attention,
    LatentAttention,
)
from llmlib.checks import readable
from llmlib.decoder.config import DecoderConfig
from llmlib.decoder.requests import check_pass
from llmlib.kv_cache import FixedKVCache, KVCache, Reader
from llmlib.normalization import LayerNorm, PostNorm, PreNorm, RMSNorm
from llmlib.position_encoding import (
    LearnedPositions,
    alibi_bias_at,
    alibi_slopes,
    rope_amplitude,
    rope_frequencies,
    rope_rotation,
)

TokenIds = Int[Tensor, "batch seq"]
PaddingMask = Shaped[Tensor, "batch total"]
Logits = Float[Tensor, "batch seq vocab"]
Hidden = Float[Tensor, "batch seq dim"]


def make_norm(config: DecoderConfig) -> nn.Module:
    """The configuration's norm over the residual stream."""
    kind = RMSNorm if config.norm == "rms" else LayerNorm
    return kind(config.dim, config.norm_eps)


def make_attention(config: DecoderConfig) -> Attention | LatentAttention:
    """The configuration's causal attention."""
    if config.latent is not None:
        return LatentAttention(
            config.dim,
            config.n_heads,
            config.latent,
            causal=True,
            qkv_bias=bool(config.qkv_bias),
            out_bias=bool(config.out_bias),
            rope_layout=config.rope_layout,
            scale=_latent_scale(config),
            engine=config.attention_engine,
        )
    return Attention(
        config.dim,
        config.n_heads,
        config.n_kv_heads,
        config.head_dim,
        config.window,
        causal=True,
        qkv_bias=bool(config.qkv_bias),
        out_bias=bool(config.out_bias),
        qk_norm=config.qk_norm,
        norm_eps=config.norm_eps,
        rope_layout=config.rope_layout,
        engine=config.attention_engine,
    )


def _latent_scale(config: DecoderConfig) -> float | None:
    """DeepSeek-V2 sharpens the scores of a stretched context here, not in RoPE's tables.

    By (0.1 * mscale_all_dim * ln(factor) + 1)^2; without that setting the usual scale stays.
    """
    scaling = config.rope_scaling or {}
    strength = scaling.get("mscale_all_dim")
    if config.latent is None or not strength:
        return None
    sharper = 0.1 * strength * math.log(max(scaling["factor"], 1)) + 1
    return float(sharper**2 / math.sqrt(config.latent.head_dim))


def make_feed_forward(config: DecoderConfig) -> nn.Module:
    """The configuration's feed-forward block."""
    kind = GatedFeedForward if config.gated else FeedForward
    assert config.ffn_dim is not None
    return kind(config.dim, config.ffn_dim, config.activation, bool(config.ffn_bias))


class Block(nn.Module):
    """Attention, which moves information between positions, then the block that works on each."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        residual = PreNorm if config.norm_position == "pre" else PostNorm
        self.attention = residual(make_attention(config), make_norm(config))
        self.feed_forward = residual(make_feed_forward(config), make_norm(config))

    def forward(self, x: Hidden, **seen: Any) -> Hidden:
        """x: (batch, seq, dim); seen: what `Attention.forward` takes beside it."""
        return self.feed_forward(self.attention(x, **seen))

    def attention_map(self, x: Hidden, **seen: Any) -> Float[Tensor, "batch heads seq seq"]:
        """Where each head looks when the block reads x."""
        attention = self.attention.sublayer
        if not isinstance(attention, Attention | LatentAttention):
            raise TypeError(f"attention is a {type(attention).__name__}, expected one with weights")
        reads = self.attention.norm(x) if isinstance(self.attention, PreNorm) else x
        return attention.weights(reads, **seen)


class Decoder(nn.Module):
    """Token ids in, a score for every possible next token out, at each position.

    embedding -> [embedding norm] -> L blocks -> norm -> head

    Args:
        config: sizes and choices.

    Raises:
        TypeError, ValueError: a configuration that cannot be built.

    Source: radford2018gpt, touvron2023llama
    """

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        # Not drawn here but by _initialize: on the meta device a draw would import the compiler.
        table = torch.empty(config.vocab_size, config.dim)
        self.embedding = nn.Embedding.from_pretrained(table, freeze=False)
        learned = config.position == "learned"
        self.positions = LearnedPositions(config.context, config.dim) if learned else None
        self.embedding_norm = make_norm(config) if config.embedding_norm else None
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        # A post-norm block ends with a norm: one more would find nothing left to do.
        self.norm = make_norm(config) if config.norm_position == "pre" else None
        self.output = None if config.tied else nn.Linear(config.dim, config.vocab_size, bias=False)
        # No buffer: model.to(bfloat16) would round the angles, and far positions would blur.
        assert config.head_dim is not None
        turned = config.latent.rope_dim if config.latent else config.head_dim
        self.frequencies = (
            rope_frequencies(turned, config.rope_base, config.rope_scaling)
            if config.position == "rope"
            else None
        )
        self._initialize()

    def forward(
        self,
        token_ids: TokenIds,
        cache: KVCache | None = None,
        *,
        attention_mask: PaddingMask | None = None,
        last_only: bool = False,
    ) -> Float[Tensor, "batch shown vocab"]:
        """Logits of the next token at each position.

        Args:
            token_ids: (batch, seq), the tokens behind those that the cache has seen.
            cache: keys and values of earlier tokens; these are added to it, without their
                gradients: a backward pass raises ValueError.
            attention_mask: 1 for tokens, 0 for padding, (batch, cached + seq), with a FixedKVCache
                (batch, capacity). Positions count the tokens only, so a padded row gives at its
                tokens what it would give alone.
            last_only: only the last position's logits: (batch, 1, vocab).

        Raises:
            TypeError: ids, mask or cache of another kind.
            ValueError: ids outside the vocabulary, more tokens than the context holds, a mask of
                another shape or with other numbers, one with padding between tokens where the model
                has a window, a cache that is not exact for the model, a backward pass with a cache.
            IndexError: more tokens than a FixedKVCache has room for.
            RuntimeError: a cache whose layers have seen different tokens, because a pass was
                interrupted or was another model's: reset it.
        """
        seen = self._see(token_ids, cache, attention_mask)
        x = self.embed(token_ids, seen.pop("positions"))
        for i, block in enumerate(self.blocks):
            x = block(x, **seen, cache=None if cache is None else cache.layer(i))
        if isinstance(cache, FixedKVCache):
            cache.advance(token_ids.shape[1])
        return self.head(x[:, -1:] if last_only else x)

    def embed(self, token_ids: TokenIds, positions: Tensor) -> Hidden:
        """What the first block reads."""
        x = self.embedding(token_ids)
        if self.positions is not None:
            x = x + self.positions(positions)
        return x if self.embedding_norm is None else self.embedding_norm(x)

    def head(self, x: Hidden) -> Logits:
        """Logits of a residual stream: the last block's, or an earlier one's (the logit lens)."""
        x = x if self.norm is None else self.norm(x)
        if self.output is not None:
            return self.output(x)
        return nn.functional.linear(x, self.embedding.weight)

    def hidden_states(self, token_ids: TokenIds) -> list[Hidden]:
        """The residual stream behind the embedding and behind each block: L + 1 tensors."""
        seen = self._see(token_ids, None, None)
        states = [self.embed(token_ids, seen.pop("positions"))]
        for block in self.blocks:
            states.append(block(states[-1], **seen))
        return states

    def attention_maps(self, token_ids: TokenIds) -> list[Float[Tensor, "batch heads seq seq"]]:
        """Where each head of each block looks: L tensors, (batch, heads, queries, keys)."""
        seen = self._see(token_ids, None, None, slopes=False)
        x, maps = self.embed(token_ids, seen.pop("positions")), []
        for block in self.blocks:
            if not isinstance(block, Block):
                raise TypeError(f"a block is a {type(block).__name__}, expected a Block")
            maps.append(block.attention_map(x, **seen))
            x = block(x, **seen)
        return maps

    def _see(
        self,
        token_ids: Tensor,
        cache: KVCache | None,
        attention_mask: Tensor | None,
        slopes: bool = True,
    ) -> dict[str, Any]:
        """What all layers share: the tokens' positions, and what attention makes of them.

        ALiBi goes by its slopes where no key is hidden and keys lie in order; else, or if slopes
        are not wanted, as a bias.
        """
        check_pass(self.config, self.reader(), token_ids, cache, attention_mask)
        device, n_new = token_ids.device, token_ids.shape[1]
        slots = cache if cache is not None else KVCache()
        new, keys = slots.positions(n_new).to(device), slots.key_positions(n_new).to(device)
        q_at, k_at, mask = new, keys, None
        if attention_mask is not None:
            real = attention_mask.to(device).bool()
            at = (real.cumsum(-1) - 1).clamp(min=0)  # padding counts nothing
            q_at, k_at, mask = at[:, new], at[:, keys], real[:, None, None, keys]
        if isinstance(cache, FixedKVCache):
            visible = keys <= new[:, None]
            if self.config.window is not None:
                visible = visible & (keys > new[:, None] - self.config.window)
            mask = visible if mask is None else mask & visible
        seen: dict[str, Any] = {"positions": q_at, "rotation": None, "bias": None, "mask": mask}
        if self.frequencies is not None:
            seen["rotation"] = self.rotation(q_at)
        if self.config.position == "alibi":
            fading = alibi_slopes(self.config.n_heads).to(device)
            in_order = readable(keys) and bool((keys.diff() == 1).all())
            if slopes and mask is None and in_order:
                seen["alibi_slopes"] = fading
            else:
                seen["bias"] = alibi_bias_at(fading, q_at, k_at)
        return seen

    def rotation(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """RoPE's tables for these tokens, with an axis for the heads where rows differ."""
        assert self.frequencies is not None
        wide = self.embedding.weight.dtype == torch.float64
        cos, sin = rope_rotation(
            positions,
            self.frequencies,
            rope_amplitude(self.config.rope_scaling),
            torch.float64 if wide else torch.float32,
        )
        return (cos[:, None], sin[:, None]) if positions.ndim == 2 else (cos, sin)

    def reader(self) -> Reader:
        """What a cache has to know of this model."""
        config = self.config
        return Reader(
            len(self.blocks), config.window, config.latent is not None, self.frequencies,
            config.rope_layout,
        )  # fmt: skip

    def _initialize(self) -> None:
        """GPT-2's start: N(0, 0.02), and what adds to the stream shrinks with the depth."""
        if self.embedding.weight.is_meta:
            return  # to be filled with weights from a file
        deep = 0.02 / math.sqrt(2 * self.config.n_layers)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                ends = name.endswith(("sublayer.output.weight", "sublayer.down.weight"))
                nn.init.normal_(parameter, std=deep if ends else 0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)
