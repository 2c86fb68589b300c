"""RoPE's angle a step for each pair of features, and the scalings that stretch a trained context.

A model trained on short texts has never seen its slow pairs turn far. Each scaling slows pairs down
so that a longer text stays within angles that occurred in training: all alike (linear), the slower
the more (NTK-aware), or the slow ones alone (YaRN, Llama 3.1).
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float64
from torch import Tensor

from llmlib.sizes import check_even, check_sizes

Scaling = Mapping[str, Any]


def rope_frequencies(
    head_dim: int, base: float | int = 10000.0, scaling: Scaling | None = None
) -> Float64[Tensor, " pairs"]:
    """RoPE's angle a step for each pair of features, theta_i = base^(-2i/head_dim), in float64.

    Args:
        head_dim: features of a head, even; there are head_dim / 2 pairs.
        base: sets the slowest pair; 10,000 in the paper, larger for long contexts.
        scaling: None, or the numbers that Hugging Face's configurations hold: rope_type is
            "default", "linear", "ntk", "llama3" or "yarn"; factor; for the last two
            original_max_position_embeddings; for llama3 low_freq_factor and high_freq_factor;
            for yarn, if wanted, beta_fast (32), beta_slow (1) and truncate (True). "ntk" is this
            library's name: one base for all lengths; see `dynamic_ntk` for one that grows. So is
            "factors": numbers that the frequencies are divided by, one for each pair (Phi-3 has
            such a list, and so have GGUF files of Llama 3, where its scaling is worked out).
            What some also multiply cosine and sine with is `rope_amplitude(scaling)`.

    Raises:
        TypeError, ValueError: a head_dim that is odd or not positive, a base not above 0, an
            unknown rope_type, a missing or impossible number of a scaling.

    Source: su2021roformer; chen2023extending (linear), bloc2023ntk, peng2023yarn;
        meta2024llamamodels (llama3, the released code of Llama 3.1)
    """
    check_even("head_dim", head_dim, "RoPE rotates pairs")
    if not 0 < base < math.inf:
        raise ValueError(f"base is {base}, expected a finite number above 0")
    kind = rope_type(scaling)
    if scaling is not None and kind == "ntk":
        base = _ntk_base(head_dim, base, scaling)
    # On the CPU whatever the default device: a model built on the meta device still needs them.
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float64, device="cpu") / head_dim
    frequencies = base**-exponents
    if scaling is None or kind in ("default", "ntk"):
        return frequencies
    if kind == "linear":
        return frequencies / _number(scaling, "factor")
    if kind == "factors":
        return frequencies / _factors(scaling, len(frequencies))
    if kind == "llama3":
        return _llama3_frequencies(frequencies, scaling)
    return _yarn_frequencies(frequencies, head_dim, base, scaling)


def rope_type(scaling: Scaling | None) -> str:
    """The scaling's kind, "default" where there is none; ValueError for an unknown one."""
    kinds = ("default", "linear", "ntk", "llama3", "yarn", "factors")
    # transformers wrote "type" before version 4.43.
    kind = "default" if scaling is None else scaling.get("rope_type", scaling.get("type"))
    if kind not in kinds:
        raise ValueError(f"rope_type is {kind!r}, expected one of {', '.join(kinds)}")
    return str(kind)


def rope_amplitude(scaling: Scaling | None) -> float:
    """What cosine and sine are multiplied with: 0.1 ln(factor) + 1 for YaRN, else 1.

    "yarn" and "factors" may say another number, as attention_factor.

    Queries and keys both carry it, so scores grow by its square: the softmax of a stretched context
    is made sharper.

    Source: peng2023yarn
    """
    kind = rope_type(scaling)
    if scaling is None or kind not in ("yarn", "factors"):
        return 1.0
    if scaling.get("attention_factor") is not None:
        return _number(scaling, "attention_factor")
    if kind == "factors":
        return 1.0
    factor = max(_number(scaling, "factor"), 1.0)  # a context that shrinks stays as it is
    if scaling.get("mscale") and scaling.get("mscale_all_dim"):
        above, below = (0.1 * scaling[n] * math.log(factor) for n in ("mscale", "mscale_all_dim"))
        return float((above + 1) / (below + 1))
    return 0.1 * math.log(factor) + 1


def dynamic_ntk(scaling: Scaling, length: int) -> Scaling:
    """The "ntk" scaling that the dynamic variant uses for a text of this length.

    Its factor is factor * length / original - (factor - 1): 1 up to the original context.

    Args:
        scaling: factor and original_max_position_embeddings.
        length: tokens so far.

    Raises:
        TypeError, ValueError: a length that is no positive integer, numbers missing.

    Source: bloc2023ntk
    """
    check_sizes(length=length)
    factor, original = _number(scaling, "factor"), _original_context(scaling)
    return {"rope_type": "ntk", "factor": factor * max(length / original, 1.0) - (factor - 1)}


def _ntk_base(head_dim: int, base: float | int, scaling: Scaling) -> float:
    """The base under which the slowest pair is divided by the factor and the fastest is kept."""
    if head_dim == 2:
        raise ValueError("head_dim is 2, expected at least 4: ntk spares one pair and slows others")
    return float(base * _number(scaling, "factor") ** (head_dim / (head_dim - 2)))


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


def _factors(scaling: Scaling, pairs: int) -> Tensor:
    """The numbers that the frequencies are divided by."""
    found = scaling.get("factors")
    if not isinstance(found, list | tuple) or len(found) != pairs:
        raise ValueError(f"factors is {found!r:.200}, expected {pairs}, one for each pair")
    for factor in found:
        _number({"rope_type": "factors", "factors": factor}, "factors")
    return torch.tensor(found, dtype=torch.float64, device="cpu")


def _number(scaling: Scaling, name: str) -> float:
    """A number of a scaling that has to be there and above 0."""
    value = scaling.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        kind = scaling.get("rope_type", scaling.get("type"))
        raise ValueError(f"{name} of the {kind} scaling is {value!r}, expected a number above 0")
    return float(value)


def _original_context(scaling: Scaling) -> float:
    return _number(scaling, "original_max_position_embeddings")
