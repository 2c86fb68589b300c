"""The sizes and choices that fix a decoder."""

import dataclasses
import math
from typing import Any, Literal

from llmlib.activations import activation_function
from llmlib.attention import AttentionEngine, LatentSizes, check_attention_engine
from llmlib.position_encoding import Layout
from llmlib.sizes import check_sizes


@dataclasses.dataclass(frozen=True)
class DecoderConfig:
    """The sizes and choices that fix a decoder; the defaults are those of a small Llama."""

    vocab_size: int  # V, rows of the embedding
    dim: int  # d, width of the residual stream
    n_layers: int  # L, blocks
    n_heads: int  # H, query heads
    n_kv_heads: int | None = None  # G, key/value heads; None: H
    head_dim: int | None = None  # d_head; None: dim / n_heads
    ffn_dim: int | None = None  # d_ff, hidden width of the feed-forward block; None: 4 * dim
    context: int = 2048  # positions that the model may see, prompt and continuation together
    norm: Literal["rms", "layer"] = "rms"
    norm_position: Literal["pre", "post"] = "pre"  # what the norm stands before or behind
    norm_eps: float = 1e-5  # added to the variance or mean square
    activation: str = "swish"  # a name in llmlib.activations.ACTIVATIONS
    gated: bool = True  # three feed-forward matrices instead of two
    bias: bool = False  # whether the projections have biases, where the next three do not say
    qkv_bias: bool | None = None  # of queries, keys and values (Qwen2: these alone)
    out_bias: bool | None = None  # of attention's output projection
    ffn_bias: bool | None = None  # of the feed-forward block
    qk_norm: bool = False  # RMSNorm over each head's query and key (Qwen3)
    position: Literal["rope", "learned", "alibi", "none"] = "rope"
    rope_base: float = 10_000.0
    rope_scaling: dict[str, Any] | None = None  # see llmlib.position_encoding.rope_frequencies
    rope_layout: Layout = "half"  # which features RoPE pairs
    window: int | None = None  # keys a query sees, itself included (Mistral)
    latent: LatentSizes | None = None  # multi-head latent attention and its widths (DeepSeek-V2)
    tied: bool = True  # the head shares the embedding matrix
    embedding_norm: bool = False  # a norm behind the embedding (BLOOM)
    attention_engine: AttentionEngine = "auto"  # what computes attention, see llmlib.attention

    def __post_init__(self) -> None:
        """Refuse what cannot be, and fill in what follows from other fields."""
        _check_kinds(self)
        defaults = {
            "n_kv_heads": self.n_heads,
            "head_dim": self.latent.head_dim if self.latent else _shared_width(self),
            "ffn_dim": 4 * self.dim,
            "qkv_bias": self.bias,
            "out_bias": self.bias,
            "ffn_bias": self.bias,
        }
        for name, value in defaults.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)  # how a frozen dataclass is filled
        _check_heads(self)


def _check_kinds(config: DecoderConfig) -> None:
    """Each field by itself: TypeError or ValueError for what is no value of it."""
    for name in _SIZES + _OPTIONAL_SIZES:
        size = getattr(config, name)
        if not _is_formula(size) and not (size is None and name in _OPTIONAL_SIZES):
            check_sizes(**{name: size})
    for name in _SWITCHES + _OPTIONAL_SWITCHES:
        choice = getattr(config, name)
        optional = choice is None and name in _OPTIONAL_SWITCHES
        if not isinstance(choice, bool) and not _is_formula(choice) and not optional:
            raise TypeError(f"{name} is {choice!r}, expected True or False")
    for name, least in (("norm_eps", 0.0), ("rope_base", math.ulp(0.0))):
        number = getattr(config, name)
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise TypeError(f"{name} is {number!r}, expected a number")
        if not least <= number < math.inf:  # also false for NaN
            expected = "a finite number above 0" if least else "a finite number from 0"
            raise ValueError(f"{name} is {number}, expected {expected}")
    for name, known in _CHOICES.items():
        if getattr(config, name) not in known:
            expected = ", ".join(known)
            raise ValueError(f"{name} is {getattr(config, name)!r}, expected one of {expected}")
    activation_function(config.activation)
    check_attention_engine(config.attention_engine)
    if config.rope_scaling is not None and not isinstance(config.rope_scaling, dict):
        raise TypeError(f"rope_scaling is {config.rope_scaling!r}, expected a dict or None")
    if config.latent is not None and not isinstance(config.latent, LatentSizes):
        raise TypeError(f"latent is {config.latent!r}, expected LatentSizes or None")


def _check_heads(config: DecoderConfig) -> None:
    """Numbers of heads that divide, and what latent attention leaves no choice in."""
    heads, groups = config.n_heads, config.n_kv_heads
    assert groups is not None
    if not _is_formula(heads) and not _is_formula(groups) and heads % groups:
        raise ValueError(f"n_kv_heads is {groups}, expected a divisor of {heads} heads")
    if config.latent is None:
        return
    for name, only in (
        ("n_kv_heads", heads), ("head_dim", config.latent.head_dim),
        ("window", None), ("qk_norm", False),
    ):  # fmt: skip
        if getattr(config, name) != only:
            found = getattr(config, name)
            raise ValueError(f"{name} is {found}, expected {only} beside latent attention")


def _is_formula(size: Any) -> bool:
    """A sympy letter in the place of a size: such a decoder is counted, not built."""
    return hasattr(size, "free_symbols")


def _shared_width(config: DecoderConfig) -> Any:
    """What each head has of the stream's width, a formula where a size is a letter."""
    if _is_formula(config.dim) or _is_formula(config.n_heads):
        return config.dim / config.n_heads
    if config.head_dim is None and config.dim % config.n_heads:
        found = f"dim {config.dim} does not divide into {config.n_heads} heads"
        raise ValueError(f"{found}; give head_dim")
    return config.dim // config.n_heads


_SIZES = ("vocab_size", "dim", "n_layers", "n_heads", "context")
_OPTIONAL_SIZES = ("n_kv_heads", "head_dim", "ffn_dim", "window")
_SWITCHES = ("gated", "bias", "qk_norm", "tied", "embedding_norm")
_OPTIONAL_SWITCHES = ("qkv_bias", "out_bias", "ffn_bias")
_CHOICES = {
    "norm": ("rms", "layer"),
    "norm_position": ("pre", "post"),
    "position": ("rope", "learned", "alibi", "none"),
    "rope_layout": ("half", "interleaved"),
}
