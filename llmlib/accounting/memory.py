"""How many bytes weights and the cache of keys and values take.

A number's size is a torch type or, where a formula is wanted or four bits are meant, the bytes
themselves: an integer, a fraction or a letter.
"""

from typing import Any

import torch

from llmlib.accounting.breakdown import Count
from llmlib.accounting.checks import check_counts, source_tokens
from llmlib.accounting.config import as_config
from llmlib.accounting.letters import least
from llmlib.accounting.parameters import parameters
from llmlib.accounting.sizes import Bytes, as_dtype, number_bytes
from llmlib.model_cards import ModelConfig

SCALE_BYTES = 4  # llmlib.kv_cache.quantize keeps float32 scales


def weight_bytes(config: Any, dtype: Bytes = torch.bfloat16) -> Count:
    """N numbers of one type: `parameters(config).total` times the bytes of each.

    Args:
        config: as for `parameters`; all experts of a mixture count, since all are stored.
        dtype: of the weights.

    Raises:
        TypeError, ValueError: as `parameters`; a size of numbers that is not positive.
    """
    return parameters(config).total * number_bytes(dtype)


def kv_cache_bytes(
    config: Any,
    batch: Count,
    seq: Count,
    dtype: Bytes = torch.bfloat16,
    *,
    rolling: bool = False,
    source_seq: Count | None = None,
) -> Count:
    """What the keys and values of all layers take: 2 b L G d_head s numbers.

    With latent attention b L (r + d_rope) s: one row for all heads, and no second one for values.
    An encoder-decoder has as much again for the source's tokens, which its cross-attention reads.

    It is what `llmlib.kv_cache` holds (`n_bytes`). A cache that grows by doubling may have
    allocated almost twice that (`allocated_bytes`).

    Args:
        config: as for `parameters`, of a model that has a decoder.
        batch: b, texts.
        seq: s, tokens that the cache has seen of each; in an encoder-decoder: of the target.
        dtype: of the cached numbers. torch.int8 is `QuantizedKVCache`: one byte a number and a
            float32 scale for each token's key and value of a head. (Latents have no quantized
            cache of their own: it would hold them twice, as key and as value.) A plain 1 is one
            byte without scales.
        rolling: only the last `window` tokens are held, as in `RollingKVCache`.
        source_seq: tokens of an encoder-decoder's source; seq if None.

    Raises:
        TypeError, ValueError: sizes that are no positive integers, an encoder, which keeps no
            cache, rolling without a window.

    Source: shazeer2019mqa, deepseek2024v2
    """
    c = as_config(config)
    check_counts(0, seq=seq)
    check_counts(1, batch=batch)
    if c.family == "encoder":
        raise ValueError("family is 'encoder', which keeps no cache: expected a model that decodes")
    if rolling and c.window is None:
        raise ValueError("rolling is True, expected a configuration with a window to roll over")
    row = cache_row_bytes(c, dtype)
    own = least(seq, c.window) if rolling else seq
    if c.family != "encoder-decoder":
        return batch * c.n_layers * row * own
    return batch * c.n_layers * row * (own + source_tokens(seq, source_seq, least=0))


def cache_row_bytes(c: ModelConfig, dtype: Bytes) -> Count:
    """What one token leaves in one layer's cache."""
    quantized = int(as_dtype(dtype) == torch.int8)
    if c.latent is None:
        numbers, scales = 2 * c.n_kv_heads * c.head_dim, 2 * c.n_kv_heads
    else:
        # A quantized cache holds the latent as a key and again as a value.
        numbers, scales = (1 + quantized) * c.latent.kv_rank + c.latent.rope_dim, 2
    return numbers * number_bytes(dtype) + quantized * scales * SCALE_BYTES
