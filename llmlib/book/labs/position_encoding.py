"""Train short, test long: one small decoder with each position encoding, and how it is tested.

Every variant is the book's decoder; only the way in which order gets in differs. Not here: the runs
themselves, which `benchmarks/length_extrapolation.py` makes and stores in position_encoding.tsv.
"""

import csv
import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

import llmlib.architecture as arch
from llmlib.decoder import Decoder, DecoderConfig
from llmlib.position_encoding import Scaling

FILE = Path(__file__).with_name("position_encoding.tsv")
ENCODINGS = ("none", "learned", "sinusoidal", "t5", "alibi", "rope")
LONGEST = 1024


def small_decoder(encoding: str, vocab_size: int, seed: int = 0, context: int = LONGEST) -> Decoder:
    """Two layers of width 64 with four heads; `encoding` is one of ENCODINGS.

    Raises: ValueError for an unknown encoding.
    """
    if encoding not in ENCODINGS:
        raise ValueError(f"encoding is {encoding!r}, expected one of {', '.join(ENCODINGS)}")
    torch.manual_seed(seed)
    tables = {
        "t5": arch.Buckets(n_heads=4),
        # Of the embedding's own initial size: entries with a standard deviation of 0.02.
        "sinusoidal": arch.Sinusoidal(scale=0.02 * 2**0.5),
    }
    position = "none" if encoding in tables else encoding
    config = DecoderConfig(
        vocab_size,
        dim=64,
        n_layers=2,
        n_heads=4,
        ffn_dim=160,
        context=context,
        position=position,  # type: ignore[arg-type]
    )
    if encoding in tables:
        config = arch.changed(config, arch.Stack, positions=tables[encoding])
    return Decoder(config)


def rescaled(model: Decoder, scaling: Scaling | None) -> Decoder:
    """A RoPE decoder with the same weights and other angles; nothing is trained."""
    slowed = None if scaling is None else arch.Scaling.of(scaling)
    other = Decoder(arch.changed(model.config, arch.Rope, scaling=slowed))
    other.load_state_dict(model.state_dict())
    return other


@torch.no_grad()
def token_losses(
    model: Decoder, text: Int[Tensor, "rows plus_one"], length: int, batch: int = 16
) -> Float[Tensor, "rows total"]:
    """The loss of each token of each row, when a row is read in pieces of `length` tokens.

    A token at place p of its piece has seen p + 1 tokens: early ones of a piece have seen few.

    Raises: ValueError when the pieces do not fill a row.
    """
    rows, total = len(text), text.shape[1] - 1
    if length < 1 or total % length:
        raise ValueError(f"length is {length}, expected a divisor of the row's {total} tokens")
    inputs, targets = (x.reshape(-1, length) for x in (text[:, :-1], text[:, 1:]))
    pieces = max(1, batch * LONGEST // length)
    losses = [
        torch.nn.functional.cross_entropy(model(x).mT, y, reduction="none")
        for x, y in zip(inputs.split(pieces), targets.split(pieces), strict=True)
    ]
    return torch.cat(losses).reshape(rows, total)


def rows_of(ids: Int[Tensor, " length"], rows: int) -> Int[Tensor, "rows plus_one"]:
    """Rows of LONGEST + 1 tokens, evenly spread over a text."""
    starts = torch.linspace(0, len(ids) - LONGEST - 1, rows).long()
    return ids[starts[:, None] + torch.arange(LONGEST + 1)]


# --- stored runs ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measurement:
    """One model tested at one length; losses in nats a character.

    `pieces` is the mean over all tokens of texts cut into pieces of the length; `full` is the mean
    over the same 32 tokens at the end of each text, which then have seen (nearly) the whole length.
    """

    encoding: str
    seed: int
    length: int
    pieces: float
    full: float


def save(measurements: Iterable[Measurement], file: Path = FILE) -> None:
    """Write the runs as a table, losses to four decimals."""
    with file.open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream, delimiter="\t", lineterminator="\n")
        table.writerow([field.name for field in dataclasses.fields(Measurement)])
        for one in measurements:
            row = [one.encoding, one.seed, one.length, f"{one.pieces:.4f}", f"{one.full:.4f}"]
            table.writerow(row)


def stored(file: Path = FILE) -> list[Measurement]:
    """The runs that the benchmark stored."""
    with file.open(encoding="utf-8", newline="") as stream:
        return [_measurement(row) for row in csv.DictReader(stream, delimiter="\t")]


def _measurement(row: Mapping[str, str]) -> Measurement:
    return Measurement(
        row["encoding"],
        int(row["seed"]),
        int(row["length"]),
        float(row["pieces"]),
        float(row["full"]),
    )
