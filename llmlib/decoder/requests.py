"""What a decoder can be asked for: ids, padding masks and caches that fit the model.

First a pass of the model, then a text that `generate` is to continue.

Shapes and types are checked always, values where there are any: not on the meta device, nor while a
compiler traces the program.
"""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from llmlib.architecture import ModelConfig
from llmlib.checks import readable
from llmlib.kv_cache import FixedKVCache, KVCache, Reader
from llmlib.sizes import check_integer


def check_pass(
    config: ModelConfig,
    readers: Sequence[Reader],
    token_ids: Tensor,
    cache: KVCache | None,
    attention_mask: Tensor | None,
) -> None:
    """TypeError or ValueError for what the model cannot be given, RuntimeError for a broken cache.

    Args:
        config: of the model.
        readers: the model's layers as their caches see them.
        token_ids, cache, attention_mask: as for `Decoder.forward`.
    """
    check_ids(config, token_ids)
    if cache is not None:
        check_cache(cache)
    new, past = token_ids.shape[1], 0
    if isinstance(cache, FixedKVCache):
        if not torch.compiler.is_compiling():  # its length is a tensor, which no trace can read
            cache.check(readers)
            past = cache.length
            if past + new > cache.capacity:
                raise IndexError(f"{past + new} tokens do not fit in a cache of {cache.capacity}")
    elif cache is not None:
        cache.check(readers)
        past = cache.length
    if past + new > config.context:
        check_context(config, past + new, cache)
    if attention_mask is not None:
        room = cache.capacity if isinstance(cache, FixedKVCache) else past + new
        check_mask(readers, attention_mask, (token_ids.shape[0], room), cache)


def check_ids(config: ModelConfig, token_ids: Tensor) -> None:
    """TypeError or ValueError for what is no batch of ids of the vocabulary."""
    if not isinstance(token_ids, Tensor):
        raise TypeError(f"token_ids is a {type(token_ids).__name__}, expected a tensor")
    known = token_ids.dtype in (torch.int64, torch.int32)
    if token_ids.ndim != 2 or not known or not token_ids.numel():
        found = f"{token_ids.dtype} of shape {tuple(token_ids.shape)}"
        raise ValueError(
            f"token_ids is {found}, expected torch.int64 or torch.int32 (batch, seq), at least one"
        )
    if readable(token_ids):
        low, high = map(int, token_ids.aminmax())
        if low < 0 or high >= config.vocab_size:
            wrong = low if low < 0 else high
            raise ValueError(f"token id {wrong} is outside 0 .. {config.vocab_size - 1}")


def check_context(config: ModelConfig, total: int, cache: KVCache | None = None) -> None:
    """ValueError when the model would see more positions than it is made for."""
    if (total if cache is None else cache.reach(total)) > config.context:
        raise ValueError(
            f"{total} tokens do not fit: the model's context is {config.context} positions, "
            "prompt and continuation together"
        )


def check_mask(
    readers: Sequence[Reader], attention_mask: Tensor, shape: tuple[int, int], cache: KVCache | None
) -> None:
    """TypeError or ValueError for what is no padding mask that the model can keep to."""
    if not isinstance(attention_mask, Tensor):
        kind = type(attention_mask).__name__
        raise TypeError(f"attention_mask is a {kind}, expected a tensor of 0 and 1")
    if attention_mask.shape != shape:
        raise ValueError(
            f"attention_mask has shape {tuple(attention_mask.shape)}, expected {shape}: "
            "cached tokens count"
        )
    if not readable(attention_mask):
        return
    strange = attention_mask[(attention_mask != 0) & (attention_mask != 1)]
    if strange.numel():
        raise ValueError(f"attention_mask holds {strange[0].item()}, expected 0 and 1 alone")
    real = attention_mask.bool()
    if cache is not None and cache.starts_with_sinks and not bool(real.all()):
        raise ValueError("attention_mask hides tokens of a cache with sinks, expected no padding")
    windows = [reader.window for reader in readers if reader.window is not None]
    if windows:
        _check_gaps(real, min(windows))


def _check_gaps(real: Tensor, window: int) -> None:
    """A window counts slots, which are positions only where no padding stands between tokens."""
    begins = real[:, 1:] & ~real[:, :-1]
    runs = begins.sum(-1) + real[:, 0]
    if bool((runs > 1).any()):
        row = int((runs > 1).nonzero()[0])
        raise ValueError(
            f"row {row} of attention_mask has padding between its tokens, where a window of "
            f"{window} would count it as text; expected padding at the ends alone"
        )


# --- a text to continue -----------------------------------------------------------------------


def check_options(sampler: object, use_cache: bool, compile: bool, cache: KVCache | None) -> None:
    """TypeError for options of another kind than `generate` names."""
    for name, value in {"use_cache": use_cache, "compile": compile}.items():
        if not isinstance(value, bool):
            raise TypeError(f"{name} is {value!r}, expected True or False")
    if not callable(sampler):
        raise TypeError(f"sampler is {sampler!r}, expected a function of logits, such as greedy")
    check_cache(cache)


