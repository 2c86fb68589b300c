"""When the step for one token may take the place of a model and its blocks: looked at.

`single_step` reads tensors and calls no module. `why_not` says what stands against that for the
whole model, `why_not_block` for one block, which then computes for itself between the others: a
description that has a field the step does not know, modules that are more than their class
(`llmlib.plain`), weights of mixed types, or something around that watches or changes operations.
Both take some milliseconds for a model of 30 blocks, so they are asked once a text, and `Watch`
tells before each further token whether anything that they looked at is another.
"""

from collections.abc import Iterator
from operator import itemgetter
from types import NoneType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import llmlib.architecture as arch
from llmlib.activations import GatedFeedForward, swish
from llmlib.attention import Attention, engine_asked
from llmlib.blocks import Block
from llmlib.decoder.model import Decoder
from llmlib.kv_cache import (
    FixedKVCache,
    KVCache,
    LayeredKVCache,
    QuantizedKVCache,
    RollingKVCache,
)
from llmlib.normalization import RMSNorm
from llmlib.plain import HOOKS, why_not_around, why_not_plain
from llmlib.quantization import KERNEL_STEP, Int8Linear
from llmlib.sparse_attention.streaming import SinkKVCache

CACHES = (KVCache, LayeredKVCache, QuantizedKVCache, RollingKVCache, SinkKVCache, FixedKVCache)
TYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
ENGINES = ("auto", "blocked")
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
NORMS = Part((nn.ModuleDict,), {"mixer_input": NORM, "feed_forward_input": NORM})
BLOCK = Part((Block,), {"mixer": ATTENTION, "feed_forward": FEED_FORWARD, "norms": NORMS})
NOTHING = Part((NoneType,))
DECODER = Part(
    (Decoder,),
    {
        "embedding": Part((nn.Embedding,)),
        "positions": NOTHING,
        "relative_bias": NOTHING,
        "embedding_norm": NOTHING,
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
        cache: what the step is to read and write; None for a cache that `generate` makes. In one
            of fixed shape every block has to be one that the step knows.
    """
    if batch != 1:
        return f"there are {batch} texts, not one"
    if cache is not None and type(cache) not in CACHES:
        return f"the cache is a {type(cache).__name__}"
    reason = why_not_around() or _classes() or _unlike(model, DECODER, "model") or _ends(model)
    if reason is not None:
        return reason
    blocks = [why_not_block(block, f"blocks.{i}") for i, block in enumerate(model.blocks)]  # type: ignore[arg-type]
    known = blocks.count(None)
    if known == 0 or (known < len(blocks) and isinstance(cache, FixedKVCache)):
        return next(reason for reason in blocks if reason is not None)
    return None


def step_report(model: nn.Module) -> dict[str, str | None]:
    """Why the whole model ("model") and each of its blocks would not go by the step; None if so."""
    found = {"model": why_not(model)}
    for i, block in enumerate(model.blocks):  # type: ignore[arg-type]
        found[f"blocks.{i}"] = why_not_block(block, f"blocks.{i}")
    return found


def why_not_block(block: nn.Module, name: str = "block") -> str | None:
    """Why the step would not compute what this block does, or None if it would."""
    return (
        _unlike(block, BLOCK, name)
        or _described(block.block, name)  # type: ignore[arg-type]
        or _settings(block, name)
        # All of a block in the type of its norms, which are never quantized.
        or _tensors(block, name, block.norms["mixer_input"].weight.dtype)  # type: ignore[index, union-attr]
    )


# --- modules ----------------------------------------------------------------------------------


def _methods(kind: type) -> dict[str, object]:
    """What computes; PyTorch's compiler itself replaces `__init__` when it is first used."""
    return {
        name: found
        for name, found in vars(kind).items()
        if callable(found) and (name == "__call__" or not name.startswith("__"))
    }


_KINDS = (Decoder, Block, Attention, GatedFeedForward, RMSNorm, Int8Linear, nn.Linear, nn.Embedding,
          nn.ModuleList, nn.ModuleDict)  # fmt: skip
_AS_WRITTEN = {
    one: _methods(one) for kind in _KINDS for one in kind.__mro__ if issubclass(one, nn.Module)
}


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


# --- descriptions and settings ----------------------------------------------------------------


def _described(block: arch.Block, name: str) -> str | None:
    """A field of the description that the step does not know, and that is not as usual.

    The block is described again by the fields that are known: what else it says makes it another.
    """
    mixer, ffn = block.mixer, block.feed_forward
    if not isinstance(mixer, arch.Attention) or not isinstance(ffn, arch.FeedForward):
        return f"{name}: {type(mixer).__name__} and {type(ffn).__name__} are unknown to the step"
    known = arch.Block(
        arch.Attention(
            mixer.n_heads, mixer.n_kv_heads, mixer.head_dim, mixer.rope, mixer.window,
            qkv_bias=mixer.qkv_bias, out_bias=mixer.out_bias, qk_norm=mixer.qk_norm,
        ),
        arch.FeedForward(ffn.ffn_dim, ffn.activation, bias=ffn.bias),
        block.norm,
    )  # fmt: skip
    if block != known:
        pairs = ((block, known), (mixer, known.mixer), (ffn, known.feed_forward))
        field = next(
            field for said, meant in pairs for field, x in vars(said).items()
            if x != getattr(meant, field) and field not in ("mixer", "feed_forward")
        )  # fmt: skip
        return f"{name}: {field} is not as the step knows it, in {block}"
    if ffn.activation not in ("swish", "silu"):
        return f"{name}: activation is {ffn.activation!r}"
    if mixer.rope is None or arch.Rope(mixer.rope.base, scaling=mixer.rope.scaling) != mixer.rope:
        return f"{name}: RoPE is {mixer.rope}, which does not turn whole heads, half by half"
    for norm in (block.norm, mixer.qk_norm):
        if norm is not None and (norm != arch.Norm(eps=norm.eps) or norm.eps < SMALLEST_EPS):
            return f"{name}: a norm is {norm}"
    return None


def _settings(block: Any, name: str) -> str | None:
    """What a block's modules are set to, where the description says another thing."""
    for place, found, wanted in _settings_of(block, block.block):
        if found not in wanted:
            return f"{name}.{place} is {found!r}, the step expects {wanted[0]!r}"
    if block.angles is None or block.angles.frequencies.shape != (block.mixer.head_dim // 2,):
        return f"{name}: RoPE does not turn whole heads"
    return None


def _settings_of(block: Any, told: arch.Block) -> Iterator[tuple[str, object, tuple[object, ...]]]:
    attention, feed_forward, said = block.mixer, block.feed_forward, told.mixer
    assert isinstance(said, arch.Attention)
    yield "causal", attention.causal, (True,)
    yield "engine", attention.engine, ENGINES
    yield "alibi", block.alibi, (0,)
    for field in ("window", "n_heads", "n_kv_heads", "head_dim", "scale", "softcap"):
        yield field, getattr(attention, field), (getattr(said, field),)
    yield "value_dim", attention.value_dim, (said.head_dim,)
    yield "rope_layout", attention.rope_layout, ("half",)
    yield "gate", attention.gate is None, (True,)
    yield "sinks", attention.sinks is None, (True,)
    yield "activation", feed_forward.activation, (swish,)
    yield "norms", len(block.norms), (2,)
    norms = [(norm, told.norm) for norm in block.norms.values()]
    heads = [(norm, said.qk_norm) for norm in (attention.query_norm, attention.key_norm)]
    for norm, description in [*norms, *heads]:
        if norm is not None:
            yield "norm.eps", norm.eps, (getattr(description, "eps", None),)
            yield "norm.gain", norm.gain, ("weight",)
            yield "norm.weight", norm.weight is None, (False,)
    normed = attention.query_norm is not None
    yield "key_norm", attention.key_norm is not None, (normed,)
    if normed:
        yield "query_norm.dim", attention.query_norm.dim, (said.head_dim,)
    for field, n in (
        ("query", said.n_heads), ("key", said.n_kv_heads), ("value", said.n_kv_heads),
    ):  # fmt: skip
        yield f"{field}.rows", getattr(attention, field).weight.shape[0], (n * said.head_dim,)


def _ends(model: Any) -> str | None:
    """What stands before and after the blocks, where the step does it otherwise."""
    config: arch.ModelConfig = model.config
    for field in ("embedding_scale", "softcap", "output_scale"):
        if getattr(config, field) is not None:
            return f"{field} is {getattr(config, field)}"
    if engine_asked() not in (None, *ENGINES):
        return f"engine({engine_asked()!r}) was asked for"
    if model.embedding.max_norm is not None:
        return "the embedding shortens its rows when they are read"
    if config.stack.positions is not None:
        return f"positions are {config.stack.positions}"
    norm, said = model.norm, config.stack.last_norm
    if said != arch.Norm(eps=norm.eps) or norm.eps < SMALLEST_EPS or norm.gain != "weight":
        return f"norm is {norm} of eps {norm.eps}, the configuration says {said}"
    if norm.weight is None:
        return "norm has no weight"
    for name, part in model.named_children():
        found = None if name == "blocks" else _tensors(part, name, model.embedding.weight.dtype)
        if found is not None:
            return found
    return None


# --- tensors ----------------------------------------------------------------------------------


def _tensors(part: nn.Module, name: str, dtype: torch.dtype) -> str | None:
    """Weights that are no plain tensors of one type in this machine's memory."""
    if dtype not in TYPES:
        return f"the weights of {name} are {dtype}"
    for inner, module in part.named_modules(prefix=name):
        integers = isinstance(module, Int8Linear)
        if integers and dtype != torch.bfloat16:
            return f"{inner} holds integers beside weights in {dtype}"
        if integers and module.in_features % KERNEL_STEP:
            return f"{inner} has rows of {module.in_features} integers"
        for own, x in (*module._parameters.items(), *module._buffers.items()):
            if x is None:
                continue
            if type(x) not in (Tensor, nn.Parameter) or x.layout != torch.strided:
                return f"{inner}.{own} is a {type(x).__name__}, {x.layout}"
            if x.device.type != "cpu":
                return f"{inner}.{own} is on {x.device}"
            if x.dtype != (torch.int8 if integers and own == "weight" else dtype):
                return f"{inner}.{own} is {x.dtype} beside weights in {dtype}"
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
        self.kept = self._held(), model.config, self._descriptions()
        self.before = self._seen()

    def unchanged(self) -> bool:
        """True while nothing was put in, on or around a module, and no weight was replaced."""
        return not any(self.hooks) and why_not_around() is None and self._seen() == self.before

    def _held(self) -> list[object]:
        return [x for table in self.tables for x in table.values()]

    def _descriptions(self) -> list[object]:
        blocks = [state for state in self.states if "angles" in state]
        return [state[name] for state in blocks for name in ("block", "angles", "alibi")]

    def _seen(self) -> tuple[list[object], ...]:
        held = self._held()
        return (
            list(map(type, self.modules)),
            list(map(len, self.states)),  # a method of its own is one more entry
            list(map(id, held)),
            [x.data_ptr() for x in held if isinstance(x, Tensor)],  # model.to() keeps the parameter
            [get(state) for get, state in self.settings],
            [id(self.model.config), engine_asked(), *map(id, self._descriptions())],
        )


def _tables(state: dict[str, Any]) -> list[dict[str, Any]]:
    """Where a module keeps its tensors and the modules inside it."""
    tables = (state["_parameters"], state["_buffers"], state["_modules"])
    return [table for table in tables if table]


_SETTINGS: dict[type, tuple[str, ...]] = {
    Attention: (
        *("engine", "causal", "window", "rope_layout", "n_heads", "n_kv_heads", "head_dim"),
        *("value_dim", "scale", "softcap"),
    ),
    GatedFeedForward: ("activation", "training"),
    RMSNorm: ("eps", "dim", "gain"),
}
