"""The encoder-decoder: a stack that reads one text, and a stack that writes another.

source -> embedding -> L blocks ──────────────┐ keys and values
target -> embedding -> L blocks, each of which looks across -> [norm] -> head

Given its source, the second stack is a decoder: `Writer` is that, and `generate` continues it with
the loop of `llmlib.decoder`.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

import llmlib.architecture as arch
from llmlib import decoder
from llmlib.attention import AttentionEngine, check_attention_engine
from llmlib.blocks import Hidden
from llmlib.decoder.requests import check_pass, prompt_tensor
from llmlib.ends import (
    check_description,
    embedded,
    initialize,
    make_embedding,
    make_output,
    token_scores,
)
from llmlib.kv_cache import KVCache, Reader
from llmlib.positions import Positions
from llmlib.source import Source
from llmlib.stack import BlockStack

TokenIds = Int[Tensor, "batch seq"]
SourceIds = Int[Tensor, "batch seq_k"]
PaddingMask = Shaped[Tensor, "batch total"]
SourceMask = Shaped[Tensor, "batch seq_k"]


class EncoderDecoder(nn.Module):
    """Ids of a source and of a target in; at each position of the target, logits of its next token.

    Args:
        config: the description, of two stacks.
        engine: what computes attention, see `llmlib.attention.attend`.

    Raises:
        TypeError, ValueError: no description of an encoder-decoder, or one that cannot be built
            here: the text names the layer and the part.

    Source: vaswani2017attention, raffel2020t5, lewis2020bart
    """

    def __init__(self, config: arch.ModelConfig, engine: AttentionEngine = "auto") -> None:
        check_description(config)
        _check(config)
        check_attention_engine(engine)
        super().__init__()
        assert config.source is not None
        self.config = config
        self.embedding = make_embedding(config)  # of both stacks
        self.encoder = BlockStack(config.dim, config.source, engine)
        self.decoder = BlockStack(config.dim, config.stack, engine)
        self.output = make_output(config)
        self.output_bias = (
            nn.Parameter(torch.zeros(config.vocab_size)) if config.head_bias else None
        )
        initialize(self, config.n_layers)

    def forward(
        self,
        source: SourceIds | Source,
        target_ids: TokenIds,
        cache: KVCache | None = None,
        *,
        source_mask: SourceMask | None = None,
        attention_mask: PaddingMask | None = None,
        last_only: bool = False,
    ) -> Float[Tensor, "batch shown vocab"]:
        """Logits of the next token at each position of the target.

        Args:
            source: ids (batch, seq_k), or what `encode` made of them.
            target_ids: (batch, seq), which begin with the token that begins every target.
            cache: keys and values of earlier target tokens, from `new_cache`.
            source_mask: 1 for tokens, 0 for padding, (batch, seq_k); with ids alone.
            attention_mask: the same of the target, (batch, cached + seq).
            last_only: only the last position's logits.

        Raises:
            TypeError, ValueError: as `Decoder.forward`, of either text; batches of unequal size; a
                source_mask beside an encoded source.
        """
        if not isinstance(source, Source):
            source = self.encode(source, source_mask)
        elif source_mask is not None:
            raise ValueError("source_mask is given with an encoded source, expected it in `encode`")
        check_pass(self.config, self.decoder.readers(), target_ids, cache, attention_mask)
        if len(source.hidden) != len(target_ids):
            raise ValueError(f"target_ids has {len(target_ids)} rows, expected {len(source.hidden)}"
                             ", one for each source")  # fmt: skip
        past = torch.arange if cache is None else cache.positions
        x, at = self._enter(self.decoder, target_ids, past(target_ids.shape[1]), attention_mask)
        x = self.decoder.run(x, at, cache, source)
        return self._head(x[:, -1:] if last_only else x)

    def encode(self, source_ids: SourceIds, source_mask: SourceMask | None = None) -> Source:
        """The source read once, for any number of passes over targets."""
        readers = () if source_mask is None else self.encoder.readers()
        check_pass(self.config, readers, source_ids, None, source_mask)
        slots = torch.arange(source_ids.shape[1])
        x, at = self._enter(self.encoder, source_ids, slots, source_mask)
        x = self.encoder.run(x, at)
        return Source(x if self.encoder.norm is None else self.encoder.norm(x), at.padding)

    def new_cache(self, capacity: int | None = None) -> KVCache:
        """An empty cache of the target; what is kept of the source is the source's own."""
        return self.decoder.new_cache(capacity)

    @torch.no_grad()
    def cross_maps(
        self,
        source_ids: SourceIds,
        target_ids: TokenIds,
        source_mask: SourceMask | None = None,
    ) -> list[Float[Tensor, "batch heads seq seq_k"]]:
        """Where each position of the target looks in the source: a tensor for each layer."""
        source, found = self.encode(source_ids, source_mask), []

        def watch(cross: nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> None:
            found.append(cross.weights(args[0], **options))  # type: ignore[operator]

        hooks = [
            block.cross.register_forward_pre_hook(watch, with_kwargs=True)  # type: ignore[union-attr]
            for block in self.decoder.blocks
        ]
        try:
            self(source, target_ids)
        finally:
            for hook in hooks:
                hook.remove()
        return found

    def _enter(
        self, stack: BlockStack, ids: TokenIds, slots: Tensor, mask: Tensor | None
    ) -> tuple[Hidden, Positions]:
        """What the first block of a stack reads, and where it stands."""
        at = Positions(
            slots.to(ids.device),
            None if mask is None else mask.to(ids.device).bool(),
            bias=stack.relative_bias,
            wide=self.embedding.weight.dtype == torch.float64,
        )
        return stack.enter(embedded(self.config, self.embedding, ids), at), at

    def _head(self, x: Hidden) -> Float[Tensor, "batch seq vocab"]:
        x = x if self.decoder.norm is None else self.decoder.norm(x)
        return token_scores(self.config, x, self.output, self.embedding.weight, self.output_bias)


def _check(config: arch.ModelConfig) -> None:
    """Whether the description is one of an encoder-decoder."""
    for name, found, expected in (
        ("family", config.family, "encoder-decoder"), ("segments", config.segments, 0),
        ("head", config.head, "tokens"), ("transform", config.transform, None),
        ("pooler", config.pooler, False),
        ("source.causal", config.source is not None and config.source.causal, False),
        ("stack.causal", config.stack.causal, True),
    ):  # fmt: skip
        if found != expected:
            raise ValueError(f"{name} is {found!r}, expected {expected!r}: no such "
                             "encoder-decoder here")  # fmt: skip
    if any(block.cross is None for block, _, _ in arch.kinds(config.stack.runs)):
        raise ValueError("cross is None in a block of the stack, expected attention to the source "
                         "in each")  # fmt: skip


# --- writing ----------------------------------------------------------------------------------


class Writer:
    """An encoder-decoder that has read its source: a decoder, as `llmlib.decoder.generate` asks."""

    def __init__(self, model: EncoderDecoder, source: Source) -> None:
        self.model, self.source = model, source
        self.config, self.embedding = model.config, model.embedding
        self.new_cache = model.new_cache

    def readers(self) -> list[Reader]:
        """What a cache has to know of each layer."""
        return self.model.decoder.readers()

    def __call__(self, token_ids: TokenIds, cache: KVCache | None, **options: Any) -> Tensor:
        return self.model(self.source, token_ids, cache, **options)


@torch.no_grad()
def generate(
    model: EncoderDecoder,
    source_ids: Sequence[int] | Tensor,
    max_new_tokens: int,
    *,
    start_ids: Sequence[int],
    source_mask: Tensor | None = None,
    **options: Any,
) -> Iterator[int] | Iterator[Tensor]:
    """Read a source, then write a target token by token, each handed out at once.

    Args:
        model: the encoder-decoder.
        source_ids: a list of ids, or (batch, seq_k).
        max_new_tokens: how many ids at most.
        start_ids: what every target begins with: (0,) in T5, (2,) in BART.
        source_mask: 1 for tokens, 0 for padding, (batch, seq_k); pad on either side.
        options: sampler, use_cache, stop_ids and cache, as for `llmlib.decoder.generate`.

    Returns:
        An iterator: of ints for a list, of (batch,) tensors for a tensor.

    Raises:
        TypeError, ValueError: as `llmlib.decoder.generate`, before the first token; compile.
    """
    if not isinstance(model, EncoderDecoder):
        raise TypeError(f"model is a {type(model).__name__}, expected an EncoderDecoder")
    if options.get("compile"):
        raise ValueError("compile is True, expected False: the compiled step is of decoders alone")
    device = model.embedding.weight.device
    source = model.encode(prompt_tensor(source_ids, device), source_mask)
    start: Any = list(start_ids)
    if isinstance(source_ids, Tensor):
        start = prompt_tensor(start, device).expand(len(source.hidden), -1)
    return decoder.generate(Writer(model, source), start, max_new_tokens, **options)


__all__ = ["EncoderDecoder", "Source", "Writer", "generate"]
