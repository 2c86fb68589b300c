"""Position encodings: how a model that sees a set of tokens learns their order.

The module reads as the chapter does: vectors that are added to the embedding (sinusoidal, learned),
a bias that is added to the scores (ALiBi), and rotations of the queries and keys (RoPE) with the
scalings that stretch a trained context (linear, Llama 3, YaRN).

Every phase position * frequency is computed in float64 and only its cosine and sine are rounded to
float32: bfloat16 cannot tell position 257 from 256, and float32 loses the phase of far positions.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from jaxtyping import Float, Float64, Int, Real
from torch import Tensor, nn

Layout = Literal["half", "interleaved"]
Scaling = Mapping[str, Any]
Rotation = tuple[Tensor, Tensor]

# --- added to the embedding -------------------------------------------------------------------


def sinusoidal(
    positions: Real[Tensor, "*batch"], dim: int, base: float | int = 10000.0
) -> Float[Tensor, "*batch dim"]:
    """Sinusoids of geometric wavelengths, from 2 pi to base * 2 pi: one vector a position.

    PE[p, 2i] = sin(p / base^(2i/dim)),  PE[p, 2i+1] = cos(p / base^(2i/dim))

    Args:
        positions: any shape, counted from 0.
        dim: length of a vector, even.
        base: sets the longest wavelength.

    Raises:
        TypeError, ValueError: dim is not a positive even integer, or base is not above 0.

    Source: vaswani2017attention
    """
    phases = positions.double()[..., None] * rope_frequencies(dim, base).to(positions.device)
    return torch.stack([phases.sin(), phases.cos()], dim=-1).flatten(-2).float()


class LearnedPositions(nn.Module):
    """One trained vector a position: context * dim parameters, and nothing beyond the context.

    Args:
        context: number of positions, from 0 to context - 1.
        dim: width of the residual stream.

    Raises:
        TypeError, ValueError: sizes that are not positive integers.

    Source: radford2018gpt
    """

    def __init__(self, context: int, dim: int) -> None:
        super().__init__()
        _check_size("context", context)
        _check_size("dim", dim)
        self.context, self.dim = context, dim
        self.weight = nn.Parameter(torch.empty(context, dim))
        if not self.weight.is_meta:
            nn.init.normal_(self.weight, std=0.02)

    def forward(self, positions: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch dim"]:
        """The vectors of these positions; ValueError for one that was never trained."""
        try:
            return nn.functional.embedding(positions, self.weight)
        except IndexError:
            low, high = int(positions.min()), int(positions.max())
            raise ValueError(
                f"positions run from {low} to {high}, expected 0 to {self.context - 1}: learned "
                "positions end with the context"
            ) from None


# --- added to the scores ----------------------------------------------------------------------


def alibi_slopes(n_heads: int) -> Float[Tensor, " heads"]:
    """ALiBi's slope of each head, m_h = 2^(-8h/H) for h = 1 .. H.

    For H that is no power of two the released code takes the slopes of the next lower power of two
    P, then every other slope (the first, third, ...) of 2P, until there are H.

    Args:
        n_heads: H, any number of heads.

    Raises:
        TypeError, ValueError: n_heads is not a positive integer.

    Source: press2022alibi
    """
    _check_size("n_heads", n_heads)
    power = 2 ** (n_heads.bit_length() - 1)
    slopes = [2 ** (-8 * h / power) for h in range(1, power + 1)]
    between = [2 ** (-8 * h / (2 * power)) for h in range(1, 2 * power + 1, 2)]
    return torch.tensor(slopes + between[: n_heads - power])


def alibi_bias(n_heads: int, seq_q: int, seq_k: int) -> Float[Tensor, "heads seq_q seq_k"]:
    """ALiBi's bias -m_h * |i + seq_k - seq_q - j|, with which a key fades as it lies further off.

    The last query stands at the last key, so a step with a cache gets the rows of the whole matrix.

    Args:
        n_heads: H.
        seq_q, seq_k: numbers of queries and keys.

    Raises:
        TypeError, ValueError: sizes that are not positive integers.

    Source: press2022alibi
    """
    _check_size("seq_q", seq_q)
    _check_size("seq_k", seq_k)
    slopes, keys = alibi_slopes(n_heads), torch.arange(seq_k)
    return alibi_bias_at(slopes, keys[:seq_q] + (seq_k - seq_q), keys)


def alibi_bias_at(
    slopes: Float[Tensor, " heads"],
    positions_q: Int[Tensor, "*batch seq_q"],
    positions_k: Int[Tensor, "*batch seq_k"],
) -> Float[Tensor, "*batch heads seq_q seq_k"]:
    """ALiBi's bias for queries and keys at given positions, in whatever order the keys lie."""
    distance = (positions_q[..., :, None] - positions_k[..., None, :]).abs()
    return -slopes[:, None, None] * distance[..., None, :, :]


