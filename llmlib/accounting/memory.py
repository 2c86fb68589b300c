"""How many bytes weights take, and what a cache keeps of a text: keys and values, latents, states.

A number's size is a torch type or its name or, where a formula is wanted or four bits are meant,
the bytes themselves: an integer, a fraction or a letter.
"""

from typing import assert_never

import llmlib.architecture as arch
from llmlib.accounting.arithmetic import least
from llmlib.accounting.breakdown import Count
from llmlib.accounting.checks import check_config, check_counts, source_tokens
from llmlib.accounting.layers import over_layers, window
from llmlib.accounting.parameters import parameters
from llmlib.accounting.sizes import Bytes, number_bytes, type_name

SCALE_BYTES = 4  # llmlib.kv_cache.quantize keeps float32 scales


def weight_bytes(config: arch.ModelConfig, dtype: Bytes = "bfloat16") -> Count:
    """N numbers of one type: `parameters(config).total` times the bytes of each.

    Args:
        config: as for `parameters`; all experts of a mixture count, since all are stored.
        dtype: of the weights.

    Raises:
        TypeError, ValueError: as `parameters`; a size of numbers that is not positive.
    """
    return parameters(config).total * number_bytes(dtype)


def kv_cache_bytes(
    config: arch.ModelConfig,
    batch: Count,
    seq: Count,
    dtype: Bytes = "bfloat16",
    *,
    rolling: bool | None = None,
    source_seq: Count | None = None,
) -> Count:
    """What the caches of all layers take; with one kind of attention 2 b L G d_head s numbers.

    With latent attention b L (r + d_rope) s: one row for all heads, and no second one for values.
    A layer with a state keeps it and the last inputs of its convolution, however long the text is.
    An encoder-decoder has as much again for the source's tokens, which its cross-attention reads.

    It is what `llmlib.kv_cache` holds (`n_bytes`). A cache that grows by doubling may have
    allocated almost twice that (`allocated_bytes`).

    Args:
        config: as for `parameters`, of a model that has a decoder.
        batch: b, texts.
        seq: s, tokens that the cache has seen of each; in an encoder-decoder: of the target.
        dtype: of the cached numbers. torch.int8 is `QuantizedKVCache`: one byte a number and a
            float32 scale for each token's key and value of a head. (Latents have no quantized
            cache of their own: it would hold them twice, as key and as value; states have none.)
            A plain 1 is one byte without scales.
        rolling: layers with a window hold its last tokens alone, as in `RollingKVCache`. If None,
            they do where other layers have none; a model of windows alone holds all, as a plain
            `KVCache` does.
        source_seq: tokens of an encoder-decoder's source; seq if None.

    Raises:
        TypeError, ValueError: sizes that are no positive integers, an encoder, which keeps no
            cache, rolling without a window.

    Source: shazeer2019mqa, deepseek2024v2
    """
    check_config(config)
    check_counts(0, seq=seq)
    check_counts(1, batch=batch)
    if config.family == "encoder":
        raise ValueError("family is 'encoder', which keeps no cache: expected a model that decodes")
    windows = [window(block.mixer) for block, _, _ in arch.kinds(config.stack.runs)]
    if rolling and not any(windows):
        raise ValueError("rolling is True, expected a configuration with a window to roll over")
    rolls = not all(windows) if rolling is None else rolling
    source = 0 if config.source is None else source_tokens(seq, source_seq, least=0)

    def one(block: arch.Block) -> dict[str, Count]:
        span = window(block.mixer) if rolls else None
        held = seq if span is None else least(seq, span)
        crossed = 0 if block.cross is None else cache_row_bytes(block.cross, dtype)
        return {
            "rows": cache_row_bytes(block.mixer, dtype) * held,
            "source": crossed * source,
            "state": state_bytes(block.mixer, dtype),
        }

    return batch * sum(over_layers(config.stack.runs, one).values())


def cache_row_bytes(mixer: arch.Mixer, dtype: Bytes) -> Count:
    """What one token leaves in one layer's cache."""
    quantized = int(type_name(dtype) == "int8")
    match mixer:
        case arch.Attention():
            numbers = mixer.n_kv_heads * (mixer.head_dim + mixer.value_width)
            scales = 2 * mixer.n_kv_heads
        case arch.Latent():
            # A quantized cache holds the latent as a key and again as a value.
            numbers, scales = (1 + quantized) * mixer.kv_rank + mixer.rope_dim, 2
        case arch.GatedDelta():
            return 0
        case _:
            assert_never(mixer)
    return numbers * number_bytes(dtype) + quantized * scales * SCALE_BYTES


def state_bytes(mixer: arch.Mixer, dtype: Bytes) -> Count:
    """What one layer keeps of a text however long it is."""
    match mixer:
        case arch.Attention() | arch.Latent():
            return 0
        case arch.GatedDelta(key_dim=width):
            keys, values = mixer.n_key_heads * width, mixer.n_value_heads * mixer.value_dim
            last_inputs = (mixer.conv - 1) * (2 * keys + values)
            return (values * width + last_inputs) * number_bytes(dtype)
        case _:
            assert_never(mixer)
