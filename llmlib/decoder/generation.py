"""Generation: the decoder is fed its own output, one token at a time.

`generate` checks the request and hands out ids as they are made; `_stream` is the loop itself:
feed, choose, hand out. `_Step` says what computes a token: the step that is written for speed where
nothing stands against it (`premises`), the model else. Not here: beam search, several models at
once.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, overload, runtime_checkable

import torch
from torch import Tensor, nn

from llmlib.architecture import ModelConfig
from llmlib.decoder.compiled import compiled, whole_step, why_not_compiled
from llmlib.decoder.model import Decoder
from llmlib.decoder.premises import why_not
from llmlib.decoder.requests import (
    check_options,
    check_request,
    checked_choice,
    prompt_tensor,
    stop_set,
)
from llmlib.decoder.single_step import SingleStep
from llmlib.kv_cache import FixedKVCache, KVCache, Reader
from llmlib.sampling import greedy

COMPILED_ROOM = 128  # compiled programs are made for multiples of so many tokens

Choose = Callable[[Tensor], Tensor]


@runtime_checkable
class Continues(Protocol):
    """What `generate` asks of a model: a Decoder, or another that has read all but the text."""

    config: ModelConfig
    embedding: nn.Embedding

    def readers(self) -> list[Reader]:
        """What a cache has to know of each layer."""

    def new_cache(self, capacity: int | None = None) -> KVCache:
        """An empty cache."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Logits, (batch, seq, vocab)."""


@overload
def generate(
    model: Continues, prompt_ids: Sequence[int], max_new_tokens: int, **options: Any
) -> Iterator[int]: ...


@overload
def generate(
    model: Continues, prompt_ids: Tensor, max_new_tokens: int, **options: Any
) -> Iterator[Tensor]: ...


def generate(  # type: ignore[misc]  # the overloads leave the options to this signature
    model: Continues,
    prompt_ids: Sequence[int] | Tensor,
    max_new_tokens: int,
    *,
    sampler: Choose = greedy,
    use_cache: bool = True,
    stop_ids: Sequence[int] = (),
    attention_mask: Tensor | None = None,
    compile: bool = False,
    cache: KVCache | None = None,
) -> Iterator[int] | Iterator[Tensor]:
    """Continue a prompt: feed the model, choose a token, feed that, and hand each out at once.

    Args:
        model: the decoder.
        prompt_ids: a list of ids, or (batch, seq). Prompts of unequal length are padded on the
            left, and attention_mask tells where.
        max_new_tokens: how many ids at most.
        sampler: from logits (batch, vocab) to ids (batch,). A `Sampler` goes on where its last text
            ended: make a new one to repeat a text.
        use_cache: keep keys and values; without, every step computes the whole text again.
        stop_ids: ids that end a text; the one that does is handed out last. In a batch a row that
            has ended repeats it until all rows have.
        attention_mask: 1 for tokens, 0 for padding, (batch, seq).
        compile: compile the step for one token. It takes seconds for models like Llama and one
            text, a minute or more for others, and is used again for texts of similar length. A
            model with hooks, and one under autocast, runs as it is.
        cache: an empty cache to use instead of the model's usual one.

    Returns:
        An iterator: of ints for a list, of (batch,) tensors for a tensor. What computes a token is
        decided for each: hooks, adapters and weights that are changed between two tokens count from
        the next one on; what earlier tokens left in the cache stays.

    Raises:
        TypeError, ValueError: before the first token: a prompt that is no list of ids and no batch
            of them, prompt and continuation beyond the context, a mask that does not fit or pads on
            the right, a cache that is not exact for the model, settings that exclude each other.
            Later: a sampler that returns no ids of the vocabulary.
    """
    if not isinstance(getattr(model, "config", None), ModelConfig):
        raise TypeError(f"model is a {type(model).__name__}, expected a Decoder")
    check_options(sampler, use_cache, compile, cache)
    single = not isinstance(prompt_ids, Tensor)
    ids = prompt_tensor(prompt_ids, model.embedding.weight.device)
    if use_cache and cache is None and isinstance(max_new_tokens, int) and max_new_tokens >= 0:
        cache = _usual_cache(model, ids.shape[1] + max_new_tokens, compile)
    elif (compile or cache is not None) and not use_cache:
        raise ValueError("use_cache=False leaves nothing to compile for or to keep in a cache")
    elif cache is not None and (compile or cache.length):
        raise ValueError("cache must be empty, and cannot be chosen for a compiled step")
    mask = check_request(model.config, model.readers(), ids, max_new_tokens, attention_mask, cache)
    stops = stop_set(stop_ids, model.config.vocab_size)
    stream = _stream(model, ids, max_new_tokens, sampler, stops, mask, cache, compile)
    return (int(chosen) for chosen in stream) if single else stream


