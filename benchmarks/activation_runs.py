"""Trains small decoders that differ in the feed-forward block alone, over rates; stores the losses.

    python benchmarks/activation_runs.py [--seeds 3] [--layers 1 4] [--store]

Characters of the King James Bible, width 48, four heads, texts of 32, batches of 8, 300 steps with
a cosine schedule; the same data in the same order for every model of a seed. Prints a line as each
model is done; with --store also writes llmlib/book/labs/activations.tsv, from which the chapter
draws. One layer is trained at three rates, more at the best of them. About 10 minutes of one core.
"""

import argparse

import torch

from llmlib.book.labs.activations import BLOCKS, Run, block_decoder, save
from llmlib.formats.packaged import kjv_text
from llmlib.training import Corpus, evaluate, train

RATES = (0.004, 0.01, 0.025)


def run_of(block: str, n_layers: int, rate: float, seed: int, data: Corpus) -> Run:
    """Train one, and test it on the same 20,480 held-out characters as every other."""
    model = block_decoder(block, data.vocab_size, n_layers, seed)
    train(model, data.batches(8, 32, seed), 300, lr=rate, warmup_steps=20, schedule="cosine")
    loss = evaluate(model, data.batches(64, 32, 99, "held_out"), 10)
    return Run(block, n_layers, rate, seed, loss)


def main() -> None:
    """Prints a line for each model; stores on request."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--layers", type=int, nargs="*", default=[1, 4])
    parser.add_argument("--store", action="store_true", help="write the table of the chapter")
    options = parser.parse_args()
    torch.set_num_threads(1)
    data, found = Corpus(kjv_text()), []
    for n_layers in options.layers:
        for seed in range(options.seeds):
            for rate in RATES if n_layers == 1 else RATES[1:2]:
                for block in BLOCKS:
                    found.append(run_of(block, n_layers, rate, seed, data))
                    print(*found[-1], sep="\t", flush=True)
    if options.store:
        save(found)


if __name__ == "__main__":
    main()
