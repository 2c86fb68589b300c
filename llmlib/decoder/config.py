"""The description of a decoder whose blocks are all of one kind, by short names and defaults."""

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, Literal, get_args

import llmlib.architecture as arch
from llmlib.sizes import check_sizes

Position = Literal["rope", "learned", "alibi", "none"]


def DecoderConfig(
    vocab_size: int,
    dim: int,
    n_layers: int,
    n_heads: int,
    n_kv_heads: int | None = None,
    head_dim: int | None = None,
    ffn_dim: int | None = None,
    context: int = 2048,
    *,
    norm: Literal["rms", "layer"] = "rms",
    norm_position: Literal["pre", "post"] = "pre",
    norm_eps: float = 1e-5,
    activation: arch.Activation = "swish",
    gated: bool = True,
    bias: bool = False,
    qkv_bias: bool | None = None,
    out_bias: bool | None = None,
    ffn_bias: bool | None = None,
    qk_norm: bool = False,
    position: Position = "rope",
    rope_base: float = 10_000.0,
    rope_scaling: Mapping[str, Any] | arch.Scaling | None = None,
    rope_layout: Literal["half", "interleaved"] = "half",
    window: int | None = None,
    latent: arch.Latent | None = None,
    tied: bool = True,
    embedding_norm: bool = False,
) -> arch.ModelConfig:
    """A decoder of n_layers equal blocks; the defaults are those of a small Llama.

    Args:
        vocab_size: V, rows of the embedding.
        dim: d, width of the residual stream.
        n_layers: L, blocks.
        n_heads: H, query heads.
        n_kv_heads: G, key/value heads; H if None.
        head_dim: d_head; dim / n_heads if None.
        ffn_dim: d_ff, hidden width of the feed-forward block; 4 * dim if None.
        context: positions that the model may see, prompt and continuation together.
        norm, norm_position, norm_eps: what normalizes, where, and what is added inside the root.
        activation, gated: of the feed-forward block.
        bias: whether the projections have biases, where the next three do not say.
        qkv_bias, out_bias, ffn_bias: of queries, keys and values; of attention's output; of the
            feed-forward block.
        qk_norm: RMSNorm over each head's query and key (Qwen3).
        position: how order gets in.
        rope_base, rope_scaling, rope_layout: of RoPE, see `llmlib.position_encoding`.
        window: keys a query sees, itself included (Mistral).
        latent: multi-head latent attention instead (DeepSeek-V2); its heads and RoPE are set here.
        tied: the head is the embedding's matrix.
        embedding_norm: a norm after the embedding (BLOOM).

    Raises:
        TypeError, ValueError: a value that its part of the description cannot have, a width that
            does not divide into the heads, latent attention beside a window or QK norm.
    """
    return _described(SimpleNamespace(**locals()))


def _described(c: Any) -> arch.ModelConfig:
    """The description; c has the arguments by their names."""
    if c.position not in get_args(Position):
        known = ", ".join(get_args(Position))
        raise ValueError(f"position is {c.position!r}, expected one of {known}")
    _check_switches(bias=c.bias, qk_norm=c.qk_norm, embedding_norm=c.embedding_norm)
    check_sizes(n_layers=c.n_layers, n_heads=c.n_heads, dim=c.dim, context=c.context)
    with _named(kind="norm", eps="norm_eps"):
        norm = arch.Norm(c.norm, _float(c.norm_eps), bias=c.norm == "layer")
    mixer = _attention(c, norm) if c.latent is None else _latent(c)
    hidden = 4 * c.dim if c.ffn_dim is None else c.ffn_dim
    with _named(bias="ffn_bias", norms="norm_position"):
        ffn_bias = c.bias if c.ffn_bias is None else c.ffn_bias
        feed_forward = arch.FeedForward(hidden, c.activation, c.gated, ffn_bias)
        block = arch.Block(mixer, feed_forward, norm, c.norm_position)
    stack = arch.Stack(
        (arch.repeat(c.n_layers, block),),
        # A post-norm block ends with a norm: one more would find nothing left to do.
        last_norm=norm if c.norm_position == "pre" else None,
        positions=arch.Learned(c.context) if c.position == "learned" else None,
        first_norm=norm if c.embedding_norm else None,
    )
    return arch.ModelConfig(c.dim, c.vocab_size, c.context, stack, tied=c.tied)


def _attention(c: Any, norm: arch.Norm) -> arch.Attention:
    """Numbers of heads and their width filled in."""
    if c.head_dim is None and c.dim % c.n_heads:
        raise ValueError(f"dim {c.dim} does not divide into {c.n_heads} heads; give head_dim")
    return arch.Attention(
        c.n_heads,
        c.n_heads if c.n_kv_heads is None else c.n_kv_heads,
        c.dim // c.n_heads if c.head_dim is None else c.head_dim,
        window=c.window,
        qk_norm=arch.Norm("rms", norm.eps) if c.qk_norm else None,
        **_order_and_biases(c),
    )


def _latent(c: Any) -> arch.Latent:
    """Latent attention leaves no choice in what an attention has of its own."""
    latent = c.latent
    if not isinstance(latent, arch.Latent):
        raise TypeError(f"latent is {latent!r}, expected a Latent or None")
    only = {"n_kv_heads": c.n_heads, "head_dim": latent.head_dim, "window": None, "qk_norm": False}
    for name, value in only.items():
        if getattr(c, name) not in (None, value):
            found = f"{name} is {getattr(c, name)}, expected {value}"
            raise ValueError(f"{found} beside latent attention")
    return dataclasses.replace(latent, n_heads=c.n_heads, **_order_and_biases(c))


def _order_and_biases(c: Any) -> dict[str, Any]:
    """What any attention is told of positions and biases."""
    with _named(base="rope_base", layout="rope_layout", kind="rope_type of rope_scaling"):
        rope = arch.Rope(_float(c.rope_base), 1.0, _scaling(c.rope_scaling), c.rope_layout)
    return {
        "rope": rope if c.position == "rope" else None,
        "alibi": c.position == "alibi",
        "qkv_bias": c.bias if c.qkv_bias is None else c.qkv_bias,
        "out_bias": c.bias if c.out_bias is None else c.out_bias,
    }


@contextmanager
def _named(**names: str) -> Iterator[None]:
    """Errors of a part, which begin with its field, by the names that are used here."""
    try:
        yield
    except (TypeError, ValueError) as error:
        field, _, rest = str(error).partition(" ")
        raise type(error)(f"{names.get(field, field)} {rest}") from None


def _float(x: float) -> float:
    """An integer as a float, so that equal descriptions also print alike."""
    return float(x) if type(x) is int else x


def _scaling(given: Mapping[str, Any] | arch.Scaling | None) -> arch.Scaling | None:
    if given is None or isinstance(given, arch.Scaling):
        return given
    if not isinstance(given, Mapping):
        raise TypeError(f"rope_scaling is {given!r}, expected a dict, a Scaling or None")
    return None if given.get("rope_type") == "default" else arch.Scaling.of(given)


def _check_switches(**switches: bool) -> None:
    for name, value in switches.items():
        if not isinstance(value, bool):
            raise TypeError(f"{name} is {value!r}, expected True or False")
