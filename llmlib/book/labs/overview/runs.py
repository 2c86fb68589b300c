"""The overview's experiments on SmolLM2 that take minutes: the code, and what it gave.

    python -m llmlib.book.labs.overview

runs both again and writes few_shot.tsv and sums.tsv beside this file. The chapter reads the tables,
and runs a part of each again.
"""

import csv
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from llmlib.book.labs.tables import read_rows
from llmlib.book.real_model import start_of
from llmlib.decoder import Decoder
from llmlib.tokenization import AnyTokenizer

_HERE = Path(__file__).parent

# --- examples in the prompt -------------------------------------------------------------------

_WORDS = {
    "capitals": "France Paris Japan Tokyo Italy Rome Spain Madrid Egypt Cairo Germany Berlin "
    "Greece Athens Russia Moscow England London Cuba Havana",
    "opposites": "hot cold big small up down left right fast slow old new good bad high low "
    "in out happy sad",
    "plurals": "cat cats house houses tree trees book books car cars dog dogs day days year years "
    "hand hands word words",
    "past tense": "go went see saw take took come came give gave find found make made know knew "
    "get got run ran",
}  # fmt: skip
WORD_PAIRS = {
    name: list(zip(text.split()[::2], text.split()[1::2], strict=True))
    for name, text in _WORDS.items()
}
"""Four kinds of question, ten pairs each."""
SHOTS = (0, 1, 2, 3, 4, 6, 8, 9)
EXAMPLES = ("right", "wrong answers", "another kind")


class FewShot(NamedTuple):
    """How well a question is answered after so many examples, the mean over the four kinds."""

    examples: str  # one of EXAMPLES
    seed: int
    shots: int
    probability: float  # of the right answer
    first: float  # how often the right answer is the first guess


def few_shot(
    model: Decoder, tokenizer: AnyTokenizer, examples: str, seed: int,
    shots: Iterable[int] = SHOTS, n_orders: int = 4,
) -> list[FewShot]:  # fmt: skip
    """A row for each number of examples: four kinds of question in so many random orders each.

    Args:
        examples: "right"; "wrong answers" shows each example with another one's answer; "another
            kind" takes the examples from the three other kinds.
    """
    shots = tuple(shots)
    found: dict[int, list[tuple[float, float]]] = {}
    for kind in WORD_PAIRS:
        prompts = list(_prompts(kind, examples, seed, n_orders))
        asked = [one for one in prompts if one[0] in shots]
        for (k, _, _), pair in zip(asked, _answered(model, tokenizer, asked), strict=True):
            found.setdefault(k, []).append(pair)
    mean = {
        k: torch.tensor(pairs, dtype=torch.float64).mean(0).tolist() for k, pairs in found.items()
    }
    return [FewShot(examples, seed, k, *mean[k]) for k in sorted(mean)]


def _prompts(kind: str, examples: str, seed: int, n_orders: int) -> Iterable[tuple[int, Any, Any]]:
    """(number of examples, the examples, the pair that is asked for)."""
    pairs, draw = WORD_PAIRS[kind], random.Random(seed)
    others = [pair for name, found in WORD_PAIRS.items() if name != kind for pair in found]
    for _ in range(n_orders):
        order = draw.sample(pairs, len(pairs))
        for k in SHOTS:
            shown = order[:k]
            if examples == "wrong answers":
                answers = [order[-1][1]] if k == 1 else [b for _, b in shown[1:] + shown[:1]]
                shown = [(a, b) for (a, _), b in zip(shown, answers, strict=True)]
            if examples == "another kind":
                shown = draw.sample(others, k)
            yield k, shown, order[k]


def _answered(
    model: Decoder, tokenizer: AnyTokenizer, prompts: list[tuple[int, Any, Any]]
) -> list[tuple[float, float]]:
    """P(right answer), by its first token, and whether it is the first guess."""
    texts = []
    for _, shown, (question, _) in prompts:
        ids = start_of(tokenizer)
        for n, (a, b) in enumerate(shown):
            ids += tokenizer.encode(("\n" if n else "") + f"{a} ->") + tokenizer.encode(f" {b}")
        texts.append(ids + tokenizer.encode(("\n" if shown else "") + f"{question} ->"))
    answers = [tokenizer.encode(f" {answer}")[0] for _, _, (_, answer) in prompts]
    width = max(map(len, texts))
    # What fills a row up comes after what is read.
    logits = model(torch.tensor([text + [0] * (width - len(text)) for text in texts]))
    last = torch.stack([row[len(text) - 1] for row, text in zip(logits, texts, strict=True)])
    p = last.double().softmax(-1)
    return [(float(q[i]), float(q.argmax() == i)) for q, i in zip(p, answers, strict=True)]


# --- calibration ------------------------------------------------------------------------------


class Answer(NamedTuple):
    """The first digit of a sum: how sure the model is of its guess, and whether it is right."""

    seed: int
    certainty: float
    right: int


def sums(model: Decoder, tokenizer: AnyTokenizer, seed: int, n: int = 12) -> list[Answer]:
    """Sums of two-digit numbers, each with those before it as examples."""
    draw, ids, spots = random.Random(seed), start_of(tokenizer), []
    for _ in range(n):
        a, b = draw.randrange(10, 100), draw.randrange(10, 100)
        ids += tokenizer.encode(f"{a} + {b} = ")
        spots.append(len(ids))
        ids += tokenizer.encode(f"{a + b}\n")
    p = model(torch.tensor([ids]))[0].double().softmax(-1)
    return [
        Answer(seed, float(p[at - 1].max()), int(p[at - 1].argmax() == ids[at])) for at in spots
    ]


# --- the tables -------------------------------------------------------------------------------


def stored_few_shot() -> list[FewShot]:
    """The rows of few_shot.tsv."""
    return read_rows(_HERE / "few_shot.tsv", FewShot)


def stored_sums() -> list[Answer]:
    """The rows of sums.tsv."""
    return read_rows(_HERE / "sums.tsv", Answer)


def _write(name: str, fields: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> None:
    with (_HERE / f"{name}.tsv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(fields)
        writer.writerows([round(x, 4) if isinstance(x, float) else x for x in row] for row in rows)


def main() -> None:
    from llmlib.pretrained import smollm2

    torch.set_grad_enabled(False)
    model, tokenizer = smollm2()
    _write(
        "sums", Answer._fields, [row for seed in range(50) for row in sums(model, tokenizer, seed)]
    )
    runs = [(e, seed) for e in EXAMPLES for seed in range(3)]
    found = [row for e, seed in runs for row in few_shot(model, tokenizer, e, seed)]
    _write("few_shot", FewShot._fields, found)
