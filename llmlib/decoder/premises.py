"""When the step for one token may take the model's place: what it rests on, looked at.

`single_step` reads tensors and calls no module. `why_not` says what stands against that: settings
that it does not compute, modules that are more than their class (`llmlib.plain`), weights of mixed
types, or something around that watches or changes operations. It takes some milliseconds for a
model of 30 blocks, so it is asked once a text, and `Watch` tells before each further token whether
anything that it looked at is another.
"""

from collections.abc import Iterator
from operator import itemgetter
from types import NoneType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from llmlib.activations import GatedFeedForward, swish
from llmlib.attention import Attention, engine_asked
from llmlib.decoder.config import DecoderConfig
from llmlib.decoder.model import Block, Decoder
from llmlib.kv_cache import FixedKVCache, KVCache, QuantizedKVCache, RollingKVCache
from llmlib.normalization import PreNorm, RMSNorm
from llmlib.plain import HOOKS, why_not_around, why_not_plain
from llmlib.quantization import KERNEL_STEP, Int8Linear
from llmlib.sparse_attention.streaming import SinkKVCache

CACHES = (KVCache, QuantizedKVCache, RollingKVCache, SinkKVCache, FixedKVCache)
TYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
SMALLEST_EPS = 1e-30  # in float32 a smaller one is lost beside a row of zeros


class Part(NamedTuple):
    """Which classes may stand at a place of the model, and the places inside."""

    kinds: tuple[type, ...]
    parts: dict[str, "Part"] = {}  # noqa: RUF012 - never written


LINEAR = Part((nn.Linear, Int8Linear))
NORM = Part((RMSNorm,))
MAYBE_NORM = Part((RMSNorm, NoneType))
ATTENTION = Part(
    (Attention,),
    {"query": LINEAR, "key": LINEAR, "value": LINEAR, "output": LINEAR,
     "query_norm": MAYBE_NORM, "key_norm": MAYBE_NORM},
)  # fmt: skip
FEED_FORWARD = Part((GatedFeedForward,), {"gate": LINEAR, "up": LINEAR, "down": LINEAR})
BLOCK = Part(
    (Block,),
    {
        "attention": Part((PreNorm,), {"sublayer": ATTENTION, "norm": NORM}),
        "feed_forward": Part((PreNorm,), {"sublayer": FEED_FORWARD, "norm": NORM}),
    },
)
DECODER = Part(
    (Decoder,),
    {
        "embedding": Part((nn.Embedding,)),
        "positions": Part((NoneType,)),
        "embedding_norm": Part((NoneType,)),
        "blocks": Part((nn.ModuleList,)),
        "norm": NORM,
        "output": Part((nn.Linear, Int8Linear, NoneType)),
    },
)


def why_not(model: nn.Module, batch: int = 1, cache: KVCache | None = None) -> str | None:
    """Why `SingleStep` would not compute what this model does, or None if it would.

    Args:
        model: the decoder.
        batch: texts at once.
        cache: what the step is to read and write; None for a cache that `generate` makes.
    """
    if batch != 1:
        return f"there are {batch} texts, not one"
    if cache is not None and type(cache) not in CACHES:
        return f"the cache is a {type(cache).__name__}"
    return why_not_around() or _classes() or _modules(model) or _settings(model) or _tensors(model)


# --- modules ----------------------------------------------------------------------------------


def _methods(kind: type) -> dict[str, object]:
    """What computes; PyTorch's compiler itself replaces `__init__` when it is first used."""
    return {
        name: found
        for name, found in vars(kind).items()
        if callable(found) and (name == "__call__" or not name.startswith("__"))
    }


_AS_WRITTEN = {
    kind: _methods(kind)
    for kind in (Decoder, Block, PreNorm, Attention, GatedFeedForward, RMSNorm, Int8Linear,
                 nn.Linear, nn.Embedding, nn.ModuleList, nn.Module)
}  # fmt: skip


def _classes() -> str | None:
    """A class of which a method was replaced, for all its modules at once.

    Other libraries add methods to PyTorch's classes; those change nothing unless they take the
    place of an inherited one.
    """
    for kind, written in _AS_WRITTEN.items():
        now = _methods(kind)
        if now == written:
            continue
        inherited = set().union(*(vars(base) for base in kind.__mro__[1:]))
        for name in sorted(now | written):
            known = name in written or name in inherited
            if known and now.get(name) != written.get(name):
                return f"{kind.__name__}.{name} was replaced"
    return None


def _modules(model: nn.Module) -> str | None:
    reason = _unlike(model, DECODER, "model")
    if reason is not None:
        return reason
    for i, block in enumerate(model.blocks):  # type: ignore[arg-type]
        reason = _unlike(block, BLOCK, f"blocks.{i}")
        if reason is not None:
            return reason
    return None


def _unlike(module: object, part: Part, name: str) -> str | None:
    """Where a module, or one inside it, is not what the step takes it for."""
    reason = why_not_plain(module, *part.kinds)
    if reason is not None:
        return f"{name}: {reason}"
    for inner, expected in part.parts.items():
        place = inner if name == "model" else f"{name}.{inner}"
        reason = _unlike(getattr(module, inner, missing), expected, place)
        if reason is not None:
            return reason
    return None


missing = object()


# --- settings ---------------------------------------------------------------------------------


