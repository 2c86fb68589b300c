"""Online softmax on an example small enough to show every number and every byte.

A step takes one tile of scores into what a strip of queries remembers: the running maximum m, the
running denominator ell and the output o, not yet divided.

Source: milakov2018online, dao2022flashattention
"""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

BYTES = 4  # of a number in float32
Rows = Float[Tensor, " rows"]
Outputs = Float[Tensor, "rows value_dim"]


def absorb(
    m: Rows,
    ell: Rows,
    o: Outputs,
    S: Float[Tensor, "rows keys"],
    V: Float[Tensor, "keys value_dim"],
) -> tuple[Rows, Rows, Outputs]:
    """Takes a tile of scores S and its values V into m, ell and o.

    m' = max(m, max_j S_j), ell' = ell exp(m - m') + sum_j exp(S_j - m'), and o' likewise. The state
    of a row that has seen nothing is m = -inf, ell = 0, o = 0.
    """
    m_new = torch.maximum(m, S.amax(-1))
    shift = m_new.masked_fill(m_new == -math.inf, 0)  # -inf - -inf would be NaN
    factor, P = (m - shift).exp(), (S - shift[:, None]).exp()
    return m_new, ell * factor + P.sum(-1), o * factor[:, None] + P @ V


class Trace:
    """Attention of one head in square tiles, with a frame for each step and the bytes moved.

    Args:
        q, k, v: (seq, width), of one length that `tile` divides.
        tile: queries and keys of a tile.
        causal: hide the keys after a query, and skip the tiles that hold nothing else.
    """

    def __init__(
        self,
        q: Float[Tensor, "seq width"],
        k: Float[Tensor, "seq width"],
        v: Float[Tensor, "seq width"],
        tile: int,
        causal: bool,
    ) -> None:
        self.q, self.k, self.v, self.tile, self.causal = q, k, v, tile, causal
        seq, width = q.shape
        if seq % tile:
            raise ValueError(f"{seq} tokens in tiles of {tile}: expected a multiple")
        self.strips = seq // tile
        self.m, self.ell = torch.full((seq,), -math.inf).to(q), torch.zeros(seq).to(q)
        self.o, self.factor = torch.zeros_like(v), torch.full((seq,), math.nan).to(q)
        self.naive = self.tiled = 0
        """Bytes to and from main memory, so far."""
        self.marks = [["."] * self.strips for _ in range(self.strips)]
        self.finished = 0
        self.frames = [self._frame(None, "Nothing read: m = −∞, ℓ = 0, o = 0.")]
        for strip in range(self.strips):
            for column in range(self.strips):
                self._visit(strip, column)
            self._divide(strip, width)

    def scores(self, strip: int, column: int) -> Float[Tensor, "tile tile"]:
        """One tile of q k^T / sqrt(width), hidden keys at -inf."""
        i, j = (torch.arange(n * self.tile, (n + 1) * self.tile) for n in (strip, column))
        S = self.q[i] @ self.k[j].T / math.sqrt(self.q.shape[1])
        return S.masked_fill(i[:, None] < j, -math.inf) if self.causal else S

    def _visit(self, strip: int, column: int) -> None:
        rows, tile, width = self._rows(strip), self.tile, self.q.shape[1]
        # Naive: the tile of S and of P is written and read; q once a strip, k and v once at all.
        self.naive += BYTES * (4 * tile * tile + (not column) * tile * width)
        self.naive += BYTES * (not strip) * 2 * tile * width
        if self.causal and column > strip:
            self.marks[strip][column] = "x"
            note = "Every key of this tile lies in the future: skipped, nothing is read."
            self.frames.append(self._frame(None, note))
            return
        self.tiled += BYTES * (2 * tile * width + (not column) * tile * width)
        S = self.scores(strip, column)
        old_m, old_ell = self.m[rows].clone(), self.ell[rows].clone()
        m, ell, o = absorb(old_m, old_ell, self.o[rows], S, self.v[self._rows(column)])
        self.m[rows], self.ell[rows], self.o[rows] = m, ell, o
        self.factor[:] = math.nan
        self.factor[rows] = (old_m - m).exp()
        self.marks[strip][column] = "o"
        tile_shown = {"scores": S, "weights": (S - m[:, None]).exp()}
        self.frames.append(self._frame(tile_shown, self._story(strip, old_m, old_ell)))
        self.marks[strip][column] = "#"

    def _divide(self, strip: int, width: int) -> None:
        rows = self._rows(strip)
        self.o[rows] /= self.ell[rows, None]
        self.factor[:] = math.nan
        self.finished = rows.stop
        self.naive += BYTES * self.tile * width
        self.tiled += BYTES * self.tile * (width + 1)  # the output, and m + log ell
        first, last = rows.start + 1, rows.stop
        note = f"Queries {first} to {last} have met all their keys: divide by ℓ, write, forget."
        self.frames.append(self._frame(None, note))

    def _rows(self, strip: int) -> slice:
        return slice(strip * self.tile, (strip + 1) * self.tile)

    def _story(self, strip: int, old_m: Rows, old_ell: Rows) -> str:
        """What happened to the first row whose maximum rose."""
        rows = self._rows(strip)
        rise = self.m[rows] - old_m
        r = int((rise > 0).int().argmax())
        m, ell = float(self.m[rows][r]), float(self.ell[rows][r])
        name, before = f"Query {rows.start + r + 1}", float(old_m[r])
        if before == -math.inf:
            return f"{name}: first tile, m = {m:.2f}; the factor e^(−∞) = 0 meets ℓ = 0."
        if not rise[r]:
            return "No score exceeds its row's m: all factors are 1, ℓ and o only grow."
        factor = math.exp(before - m)
        new = ell - float(old_ell[r]) * factor
        return (
            f"{name}: m rises from {before:.2f} to {m:.2f}, so ℓ = "
            f"{float(old_ell[r]):.2f} × {factor:.2f} + {new:.2f} = {ell:.2f}.".replace("-", "−")
        )

    def _frame(self, tile: dict[str, Tensor] | None, note: str) -> dict[str, Any]:
        rows = torch.cat([torch.stack([self.m, self.factor, self.ell], -1), self.o], -1)
        state = {"marks": ["".join(row) for row in self.marks], "rows": rows.tolist()}
        shown = {name: tile[name].tolist() if tile else None for name in ("scores", "weights")}
        moved = {"finished": self.finished, "bytes": [self.naive, self.tiled]}
        return {**state, **shown, **moved, "note": note}
