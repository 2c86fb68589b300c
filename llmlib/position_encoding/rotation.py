"""RoPE: rotations of the pairs of queries and keys, as a matrix and as they are computed.

Two layouts are in use. "interleaved" pairs neighbors (2i, 2i + 1), as in the paper, GPT-J and GGUF
files; "half" pairs i with i + head_dim/2, as in Llama's weights on Hugging Face. They are the same
model up to a permutation of the rows of the query and key weights (`convert_rope_layout`).
"""

from typing import Literal, get_args

import torch
from jaxtyping import Float, Float64, Int, Real
from torch import Tensor

from llmlib.position_encoding.frequencies import rope_frequencies
from llmlib.precision import widened
from llmlib.sizes import check_even, check_sizes

Layout = Literal["half", "interleaved"]
LAYOUTS = get_args(Layout)
Rotation = tuple[Tensor, Tensor]


def rope_matrix(
    position: float | int, head_dim: int, base: float | int = 10000.0
) -> Float64[Tensor, "head_dim head_dim"]:
    """The block-diagonal matrix R_m of the formula: interleaved pairs, in float64.

    R_m = diag(B(m theta_1), ..., B(m theta_{d/2})),  B(t) = [[cos t, -sin t], [sin t, cos t]]

    Args:
        position: m.
        head_dim: d, features of one head, not the width of the model; even.
        base: see `rope_frequencies`.

    Raises:
        TypeError, ValueError: as `rope_frequencies`.

    Source: su2021roformer
    """
    phases = position * rope_frequencies(head_dim, base)
    blocks = torch.stack([phases.cos(), -phases.sin(), phases.sin(), phases.cos()], -1)
    return torch.block_diag(*blocks.unflatten(-1, (2, 2)))


def rope_rotation(
    positions: Real[Tensor, "*batch seq"],
    frequencies: Float64[Tensor, " pairs"],
    amplitude: float = 1.0,
    dtype: torch.dtype = torch.float32,
) -> Rotation:
    """Cosine and sine of every phase, each (*batch, seq, head_dim/2), for all layers."""
    phases = positions.double()[..., None] * frequencies.to(positions.device)
    return (phases.cos() * amplitude).to(dtype), (phases.sin() * amplitude).to(dtype)


def apply_rotation(
    x: Float[Tensor, "*batch seq head_dim"],
    rotation: Rotation,
    layout: Layout = "half",
) -> Float[Tensor, "*batch seq head_dim"]:
    """Turn each pair (a, b) of features to (a cos - b sin, a sin + b cos).

    Computed in float32 for narrower types (float64 stays float64) and rounded once at the end.

    Args:
        x: queries or keys.
        rotation: cosine and sine from `rope_rotation`; they broadcast over x's heads.
        layout: which features form pair i: "half" takes i and i + head_dim/2 (Llama's and
            transformers' weights), "interleaved" 2i and 2i + 1 (the paper's, and GGUF's).

    Raises:
        TypeError: an x that is no float.
        ValueError: unknown layout, tables of another head_dim or of other positions than x's.
    """
    _check_layout(layout)
    _check_table(x, rotation[0])
    return turned(x, rotation, layout)


def turned(x: Tensor, rotation: Rotation, layout: Layout) -> Tensor:
    """`apply_rotation` of what is checked; tables for fewer features turn the first of x."""
    cos, sin = rotation
    width = 2 * cos.shape[-1]
    if width < x.shape[-1]:
        return torch.cat([turned(x[..., :width], rotation, layout), x[..., width:]], dim=-1)
    wide = widened(x)
    if layout == "half":
        a, b = wide.chunk(2, dim=-1)
        y = torch.cat([a * cos - b * sin, a * sin + b * cos], -1)
    else:
        a, b = wide[..., 0::2], wide[..., 1::2]
        y = torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2)
    return y.to(x.dtype)


