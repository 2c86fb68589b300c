"""A model's choices and sizes in words, read from its description."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import assert_never

import llmlib.architecture as arch

_GATED = {"swish": "SwiGLU", "gelu": "GeGLU", "gelu_tanh": "GeGLU", "relu": "ReGLU"}
_PLAIN = {"swish": "Swish", "gelu": "GELU", "gelu_tanh": "GELU", "relu": "ReLU",
          "relu_squared": "ReLU²"}  # fmt: skip


# --- choices in words -------------------------------------------------------------------------


def choices(config: arch.ModelConfig) -> dict[str, str]:
    """What a model's designers chose, apart from sizes, in the words of their field."""
    blocks, block = kinds_of(config), kinds_of(config)[-1]
    return {
        "norm": "RMSNorm" if block.norm.kind == "rms" else "LayerNorm",
        "norm position": block.norms + ("" if block.order == "in turn" else ", parallel"),
        "activation": _activation(block),
        "positions": _positions(config),
        "heads": " and ".join(dict.fromkeys(_heads(one.mixer) for one in blocks)),
        "biases": _biases(block),
        "head matrix": "tied" if config.tied else "its own",
    }


def kinds_of(config: arch.ModelConfig) -> list[arch.Block]:
    """The kinds of blocks of a model's stack, in their order."""
    return list(dict.fromkeys(block for block, _, _ in arch.kinds(config.stack.runs)))


def attentions_of(config: arch.ModelConfig) -> list[arch.Attention | arch.Latent]:
    """The kinds of attention of a model's stack; layers with a state have none."""
    mixers = [block.mixer for block in kinds_of(config)]
    return [one for one in mixers if isinstance(one, arch.Attention | arch.Latent)]


def feed_forward_of(block: arch.Block) -> arch.FeedForward:
    """A block's feed-forward block, or one of its experts."""
    part = block.feed_forward
    if part is None:
        raise ValueError(f"block is {block!r}, expected one with a feed-forward block")
    return part.expert if isinstance(part, arch.Experts) else part


def _activation(block: arch.Block) -> str:
    part = feed_forward_of(block)
    return (_GATED if part.gated else _PLAIN)[part.activation]


def _positions(config: arch.ModelConfig) -> str:
    match config.stack.positions:
        case arch.Learned():
            return "learned"
        case arch.Buckets():
            return "relative"
        case arch.Sinusoidal():
            return "sinusoidal"
    mixers = attentions_of(config)
    if any(one.alibi for one in mixers):
        return "ALiBi"
    ropes = [one.rope for one in mixers if one.rope is not None]
    if not ropes:
        return "none"
    words = "RoPE" if all(rope.share == 1 for rope in ropes) else "RoPE, partial"
    return words if len(ropes) == len(mixers) else f"{words}, or none"


def _heads(mixer: arch.Mixer) -> str:
    match mixer:
        case arch.Latent():
            return "MLA"
        case arch.GatedDelta():
            return "state"
        case arch.Attention(n_heads, n_kv_heads):
            grouped = "MQA" if n_kv_heads == 1 else "GQA"
            return "MHA" if n_kv_heads == n_heads else grouped
        case _:
            assert_never(mixer)


def _biases(block: arch.Block) -> str:
    mixer = block.mixer
    found = {
        "Q, K, V": getattr(mixer, "qkv_bias", False),
        "output": getattr(mixer, "out_bias", False),
        "feed-forward": feed_forward_of(block).bias,
    }
    if all(found.values()):
        return "all"
    return ", ".join(name for name, has in found.items() if has) or "none"


def pattern(config: arch.ModelConfig) -> str:
    """A model's stack as a sentence: "10 × (5 window 1,024, 1 full), 2 window 1,024".

    Said is what layers see, and what else differs between them; nothing where all see all.
    """
    traits = {block: _traits(block) for block in kinds_of(config)}
    columns = list(zip(*traits.values(), strict=True))
    apart = [k for k, column in enumerate(columns) if len(set(column)) > 1]
    if not apart:
        reach = columns[0][0]
        return "–" if reach in ("full", "latent") else reach

    def said(part: arch.Block | arch.Run, times: int = 1) -> str:
        if isinstance(part, arch.Block):
            return f"{times} " + ", ".join(traits[part][k] for k in apart)
        if len(part.parts) == 1:
            return said(part.parts[0], times * part.times)
        inside = ", ".join(map(said, part.parts))
        return f"{part.times} × ({inside})"

    return ", ".join(map(said, config.stack.runs))


def _traits(block: arch.Block) -> tuple[str, str, str]:
    """What a layer sees, what stands after it, and whether it knows positions."""
    match block.mixer:
        case arch.Attention(window=window):
            reach = "full" if window is None else f"window {window:,}"
        case arch.Latent():
            reach = "latent"
        case arch.GatedDelta():
            reach = "state"
        case _:
            assert_never(block.mixer)
    experts = "experts" if isinstance(block.feed_forward, arch.Experts) else "dense"
    unturned = isinstance(block.mixer, arch.Attention) and block.mixer.rope is None
    return reach, experts, "without positions" if unturned else "with RoPE"


def newer(config: arch.ModelConfig) -> dict[str, str]:
    """Choices that models before 2023 did not have to make; "–" where a model does without."""
    stack = arch.layers(config.stack.runs)
    mixers = [block.mixer for block in stack]
    attends = [one for one in mixers if isinstance(one, arch.Attention)]
    near = [one for one in attends if one.window is not None]
    bare = [one for one in attends if one.rope is None and not one.alibi]
    some = next((b.feed_forward for b in stack if isinstance(b.feed_forward, arch.Experts)), None)
    latent = next((one for one in mixers if isinstance(one, arch.Latent)), None)
    states = sum(isinstance(one, arch.GatedDelta) for one in mixers)

    def share(found: int, what: str) -> str:
        return f"{found} of {len(stack)} {what}".strip() if found else "–"

    normed = any(one.qk_norm is not None for one in attends)
    return {
        "windows": share(len(near), f"({near[0].window:,})" if near else ""),
        "layers without positions": "–" if config.stack.positions else share(len(bare), ""),
        "QK norm": "yes" if normed else "–",
        "sinks": "yes" if any(one.sinks for one in attends) else "–",
        "latent": "–" if latent is None else f"{latent.kv_rank} + {latent.rope_dim}",
        "layers with a state": share(states, ""),
        "experts": "–" if some is None else f"{some.n_active} of {some.n_experts}",
        "shared experts": str(some.n_shared) if some is not None and some.n_shared else "–",
    }


# --- sizes ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shape:
    """The sizes of a model's layers; None for what is not the same in all of them."""

    n_heads: int | None
    n_kv_heads: int | None
    head_dim: int | None
    ffn_dim: int | None  # of a block, or of an expert
    gated: bool
    experts: bool  # in some layers at least


def shape(config: arch.ModelConfig) -> Shape:
    """The sizes that a model's layers share."""
    mixers, blocks = attentions_of(config), kinds_of(config)
    return Shape(
        _same(one.n_heads for one in mixers),
        _same(getattr(one, "n_kv_heads", one.n_heads) for one in mixers),
        _same(one.head_dim for one in mixers),
        _same(feed_forward_of(block).ffn_dim for block in blocks),
        feed_forward_of(blocks[-1]).gated,
        any(isinstance(block.feed_forward, arch.Experts) for block in blocks),
    )


def _same(values: Iterable[arch.Size]) -> arch.Size | None:
    """The one value of all; None where there are several."""
    found = set(values)
    return found.pop() if len(found) == 1 else None