# --- rotations of queries and keys ------------------------------------------------------------


def rope_frequencies(
    head_dim: int, base: float | int = 10000.0, scaling: Scaling | None = None
) -> Float64[Tensor, " pairs"]:
    """RoPE's angle a step for each pair of features, theta_i = base^(-2i/head_dim), in float64.

    Args:
        head_dim: features of a head, even; there are head_dim / 2 pairs.
        base: sets the slowest pair; 10,000 in the paper, larger for long contexts.
        scaling: None, or the numbers that Hugging Face's configurations hold: rope_type is
            "default", "linear", "llama3" or "yarn"; factor; for the last two
            original_max_position_embeddings; for llama3 low_freq_factor and high_freq_factor;
            for yarn, if wanted, beta_fast (32), beta_slow (1) and truncate (True).
            What YaRN also multiplies cosine and sine with is `rope_amplitude(scaling)`.

    Raises:
        TypeError, ValueError: a head_dim that is odd or not positive, a base not above 0, an
            unknown rope_type, a missing or impossible number of a scaling.

    Source: su2021roformer; chen2023extending (linear), dubey2024llama3, peng2023yarn
    """
    _check_size("head_dim", head_dim)
    if head_dim % 2:
        raise ValueError(f"head_dim is {head_dim}, expected an even number: RoPE rotates pairs")
    if not 0 < base < math.inf:
        raise ValueError(f"base is {base}, expected a finite number above 0")
    # On the CPU whatever the default device: a model built on the meta device still needs them.
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float64, device="cpu") / head_dim
    frequencies = base**-exponents
    kind = rope_type(scaling)
    if scaling is None or kind == "default":
        return frequencies
    if kind == "linear":
        return frequencies / _number(scaling, "factor")
    if kind == "llama3":
        return _llama3_frequencies(frequencies, scaling)
    return _yarn_frequencies(frequencies, head_dim, base, scaling)


def rope_type(scaling: Scaling | None) -> str:
    """The scaling's kind: "default" (none), "linear", "llama3" or "yarn"; ValueError for others."""
    kinds = ("default", "linear", "llama3", "yarn")
    # transformers wrote "type" before version 4.43.
    kind = "default" if scaling is None else scaling.get("rope_type", scaling.get("type"))
    if kind not in kinds:
        raise ValueError(f"rope_type is {kind!r}, expected one of {', '.join(kinds)}")
    return str(kind)


def rope_amplitude(scaling: Scaling | None) -> float:
    """What cosine and sine are multiplied with: 0.1 ln(factor) + 1 for YaRN, else 1.

    Queries and keys both carry it, so scores grow by its square: the softmax of a stretched context
    is made sharper.

    Source: peng2023yarn
    """
    if scaling is None or rope_type(scaling) != "yarn":
        return 1.0
    if scaling.get("attention_factor") is not None:
        return _number(scaling, "attention_factor")
    factor = max(_number(scaling, "factor"), 1.0)  # a context that shrinks stays as it is
    if scaling.get("mscale") and scaling.get("mscale_all_dim"):
        above, below = (0.1 * scaling[n] * math.log(factor) for n in ("mscale", "mscale_all_dim"))
        return float((above + 1) / (below + 1))
    return 0.1 * math.log(factor) + 1