def check_cache(cache: object) -> None:
    """TypeError for what is no cache of a model."""
    if cache is not None and not isinstance(cache, KVCache):
        found = cache.__name__ if isinstance(cache, type) else f"a {type(cache).__name__}"
        raise TypeError(f"cache is {found}, expected a KVCache() or another cache of a model")


def prompt_tensor(prompt_ids: Sequence[int] | Tensor, device: torch.device) -> Tensor:
    """The prompt as (batch, seq); TypeError or ValueError for what is no list or batch of ids."""
    if isinstance(prompt_ids, Tensor):
        ids = prompt_ids
    elif isinstance(prompt_ids, str | bytes | Mapping) or not hasattr(prompt_ids, "__iter__"):
        kind = type(prompt_ids).__name__
        raise TypeError(f"prompt_ids is a {kind}, expected a list of ids: encode a text first")
    else:
        try:
            ids = torch.as_tensor(prompt_ids if len(prompt_ids) else [], device=device)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ValueError(f"prompt_ids is no list of ids: {error}") from None
        if ids.ndim != 1:
            raise ValueError(
                f"prompt_ids has shape {tuple(ids.shape)}, expected one list of ids; give a tensor "
                "for a batch, padded on the left, and attention_mask"
            )
        ids = ids[None]
    if ids.ndim != 2 or not ids.numel():
        raise ValueError(
            f"prompt_ids has shape {tuple(ids.shape)}, expected at least one token: a list of ids, "
            "or a tensor (batch, seq)"
        )
    if ids.dtype == torch.bool or ids.is_floating_point() or ids.is_complex():
        raise TypeError(f"prompt_ids holds {ids.dtype}, expected integers")
    return ids.to(device, torch.int64)


def stop_set(stop_ids: Iterable[int], vocab_size: int) -> set[int]:
    """The ids that end a text; TypeError or ValueError for others."""
    if isinstance(stop_ids, str | bytes) or not hasattr(stop_ids, "__iter__"):
        raise TypeError(f"stop_ids is {stop_ids!r}, expected a collection of ids, such as (2,)")
    if isinstance(stop_ids, Tensor):
        stop_ids = stop_ids.flatten().tolist()
    found = set()
    for stop in stop_ids:
        if isinstance(stop, bool) or not hasattr(stop, "__index__"):
            raise TypeError(f"stop_ids holds {stop!r}, expected integers")
        if not 0 <= int(stop) < vocab_size:
            raise ValueError(f"stop id {int(stop)} is outside 0 .. {vocab_size - 1}")
        found.add(int(stop))
    return found


def check_request(
    config: ModelConfig,
    readers: Sequence[Reader],
    ids: Tensor,
    max_new_tokens: int,
    attention_mask: Tensor | None,
    cache: KVCache | None,
) -> Tensor | None:
    """The padding mask if there is any; TypeError or ValueError for what cannot be continued."""
    check_integer("max_new_tokens", max_new_tokens)
    if max_new_tokens < 0:
        raise ValueError(f"max_new_tokens is {max_new_tokens}, expected 0 or more")
    check_ids(config, ids)
    total = ids.shape[1] + max(max_new_tokens - 1, 0)  # the last token that is made is never fed
    check_context(config, total, cache)
    if cache is not None:
        cache.check(readers)
    if isinstance(cache, FixedKVCache) and total > cache.capacity:
        raise ValueError(f"{total} tokens do not fit in a cache of {cache.capacity}")
    if attention_mask is None:
        return None
    check_mask(readers, attention_mask, (ids.shape[0], ids.shape[1]), cache)
    mask = attention_mask.to(ids.device).bool()
    if not bool(mask[:, -1].all()):
        row = int((~mask[:, -1]).nonzero()[0])
        raise ValueError(f"row {row} ends in padding: pad prompts on the left to continue them")
    return None if bool(mask.all()) else mask


def checked_choice(chosen: Tensor, ids: Tensor, vocab_size: int) -> Tensor:
    """What a sampler chose as (batch,) ids; TypeError or ValueError for anything else."""
    if not isinstance(chosen, Tensor):
        raise TypeError(f"sampler returned a {type(chosen).__name__}, expected a tensor of ids")
    integers = not (chosen.is_floating_point() or chosen.is_complex() or chosen.dtype == torch.bool)
    if chosen.shape != ids.shape[:1] or not integers:
        found = f"{chosen.dtype} of shape {tuple(chosen.shape)}"
        raise ValueError(f"sampler returned {found}, expected integers {tuple(ids.shape[:1])}")
    wrong = [i for i in chosen.tolist() if not 0 <= i < vocab_size]
    if wrong:
        raise ValueError(f"sampler returned id {wrong[0]}, outside 0 .. {vocab_size - 1}")
    return chosen.to(ids.device, torch.int64)
