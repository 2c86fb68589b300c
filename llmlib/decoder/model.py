"""The decoder: token ids in, logits out.

embedding -> [positions] -> [embedding norm] -> L blocks -> norm -> head

The blocks and what stands around them are `llmlib.stack` and `llmlib.blocks`; here are the two
ends, and what a pass needs: the check of its input, and where its tokens stand.
"""

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

import llmlib.architecture as arch
from llmlib.attention import AttentionEngine, check_attention_engine
from llmlib.blocks import Block, Hidden
from llmlib.decoder.requests import check_pass
from llmlib.ends import (
    check_description,
    embedded,
    initialize,
    make_embedding,
    make_output,
    token_scores,
)
from llmlib.kv_cache import FixedKVCache, KVCache
from llmlib.position_encoding import Rotation
from llmlib.positions import Positions
from llmlib.stack import BlockStack

TokenIds = Int[Tensor, "batch seq"]
PaddingMask = Shaped[Tensor, "batch total"]
Logits = Float[Tensor, "batch seq vocab"]


class Decoder(BlockStack):
    """Token ids in, a score for every possible next token out, at each position.

    Args:
        config: the description, from `DecoderConfig(...)`, a card, or written out.
        engine: what computes attention, see `llmlib.attention.attend`.

    Raises:
        TypeError, ValueError: no description of a decoder, or one that cannot be built here: the
            text names the layer and the part.

    Source: radford2018gpt, touvron2023llama
    """

    def __init__(self, config: arch.ModelConfig, engine: AttentionEngine = "auto") -> None:
        _check(config)
        check_attention_engine(engine)
        super().__init__(config.dim, config.stack, engine, make_embedding(config))
        self.config = config
        self.output = make_output(config)
        initialize(self, config.n_layers)

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
            token_ids: (batch, seq), the tokens after those that the cache has seen.
            cache: keys and values of earlier tokens; these are added to it, without their
                gradients: a backward pass raises ValueError.
            attention_mask: 1 for tokens, 0 for padding, (batch, cached + seq), with a FixedKVCache
                (batch, capacity). Positions count the tokens only, so a padded row gives at its
                tokens what it would give alone.
            last_only: only the last position's logits: (batch, 1, vocab).

        Raises:
            TypeError: ids, mask or cache of another kind.
            ValueError: ids outside the vocabulary, more tokens than the context holds, a mask of
                another shape or with other numbers, one with padding between tokens where a layer
                has a window, a cache that is not exact for the model, a backward pass with a cache.
            IndexError: more tokens than a FixedKVCache has room for.
            RuntimeError: a cache whose layers have seen different tokens, because a pass was
                interrupted or was another model's: reset it.
        """
        plain = cache is None and attention_mask is None
        check_pass(self.config, () if plain else self.readers(), token_ids, cache, attention_mask)
        at = self.places(token_ids, cache, attention_mask)
        x = self.run(self.embed(token_ids, at), at, cache)
        if isinstance(cache, FixedKVCache):
            cache.advance(token_ids.shape[1])
        return self.head(x[:, -1:] if last_only else x)

    def places(
        self,
        token_ids: TokenIds,
        cache: KVCache | None = None,
        attention_mask: PaddingMask | None = None,
        slopes: bool = True,
    ) -> Positions:
        """Where the tokens of a pass stand, for `embed` and the blocks; see `Positions`."""
        n_new, device = token_ids.shape[1], token_ids.device
        slots = torch.arange(n_new) if cache is None else cache.positions(n_new)
        return Positions(
            slots.to(device),
            None if attention_mask is None else attention_mask.to(device).bool(),
            bias=self.relative_bias,
            wide=self.embedding.weight.dtype == torch.float64,
            slopes=slopes,
        )

    def embed(self, token_ids: TokenIds, at: Positions) -> Hidden:
        """What the first block reads."""
        return self.enter(embedded(self.config, self.embedding, token_ids), at)

    def head(self, x: Hidden) -> Logits:
        """Logits of a residual stream: the last block's, or an earlier one's (the logit lens)."""
        x = x if self.norm is None else self.norm(x)
        return token_scores(self.config, x, self.output, self.embedding.weight)

    def hidden_states(self, token_ids: TokenIds) -> list[Hidden]:
        """The residual stream after the embedding and after each block: L + 1 tensors."""
        check_pass(self.config, (), token_ids, None, None)
        at = self.places(token_ids)
        return self.hidden(self.embed(token_ids, at), at)

    def attention_maps(self, token_ids: TokenIds) -> list[Float[Tensor, "batch heads seq seq"]]:
        """Where each head of each block looks: L tensors, (batch, heads, queries, keys)."""
        check_pass(self.config, (), token_ids, None, None)
        at = self.places(token_ids, slopes=False)
        return self.maps(self.embed(token_ids, at), at)

    def rotation(self, positions: Tensor) -> Rotation:
        """RoPE's tables at these positions, for a model whose layers all have the same RoPE.

        Raises:
            ValueError: no layer has RoPE, or layers have different ones.
        """
        blocks = [block for block in self.blocks if isinstance(block, Block)]
        found = {block.angles.number: block.angles for block in blocks if block.angles is not None}
        if len(found) != 1:
            raise ValueError(f"the layers have {len(found)} different RoPEs, expected one")
        wide = self.embedding.weight.dtype == torch.float64
        return Positions(positions, wide=wide).rotation(next(iter(found.values())))


def _check(config: arch.ModelConfig) -> None:
    """Whether the description is one of a decoder."""
    check_description(config)
    for name, found, expected in (
        ("family", config.family, "decoder"), ("segments", config.segments, 0),
        ("head", config.head, "tokens"), ("transform", config.transform, None),
        ("head_bias", config.head_bias, False), ("pooler", config.pooler, False),
    ):  # fmt: skip
        if found != expected:
            raise ValueError(f"{name} is {found!r}, expected {expected!r}: no such decoder here")
    if any(block.cross is not None for block, _, _ in arch.kinds(config.stack.runs)):
        raise ValueError("the stack looks across at another, expected a source: an EncoderDecoder")