def _settings(model: Any) -> str | None:
    """Settings that the step does not compute, of the configuration and of each module."""
    config: DecoderConfig = model.config
    expected: dict[str, tuple[object, ...]] = {
        "norm": ("rms",),
        "norm_position": ("pre",),
        "gated": (True,),
        "activation": ("swish", "silu"),
        "position": ("rope",),
        "rope_layout": ("half",),
        "latent": (None,),
        "attention_engine": ("auto", "blocked"),
        "embedding_norm": (False,),
    }
    for name, known in expected.items():
        if getattr(config, name) not in known:
            return f"{name} is {getattr(config, name)!r}"
    if engine_asked() not in (None, *expected["attention_engine"]):
        return f"engine({engine_asked()!r}) was asked for"
    if config.norm_eps < SMALLEST_EPS:
        return f"norm_eps is {config.norm_eps}"
    frequencies = model.frequencies
    if frequencies is None or frequencies.shape != (config.head_dim // 2,):  # type: ignore[operator]
        return "RoPE does not turn whole heads"
    if model.embedding.max_norm is not None:
        return "the embedding shortens its rows when they are read"
    for i, block in enumerate(model.blocks):
        for name, found, wanted in _settings_of(block, config):
            if found not in wanted:
                return f"blocks.{i}.{name} is {found!r}, the configuration says {wanted[0]!r}"
    if model.norm.weight is None or model.norm.eps != config.norm_eps:
        return f"norm.eps is {model.norm.eps}, the configuration says {config.norm_eps}"
    return None


def _settings_of(
    block: Any, config: DecoderConfig
) -> Iterator[tuple[str, object, tuple[object, ...]]]:
    """What a block's modules are set to, and what the step takes for granted."""
    attention, feed_forward = block.attention.sublayer, block.feed_forward.sublayer
    yield "causal", attention.causal, (True,)
    yield "engine", attention.engine, ("auto", "blocked")
    for name in ("window", "rope_layout", "n_heads", "n_kv_heads", "head_dim"):
        yield name, getattr(attention, name), (getattr(config, name),)
    yield "activation", feed_forward.activation, (swish,)
    norms = (block.attention.norm, block.feed_forward.norm, attention.query_norm,
             attention.key_norm)  # fmt: skip
    for norm in norms:
        if norm is not None:
            yield "norm.eps", norm.eps, (config.norm_eps,)
            yield "norm.weight", norm.weight is None, (False,)
    normed = attention.query_norm is not None
    yield "key_norm", attention.key_norm is not None, (normed,)
    rows = {"query": config.n_heads, "key": config.n_kv_heads, "value": config.n_kv_heads}
    for name, heads in rows.items():
        expected = heads * config.head_dim  # type: ignore[operator]
        yield f"{name}.rows", getattr(attention, name).weight.shape[0], (expected,)


# --- tensors ----------------------------------------------------------------------------------


def _tensors(model: Any) -> str | None:
    """Weights that are no plain tensors of one type in this machine's memory."""
    dtype = model.embedding.weight.dtype
    if dtype not in TYPES:
        return f"the weights are {dtype}"
    for name, module in model.named_modules():
        integers = isinstance(module, Int8Linear)
        if integers and dtype != torch.bfloat16:
            return f"{name} holds integers beside weights in {dtype}"
        if integers and module.in_features % KERNEL_STEP:
            return f"{name} has rows of {module.in_features} integers"
        for own, x in (*module._parameters.items(), *module._buffers.items()):
            if x is None:
                continue
            if type(x) not in (Tensor, nn.Parameter) or x.layout != torch.strided:
                return f"{name}.{own} is a {type(x).__name__}, {x.layout}"
            if x.device.type != "cpu":
                return f"{name}.{own} is on {x.device}"
            if x.dtype != (torch.int8 if integers and own == "weight" else dtype):
                return f"{name}.{own} is {x.dtype} beside weights in {dtype}"
    return None


# --- between two tokens -----------------------------------------------------------------------


class Watch:
    """Whether what a step rests on is as it was when the watch began.

    Compares identities in a tenth of a millisecond; whatever differs is a reason to ask `why_not`
    again, not yet a reason against the step.
    """

    def __init__(self, model: Decoder) -> None:
        self.model = model
        self.modules = list(model.modules())
        states = list(map(vars, self.modules))
        self.states = states
        self.hooks = [state[name] for state in states for name in HOOKS]
        self.tables = [table for state in states for table in _tables(state)]
        self.settings = [
            (itemgetter(*_SETTINGS[type(module)]), state)
            for module, state in zip(self.modules, states, strict=True)
            if type(module) in _SETTINGS
        ]
        # Kept alive, so that no other object can have the same identity.
        self.kept = self._held(), model.config, model.frequencies
        self.before = self._seen()

    def unchanged(self) -> bool:
        """True while nothing was put in, on or around a module, and no weight was replaced."""
        return not any(self.hooks) and why_not_around() is None and self._seen() == self.before

    def _held(self) -> list[object]:
        return [x for table in self.tables for x in table.values()]

    def _seen(self) -> tuple[list[object], ...]:
        held = self._held()
        return (
            list(map(type, self.modules)),
            list(map(len, self.states)),  # a method of its own is one more entry
            list(map(id, held)),
            [x.data_ptr() for x in held if isinstance(x, Tensor)],  # model.to() keeps the parameter
            [get(state) for get, state in self.settings],
            [id(self.model.config), id(self.model.frequencies), engine_asked()],
        )


def _tables(state: dict[str, Any]) -> list[dict[str, Any]]:
    """Where a module keeps its tensors and the modules inside it."""
    tables = (state["_parameters"], state["_buffers"], state["_modules"])
    return [table for table in tables if table]


_SETTINGS: dict[type, tuple[str, ...]] = {
    Attention: ("engine", "causal", "window", "rope_layout", "n_heads", "n_kv_heads", "head_dim"),
    GatedFeedForward: ("activation", "training"),
    RMSNorm: ("eps", "dim"),
}
