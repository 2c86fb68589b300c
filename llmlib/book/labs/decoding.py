"""Greedy choice, search and sampling over twenty prompts, measured with SmolLM2.

    python -m llmlib.book.labs.decoding     # minutes; writes the two tables beside this file

decoding_paths.tsv: what greedy decoding writes, and the most probable text that a search found.
decoding_loops.tsv: the share of pairs of neighboring tokens that are new in a text, by rule.
"""

import csv
import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from llmlib.book.real_model import start_of
from llmlib.decoder import Decoder, generate
from llmlib.pretrained import smollm2
from llmlib.sampling import Sampler, greedy

PATHS = Path(__file__).with_name("decoding_paths.tsv")
LOOPS = Path(__file__).with_name("decoding_loops.tsv")
PROMPTS = (
    "The old man sat down by the fire and", "I like the film The Shawshank",
    "The doctor said that", "The capital of France is", "Once upon a time",
    "The best way to learn a language is", "In the morning she", "The reason is that",
    "My favorite food is", "He opened the door and", "Scientists have found that",
    "It was a dark and", "The president of", "You should never",
    "The train was late, so we", "The price of oil", "If you want to be happy,",
    "The first thing I saw was", "She looked at him and", "Water boils at",
)  # fmt: skip
STEPS, WIDTH = 5, 12  # of the search
LENGTH, SEEDS = 80, (0, 1, 2)  # of the texts that may loop
RULES: dict[str, dict[str, Any]] = {
    "T = 0.7": {"temperature": 0.7},
    "T = 1": {},
    "T = 1, top-p 0.9": {"top_p": 0.9},
}


def search(
    model: Decoder, ids: Sequence[int], steps: int, width: int
) -> list[tuple[list[int], float]]:
    """Beam search: the `width` most probable texts of `steps` tokens among those it looked at.

    Each is a list of ids with the logarithm of its probability. With a width of 1 it is greedy
    decoding; with any width the best text of all may be one that it never looked at.
    """
    texts: list[tuple[list[int], float]] = [([], 0.0)]
    for _ in range(steps):
        batch = torch.tensor([[*ids, *text] for text, _ in texts])
        best = model(batch)[:, -1].double().log_softmax(-1).topk(width)
        longer = [
            ([*text, int(i)], so_far + float(value))
            for (text, so_far), values, row in zip(texts, best.values, best.indices, strict=True)
            for value, i in zip(values, row, strict=True)
        ]
        texts = sorted(longer, key=lambda item: -item[1])[:width]
    return texts


def fresh(tokens: Sequence[int]) -> float:
    """The share of pairs of neighboring tokens that are new in the text."""
    pairs = list(itertools.pairwise(tokens))
    return len(set(pairs)) / len(pairs)


def read(path: Path) -> list[dict[str, str]]:
    """The rows of one of the two tables."""
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines, delimiter="\t"))


def main() -> None:
    torch.set_grad_enabled(False)
    model, tokenizer = smollm2(torch.float32)
    start = start_of(tokenizer)
    paths, loops = [], []
    for prompt in PROMPTS:
        ids = start + tokenizer.encode(prompt)
        row: dict[str, object] = {"prompt": prompt}
        for name, width in (("greedy", 1), ("search", WIDTH)):
            text, log_p = search(model, ids, STEPS, width)[0]
            row |= {name: tokenizer.decode(text), f"{name}_p": f"{math.exp(log_p):.3g}"}
        paths.append(row)
        ways = [(name, seed) for name in RULES for seed in SEEDS]
        draws = [greedy, *(Sampler(**RULES[name], seed=seed) for name, seed in ways)]

        def each(logits: torch.Tensor, draws: list[object] = draws) -> torch.Tensor:
            rows = zip(draws, logits, strict=True)
            return torch.cat([draw(row[None]) for draw, row in rows])  # type: ignore[operator]

        batch = torch.tensor([ids] * len(draws))
        told = torch.stack(list(generate(model, batch, LENGTH, sampler=each)), 1).tolist()
        for (name, seed), text in zip([("greedy", 0), *ways], told, strict=True):
            loops.append(
                {"prompt": prompt, "rule": name, "seed": seed, "new": f"{fresh(text):.3f}"}
            )
        print(row, loops[-10]["new"], flush=True)
    for path, rows in ((PATHS, paths), (LOOPS, loops)):
        with path.open("w", encoding="utf-8", newline="") as lines:
            writer = csv.DictWriter(lines, list(rows[0]), delimiter="\t", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