def _llama3_frequencies(frequencies: Tensor, scaling: Scaling) -> Tensor:
    """Slow pairs are divided by the factor, fast ones kept, those between blended by turns.

    A pair makes context * theta / (2 pi) turns within the original context. Above high_freq_factor
    turns it stays, below low_freq_factor it is divided.
    """
    factor, original = _number(scaling, "factor"), _original_context(scaling)
    low, high = _number(scaling, "low_freq_factor"), _number(scaling, "high_freq_factor")
    if low >= high:
        raise ValueError(f"low_freq_factor is {low}, expected below high_freq_factor ({high})")
    turns = original * frequencies / (2 * math.pi)
    kept = ((turns - low) / (high - low)).clamp(0, 1)
    return kept * frequencies + (1 - kept) * frequencies / factor


def _yarn_frequencies(
    frequencies: Tensor, head_dim: int, base: float | int, scaling: Scaling
) -> Tensor:
    """YaRN's blend, a ramp over the pair's number instead of Llama 3's over its turns.

    The ramp runs between the pairs that make beta_fast and beta_slow turns within the original
    context, rounded outwards to whole pairs unless truncate is False.
    """
    factor, original = _number(scaling, "factor"), _original_context(scaling)

    def pair_of(turns: float | int) -> float:
        return head_dim * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(base))

    first = pair_of(scaling.get("beta_fast") or 32)
    last = pair_of(scaling.get("beta_slow") or 1)
    if scaling.get("truncate", True):
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, head_dim - 1)
    width = (last - first) or 0.001  # one pair alone: a step instead of a division by zero
    pairs = torch.arange(len(frequencies), dtype=torch.float64, device="cpu")
    kept = 1 - ((pairs - first) / width).clamp(0, 1)
    return kept * frequencies + (1 - kept) * frequencies / factor


def rope_rotation(
    positions: Real[Tensor, "*batch seq"],
    frequencies: Float64[Tensor, " pairs"],
    amplitude: float = 1.0,
    dtype: torch.dtype = torch.float32,
) -> Rotation:
    """Cosine and sine of every phase, each (*batch, seq, head_dim/2): one pair for all layers."""
    phases = positions.double()[..., None] * frequencies.to(positions.device)
    return (phases.cos() * amplitude).to(dtype), (phases.sin() * amplitude).to(dtype)


def apply_rotation(
    x: Float[Tensor, "*batch seq head_dim"], rotation: Rotation, layout: Layout = "half"
) -> Float[Tensor, "*batch seq head_dim"]:
    """Turn each pair (a, b) of features to (a cos - b sin, a sin + b cos).

    Computed in float32 for narrower types (float64 stays float64) and rounded once at the end.

    Args:
        x: queries or keys.
        rotation: cosine and sine from `rope_rotation`; they broadcast over x's heads.
        layout: which features form pair i: "half" takes i and i + head_dim/2 (Llama's and
            transformers' weights), "interleaved" 2i and 2i + 1 (the paper's, and GGUF's).

    Raises:
        ValueError: unknown layout, or tables of another head_dim.
    """
    cos, sin = rotation
    if x.shape[-1] != 2 * cos.shape[-1]:
        raise ValueError(f"x has head_dim {x.shape[-1]}, the rotation is for {2 * cos.shape[-1]}")
    wide = x.float() if x.element_size() < 4 else x
    if layout == "half":
        a, b = wide.chunk(2, dim=-1)
        turned = torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)
    elif layout == "interleaved":
        a, b = wide[..., 0::2], wide[..., 1::2]
        turned = torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1).flatten(-2)
    else:
        raise ValueError(f"layout is {layout!r}, expected 'half' or 'interleaved'")
    return turned.to(x.dtype)


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
        ValueError: unknown layout, or frequencies for another head_dim.

    Source: su2021roformer
    """
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    cos, sin = rope_rotation(positions, frequencies, dtype=dtype)
    if positions.ndim == 2 and x.ndim == 4:  # one row of positions a sequence, for all its heads
        cos, sin = cos[:, None], sin[:, None]
    return apply_rotation(x, (cos, sin), layout)


def _number(scaling: Scaling, name: str) -> float:
    """A number of a scaling that has to be there and above 0."""
    value = scaling.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        kind = scaling.get("rope_type", scaling.get("type"))
        raise ValueError(f"{name} of the {kind} scaling is {value!r}, expected a number above 0")
    return float(value)


def _original_context(scaling: Scaling) -> float:
    return _number(scaling, "original_max_position_embeddings")


def _check_size(name: str, value: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value <= 0:
        raise ValueError(f"{name} must be positive, got {value}")