def rotate(
    x: Float[Tensor, "*batch seq head_dim"],
    positions: Real[Tensor, "*positions seq"],
    frequencies: Float64[Tensor, " pairs"],
    layout: Layout = "half",
) -> Float[Tensor, "*batch seq head_dim"]:
    """RoPE: turn the pairs of the vector at position p by the angles p * frequencies.

    The score of a query at m with a key at n then depends on m - n alone.

    Args:
        x: queries or keys, (batch, heads, seq, head_dim) in a model.
        positions: one a vector, (seq,), or (batch, seq) where rows differ.
        frequencies: radians a step, from `rope_frequencies`.
        layout: "half" or "interleaved", see `apply_rotation`.

    Raises:
        TypeError: an x that is no float.
        ValueError: unknown layout, frequencies for another head_dim, or positions that are not one
            a vector.

    Source: su2021roformer
    """
    if not positions.ndim or x.ndim < 2 or positions.shape[-1] != x.shape[-2]:
        found = f"positions have shape {tuple(positions.shape)}, x {tuple(x.shape)}"
        raise ValueError(f"{found}: expected one position a vector, (..., seq)")
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    cos, sin = rope_rotation(positions, frequencies, dtype=dtype)
    if positions.ndim == 2 and x.ndim == 4:  # one row of positions a sequence, for all its heads
        cos, sin = cos[:, None], sin[:, None]
    return apply_rotation(x, (cos, sin), layout)


def rope_order(head_dim: int, to: Layout) -> Int[Tensor, " head_dim"]:
    """Which feature of the other layout stands at each place of this one.

    For 6 features: 0 2 4 1 3 5 to "half", 0 3 1 4 2 5 to "interleaved".

    Raises:
        TypeError, ValueError: a head_dim that is no positive even integer, an unknown layout.
    """
    check_even("head_dim", head_dim, "RoPE rotates pairs")
    _check_layout(to)
    rows = (-1, 2) if to == "half" else (2, -1)
    return torch.arange(head_dim).view(rows).T.flatten()


def convert_rope_layout(
    weight: Float[Tensor, "rows *columns"], n_heads: int, to: Layout
) -> Float[Tensor, "rows *columns"]:
    """Query or key weights of one layout, their rows in the order of the other.

    Under the new layout the scores are what they were: both sides of each dot product are permuted
    alike. Values, the output projection and everything else stay as they are.

    Args:
        weight: (heads * head_dim, dim), or the bias (heads * head_dim,).
        n_heads: heads in these rows: the key/value heads for key weights.
        to: the layout wanted.

    Raises:
        TypeError, ValueError: rows that do not divide into heads of an even size, an unknown
            layout.

    Source: su2021roformer
    """
    check_sizes(n_heads=n_heads)
    rows = len(weight)
    if rows % n_heads:
        raise ValueError(f"weight has {rows} rows, expected a multiple of {n_heads} heads")
    order = rope_order(rows // n_heads, to).to(weight.device)
    return weight.unflatten(0, (n_heads, -1))[:, order].flatten(0, 1)


def _check_table(x: Tensor, cos: Tensor) -> None:
    """A row of the tables for each position of x; heads and texts may share them."""
    if not x.is_floating_point():
        raise TypeError(f"x is {x.dtype}, expected a floating-point tensor")
    width = 2 * cos.shape[-1]
    if x.shape[-1] != width:
        raise ValueError(f"x has head_dim {x.shape[-1]}, the rotation is for {width}")
    if torch.compiler.is_compiling():
        return  # sizes may be letters there
    outer = zip(reversed(cos.shape[:-2]), reversed(x.shape[:-2]), strict=False)
    same = cos.ndim > 1 and x.ndim > 1 and cos.shape[-2] == x.shape[-2]
    if not same or cos.ndim > x.ndim or any(size != n and size != 1 for size, n in outer):
        found = f"the rotation has shape {tuple(cos.shape)}, x {tuple(x.shape)}"
        raise ValueError(f"{found}: expected a row for each position, for all heads or for each")


def _check_layout(layout: str) -> None:
    if layout not in LAYOUTS:
        raise ValueError(f"layout is {layout!r}, expected 'half' or 'interleaved'")
