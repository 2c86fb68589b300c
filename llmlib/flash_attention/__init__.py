"""Flash attention: exact attention that never stores its score matrix.

The package reads as the chapter does: `flash_attention`, which checks its input and chooses an
engine; `blocked`, the algorithm in plain PyTorch; `strips`, what is visited and by whom.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from llmlib.flash_attention.blocked import BlockedAttention, Scores
from llmlib.flash_attention.strips import Mask

__all__ = ["flash_attention"]


def flash_attention(
    q: Float[Tensor, "batch heads seq_q head_dim"],
    k: Float[Tensor, "batch kv_heads seq_k head_dim"],
    v: Float[Tensor, "batch kv_heads seq_k value_dim"],
    *,
    causal: bool = False,
    window: int | None = None,
    alibi_slopes: Tensor | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    return_lse: bool = False,
    engine: str = "auto",
) -> Tensor | tuple[Tensor, Tensor]:
    """softmax(q k^T * scale + bias) v, exactly, in memory that grows with the length."""
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    mask = Mask(q.shape[2], k.shape[2], causal, window)
    slopes = torch.zeros(q.shape[:2]) if alibi_slopes is None else alibi_slopes.expand(q.shape[:2])
    out, lse = BlockedAttention.apply(q, k, v, slopes, Scores(mask, scale, softcap))
    return (out, lse) if return_lse else out
