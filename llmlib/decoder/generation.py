"""Generation: the decoder is fed its own output, one token at a time.

`generate` checks the request and hands out ids as they are made; `_stream` is the loop itself:
feed, choose, hand out. Not here: beam search, several models at once.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, overload

import torch
from torch import Tensor

from llmlib.decoder.compiled import compiled
from llmlib.decoder.config import DecoderConfig
from llmlib.decoder.model import Decoder, check_context
from llmlib.decoder.single_step import SingleStep, fits
from llmlib.kv_cache import FixedKVCache, KVCache, LatentKVCache, RollingKVCache
from llmlib.sampling import greedy

COMPILED_ROOM = 128  # compiled programs are made for multiples of so many tokens

Choose = Callable[[Tensor], Tensor]


@overload
def generate(
    model: Decoder, prompt_ids: Sequence[int], max_new_tokens: int, **options: Any
) -> Iterator[int]: ...


@overload
def generate(
    model: Decoder, prompt_ids: Tensor, max_new_tokens: int, **options: Any
) -> Iterator[Tensor]: ...


def generate(  # type: ignore[misc]  # the overloads leave the options to this signature
    model: Decoder,
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
        sampler: from logits (batch, vocab) to ids (batch,).
        use_cache: keep keys and values; without, every step computes the whole text again.
        stop_ids: ids that end a text; the one that does is handed out last. In a batch a row that
            has ended repeats it until all rows have.
        attention_mask: 1 for tokens, 0 for padding, (batch, seq).
        compile: compile the step for one token. It takes seconds for models like Llama and one
            text, a minute or more for others, and is used again for texts of similar length.
        cache: an empty cache to use instead of the model's usual one.

    Returns:
        An iterator: of ints for a list, of (batch,) tensors for a tensor.

    Raises:
        ValueError: an empty prompt, prompt and continuation beyond the context (before the first
            token), a mask that does not fit or pads on the right, settings that exclude each other.
    """
    single = not isinstance(prompt_ids, Tensor)
    device = model.embedding.weight.device
    ids = torch.as_tensor(prompt_ids, device=device)
    ids = ids.reshape(1, -1) if single else ids
    mask = _checked_request(model, ids, max_new_tokens, attention_mask)
    if (compile or cache is not None) and not use_cache:
        raise ValueError("use_cache=False leaves nothing to compile for or to keep in a cache")
    if cache is not None and (compile or cache.length):
        raise ValueError("cache must be empty, and cannot be chosen for a compiled step")
    if use_cache and cache is None:
        cache = _usual_cache(model.config, ids.shape[1] + max_new_tokens, compile)
    stream = _stream(model, ids, max_new_tokens, sampler, set(stop_ids), mask, cache)
    return (int(chosen) for chosen in stream) if single else stream


def _usual_cache(config: DecoderConfig, total: int, compile: bool) -> KVCache:
    if compile:
        # One compiled program serves all lengths up to the same multiple.
        return FixedKVCache(-(-total // COMPILED_ROOM) * COMPILED_ROOM)
    if config.window is not None:
        return RollingKVCache(config.window)
    if config.latent is not None:
        return LatentKVCache(capacity=total)
    return KVCache(capacity=total)


@torch.no_grad()
def _stream(
    model: Decoder,
    ids: Tensor,
    max_new_tokens: int,
    sampler: Choose,
    stop_ids: set[int],
    mask: Tensor | None,
    cache: KVCache | None,
) -> Iterator[Tensor]:
    """One (batch,) tensor a step, until all rows have stopped."""
    step: Callable[..., Tensor] = model
    if isinstance(cache, FixedKVCache):
        mask = None if mask is None else _extended(mask, cache.capacity - mask.shape[1])
    ended, last = torch.zeros(len(ids), dtype=torch.bool, device=ids.device), None
    feed = ids
    for made in range(max_new_tokens):
        logits = step(feed, cache, attention_mask=mask, last_only=True)[:, -1]
        chosen = sampler(logits)
        if last is not None:
            chosen = torch.where(ended, last, chosen)
        yield chosen
        for stop in stop_ids:
            ended = ended | (chosen == stop)
        if made + 1 == max_new_tokens or (stop_ids and bool(ended.all())):
            return
        last, new = chosen, chosen[:, None]
        feed = new if cache is not None else torch.cat([feed, new], dim=1)
        if mask is None and cache is not None and fits(model, len(ids)):
            step = step if made else SingleStep(model)
        elif isinstance(cache, FixedKVCache):
            step = functools.partial(compiled(Decoder.forward), model)
        elif mask is not None:
            mask = _extended(mask, 1)


def _extended(mask: Tensor, n: int) -> Tensor:
    """The mask with n more columns of tokens."""
    return torch.cat([mask, mask.new_ones(len(mask), n)], dim=1)


def _checked_request(
    model: Decoder, ids: Tensor, max_new_tokens: int, attention_mask: Tensor | None
) -> Tensor | None:
    """The padding mask if there is padding; ValueError for what cannot be continued."""
    if ids.ndim != 2 or not ids.numel():
        raise ValueError(f"prompt_ids has shape {tuple(ids.shape)}, expected at least one token")
    if max_new_tokens < 0:
        raise ValueError(f"max_new_tokens is {max_new_tokens}, expected 0 or more")
    # The last token that is made is never fed.
    check_context(model.config, ids.shape[1] + max(max_new_tokens - 1, 0))
    if attention_mask is None:
        return None
    if attention_mask.shape != ids.shape:
        found, expected = tuple(attention_mask.shape), tuple(ids.shape)
        raise ValueError(f"attention_mask has shape {found}, expected {expected}")
    mask = attention_mask.to(ids.device).bool()
    if not bool(mask[:, -1].all()):
        row = int((~mask[:, -1]).nonzero()[0])
        raise ValueError(f"row {row} ends in padding: pad prompts on the left to continue them")
    return None if bool(mask.all()) else mask
