"""The chapter on activations: blocks of equal size, trained; and single units of SmolLM2.

`benchmarks/activation_runs.py` trains the small decoders of `BLOCKS` and stores their losses in
activations.tsv, which `stored` reads.
"""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from llmlib.activations import matched_ffn_dim
from llmlib.book.labs.normalization import toy_decoder
from llmlib.decoder import Decoder

FILE = Path(__file__).with_suffix(".tsv")
DIM = 48
_MATCHED = {"gated": True, "ffn_dim": matched_ffn_dim(4 * DIM)}
BLOCKS: dict[str, dict[str, Any]] = {
    "no bend": {"activation": "identity"},
    "ReLU": {"activation": "relu"},
    "ReLU²": {"activation": "relu_squared"},
    "GELU": {"activation": "gelu"},
    "Swish": {"activation": "swish"},
    "GLU": {"activation": "sigmoid", **_MATCHED},
    "SwiGLU": {"activation": "swish", **_MATCHED},
    "SwiGLU, 4d wide": {"activation": "swish", "gated": True, "ffn_dim": 4 * DIM},
}


class Run(NamedTuple):
    """One small decoder, trained and tested."""

    block: str  # a key of BLOCKS
    n_layers: int
    rate: float
    seed: int
    loss: float  # nats a character on held-out text


def block_decoder(block: str, vocab_size: int, n_layers: int, seed: int) -> Decoder:
    """A decoder of width 48 with four heads; only the feed-forward block differs."""
    return toy_decoder(
        vocab_size, DIM, 4, n_layers, seq=32, seed=seed, ffn_bias=False, **BLOCKS[block]
    )


def save(runs: Iterable[Run], path: Path = FILE) -> None:
    """Write the runs as a table."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(Run._fields)
        writer.writerows([*run[:-1], f"{run.loss:.4f}"] for run in runs)


def stored(path: Path = FILE) -> list[Run]:
    """The runs of the table."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t")
        return [Run(**{k: Run.__annotations__[k](v) for k, v in row.items()}) for row in rows]
