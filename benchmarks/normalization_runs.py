"""Trains the small decoders of the chapter on normalization over learning rates; stores the losses.

    python benchmarks/normalization_runs.py [--seeds 3] [--only rates|norms6|norms24] [--store]

Characters of the King James Bible, width 32, four heads, texts of 16, batches of 8, 200 steps of
Adam without clipping; the same data in the same order for every model of a seed. The loss is the
mean over the last 30 steps, in nats a character. Prints a line as each model is done; with --store
also writes llmlib/book/labs/normalization.tsv, from which the chapter draws. About 10 minutes of
one core for all.
"""

import argparse
from collections.abc import Iterator

import torch

from llmlib.book.labs.normalization import NORMS, Run, save, stored, toy_decoder, trained_loss
from llmlib.formats.packaged import kjv_text
from llmlib.training import Corpus

RATES = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016)
MEAN_RATE = 0.006  # of a warm-up over half the steps to 0.008; run without one, as its control
PLACES = (("pre", 6, 0), ("pre", 6, 100), ("post", 6, 0), ("post", 6, 20), ("post", 6, 100),
          ("post", 2, 0))  # fmt: skip
AT_SIX = ("LayerNorm", "RMSNorm", "center", "none")


def rates(data: Corpus, seed: int) -> Iterator[Run]:
    """Placement by warm-up by rate."""
    for placement, n_layers, warmup in PLACES:
        control = (MEAN_RATE,) if (placement, n_layers, warmup) == ("post", 6, 0) else ()
        for rate in RATES + control:
            model = toy_decoder(
                data.vocab_size, 32, 4, n_layers, seq=16, seed=seed, norm_position=placement
            )
            loss = trained_loss(model, "LayerNorm", data, rate, warmup, seed)
            yield Run(placement, "LayerNorm", n_layers, warmup, rate, seed, loss)


def norms(data: Corpus, seed: int, n_layers: int) -> Iterator[Run]:
    """Pre-norm with each kind of norm, or with none; with 24 layers also one seed more slowly."""
    for norm in NORMS:
        if n_layers == 6 and norm not in AT_SIX:
            continue
        for rate in (0.001, 0.004) if n_layers > 6 and seed == 0 else (0.004,):
            model = toy_decoder(data.vocab_size, 32, 4, n_layers, seq=16, seed=seed)
            loss = trained_loss(model, norm, data, rate, 20, seed)
            yield Run("pre", norm, n_layers, 20, rate, seed, loss)


def main() -> None:
    """Prints a line for each model; stores on request."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", choices=["rates", "norms6", "norms24"])
    parser.add_argument("--store", action="store_true", help="write the table of the chapter")
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = Corpus(kjv_text())
    parts = {
        "rates": rates,
        "norms6": lambda data, seed: norms(data, seed, 6),
        "norms24": lambda data, seed: norms(data, seed, 24),
    }
    found = []
    for name, part in parts.items():
        if options.only in (None, name):
            for seed in range(options.seeds):
                for run in part(data, seed):
                    print(*run, sep="\t", flush=True)
                    found.append(run)
    if options.store:
        fresh = {run[:-1] for run in found}
        save([run for run in stored() if run[:-1] not in fresh] + found)


if __name__ == "__main__":
    main()
