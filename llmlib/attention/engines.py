"""Which implementation of attention runs: one formula, several ways to compute it.

A module has an engine of its own; `with engine("reference"):` asks for another one around any code,
to count or to look at plain products without touching the model.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from llmlib.attention.formula import attention, reference_attention
from llmlib.flash_attention import attention_by_tiles
from llmlib.flash_attention.inputs import Options, check_slopes, slopes_by_text
from llmlib.position_encoding import alibi_bias_at
from llmlib.precision import autocasts, in_one_type, widened

AttentionEngine = Literal["auto", "blocked", "triton", "sdpa", "reference"]


def check_attention_engine(engine: str) -> None:
    """ValueError for an engine that is not known."""
    if engine not in get_args(AttentionEngine):
        expected = ", ".join(get_args(AttentionEngine))
        raise ValueError(f"attention engine is {engine!r}, expected one of {expected}")


# --- an engine for all that happens inside ----------------------------------------------------


class _Asking:
    """How many `with engine(...)` are open anywhere.

    PyTorch's compiler cannot read a context variable, but it guards on this bool: programs stay
    whole while nobody asks, and while somebody does, each thread looks up what it asked for.
    """

    def __init__(self) -> None:
        self.lock, self.n, self.anywhere = threading.Lock(), 0, False

    def add(self, n: int) -> None:
        with self.lock:
            self.n += n
            self.anywhere = self.n > 0


_asked: ContextVar[AttentionEngine | None] = ContextVar("attention_engine", default=None)
_asking = _Asking()


@contextmanager
def engine(name: AttentionEngine) -> Iterator[None]:
    """Inside, every module's attention is computed by this engine, whatever the module's own.

        with engine("reference"), FlopCounterMode() as counter:
            model(token_ids)

    The innermost one holds. It holds for the thread or asyncio task that enters it; threads started
    inside begin without. What is computed again in a backward pass (activation checkpointing) asks
    once more, so the backward pass belongs inside too. Functions that name an implementation
    (`flash_attention`, `attention`, `reference_attention`) stay that implementation.

    Raises:
        ValueError: an unknown engine.
    """
    check_attention_engine(name)
    token = _asked.set(name)
    _asking.add(1)
    try:
        yield
    finally:
        _asking.add(-1)
        _asked.reset(token)


def engine_asked() -> AttentionEngine | None:
    """The engine of the innermost `with engine(...)`; None outside of any."""
    return _asked.get() if _asking.anywhere else None


# --- attention by an engine -------------------------------------------------------------------


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
    softcap: float | None = None,
    sinks: Tensor | None = None,
) -> Tensor:
    """`reference_attention`, computed by an engine. Arguments are not checked: modules call it.

    "auto", "blocked" and "triton" are `flash_attention` and its engines. It takes no bias and no
    mask of any shape: with one, and in programs that PyTorch compiles (the compiler cannot look
    into ours), PyTorch's fused kernel runs, as it does for "sdpa". That one knows no cap and no
    sinks: with them the formula takes its place. "reference" is the formula.

    Args:
        engine: one of these, unless a `with engine(...)` around the call asks for another.
        alibi_slopes: (heads,) or (batch, heads), instead of the bias that they make.
    """
    engine = (_asking.anywhere and engine_asked()) or engine
    plain = bias is None and mask is None and not torch.compiler.is_compiling()
    if plain and engine != "sdpa" and engine != "reference":  # mypy narrows it so
        if autocasts(q):
            q, k, v = in_one_type(q, k, v)
        slopes = None if alibi_slopes is None else slopes_by_text(alibi_slopes, q)
        scale = q.shape[-1] ** -0.5 if scale is None else scale
        options = Options(causal, window, scale, softcap)
        out, lse = attention_by_tiles(q, k, v, slopes, options, sinks is not None, engine)
        return out if sinks is None or lse is None else _drained(out, lse, sinks)
    if alibi_slopes is not None:
        check_slopes(alibi_slopes, q)
        keys = torch.arange(k.shape[2], device=k.device)
        queries = torch.arange(q.shape[2], device=q.device) + (k.shape[2] - q.shape[2])
        fading = alibi_bias_at(alibi_slopes, queries, keys)
        bias = fading if bias is None else bias + fading
    seen: dict[str, Any] = {"causal": causal, "window": window, "bias": bias, "mask": mask}
    if engine == "reference" or softcap is not None or sinks is not None:
        return reference_attention(q, k, v, scale=scale, softcap=softcap, sinks=sinks, **seen)
    return attention(q, k, v, scale=scale, **seen)


def _drained(out: Tensor, lse: Tensor, sinks: Tensor) -> Tensor:
    """Averages less what a sink takes: its part is e^sink of e^lse + e^sink."""
    kept = torch.sigmoid(lse - sinks.to(lse)[:, None])[..., None]
    return (widened(out) * kept).to(out.dtype)
