"""Linear attention: a kernel in place of softmax, so that the sum over keys can be taken first.

    out_i = phi(q_i)^T sum_j phi(k_j) v_j^T / phi(q_i)^T sum_j phi(k_j)

The weights first and then the values costs seq^2; the sums first, which are a matrix and a vector
however long the text, costs seq. It is the same number by another order of summation, and another
function than softmax attention. No scale: the feature map takes what it gets.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from llmlib.attention.formula import visible_keys
from llmlib.checks import check_attention
from llmlib.precision import autocasts, widened, without_autocast
from llmlib.shapes import Keys, Output, Queries, Values
from llmlib.sizes import check_sizes

FeatureMap = Callable[[Tensor], Tensor]


def elu_plus_one(x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
    """The feature map elu(x) + 1: x + 1 above 0, exp(x) below; positive, as weights must be.

    Source: katharopoulos2020linear
    """
    return torch.where(x > 0, x + 1, x.clamp(max=0).exp())  # elu(x) + 1 would round exp(x) to 1


@without_autocast
def reference_linear_attention(
    q: Queries,
    k: Keys,
    v: Values,
    *,
    causal: bool = False,
    feature_map: FeatureMap = elu_plus_one,
) -> Output:
    """Linear attention the quadratic way: weights phi(q) phi(k)^T, rows divided by their sums.

    Args, Returns, Raises: as `linear_attention`.

    Source: katharopoulos2020linear
    """
    q, k, v, dtype = _prepared(q, k, v, feature_map)
    weights = q @ k.transpose(-1, -2)
    visible = visible_keys(q.shape[-2], k.shape[-2], causal=causal, device=q.device)
    weights = weights.masked_fill(~visible, 0)
    return _divided(weights @ v, weights.sum(-1)).flatten(1, 2).to(dtype)


@without_autocast
def linear_attention(
    q: Queries,
    k: Keys,
    v: Values,
    *,
    causal: bool = False,
    feature_map: FeatureMap = elu_plus_one,
    chunk_size: int = 64,
) -> Output:
    """Linear attention in linear time: the state sum_j phi(k_j) v_j^T, then one product a query.

    Causal, in chunks: the state of all keys before the chunk, plus the quadratic form inside it.
    That is seq * (2 * width * value_dim + chunk_size * (width + value_dim)) products instead of
    seq^2 * (width + value_dim). 16-bit input is computed in float32 and rounded once.

    Args:
        q, k, v: as for `llmlib.attention.reference_attention`; seq_q and seq_k may differ, and the
            last query stands at the last key.
        causal: whether a query sees keys up to its own position only.
        feature_map: phi, from (..., head_dim) to (..., width), not negative.
        chunk_size: tokens of a chunk, with causal.

    Returns:
        (batch, heads, seq_q, value_dim); a row that sees no key, or weights that are all 0, is 0.

    Raises:
        TypeError, ValueError: a chunk size that is no positive integer, shapes that do not fit.

    Source: katharopoulos2020linear
    """
    check_sizes(chunk_size=chunk_size)
    q, k, v, dtype = _prepared(q, k, v, feature_map)
    state = LinearState()
    if not causal:
        state.add(k, v)
        return state.read(q).flatten(1, 2).to(dtype)
    offset = k.shape[-2] - q.shape[-2]
    blind = min(max(0, -offset), q.shape[-2])  # queries before the first key
    state.add(k[..., : max(0, offset), :], v[..., : max(0, offset), :])
    parts = [q.new_zeros(*q.shape[:-2], blind, v.shape[-1])]
    for start in range(blind, q.shape[-2], chunk_size):
        end = min(start + chunk_size, q.shape[-2])
        chunk = slice(start + offset, end + offset)
        parts.append(_chunk(state, q[..., start:end, :], k[..., chunk, :], v[..., chunk, :]))
        state.add(k[..., chunk, :], v[..., chunk, :])
    return torch.cat(parts, dim=-2).flatten(1, 2).to(dtype)


@without_autocast
def recurrent_linear_attention(
    q: Queries, k: Keys, v: Values, *, feature_map: FeatureMap = elu_plus_one
) -> Output:
    """Causal linear attention one token at a time: add the token to the state, read the state.

    This is how a model decodes: constant work and memory a token, however long the text.

    Args, Returns, Raises: as `linear_attention`; seq_q and seq_k are equal.
    """
    if q.shape[2] != k.shape[2]:
        raise ValueError(f"q has {q.shape[2]} tokens, k {k.shape[2]}: expected as many")
    q, k, v, dtype = _prepared(q, k, v, feature_map)
    state, out = LinearState(), []
    for t in range(q.shape[-2]):
        one = slice(t, t + 1)
        state.add(k[..., one, :], v[..., one, :])
        out.append(state.read(q[..., one, :]))
    return torch.cat(out, dim=-2).flatten(1, 2).to(dtype)


def _in_full(method: Callable[..., Any]) -> Callable[..., Any]:
    """A state's method on features and values in 32 bits at least, whatever autocast says."""

    @functools.wraps(method)
    def wrapped(state: "LinearState", *tensors: Tensor) -> Any:
        _check_state(state.matrix, *tensors)
        wide = [widened(x) for x in tensors]
        if not autocasts(tensors[0]):
            return method(state, *wide)
        with torch.autocast(tensors[0].device.type, enabled=False):
            return method(state, *wide)

    return wrapped


