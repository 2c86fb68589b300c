"""Flash attention: exact attention that never stores its score matrix.

The package reads as the chapter does: `flash_attention`, which checks its input and chooses an
engine; `blocked`, the algorithm in plain PyTorch, with `scores`, a tile and its softmax, `strips`,
the tiles that are visited, `workers`, who visits them, and `one_tile` for short texts;
`triton_kernels`, the same for NVIDIA GPUs, which `launch` calls; `reference` is the formula, for
derivatives of derivatives. `flash_attention_packed` takes
texts of different lengths in one tensor.

No dropout. Not here: masks and biases of any shape, for which see `llmlib.attention.attention`.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from llmlib.checks import check_floats, check_heads
from llmlib.flash_attention.blocked import blocked_attention, blocked_packed
from llmlib.flash_attention.engines import Engine, choose_engine
from llmlib.flash_attention.inputs import (
    USUAL_TILES,
    Options,
    TileSizes,
    check_offsets,
    longest,
    slopes_by_text,
)
from llmlib.flash_attention.one_tile import see_all
from llmlib.precision import in_one_type
from llmlib.shapes import Keys, LogSumExp, Output, Queries, Values

__all__ = [
    "Engine",
    "TileSizes",
    "attention_by_tiles",
    "flash_attention",
    "flash_attention_packed",
    "see_all",
]


def flash_attention(
    q: Queries,
    k: Keys,
    v: Values,
    *,
    causal: bool = False,
    window: int | None = None,
    alibi_slopes: Float[Tensor, "..."] | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    return_lse: bool = False,
    engine: Engine = "auto",
    tiles: TileSizes = USUAL_TILES,
) -> Output | tuple[Output, LogSumExp]:
    """softmax(s) v with s = cap(q k^T * scale) + bias, exactly, in memory that grows as the length.

    What `reference_attention` computes, differentiable in q, k and v. 16-bit input is computed in
    float32 and rounded once; on a GPU the weights are rounded as well, for the second product.
    Second derivatives, forward-mode derivatives and the transforms of torch.func are those of the
    formula: right on the blocked engine, in memory that grows as the square of the length.
    Query i stands at position p = i + seq_k - seq_q, so the last query sees the last key. What a
    query may not see does not touch it, not even as 0 * NaN.

    Args:
        q: queries; k, v: keys and values. Their heads divide those of q: query heads
            h * group .. (h + 1) * group - 1 share key/value head h, which is never repeated.
        causal: a query sees keys j <= p.
        window: with causal the keys p - window < j <= p, else |p - j| < window.
        alibi_slopes: (heads,) or (batch, heads); adds -slope * |p - j| to the scores.
        scale: of the scores; 1/sqrt(head_dim) if None.
        softcap: scores become softcap * tanh(score / softcap), before the bias.
        return_lse: also return the log of each query's sum of exp(s).
        engine: "triton" for CUDA tensors, "blocked" for any; "auto" takes the first that can run.
        tiles: how large the blocked engine's tiles are; the result does not depend on it.

    Returns:
        (batch, heads, seq_q, value_dim), and (batch, heads, seq_q) in float32 (float64 for such
        input). A query that may attend to nothing gets 0, and -inf.

    Raises:
        ValueError: shapes that do not fit, heads that do not divide, a window below 1, a scale that
            is not finite, a cap that is not positive, an engine that is unknown or cannot run here.
        TypeError: tensors that are not floats of one type on one device, a window that is no
            integer.

    Source: dao2022flashattention, dao2023flashattention2; press2022alibi for the bias
    """
    check_heads(q, k, v)
    q, k, v = in_one_type(q, k, v)
    check_floats(q, k, v)
    options = Options.checked(causal, window, scale, softcap, q.shape[-1])
    slopes = slopes_by_text(alibi_slopes, q)
    out, lse = attention_by_tiles(q, k, v, slopes, options, return_lse, engine, tiles)
    return (out, lse) if return_lse and lse is not None else out


def attention_by_tiles(
    q: Tensor, k: Tensor, v: Tensor, slopes: Tensor | None, options: Options, needs_lse: bool,
    engine: Engine = "auto", tiles: TileSizes = USUAL_TILES,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """`flash_attention` of what is checked already: what the library's own modules call."""
    here = engine == "blocked" or (engine == "auto" and not q.is_cuda)
    if not here and choose_engine(engine, q, v.shape[-1]) == "triton":
        from llmlib.flash_attention.launch import triton_attention  # Triton is there only on Linux

        return triton_attention(q, k, v, slopes, options)
    return blocked_attention(q, k, v, slopes, options, needs_lse, tiles)


def flash_attention_packed(
    q: Float[Tensor, "heads total_q head_dim"],
    k: Float[Tensor, "kv_heads total_k head_dim"],
    v: Float[Tensor, "kv_heads total_k value_dim"],
    cu_seqlens_q: Int[Tensor, "offsets"],
    cu_seqlens_k: Int[Tensor, "offsets"] | None = None,
    *,
    causal: bool = False,
    window: int | None = None,
    alibi_slopes: Float[Tensor, "..."] | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    return_lse: bool = False,
    engine: Engine = "auto",
) -> Float[Tensor, "heads total_q value_dim"] | tuple[Tensor, Tensor]:
    """`flash_attention` of texts of different lengths, packed one behind the other: no padding.

    Args:
        q, k, v: the texts' queries, keys and values, end to end.
        cu_seqlens_q: where each text starts, and the end: 0, n_1, n_1 + n_2, ..., total_q.
        cu_seqlens_k: the same for keys; None where they are as many.
        alibi_slopes: (heads,) or (texts, heads).
        causal, window, scale, softcap, return_lse, engine: see `flash_attention`.

    Returns:
        (heads, total_q, value_dim), and with return_lse (heads, total_q).

    Raises:
        ValueError, TypeError: as `flash_attention`; offsets that do not start at 0, fall, or do not
            end with the tokens.
    """
    check_heads(q[None], k[None], v[None])
    cu_seqlens_k = cu_seqlens_q if cu_seqlens_k is None else cu_seqlens_k
    ends_q = check_offsets("cu_seqlens_q", cu_seqlens_q, q.shape[1])
    ends_k = check_offsets("cu_seqlens_k", cu_seqlens_k, k.shape[1], len(ends_q))
    q, k, v = in_one_type(q, k, v)
    check_floats(q, k, v)
    options = Options.checked(causal, window, scale, softcap, q.shape[-1])
    lse: Tensor | None
    slopes = slopes_by_text(alibi_slopes, q[None].expand(len(ends_q) - 1, -1, -1, -1))
    if choose_engine(engine, q, v.shape[-1]) == "triton":
        from llmlib.flash_attention.launch import Packed, triton_attention

        cu_q, cu_k = (x.to(q.device, torch.int32) for x in (cu_seqlens_q, cu_seqlens_k))
        packed = Packed(cu_q, cu_k, longest(ends_q), longest(ends_k))
        out, lse = triton_attention(q, k, v, slopes, options, packed)
    else:
        out, lse = blocked_packed(q, k, v, slopes, options, ends_q, ends_k, needs_lse=return_lse)
    return (out, lse) if return_lse and lse is not None else out
