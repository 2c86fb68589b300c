"""Scores of a tile and what becomes of them: the formula that all of the blocked engine shares.

s = scale * q k^T, capped, less slope * distance, -inf where hidden
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from llmlib.checks import readable
from llmlib.flash_attention.inputs import USUAL_TILES, TileSizes
from llmlib.flash_attention.strips import Mask


@dataclass(frozen=True)
class Scores:
    """How scores come from products: scale, cap, ALiBi and mask.

    The mask comes last, since -inf less anything stays -inf, and a capped -inf would not.
    """

    mask: Mask
    scale: float
    softcap: float | None = None
    tiles: TileSizes = USUAL_TILES

    def finish(
        self, tile: Tensor, slope: Tensor | float, first: int, start: int, careful: bool = False
    ) -> Tensor:
        """Scores from the products of scaled queries with keys, in place.

        Args:
            tile: (..., queries from `first`, keys from `start`).
            slope: ALiBi's, 0 for none: a number, or a tensor that broadcasts over the tile.
            first, start: where the tile lies in the score matrix.
            careful: see `Mask.hide`.
        """
        if self.softcap is not None:
            tile.div_(self.softcap).tanh_().mul_(self.softcap)
        if isinstance(slope, Tensor):
            tile.sub_(self.distance(tile, first, start) * slope)
        elif slope:
            tile.sub_(self.distance(tile, first, start), alpha=slope)
        self.mask.hide(tile, first, start, careful)
        return tile

    def distance(self, tile: Tensor, first: int, start: int) -> Tensor:
        """|p - j| of a tile's queries and keys, in the type of the scores."""
        rows = torch.arange(tile.shape[-2], dtype=tile.dtype, device=tile.device)[:, None]
        columns = torch.arange(tile.shape[-1], dtype=tile.dtype, device=tile.device)
        return (rows + (self.mask.position(first) - start) - columns).abs_()

    def steepness(self, tile: Tensor) -> Tensor:
        """The cap's derivative, from the products: 1 - tanh^2."""
        assert self.softcap is not None
        return 1 - (tile / self.softcap).tanh_().square_()


def weigh(tile: Tensor, careful: bool, needs_lse: bool = True) -> Tensor | None:
    """Softmax of scores, in place, and the log-sum-exp of each row.

    A row without a visible key has weights 0 and lse -inf; only `careful` finds such rows.
    """
    if not (needs_lse or careful):
        torch.softmax(tile, -1, out=tile)
        return None
    top = tile.amax(-1)
    torch.softmax(tile, -1, out=tile)
    lse = top - tile.amax(-1).log_()  # the largest weight is exp(top - lse)
    if careful:
        empty = top == -math.inf
        tile.masked_fill_(empty[..., None], 0)
        lse.masked_fill_(empty, -math.inf)
    return lse


def product(weights: Tensor, x: Tensor, careful: bool, out: Tensor | None = None) -> Tensor:
    """weights @ x; careful: a weight of 0 takes nothing, not even from NaN or inf."""
    finite = x.isfinite() if careful else None
    if finite is None or (readable(x) and bool(finite.all())):
        return torch.matmul(weights, x, out=out)
    done = weights @ x.where(finite, 0)
    for sign in (1, -1):  # where some weight meets +inf, then -inf: products of 0 and 1 count
        meets = (weights > 0).to(x) @ (x == sign * math.inf).to(x)
        meets += (weights < 0).to(x) @ (x == -sign * math.inf).to(x)
        done += torch.zeros_like(done).masked_fill_(meets > 0, sign * math.inf)
    meets = (weights != 0).to(x) @ x.isnan().to(x)
    return done.masked_fill_(meets > 0, math.nan)


def has_nan(x: Tensor) -> bool:
    """Whether some entry is NaN; a sum of inf and -inf says yes as well."""
    return readable(x) and math.isnan(x.sum().item())


def merge(
    a: Tensor, lse_a: Tensor | None, b: Tensor, lse_b: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Two averages over separate keys as one over all of them, and its log-sum-exp."""
    assert lse_a is not None
    assert lse_b is not None
    lse = torch.logaddexp(lse_a, lse_b)
    known = lse.masked_fill(lse == -math.inf, 0)  # -inf - -inf would be NaN
    share_a, share_b = (lse_a - known).exp()[..., None], (lse_b - known).exp()[..., None]
    return a * share_a + b * share_b, lse


# --- backward ---------------------------------------------------------------------------------


def reweigh(tile: Tensor, lse: Tensor) -> Tensor:
    """exp(S - lse) in place; a row without a key has lse -inf and keeps weights of 0."""
    return tile.sub_(lse.masked_fill(lse == -math.inf, math.inf)).exp_()


def score_gradient(
    d_tile: Tensor, weights: Tensor, delta: Tensor, steepness: Tensor | None, careful: bool
) -> Tensor:
    """dS = P * (dP - delta) from dP, in place, and through the cap."""
    d_tile.sub_(delta[..., None]).mul_(weights)
    if steepness is not None:
        d_tile.mul_(steepness)
    return d_tile.masked_fill_(weights == 0, 0) if careful else d_tile
