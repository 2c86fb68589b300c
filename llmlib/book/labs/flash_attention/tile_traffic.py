"""A memory of two levels that counts what moves between them, and attention computed on it.

A chip computes on what lies in its small, fast memory. Everything else has to come from the large,
slow one and go back there. Four orders of the same computation run here, on real tensors or on
tensors without data, and count the numbers they load and store; the closed formulas beside them
are for sizes at which running would take long. And the map of tiles that a mask leaves to do.

Not here: the backward pass, caches between the two levels, time.

Source: dao2022flashattention, dao2023flashattention2
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from llmlib.book.labs.flash_attention.tile_trace import absorb
from llmlib.flash_attention.strips import Mask

Rows = Float[Tensor, "seq dim"]


class Chip:
    """The small memory: counts what is loaded and stored, refuses to hold more than its room."""

    def __init__(self, room: int | None = None) -> None:
        """room: how many numbers fit; None for as many as it takes."""
        self.room, self.most = room, 0
        self.loaded: Counter[str] = Counter()
        self.stored: Counter[str] = Counter()

    def load(self, name: str, x: Tensor) -> Tensor:
        """A copy on the chip; counted under the name of its matrix."""
        self.loaded[name] += x.numel()
        return x.clone()

    def store(self, name: str, x: Tensor, place: Tensor) -> None:
        """Back to the large memory."""
        self.stored[name] += x.numel()
        place.copy_(x)

    def hold(self, *tiles: Tensor) -> None:
        """Everything that is on the chip at this moment.

        Raises:
            MemoryError: it does not fit.
        """
        held = sum(tile.numel() for tile in tiles)
        if self.room is not None and held > self.room:
            raise MemoryError(f"{held:,} numbers on a chip with room for {self.room:,}")
        self.most = max(self.most, held)

    @property
    def moved(self) -> int:
        """All numbers that crossed the border, in either direction."""
        return self.loaded.total() + self.stored.total()


# --- four orders of one computation -----------------------------------------------------------


def three_passes(chip: Chip, q: Rows, k: Rows, v: Rows) -> Rows:
    """The naive order: all scores, then all weights, then the output.

    Each product reads its matrices once, which flatters it: no chip holds them whole.
    """
    scores, weights = q.new_empty(len(q), len(k)), q.new_empty(len(q), len(k))
    out = torch.empty_like(q)
    s = chip.load("Q", q) @ chip.load("K", k).T / math.sqrt(q.shape[1])
    chip.store("S", s, scores)
    chip.store("P", chip.load("S", scores).softmax(-1), weights)
    chip.store("O", chip.load("P", weights) @ chip.load("V", v), out)
    return out


def queries_outside(chip: Chip, q: Rows, k: Rows, v: Rows, n_queries: int, n_keys: int) -> Rows:
    """A tile of queries stays; the keys stream past it; its output is stored once."""
    out = torch.empty_like(q)
    for rows in tiles(len(q), n_queries):
        q_tile = chip.load("Q", q[rows])
        ell, o = q_tile.new_zeros(len(q_tile)), torch.zeros_like(q_tile)
        m = torch.full_like(ell, -torch.inf)
        for keys in tiles(len(k), n_keys):
            k_tile, v_tile = chip.load("K", k[keys]), chip.load("V", v[keys])
            s = q_tile @ k_tile.T / math.sqrt(q.shape[1])
            m, ell, o = absorb(m, ell, o, s, v_tile)
            chip.hold(q_tile, k_tile, v_tile, s, m, ell, o)
        chip.store("O", o / ell[:, None], out[rows])
    return out


def keys_outside(chip: Chip, q: Rows, k: Rows, v: Rows, n_queries: int, n_keys: int) -> Rows:
    """A tile of keys stays; queries stream past it, their output with them, again and again."""
    out, m, ell = torch.empty_like(q), q.new_empty(len(q)), q.new_empty(len(q))
    for name, place, start in (("O", out, 0.0), ("m", m, -torch.inf), ("l", ell, 0.0)):
        chip.store(name, torch.full_like(place, start), place)
    for keys in tiles(len(k), n_keys):
        k_tile, v_tile = chip.load("K", k[keys]), chip.load("V", v[keys])
        for rows in tiles(len(q), n_queries):
            q_tile, o_tile = chip.load("Q", q[rows]), chip.load("O", out[rows])
            m_tile, l_tile = chip.load("m", m[rows]), chip.load("l", ell[rows])
            s = q_tile @ k_tile.T / math.sqrt(q.shape[1])
            chip.hold(q_tile, k_tile, v_tile, s, m_tile, l_tile, o_tile)
            new = absorb(m_tile, l_tile, o_tile * l_tile[:, None], s, v_tile)
            chip.store("m", new[0], m[rows])
            chip.store("l", new[1], ell[rows])
            chip.store("O", new[2] / new[1][:, None], out[rows])
    return out


def keys_only(chip: Chip, q: Rows, k: Rows, v: Rows, n_keys: int) -> Rows:
    """Blocks of keys against all queries at once, as one often sees it written.

    A slab of scores as high as the text is no tile: it goes to the large memory and comes back,
    and so does the output, for each block.
    """
    out, slab = torch.zeros_like(q), q.new_empty(len(q), n_keys)
    m, ell = q.new_full((len(q),), -torch.inf), q.new_zeros(len(q))
    for keys in tiles(len(k), n_keys):
        place = slab[:, : len(k[keys])]
        s = chip.load("Q", q) @ chip.load("K", k[keys]).T / math.sqrt(q.shape[1])
        chip.store("S", s, place)
        s, o = chip.load("S", place), chip.load("O", out)
        m, ell, o = absorb(m, ell, o, s, chip.load("V", v[keys]))
        chip.store("O", o, out)
    return out / ell[:, None]


def tiles(n: int, length: int) -> Iterator[slice]:
    """The slices of at most `length` that cover 0 .. n."""
    for first in range(0, n, length):
        yield slice(first, min(first + length, n))


def run(
    order: Callable[..., Tensor],
    seq: int,
    dim: int,
    *sizes: int,
    room: int | None = None,
    device: str = "cpu",
) -> Chip:
    """The counts of one head of `seq` tokens; on the device "meta" tensors have no data."""
    chip = Chip(room)
    order(chip, *(torch.zeros(seq, dim, device=device) for _ in range(3)), *sizes)
    return chip


# --- closed formulas --------------------------------------------------------------------------


def naive_traffic(seq: int, dim: int) -> int:
    """Numbers that `three_passes` moves: Q, K, V, O once; scores and weights there and back."""
    return 4 * seq * dim + 4 * seq * seq


def tiled_traffic(seq: int, dim: int, n_queries: int) -> int:
    """Numbers that `queries_outside` moves: Q and O once, K and V for each tile of queries."""
    return 2 * seq * dim + 2 * seq * dim * math.ceil(seq / n_queries)


def rewritten_traffic(seq: int, dim: int, n_keys: int) -> int:
    """Numbers that `keys_outside` moves: K and V once; Q, O, m and l for each tile of keys."""
    start = seq * (dim + 2)
    return 2 * seq * dim + start + math.ceil(seq / n_keys) * seq * (3 * dim + 4)


def tile_sizes(room: int, dim: int) -> tuple[int, int]:
    """(queries, keys) of a tile on a chip with room for so many numbers.

    A quarter of the room each for Q and O, the rest for K, V, the scores, m and l.

    Raises:
        ValueError: not even one query and one key fit.
    """
    n_queries = room // (4 * dim)
    n_keys = (room - n_queries * (2 * dim + 2)) // (2 * dim + n_queries)
    if n_queries < 1 or n_keys < 1:
        raise ValueError(f"room is {room} numbers, expected at least {8 * dim} for dim {dim}")
    return n_queries, n_keys


# --- what a mask leaves to do -----------------------------------------------------------------


def tile_map(mask: Mask, n_queries: int, n_keys: int) -> list[str]:
    """Each tile of queries and keys: "." nobody sees a key, "f" all see all, "p" some see some.

    Arithmetic on the ends of ranges alone, as the engines do it; no mask is built.
    """
    lines = []
    for rows in tiles(mask.seq_q, n_queries):
        start, end = mask.keys(rows.start, rows.stop)
        full_start = mask.keys(rows.stop - 1, rows.stop)[0]  # the last query begins last
        full_end = mask.keys(rows.start, rows.start + 1)[1]  # the first query ends first
        lines.append("".join(
            "." if keys.stop <= start or keys.start >= end
            else "f" if full_start <= keys.start and keys.stop <= full_end else "p"
            for keys in tiles(mask.seq_k, n_keys)
        ))  # fmt: skip
    return lines
