"""Position encodings: how a model that sees a set of tokens learns their order.

The package reads as the chapter does:

- `absolute`: a vector for each position, added to the embedding (sinusoidal, learned);
- `bias`: a number for each distance, added to the scores (T5's buckets, ALiBi);
- `frequencies`: RoPE's angle a step, and the scalings that stretch a trained context (linear,
  NTK-aware, YaRN, Llama 3);
- `rotation`: the rotation of queries and keys, as a matrix and as it is computed, in both layouts.

Every phase position * frequency is computed in float64 and only its cosine and sine are rounded to
float32: bfloat16 cannot tell position 257 from 256, and float32 loses the phase of far positions.
"""

from llmlib.position_encoding.absolute import LearnedPositions, sinusoidal
from llmlib.position_encoding.bias import (
    RelativeBias,
    alibi_bias,
    alibi_bias_at,
    alibi_slopes,
    t5_bucket,
)
from llmlib.position_encoding.frequencies import (
    Scaling,
    dynamic_ntk,
    rope_amplitude,
    rope_frequencies,
    rope_type,
)
from llmlib.position_encoding.rotation import (
    Layout,
    Rotation,
    apply_rotation,
    convert_rope_layout,
    rope_matrix,
    rope_order,
    rope_rotation,
    rotate,
)

__all__ = [
    "Layout",
    "LearnedPositions",
    "RelativeBias",
    "Rotation",
    "Scaling",
    "alibi_bias",
    "alibi_bias_at",
    "alibi_slopes",
    "apply_rotation",
    "convert_rope_layout",
    "dynamic_ntk",
    "rope_amplitude",
    "rope_frequencies",
    "rope_matrix",
    "rope_order",
    "rope_rotation",
    "rope_type",
    "rotate",
    "sinusoidal",
    "t5_bucket",
]
