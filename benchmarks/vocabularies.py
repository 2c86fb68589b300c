"""Trains one small decoder over two vocabularies and compares the loss on a byte of text.

    python benchmarks/vocabularies.py [--steps 200] [--seeds 3] [--store]

Three plans: every vocabulary reads the same text; every one spends the same FLOPs (those of the
bytes); and bytes alone with a model as large as that of the larger vocabulary. Three seeds, and the
first one again at twice the learning rate. Prints a table; with --store also writes
llmlib/book/labs/tokenization.tsv, from which the chapter draws. About ten minutes of one core.
"""

import argparse
import math
from collections.abc import Iterator

import torch

from llmlib.book.labs.tokenization import (
    BATCH,
    CONTEXT,
    SIZES,
    WIDTH,
    Run,
    bits_per_byte,
    nested,
    save,
    small_config,
    step_flops,
)
from llmlib.decoder import Decoder
from llmlib.formats.packaged import kjv_text
from llmlib.tokenization import ByteLevelBPETokenizer
from llmlib.training import train

RATES = (4e-3, 8e-3)
TRAINED, HELD_OUT, LEARNED_FROM = 2_500_000, 200_000, 600_000


class Material:
    """A vocabulary, the text in its tokens, and rows that hold about CONTEXT bytes."""

    def __init__(self, tokenizer: ByteLevelBPETokenizer) -> None:
        text = kjv_text()
        self.n_bytes = [len(token) for token in tokenizer.tokens]
        self.vocab_size = tokenizer.vocab_size
        self.train = torch.tensor(tokenizer.encode(text[:TRAINED]))
        self.held_out = torch.tensor(tokenizer.encode(text[-HELD_OUT:]))
        self.bytes_per_token = HELD_OUT / len(self.held_out)
        self.seq = round(CONTEXT / self.bytes_per_token)

    def batches(self, seed: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        generator = torch.Generator().manual_seed(seed)
        places = torch.arange(self.seq + 1)
        while True:
            high = len(self.train) - self.seq
            window = self.train[torch.randint(high, (BATCH, 1), generator=generator) + places]
            yield window[:, :-1], window[:, 1:]


def run(data: Material, plan: str, steps: int, dim: int, seed: int, lr: float) -> Run:
    """Trains one model and tests it."""
    torch.manual_seed(seed)
    config = small_config(data.vocab_size, data.seq, dim)
    model = Decoder(config)
    train(model, data.batches(seed), steps, lr=lr, warmup_steps=100, schedule="cosine",
          clip_norm=1.0)  # fmt: skip
    bits = bits_per_byte(model.eval(), data.held_out, data.n_bytes, data.seq)
    tokens = steps * BATCH * data.seq
    size = sum(p.numel() for p in model.parameters())
    found = Run(
        plan, data.vocab_size, dim, seed, lr, size, tokens, tokens * data.bytes_per_token / 1e6,
        steps * step_flops(config, BATCH, data.seq),
        bits * math.log(2) * data.bytes_per_token, bits,
    )  # fmt: skip
    print(found, flush=True)
    return found


def same_size(target: int, data: Material) -> int:
    """The width, a multiple of 8, at which bytes have about as many weights as `target`."""

    def size(dim: int) -> int:
        with torch.device("meta"):
            model = Decoder(small_config(data.vocab_size, data.seq, dim))
        return sum(p.numel() for p in model.parameters())

    return min(range(64, 512, 8), key=lambda dim: abs(size(dim) - target))


def plans(steps: int) -> Iterator[tuple[Material, str, int, int]]:
    """Material, name, steps and width of each plan."""
    learned = ByteLevelBPETokenizer.train(kjv_text()[:LEARNED_FROM], max(SIZES))
    small, large = (Material(nested(learned, size)) for size in SIZES)
    budget = steps * step_flops(small_config(small.vocab_size, small.seq), BATCH, small.seq)
    config = small_config(large.vocab_size, large.seq)
    cost = step_flops(config, BATCH, large.seq)
    with torch.device("meta"):
        target = sum(p.numel() for p in Decoder(config).parameters())
    yield small, "equal text", steps, WIDTH
    yield large, "equal text", steps, WIDTH
    yield large, "equal compute", round(budget / cost), WIDTH
    yield small, "equal size", steps, same_size(target, small)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200, help="of the model over bytes")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--store", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    runs: list[Run] = []
    every = list(plans(options.steps))
    for seed, lr in [*((seed, RATES[0]) for seed in range(options.seeds)), (0, RATES[1])]:
        for data, plan, steps, dim in every:
            runs.append(run(data, plan, steps, dim, seed, lr))
            if options.store:
                save(runs)
    for plan, size in dict.fromkeys((one.plan, one.vocab_size) for one in runs):
        bits = [r.bits_per_byte for r in runs if (r.plan, r.vocab_size) == (plan, size)]
        print(f"{plan:14} V {size:5}: {min(bits):.4f} to {max(bits):.4f} bits a byte")


if __name__ == "__main__":
    main()
