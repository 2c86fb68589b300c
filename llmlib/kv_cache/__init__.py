"""Caches of keys and values: what a decoder keeps so that a new token costs one token's work.

Under a causal mask the keys and values of past positions never change, so they are computed once.
The module reads as the chapter does: everything kept (`KVCache`), only the last `window` tokens
(`RollingKVCache`), everything in 8 bits (`QuantizedKVCache`), one latent a token for all heads
(`LatentKVCache`), several of these in one model (`LayeredKVCache`), and everything in buffers of
fixed shape for compiled steps (`FixedKVCache`). A cache serves all layers of one model; `layer(i)`
is what layer i's attention writes to and reads from.

`n_bytes` counts the tokens that are held: 2 * batch * layers * kv_heads * head_dim * bytes a number
* tokens, plus the scales where numbers are quantized. `allocated_bytes` counts the buffers, which
grow ahead of need.
"""

from llmlib.kv_cache.caches import (
    FixedKVCache,
    FixedLayer,
    KVCache,
    LatentKVCache,
    LayeredKVCache,
    QuantizedKVCache,
    RollingKVCache,
)
from llmlib.kv_cache.layers import (
    Buffer,
    FullLayer,
    LatentLayer,
    LayerCache,
    QuantizedLayer,
    Reader,
    RollingLayer,
    dequantize,
    quantize,
    without_gradient,
)

__all__ = [
    "Buffer",
    "FixedKVCache",
    "FixedLayer",
    "FullLayer",
    "KVCache",
    "LatentKVCache",
    "LatentLayer",
    "LayerCache",
    "LayeredKVCache",
    "QuantizedKVCache",
    "QuantizedLayer",
    "Reader",
    "RollingKVCache",
    "RollingLayer",
    "dequantize",
    "quantize",
    "without_gradient",
]
