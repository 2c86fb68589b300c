"""Attention that skips most pairs of tokens, and attention that never forms pairs.

The package reads as the chapter does. `patterns`: which query sees which key (sliding window,
Longformer, BigBird, attention sinks), how many pairs that makes, and how far it reaches through
several layers. `computation`: the same attention without the full matrix of scores. `longformer`:
the module whose global tokens have projections of their own. `linear`: a kernel in place of
softmax, so that the sum over keys becomes a state. `streaming`: a cache of sinks and a window.

Not here: kernels that skip blocks on a GPU; patterns that are learned.
"""

from llmlib.sparse_attention.computation import (
    bigbird_attention,
    longformer_attention,
    sink_attention,
    sliding_window_attention,
)
from llmlib.sparse_attention.linear import (
    LinearState,
    elu_plus_one,
    linear_attention,
    recurrent_linear_attention,
    reference_linear_attention,
)
from llmlib.sparse_attention.longformer import LongformerAttention
from llmlib.sparse_attention.patterns import (
    bigbird_mask,
    bigbird_pairs,
    longformer_mask,
    longformer_pairs,
    sink_mask,
    sliding_window_mask,
    sliding_window_pairs,
)
from llmlib.sparse_attention.reach import path_lengths, peak_bytes, window_influence
from llmlib.sparse_attention.streaming import SinkKVCache

__all__ = [
    "LinearState",
    "LongformerAttention",
    "SinkKVCache",
    "bigbird_attention",
    "bigbird_mask",
    "bigbird_pairs",
    "elu_plus_one",
    "linear_attention",
    "longformer_attention",
    "longformer_mask",
    "longformer_pairs",
    "path_lengths",
    "peak_bytes",
    "recurrent_linear_attention",
    "reference_linear_attention",
    "sink_attention",
    "sink_mask",
    "sliding_window_attention",
    "sliding_window_mask",
    "sliding_window_pairs",
    "window_influence",
]
