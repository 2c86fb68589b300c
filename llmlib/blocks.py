"""From the description of a block to its modules: a mixer, a feed-forward block, their norms.

Each function makes one part; `Block` puts them together around the residual stream. What the
description can say and is not built here raises one error that names it.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

import llmlib.architecture as arch
from llmlib.activations import FeedForward, GatedFeedForward
from llmlib.attention import Attention, AttentionEngine, LatentAttention
from llmlib.kv_cache import LayerCache, Reader
from llmlib.normalization import LayerNorm, RMSNorm, residual
from llmlib.positions import Angles, Positions, Seen
from llmlib.source import Source

Hidden = Float[Tensor, "batch seq dim"]
PLACES = {
    "pre": ("input",),
    "post": ("sum",),
    "output": ("output",),
    "sandwich": ("input", "output"),
}
"""Which norms a part has, by the description's name: of its input, its output, or the sum."""


def make_norm(norm: arch.Norm, width: int) -> RMSNorm | LayerNorm:
    """A norm over so many features."""
    if norm.kind == "layer":
        return LayerNorm(width, norm.eps, norm.bias, norm.gain)
    if norm.bias:
        raise ValueError(f"{norm} cannot be built: an RMSNorm here has no bias")
    return RMSNorm(width, norm.eps, norm.gain)


def make_mixer(
    mixer: arch.Mixer, dim: int, causal: bool = True, engine: AttentionEngine = "auto"
) -> Attention | LatentAttention:
    """What moves information between positions."""
    if isinstance(mixer, arch.GatedDelta):
        raise ValueError(f"{mixer} cannot be built yet: expected attention or latent attention")
    layout = mixer.rope.layout if mixer.rope else "half"
    if isinstance(mixer, arch.Latent):
        if mixer.norm != arch.Norm(eps=mixer.norm.eps):
            raise ValueError(f"{mixer.norm} over latents cannot be built: expected an RMSNorm")
        return LatentAttention(
            dim, mixer.n_heads, mixer.kv_rank, mixer.rope_dim, mixer.plain_dim, mixer.value_dim,
            mixer.query_rank, causal=causal, qkv_bias=mixer.qkv_bias, out_bias=mixer.out_bias,
            norm_eps=mixer.norm.eps, rope_layout=layout, scale=mixer.scale, engine=engine,
        )  # fmt: skip
    query_norm, key_norm = (
        None if mixer.qk_norm is None else make_norm(mixer.qk_norm, heads * mixer.head_dim)
        for heads in ((1, 1) if mixer.qk_norm_over == "head" else (mixer.n_heads, mixer.n_kv_heads))
    )
    return Attention(
        dim, mixer.n_heads, mixer.n_kv_heads, mixer.head_dim, mixer.window, causal=causal,
        value_dim=mixer.value_dim, qkv_bias=mixer.qkv_bias, out_bias=mixer.out_bias,
        query_norm=query_norm, key_norm=key_norm, rope_layout=layout, scale=mixer.scale,
        softcap=mixer.softcap, sinks=mixer.sinks, gate=mixer.gate, engine=engine,
    )  # fmt: skip


def make_angles(mixer: arch.Mixer, number: int = 0) -> Angles | None:
    """The angles of a mixer's RoPE, if it has any."""
    if isinstance(mixer, arch.GatedDelta) or mixer.rope is None:
        return None
    turned = mixer.rope_dim if isinstance(mixer, arch.Latent) else mixer.rope.turned(mixer.head_dim)
    return Angles.of(mixer.rope, turned, number)


def make_feed_forward(part: arch.FeedForward | arch.Experts | None, dim: int) -> nn.Module | None:
    """What works on each position by itself."""
    if part is None:
        return None
    if isinstance(part, arch.Experts) or part.clamp is not None:
        raise ValueError(f"{part} cannot be built yet: expected a feed-forward block without a "
                         "clamp")  # fmt: skip
    kind = GatedFeedForward if part.gated else FeedForward
    return kind(dim, part.ffn_dim, part.activation, part.bias)


