"""A number for each distance, added to the scores: T5's learned buckets and ALiBi's fixed slopes.

Both are relative by construction: the bias of query i and key j is a function of i - j alone.
"""

import math

import torch
from jaxtyping import Float, Integer
from torch import Tensor, nn

from llmlib.checks import check_integers
from llmlib.precision import widened
from llmlib.sizes import check_sizes

# --- T5 ---------------------------------------------------------------------------------------


def t5_bucket(
    relative: Integer[Tensor, "*shape"],
    bidirectional: bool = True,
    n_buckets: int = 32,
    max_distance: int = 128,
) -> Integer[Tensor, "*shape"]:
    """The number of the bucket that T5 puts a distance into: near ones alone, far ones together.

    Half of the buckets hold one distance each; the other half grow geometrically up to
    max_distance, and the last one takes all beyond it.

    Args:
        relative: key position - query position; negative is the past.
        bidirectional: True: half of the buckets for the past and 0, half for the future (the
            encoder). False: all for the past; the future falls into bucket 0, where a causal mask
            hides it (the decoder).
        n_buckets: buckets in all.
        max_distance: where the last bucket of a direction is reached.

    Raises:
        TypeError, ValueError: distances or sizes that are no integers, fewer than two buckets a
            direction, a number that does not divide into two directions, a max_distance that the
            single distances already reach.

    Source: raffel2020t5
    """
    side, single = _bucket_sides(bidirectional, n_buckets, max_distance)
    relative = check_integers("relative", relative)
    distance = relative.abs() if bidirectional else (-relative).clamp(min=0)
    # float32 in this order of operations, as in the released code: at a bucket's edge another
    # rounding would move a distance into the neighboring bucket.
    grown = torch.log(distance.clamp(min=1).float() / single)
    grown = grown / math.log(max_distance / single) * (side - single)
    far = (single + grown.to(relative.dtype)).clamp(max=side - 1)
    bucket = torch.where(distance < single, distance, far)
    return bucket + side * (relative > 0) if bidirectional else bucket


class RelativeBias(nn.Module):
    """T5's relative position bias: one learned number for each bucket and head, for all layers.

    n_buckets * n_heads parameters. T5 adds it to scores that are not divided by sqrt(head_dim).

    Args:
        n_heads: H.
        bidirectional, n_buckets, max_distance: as for `t5_bucket`.

    Raises:
        TypeError, ValueError: as `t5_bucket`.

    Source: raffel2020t5
    """

    def __init__(
        self,
        n_heads: int,
        bidirectional: bool = True,
        n_buckets: int = 32,
        max_distance: int = 128,
    ) -> None:
        super().__init__()
        check_sizes(n_heads=n_heads)
        _bucket_sides(bidirectional, n_buckets, max_distance)
        self.bidirectional, self.max_distance = bidirectional, max_distance
        self.weight = nn.Parameter(torch.empty(n_buckets, n_heads))
        if not self.weight.is_meta:
            nn.init.normal_(self.weight, std=0.02)

    def forward(
        self,
        positions_q: Integer[Tensor, "*batch seq_q"],
        positions_k: Integer[Tensor, "*batch seq_k"],
    ) -> Float[Tensor, "*batch heads seq_q seq_k"]:
        """The bias for queries and keys at these positions."""
        at_q = check_integers("positions_q", positions_q)
        at_k = check_integers("positions_k", positions_k)
        relative = at_k[..., None, :] - at_q[..., :, None]
        bucket = t5_bucket(relative, self.bidirectional, len(self.weight), self.max_distance)
        return self.weight[bucket].movedim(-1, -3)


def _bucket_sides(bidirectional: bool, n_buckets: int, max_distance: int) -> tuple[int, int]:
    """Buckets a direction, and how many of them hold a single distance."""
    check_sizes(n_buckets=n_buckets, max_distance=max_distance)
    if bidirectional and n_buckets % 2:
        raise ValueError(f"n_buckets is {n_buckets}, expected an even number for two directions")
    side = n_buckets // 2 if bidirectional else n_buckets
    if side < 2:
        raise ValueError(f"n_buckets is {n_buckets}, expected at least 2 for each direction")
    if max_distance <= side // 2:
        raise ValueError(
            f"max_distance is {max_distance}, expected more than {side // 2}, the distances that "
            "have a bucket of their own"
        )
    return side, side // 2


# --- ALiBi ------------------------------------------------------------------------------------


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
    check_sizes(n_heads=n_heads)
    power = 2 ** (n_heads.bit_length() - 1)
    slopes = [2 ** (-8 * h / power) for h in range(1, power + 1)]
    between = [2 ** (-8 * h / (2 * power)) for h in range(1, 2 * power + 1, 2)]
    return torch.tensor(slopes + between[: n_heads - power])


def alibi_bias(
    n_heads: int,
    seq_q: int,
    seq_k: int,
) -> Float[Tensor, "heads seq_q seq_k"]:
    """ALiBi's bias -m_h * |i + seq_k - seq_q - j|: a key fades with its distance.

    The last query stands at the last key, so a step with a cache gets the rows of the whole matrix.

    Args:
        n_heads: H.
        seq_q, seq_k: numbers of queries and keys.

    Raises:
        TypeError, ValueError: sizes that are not positive integers.

    Source: press2022alibi
    """
    check_sizes(seq_q=seq_q, seq_k=seq_k)
    slopes, keys = alibi_slopes(n_heads), torch.arange(seq_k)
    return alibi_bias_at(slopes, keys[:seq_q] + (seq_k - seq_q), keys)


def alibi_bias_at(
    slopes: Float[Tensor, "*texts heads"],
    positions_q: Integer[Tensor, "*batch seq_q"],
    positions_k: Integer[Tensor, "*batch seq_k"],
) -> Float[Tensor, "*rows heads seq_q seq_k"]:
    """ALiBi's bias for queries and keys at given positions, in whatever order the keys lie.

    In float32 for 16-bit slopes: float16 holds no distance above 65,504, and bfloat16 cannot tell
    257 from 256.

    Raises:
        TypeError: positions that are no integers, slopes that are no floats.
    """
    if not slopes.is_floating_point():
        raise TypeError(f"slopes are {slopes.dtype}, expected floats")
    at_q, at_k = (
        check_integers("positions_q", positions_q),
        check_integers("positions_k", positions_k),
    )
    distance = (at_q[..., :, None] - at_k[..., None, :]).abs()
    return -widened(slopes)[..., :, None, None] * distance[..., None, :, :]
