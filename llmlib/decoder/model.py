"""The decoder: token ids in, logits out.

embedding -> [positions] -> [embedding norm] -> L blocks -> norm -> head

The blocks and what stands around them are `llmlib.stack` and `llmlib.blocks`; here are the two
ends, and what a pass needs: the check of its input, and where its tokens stand.
"""

import math

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

import llmlib.architecture as arch
from llmlib.attention import AttentionEngine, check_attention_engine
from llmlib.blocks import Block, Hidden
from llmlib.decoder.requests import check_pass
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
        # Not drawn here but by _initialize: on the meta device a draw would import the compiler.
        table = torch.empty(config.vocab_size, config.dim)
        embedding = nn.Embedding.from_pretrained(table, freeze=False)
        super().__init__(config.dim, config.stack, engine, embedding)
        self.config = config
        self.output = None if config.tied else nn.Linear(config.dim, config.vocab_size, bias=False)
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
        x, scale = self.embedding(token_ids), self.config.embedding_scale
        # Rounded to the type of the embedding before it multiplies, as Gemma does.
        x = x if scale is None else x * torch.tensor(scale, dtype=x.dtype)
        return self.enter(x, at)

    def head(self, x: Hidden) -> Logits:
        """Logits of a residual stream: the last block's, or an earlier one's (the logit lens)."""
        config = self.config
        x = x if self.norm is None else self.norm(x)
        if self.output is not None:
            logits = self.output(x)
        else:
            logits = nn.functional.linear(x, self.embedding.weight)
        if config.output_scale is not None:
            logits = logits * config.output_scale
        return logits if config.softcap is None else capped(logits, config.softcap)

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

    def _initialize(self) -> None:
        """GPT-2's start: N(0, 0.02), and what adds to the stream shrinks with the depth."""
        if self.embedding.weight.is_meta:
            return  # to be filled with weights from a file
        deep = 0.02 / math.sqrt(2 * self.config.n_layers)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                ends = name.endswith(("mixer.output.weight", "feed_forward.down.weight"))
                nn.init.normal_(parameter, std=deep if ends else 0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)


def capped(x: Tensor, softcap: float) -> Tensor:
    """softcap * tanh(x / softcap): as x where it is small, never beyond the cap."""
    return softcap * torch.tanh(x / softcap)


def _check(config: arch.ModelConfig) -> None:
    """Whether the description is one of a decoder."""
    if not isinstance(config, arch.ModelConfig):
        raise TypeError(f"config is a {type(config).__name__}, expected a ModelConfig: "
                        "DecoderConfig(...) or a card's .config")  # fmt: skip
    for name, found, expected in (
        ("family", config.family, "decoder"), ("segments", config.segments, 0),
        ("head", config.head, "tokens"),
    ):  # fmt: skip
        if found != expected:
            raise ValueError(f"{name} is {found!r}, expected {expected!r}: no such decoder here")
