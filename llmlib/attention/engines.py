"""Which implementation of attention runs: one formula, several ways to compute it."""

from typing import Any, Literal, get_args

import torch
from torch import Tensor

from llmlib.attention.formula import attention, reference_attention
from llmlib.flash_attention import flash_attention
from llmlib.position_encoding import alibi_bias_at

AttentionEngine = Literal["auto", "blocked", "triton", "sdpa", "reference"]


def check_attention_engine(engine: str) -> None:
    """ValueError for an engine that is not known."""
    if engine not in get_args(AttentionEngine):
        expected = ", ".join(get_args(AttentionEngine))
        raise ValueError(f"attention engine is {engine!r}, expected one of {expected}")


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    engine: AttentionEngine = "auto",
    causal: bool = False,
    window: int | None = None,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    alibi_slopes: Tensor | None = None,
    scale: float | None = None,
) -> Tensor:
    """`reference_attention`, computed by an engine.

    "auto", "blocked" and "triton" are `flash_attention` and its engines. It takes no bias and no
    mask of any shape: with one, and in programs that PyTorch compiles (the compiler cannot look
    into ours), PyTorch's fused kernel runs, as it does for "sdpa". "reference" is the formula.

    Args:
        alibi_slopes: (heads,), instead of the bias that they make.
    """
    seen: dict[str, Any] = {"causal": causal, "window": window, "scale": scale}
    plain = bias is None and mask is None and not torch.compiler.is_compiling()
    if plain and engine != "sdpa" and engine != "reference":  # mypy narrows it so
        out = flash_attention(q, k, v, alibi_slopes=alibi_slopes, engine=engine, **seen)
        assert isinstance(out, Tensor)  # no log-sum-exp was asked for
        return out
    if alibi_slopes is not None:
        keys = torch.arange(k.shape[2], device=k.device)
        queries = torch.arange(q.shape[2], device=q.device) + (k.shape[2] - q.shape[2])
        fading = alibi_bias_at(alibi_slopes, queries, keys)
        bias = fading if bias is None else bias + fading
    compute = reference_attention if engine == "reference" else attention
    return compute(q, k, v, bias=bias, mask=mask, **seen)
