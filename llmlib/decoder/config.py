"""The description of a decoder whose blocks are all of one kind, by short names and defaults."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

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
    if position not in ("rope", "learned", "alibi", "none"):
        raise ValueError(f"position is {position!r}, expected one of rope, learned, alibi, none")
    _check_switches(bias=bias, qk_norm=qk_norm, embedding_norm=embedding_norm)
    check_sizes(n_layers=n_layers, n_heads=n_heads, dim=dim, context=context)
    qkv_bias, out_bias, ffn_bias = (
        bias if one is None else one for one in (qkv_bias, out_bias, ffn_bias)
    )
    with _named(kind="norm", eps="norm_eps"):
        over_stream = arch.Norm(norm, _float(norm_eps), bias=norm == "layer")
        over_heads = arch.Norm("rms", over_stream.eps) if qk_norm else None
    with _named(base="rope_base", layout="rope_layout", kind="rope_type of rope_scaling"):
        rope = arch.Rope(_float(rope_base), 1.0, _scaling(rope_scaling), rope_layout)
    order: dict[str, Any] = {"rope": rope if position == "rope" else None}
    order |= {"alibi": position == "alibi", "qkv_bias": qkv_bias, "out_bias": out_bias}
    own = {"n_kv_heads": n_kv_heads, "head_dim": head_dim, "window": window, "qk_norm": over_heads}
    mixer: arch.Mixer
    if latent is None:
        mixer = _attention(dim, n_heads, own, order)
    else:
        mixer = _latent(latent, n_heads, {**own, "qk_norm": qk_norm}, order)
    hidden = 4 * dim if ffn_dim is None else ffn_dim
    with _named(bias="ffn_bias", norms="norm_position"):
        feed_forward = arch.FeedForward(hidden, activation, gated, ffn_bias)
        block = arch.Block(mixer, feed_forward, over_stream, norm_position)
    stack = arch.Stack(
        (arch.repeat(n_layers, block),),
        # A post-norm block ends with a norm: one more would find nothing left to do.
        last_norm=over_stream if norm_position == "pre" else None,
        positions=arch.Learned(context) if position == "learned" else None,
        first_norm=over_stream if embedding_norm else None,
    )
    return arch.ModelConfig(dim, vocab_size, context, stack, tied=tied)


def _attention(
    dim: int, n_heads: int, own: dict[str, Any], order: dict[str, Any]
) -> arch.Attention:
    """Numbers of heads and their width filled in."""
    if own["n_kv_heads"] is None:
        own["n_kv_heads"] = n_heads
    if own["head_dim"] is None:
        if dim % n_heads:
            raise ValueError(f"dim {dim} does not divide into {n_heads} heads; give head_dim")
        own["head_dim"] = dim // n_heads
    return arch.Attention(n_heads, **own, **order)


def _latent(
    latent: arch.Latent, n_heads: int, own: dict[str, Any], order: dict[str, Any]
) -> arch.Latent:
    """Latent attention leaves no choice in what an attention has of its own."""
    if not isinstance(latent, arch.Latent):
        raise TypeError(f"latent is {latent!r}, expected a Latent or None")
    only = {"n_kv_heads": n_heads, "head_dim": latent.head_dim, "window": None, "qk_norm": False}
    for name, value in only.items():
        if own[name] not in (None, value):
            found = f"{name} is {own[name]}, expected {value}"
            raise ValueError(f"{found} beside latent attention")
    made: arch.Latent = arch.changed(latent, arch.Latent, n_heads=n_heads, **order)
    return made


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
