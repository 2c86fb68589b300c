"""Trains a small decoder on short texts with each position encoding and tests it on longer ones.

    python benchmarks/length_extrapolation.py [--steps 500] [--seeds 3] [--rows 32] [--store]

Prints the perplexities; with --store also writes llmlib/book/labs/position_encoding.tsv, from which
the chapter on position encoding draws. About half a minute of one core a model.
"""

import argparse
import math
from collections.abc import Iterator

import torch

from llmlib.book.labs.position_encoding import (
    ENCODINGS,
    FILE,
    LONGEST,
    Measurement,
    rescaled,
    rows_of,
    save,
    small_decoder,
    token_losses,
)
from llmlib.decoder import Decoder
from llmlib.formats.packaged import kjv_text
from llmlib.training import Corpus, train

TRAINED, TUNED = 64, 256  # characters a text in training, and in fine-tuning
LENGTHS = (64, 128, 256, 512, 1024)
SCALINGS = {
    "rope, linear x4": {"rope_type": "linear", "factor": 4.0},
    "rope, ntk x4": {"rope_type": "ntk", "factor": 4.0},
    "rope, yarn x4": {
        "rope_type": "yarn",
        "factor": 4.0,
        "original_max_position_embeddings": TRAINED,
    },
}


def tested(model: Decoder, name: str, seed: int, rows: torch.Tensor) -> Iterator[Measurement]:
    """The model at every length, on the same tokens."""
    model.eval()
    for length in LENGTHS:
        losses = token_losses(model, rows, length)
        full = losses[:, -32:].mean().item()
        yield Measurement(name, seed, length, losses.mean().item(), full)


def runs(data: Corpus, seed: int, steps: int, rows: torch.Tensor) -> Iterator[Measurement]:
    """Every encoding with one seed; RoPE also stretched, without and with a little fine-tuning."""
    for encoding in ENCODINGS:
        model = small_decoder(encoding, data.vocab_size, seed)
        batches = data.batches(32, TRAINED, seed)
        train(model, batches, steps, lr=3e-3, warmup_steps=50, schedule="cosine", clip_norm=1.0)
        yield from tested(model, encoding, seed, rows)
    for name, scaling in SCALINGS.items():
        yield from tested(rescaled(model, scaling), name, seed, rows)
    for name, scaling in {"rope": None, **SCALINGS}.items():
        tuned = rescaled(model, scaling)
        train(tuned, data.batches(8, TUNED, seed), steps // 16, lr=3e-4, clip_norm=1.0)
        yield from tested(tuned, f"{name}, tuned at {TUNED}", seed, rows)


def main() -> None:
    """Trains, tests, prints; stores on request."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=32, help=f"test texts of {LONGEST} characters")
    parser.add_argument("--store", action="store_true", help="write the table of the chapter")
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = Corpus(kjv_text())
    rows = rows_of(data.held_out, options.rows)
    found: list[Measurement] = []
    for seed in range(options.seeds):
        for one in runs(data, seed, options.steps, rows):
            print(
                f"{one.encoding:30} seed {seed} length {one.length:5} "
                f"pieces {math.exp(one.pieces):7.3f} full {math.exp(one.full):7.3f}",
                flush=True,
            )
            found.append(one)
    if options.store:
        save(found)
        print(f"{len(found)} measurements in {FILE.name}")


if __name__ == "__main__":
    main()
