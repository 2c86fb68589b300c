"""A classifier on MiniLM's 384 numbers, beside the same classifier on bags of words.

Two tasks: "verses" asks whether twelve words of the King James Bible are of the law, a psalm or a
gospel; "names" asks whether a name such as Estonian is one of a country or of a language.
Every classifier is the same logistic regression; only the vectors differ.
"""

import functools
import json
import random
import re

import torch
from babel import Locale
from jaxtyping import Float, Int
from torch import Tensor

from llmlib.book.labs.families.sentences import by_words, words
from llmlib.formats.packaged import kjv_file

BOOKS = {
    "law": ("Exodus", "Leviticus", "Numbers", "Deuteronomy"),
    "psalm": ("Psalms",),
    "gospel": ("Matthew", "Mark", "Luke", "John"),
}
EACH, TRAINING = 176, 128
"""Texts of a class, and how many of them a classifier may learn from at most."""
Vectors = Float[Tensor, "n dim"]
Classes = Int[Tensor, " n"]


@functools.cache
def verses() -> list[tuple[str, str]]:
    """(book, text) of every verse."""
    with kjv_file().open(encoding="utf-8") as lines:
        found = [json.loads(line) for line in lines]
    return [(verse["book"], verse["text"]) for verse in found]


def labelled(task: str) -> tuple[list[str], Classes]:
    """176 texts of each class, and the numbers of their classes; the same each time.

    Raises: ValueError: another task than "verses" and "names".
    """
    if task not in ("verses", "names"):
        raise ValueError(f"task is {task!r}, expected 'verses' or 'names'")
    classes = _verses() if task == "verses" else _names()
    draw = random.Random(0)
    texts = [text for some in classes for text in draw.sample(some, EACH)]
    return texts, torch.arange(len(classes)).repeat_interleave(EACH)


def _verses() -> list[list[str]]:
    """The first twelve words of the verses of law, psalms and gospels."""
    return [
        [" ".join(text.split()[:12]) for book, text in verses()
         if book in books and len(text.split()) >= 8]
        for books in BOOKS.values()
    ]  # fmt: skip


def _names() -> list[list[str]]:
    """Names of countries and territories, and of languages (those of one word)."""
    english = Locale("en")
    countries = sorted(x for code, x in english.territories.items() if re.match("[A-Z]{2}$", code))
    languages = sorted(x for code, x in english.languages.items() if re.match("[a-z]{2,3}$", code))
    return [countries, [x for x in languages if " " not in x]]


def fitted(x: Vectors, y: Classes, penalty: float, n_classes: int) -> Float[Tensor, "plus_one k"]:
    """Weights of a logistic regression, the bias last: mean cross-entropy + penalty * |w|^2."""
    inputs = with_ones(x)
    weights = torch.zeros(inputs.shape[1], n_classes, dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS([weights], max_iter=60, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        solver.zero_grad()
        value = torch.nn.functional.cross_entropy(inputs @ weights, y)
        value = value + penalty * weights[:-1].square().sum()
        value.backward()
        return value

    solver.step(closure)
    return weights.detach()


def with_ones(x: Vectors) -> Float[Tensor, "n plus_one"]:
    """In float64, and a feature that is 1 for the bias."""
    return torch.cat([x.double(), torch.ones(len(x), 1, dtype=torch.float64)], 1)


def split(seed: int, shots: int, n_classes: int) -> tuple[list[int], list[int]]:
    """Which texts teach, `shots` of each class, and which test; the latter are the same 48 each.

    Raises: ValueError: more shots than there are texts to learn from.
    """
    if not 1 <= shots <= TRAINING:
        raise ValueError(f"shots is {shots}, expected 1 to {TRAINING}")
    teach: list[int] = []
    test: list[int] = []
    draw = random.Random(seed)
    for start in range(0, EACH * n_classes, EACH):
        order = draw.sample(range(start, start + EACH), EACH)
        teach += order[:shots]
        test += order[TRAINING:]
    return teach, test


def accuracy(x: Vectors, y: Classes, seed: int, shots: int, penalty: float = 1e-3) -> float:
    """The share of a split's tests that a classifier gets right."""
    n = int(y.max()) + 1
    teach, test = split(seed, shots, n)
    weights = fitted(x[teach], y[teach], penalty, n)
    return ((with_ones(x[test]) @ weights).argmax(1) == y[test]).double().mean().item()


def accuracy_of_words(
    texts: list[str], y: Classes, seed: int, shots: int, letters: int = 0
) -> float:
    """The same for bags of words; only words of the texts that teach are known.

    Args:
        letters: so many letters in a row instead of words, " es", "est", "sto": the rival that can
            read a name's ending. 0: words.
    """
    teach, _ = split(seed, shots, int(y.max()) + 1)
    if letters:
        texts = [in_letters(text, letters) for text in texts]
    return accuracy(by_words(texts, [texts[i] for i in teach]), y, seed, shots)


def in_letters(text: str, n: int) -> str:
    """Every n letters in a row as a word; blanks, and both ends, count as the letter 0."""
    whole = "0" + "0".join(words(text)) + "0"
    return " ".join(whole[i : i + n] for i in range(len(whole) - n + 1))