def _usual_cache(model: Continues, total: int, compile: bool) -> KVCache:
    if compile:
        # One compiled program serves all lengths up to the same multiple.
        return FixedKVCache(-(-total // COMPILED_ROOM) * COMPILED_ROOM)
    return model.new_cache(capacity=total)


@torch.no_grad()
def _stream(
    model: Continues, ids: Tensor, max_new_tokens: int, sampler: Choose, stop_ids: set[int],
    mask: Tensor | None, cache: KVCache | None, compile: bool,
) -> Iterator[Tensor]:  # fmt: skip
    """One (batch,) tensor a step, until all rows have stopped."""
    step = _Step(model, len(ids), cache, compile)
    if isinstance(cache, FixedKVCache):
        mask = None if mask is None else _extended(mask, cache.capacity - mask.shape[1])
    ended, last = torch.zeros(len(ids), dtype=torch.bool, device=ids.device), None
    feed = ids
    for made in range(max_new_tokens):
        chosen = checked_choice(sampler(step(feed, mask)), ids, model.config.vocab_size)
        if last is not None:
            chosen = torch.where(ended, last, chosen)
        yield chosen
        for stop in stop_ids:
            ended = ended | (chosen == stop)
        if made + 1 == max_new_tokens or (stop_ids and bool(ended.all())):
            return
        last, new = chosen, chosen[:, None]
        feed = new if cache is not None else torch.cat([feed, new], dim=1)
        if mask is not None and not isinstance(cache, FixedKVCache):
            mask = _extended(mask, 1)


class _Step:
    """Logits of the next token, by the fastest that computes what the model does."""

    def __init__(self, model: Continues, batch: int, cache: KVCache | None, compile: bool) -> None:
        self.model, self.batch, self.cache, self.compile = model, batch, cache, compile
        self.single: SingleStep | None = None
        self.prompt = True

    def __call__(self, feed: Tensor, mask: Tensor | None) -> Tensor:
        """(batch, vocab)"""
        compute = self.model if self.prompt or self.cache is None else self._fastest(mask)
        self.prompt = False
        return compute(feed, self.cache, attention_mask=mask, last_only=True)[:, -1]

    def _fastest(self, mask: Tensor | None) -> Callable[..., Tensor]:
        """Looked up for each token: hooks and weights may have changed since the last."""
        model, cache = self.model, self.cache
        if not isinstance(model, Decoder) or (isinstance(cache, FixedKVCache) and not self.compile):
            return model
        if mask is None:
            if self.single is not None and self.single.still_fits():
                return self.single
            self.single = SingleStep(model) if why_not(model, self.batch, cache) is None else None
            if self.single is not None:
                return self.single
        if self.compile and why_not_compiled(model) is None:
            return functools.partial(compiled(whole_step), model)
        return model


def _extended(mask: Tensor, n: int) -> Tensor:
    """The mask with n more columns of tokens."""
    return torch.cat([mask, mask.new_ones(len(mask), n)], dim=1)