def _check_state(matrix: Tensor | None, features: Tensor, values: Tensor | None = None) -> None:
    """ValueError for what would stretch a state, or be stretched to it."""
    if values is not None and features.shape[:-1] != values.shape[:-1]:
        found = f"{tuple(features.shape)} and values {tuple(values.shape)}"
        raise ValueError(f"keys have shape {found}, expected the same but for the last axis")
    if matrix is None:
        return
    held = (*matrix.shape[:-2], matrix.shape[-2])
    given = (*features.shape[:-2], features.shape[-1])
    if values is None:  # queries: groups of heads may share a state
        sizes = zip(reversed(held), reversed(given), strict=False)
        fits = len(given) == len(held) and all(n == size or n == 1 for n, size in sizes)
    else:
        fits = given == held and values.shape[-1] == matrix.shape[-1]
    if not fits:
        found = " and values ".join(
            str(tuple(x.shape)) for x in (features, values) if x is not None
        )
        raise ValueError(f"features have shape {found}, the state {tuple(matrix.shape)}")


class LinearState:
    """What linear attention remembers: a (width, value_dim) matrix and a (width,) vector a head.

    n_bytes = batch * kv_heads * width * (value_dim + 1) * bytes a number, whatever was added.
    Numbers have 4 bytes at least: a sum in 16 bits stops to grow while keys are still added.
    """

    def __init__(self) -> None:
        self.matrix: Tensor | None = None
        self.total: Tensor | None = None

    @_in_full
    def add(self, keys: Tensor, values: Tensor) -> None:
        """Add keys (features, (..., seq, width)) and their values (..., seq, value_dim).

        Raises:
            ValueError: keys and values of different tokens, or of another shape than those before.
        """
        matrix, total = keys.transpose(-1, -2) @ values, keys.sum(-2)
        if self.matrix is not None and self.total is not None:
            matrix, total = self.matrix + matrix, self.total + total
        self.matrix, self.total = matrix, total

    @_in_full
    def sums(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Numerator and denominator of the queries (features, (..., seq, width))."""
        if self.matrix is None or self.total is None:
            raise RuntimeError("the state is empty: add keys and values first")
        return queries @ self.matrix, (queries @ self.total[..., None])[..., 0]

    def read(self, queries: Tensor) -> Tensor:
        """The average of the values that the queries ask for, in the type of the queries."""
        return _divided(*self.sums(queries)).to(queries.dtype)

    @property
    def n_bytes(self) -> int:
        """Bytes of the matrix and the vector."""
        return sum(x.nbytes for x in (self.matrix, self.total) if x is not None)


def _chunk(state: LinearState, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """A chunk's queries over the state of the past and over the chunk's own keys so far."""
    top, bottom = state.sums(q)
    weights = (q @ k.transpose(-1, -2)).tril()
    return _divided(top + weights @ v, bottom + weights.sum(-1))


def _divided(top: Tensor, bottom: Tensor) -> Tensor:
    """top / bottom by row, and 0 where nothing was seen."""
    return top / bottom.masked_fill(bottom == 0, 1)[..., None]


def _prepared(
    q: Tensor, k: Tensor, v: Tensor, feature_map: FeatureMap
) -> tuple[Tensor, Tensor, Tensor, torch.dtype]:
    """Features of q by group of heads, features of k, values, and the type to return."""
    check_attention(q, k, v)
    queries = _features(feature_map, q, -1).unflatten(1, (k.shape[1], -1))
    keys = _features(feature_map, k, (-2, -1))[:, :, None]
    if queries.shape[-1] != keys.shape[-1]:
        found = f"{queries.shape[-1]} features of q and {keys.shape[-1]} of k"
        raise ValueError(f"feature_map made {found}, expected as many")
    return queries, keys, widened(v)[:, :, None], q.dtype


def _features(feature_map: FeatureMap, x: Tensor, axes: int | tuple[int, int]) -> Tensor:
    """phi(x), scaled up where all features over these axes are below 1.

    A factor of a query, or of all keys of a head, stands above and below the fraction. Without it
    products of small features become 0, and with them what is divided by their sum. It is a power
    of two, which changes no digit, and never below 1, so that a key does not shrink those before.
    """
    features = feature_map(widened(x))
    if not isinstance(features, Tensor) or features.shape[:-1] != x.shape[:-1]:
        found = getattr(features, "shape", type(features).__name__)
        expected = f"a tensor of shape {(*x.shape[:-1], 'width')}"
        raise ValueError(f"feature_map returned {found} for {tuple(x.shape)}, expected {expected}")
    if not features.numel():
        return features
    sizes = features.detach().abs().nan_to_num(nan=0, posinf=0)
    tiny = torch.finfo(features.dtype).tiny
    exponent = sizes.amax(axes, keepdim=True).clamp(tiny, 1).log2().floor()
    return features * (-exponent).exp2()
