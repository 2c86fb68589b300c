"""Trains one small decoder with MHA, GQA, MQA and MLA, pools the MHA models, and stores the losses.

    python benchmarks/attention_heads.py [--steps 1200] [--seeds 3] [--store]

Characters of the King James Bible, texts of 64, batches of 16; the same data in the same order for
every variant of a seed. Prints mean and spread; with --store also writes
llmlib/book/labs/attention.tsv, from which the chapter on attention draws. About half a minute of
one core a model.
"""

import argparse
import statistics
from collections.abc import Iterator

import torch

from llmlib.book.labs.attention import EQUAL_SIZE, VARIANTS, Run, save, small_decoder
from llmlib.decoder import Decoder, pool_kv_heads
from llmlib.formats.packaged import kjv_text
from llmlib.training import Corpus, evaluate, train

UPTRAINING = 0.05  # share of the steps that a pooled model is trained on


def loss_of(model: Decoder, data: Corpus) -> float:
    """Nats a character on the same 131,072 held-out characters for every model."""
    return evaluate(model, data.batches(64, 64, seed=1234, part="held_out"), 32)


def runs(data: Corpus, seed: int, steps: int) -> Iterator[Run]:
    """Every variant with one seed; the MHA model also pooled, before and after more training."""
    extra = round(UPTRAINING * steps)
    for variant in (*VARIANTS, *EQUAL_SIZE):
        model, batches = small_decoder(variant, data.vocab_size, seed), data.batches(16, 64, seed)
        train(model, batches, steps, lr=3e-3, warmup_steps=50, schedule="cosine", clip_norm=1.0)
        yield Run(variant, seed, loss_of(model, data))
        if variant != "MHA":
            continue
        for heads in (8, 4, 2, 1):
            pooled = pool_kv_heads(model, heads)
            name = f"MHA pooled to {heads}"
            yield Run(name, seed, loss_of(pooled, data))
            more = data.batches(16, 64, seed + 1000)
            train(pooled, more, extra, lr=1e-3, schedule="cosine", clip_norm=1.0)
            yield Run(f"{name}, trained on", seed, loss_of(pooled, data))


def main() -> None:
    """Prints a line for each variant; stores on request."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--store", action="store_true", help="write the table of the chapter")
    options = parser.parse_args()
    torch.set_num_threads(1)
    data, found = Corpus(kjv_text()), []
    for seed in range(options.seeds):
        found += runs(data, seed, options.steps)
    if options.store:
        save(found)
    for variant in dict.fromkeys(run.variant for run in found):
        losses = [run.loss for run in found if run.variant == variant]
        spread = statistics.stdev(losses) if len(losses) > 1 else 0.0
        print(f"{variant:>30}  {statistics.mean(losses):.4f} +- {spread:.4f}")


if __name__ == "__main__":
    main()
