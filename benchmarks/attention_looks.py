"""Trains one attention layer with one and with two heads on two questions at once, short and long.

    python benchmarks/attention_looks.py [--seeds 5] [--store]

One layer of width 32 and a matrix after it; 300 steps, and 1,500, and 6,000 for the one head, which
has not come to its end by then. Prints which share of the positions has both answers right, and
where the heads look; with --store also writes llmlib/book/labs/attention_looks.tsv, from which the
chapter on attention draws. A few minutes of one core.
"""

import argparse
from collections.abc import Iterator

import torch

from llmlib.book.labs.attention import Look, OneLook, TwoPatterns, both_right, looks, save_looks
from llmlib.training import train


def runs(seeds: int) -> Iterator[Look]:
    """Each number of heads for each number of steps."""
    task = TwoPatterns()
    for heads in (1, 2):
        for steps in (300, 1500, 6000) if heads == 1 else (300, 1500):
            for seed in range(seeds):
                model = OneLook(heads, task, seed=seed)
                train(model, task.batches(64, seed), steps, lr=1e-2, schedule="cosine")
                yield Look(heads, steps, seed, both_right(model, task), *looks(model, task))


def main() -> None:
    """Prints a line for each model; stores on request."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--store", action="store_true", help="write the table of the chapter")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = []
    for one in runs(options.seeds):
        print(
            f"{one.heads} heads  {one.steps:5} steps  seed {one.seed}  right {one.right:.3f}  "
            f"two back {one.two_back:.2f}  first {one.first:.2f}",
            flush=True,
        )
        found.append(one)
    if options.store:
        save_looks(found)


if __name__ == "__main__":
    main()
