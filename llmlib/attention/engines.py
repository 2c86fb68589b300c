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
from llmlib.flash_attention import flash_attention
from llmlib.flash_attention.inputs import check_slopes
from llmlib.position_encoding import alibi_bias_at

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
) -> Tensor:
    """`reference_attention`, computed by an engine.

    "auto", "blocked" and "triton" are `flash_attention` and its engines. It takes no bias and no
    mask of any shape: with one, and in programs that PyTorch compiles (the compiler cannot look
    into ours), PyTorch's fused kernel runs, as it does for "sdpa". "reference" is the formula.

    Args:
        engine: one of these, unless a `with engine(...)` around the call asks for another.
        alibi_slopes: (heads,) or (batch, heads), instead of the bias that they make.

    Raises:
        TypeError, ValueError: as `reference_attention`, or slopes that are not one a head.
    """
    engine = engine_asked() or engine
    seen: dict[str, Any] = {"causal": causal, "window": window, "scale": scale}
    plain = bias is None and mask is None and not torch.compiler.is_compiling()
    if plain and engine != "sdpa" and engine != "reference":  # mypy narrows it so
        out = flash_attention(q, k, v, alibi_slopes=alibi_slopes, engine=engine, **seen)
        assert isinstance(out, Tensor)  # no log-sum-exp was asked for
        return out
    if alibi_slopes is not None:
        check_slopes(alibi_slopes, q)
        keys = torch.arange(k.shape[2], device=k.device)
        queries = torch.arange(q.shape[2], device=q.device) + (k.shape[2] - q.shape[2])
        fading = alibi_bias_at(alibi_slopes, queries, keys)
        bias = fading if bias is None else bias + fading
    compute = reference_attention if engine == "reference" else attention
    return compute(q, k, v, bias=bias, mask=mask, **seen)