class Block(nn.Module):
    """A mixer, then a feed-forward block, each around a residual: x + f(norm(x)), or as described.

    In the decoder of two stacks attention to the other text stands between them.

    Args:
        dim: d, width of the residual stream.
        block: the description.
        causal: whether a position sees those up to its own only.
        engine: what computes attention, see `llmlib.attention.attend`.
        angles: of the mixer's RoPE where several blocks share them.

    Raises:
        ValueError: what the description says and is not built here; the text names it.

    Source: vaswani2017attention, xiong2020layernorm; chowdhery2022palm for parts side
        by side
    """

    def __init__(
        self,
        dim: int,
        block: arch.Block,
        *,
        causal: bool = True,
        engine: AttentionEngine = "auto",
        angles: Angles | None = None,
    ) -> None:
        super().__init__()
        self.dim, self.block = dim, block
        self.mixer = make_mixer(block.mixer, dim, causal, engine)
        self.cross = None if block.cross is None else make_mixer(block.cross, dim, False, engine)
        self.feed_forward = make_feed_forward(block.feed_forward, dim)
        self.norms = nn.ModuleDict(
            {name: make_norm(block.norm, dim) for name in norm_places(block)}
        )
        self.angles = make_angles(block.mixer) if angles is None else angles
        # How many heads have a slope.
        self.alibi = self.mixer.n_heads * getattr(block.mixer, "alibi", False)

    def forward(
        self,
        x: Hidden,
        at: Positions | None = None,
        cache: LayerCache | None = None,
        source: Source | None = None,
    ) -> Hidden:
        """The stream after the block.

        Args:
            x: (batch, seq, dim).
            at: where the tokens of x stand; None: at 0, 1, 2, ...
            cache: of this layer.
            source: the other text, for a block that looks across.

        Raises:
            ValueError: a source without cross-attention, or cross-attention without a source.
        """
        block, norm, seen = self.block, self.norms._modules.get, self.see(x, at, cache)

        def mix(y: Hidden) -> Hidden:
            return self.mixer(
                y, rotation=seen.rotation, bias=seen.bias, mask=seen.mask,
                alibi_slopes=seen.alibi_slopes, cache=cache,
            )  # fmt: skip

        scale, work = block.residual_scale, self.feed_forward
        if block.order != "in turn" and work is not None:
            read = self._read(x, "mixer_input")
            beside = read if "one norm" in block.order else self._read(x, "feed_forward_input")
            return x + scale * (mix(read) + work(beside))
        places = norm("mixer_input"), norm("mixer_output"), norm("mixer_sum")
        x = residual(x, mix, *places, scale)
        if self.cross is not None or source is not None:
            places = norm("cross_input"), norm("cross_output"), norm("cross_sum")
            x = residual(x, self._across(source), *places, scale)
        if work is None:
            return x
        places = norm("feed_forward_input"), norm("feed_forward_output"), norm("feed_forward_sum")
        return residual(x, work, *places, scale)

    def see(self, x: Hidden, at: Positions | None, cache: LayerCache | None = None) -> Seen:
        """What the mixer takes beside the stream and the cache."""
        if at is None:
            wide = x.dtype == torch.float64
            at = Positions(torch.arange(x.shape[1], device=x.device), wide=wide)
        mixer = self.mixer
        return at.see(cache, self.angles, mixer.causal, mixer.window, self.alibi)

    def reader(self) -> Reader:
        """What a cache has to know of this layer."""
        frequencies = None if self.angles is None else self.angles.frequencies
        mixer, latent = self.mixer, isinstance(self.block.mixer, arch.Latent)
        return Reader(mixer.window, latent, frequencies, mixer.rope_layout)

    def attention_map(
        self, x: Hidden, at: Positions | None = None
    ) -> Float[Tensor, "batch heads seq seq"]:
        """Where each head looks when the block reads x."""
        read, seen = self._read(x, "mixer_input"), self.see(x, at)
        return self.mixer.weights(read, rotation=seen.rotation, bias=seen.bias, mask=seen.mask)

    def _across(self, source: Source | None) -> Callable[[Hidden], Hidden]:
        """Attention to the other text."""
        cross = self.cross
        if source is None or not isinstance(cross, Attention):
            raise ValueError(f"source is {type(source).__name__} for a block whose cross-attention "
                             f"is {self.block.cross}, expected both or neither")  # fmt: skip
        return lambda y: cross(y, context=source.keys_values(cross), mask=source.mask)

    def _read(self, x: Hidden, place: str) -> Hidden:
        """x through the norm of a place, where there is one."""
        norm = self.norms._modules.get(place)
        return x if norm is None else norm(x)


def norm_places(block: arch.Block) -> list[str]:
    """Names of a block's norms: "mixer_input", "feed_forward_output", ..."""
    there = {"cross": block.cross is not None, "feed_forward": block.feed_forward is not None}
    parts = ["mixer", *(name for name, found in there.items() if found)]
    found = [f"{part}_{place}" for part in parts for place in PLACES[block.norms]]
    if block.order == "parallel, one norm":
        found.remove("feed_forward_input")
    return found if block.mixer_norm else [name for name in found if name != "mixer_input"]
