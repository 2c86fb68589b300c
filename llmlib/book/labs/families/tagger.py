"""Which words of a verse are names? A tagger on MiniLM's vectors of tokens, beside the word alone.

MiniLM reads lower case, so a capital does not give a name away. A word is a name here if the King
James Bible writes it with a capital wherever it stands. Words that the tagger has met say little
about it, a table does as well; the test is words that it has not met.
"""

import functools
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from llmlib.book.labs.families.few_shot import fitted, verses, with_ones
from llmlib.encoder import Encoder, padded
from llmlib.tokenization import AnyTokenizer

LENGTH = 16


EITHER = (
    ("will", "yesterday will called his mother", "she signed her last will in june"),
    ("rose", "we met rose at the station", "he cut a red rose in the garden"),
    ("mark", "mark lives in a small house", "the cup left a dark mark on the table"),
    ("grace", "her sister grace is a doctor", "the dancer moved with grace"),
    ("bill", "bill and his wife came to dinner", "the waiter brought the bill"),
    ("hope", "i gave hope a book for her birthday", "there is little hope of rain"),
    ("frank", "frank said that he would come", "she gave a frank answer"),
    ("jack", "jack ran after the bus", "he lifted the car with a jack"),
    ("may", "may asked her teacher a question", "it may rain tomorrow"),
    ("drew", "drew told us about his new job", "the child drew a house"),
    ("pat", "pat went home with her brother", "he gave the dog a pat on the head"),
    ("rob", "rob played chess with his uncle", "they planned to rob a bank"),
)
"""A word that is a name in the first sentence and none in the second."""


@functools.cache
def names() -> frozenset[str]:
    """Words, in lower case, that never stand in lower case."""
    small: set[str] = set()
    large: set[str] = set()
    for _, text in verses():
        for word in re.findall(r"[A-Za-z]+", text):
            (small if word[0].islower() else large).add(word.lower())
    return frozenset(large - small)


@functools.cache
def sentences(n: int, seed: int) -> tuple[tuple[tuple[str, ...], ...], tuple[tuple[str, ...], ...]]:
    """n sentences to learn from and n to test, the first 16 words of verses with a name in them."""
    draw, found = random.Random(seed), []
    for _, text in verses():
        words = tuple(re.findall(r"[a-z]+", text.lower())[:LENGTH])
        if names() & set(words):
            found.append(words)
    drawn = draw.sample(found, 2 * n)
    return tuple(drawn[:n]), tuple(drawn[n:])


def labels(texts: Sequence[Sequence[str]]) -> Bool[Tensor, " words"]:
    """Whether each word of the texts, one after another, is a name."""
    return torch.tensor([word in names() for words in texts for word in words])


@torch.no_grad()
def word_vectors(
    model: Encoder, tokenizer: AnyTokenizer, texts: Sequence[Sequence[str]], layers: bool = True
) -> Float[Tensor, "words dim"]:
    """A vector for each word: the mean over its pieces of the last stream, or of the table's rows.

    Args:
        layers: False: the layers are left out, and a word has one vector wherever it stands.
    """
    pieces = [[tokenizer.encode(word) for word in words] for words in texts]
    first, last = _around(tokenizer)
    rows = [[first, *(i for word in words for i in word), last] for words in pieces]
    found = []
    for start in range(0, len(rows), 32):
        ids, mask = padded(rows[start : start + 32])
        streams = model(ids, mask) if layers else model.embedding.weight[ids]
        for stream, words in zip(streams, pieces[start:], strict=False):
            sizes = [len(word) for word in words]
            parts = stream[1 : 1 + sum(sizes)].split(sizes)
            found += [part.mean(0) for part in parts]
    return torch.nn.functional.normalize(torch.stack(found), dim=-1)


def _around(tokenizer: AnyTokenizer) -> tuple[int, int]:
    """The tokens that stand before and after a text."""
    ids = tokenizer.encode("", add_special=True)
    return ids[0], ids[-1]


@dataclass(frozen=True)
class Result:
    """How one tagger did on the test words: the mean of both classes' shares of right tags.

    0.5 is a tagger that says the same of every word. `met` words stood in the sentences that
    taught, `new` words did not.
    """

    met: float
    new: float


def by_table(teach: Sequence[Sequence[str]], test: Sequence[Sequence[str]]) -> Result:
    """A table of the words that were met; any other word is no name."""
    known = {word for words in teach for word in words}
    says = torch.tensor([word in known and word in names() for words in test for word in words])
    return _result(says, known, test)


def by_vectors(
    teach: Sequence[Sequence[str]], test: Sequence[Sequence[str]],
    taught: Float[Tensor, "words dim"], tested: Float[Tensor, "words dim"], penalty: float = 1e-4,
) -> Result:  # fmt: skip
    """A logistic regression on a vector for each word."""
    weights = fitted(taught, labels(teach).long(), penalty, 2)
    says = (with_ones(tested) @ weights).argmax(1).bool()
    return _result(says, {word for words in teach for word in words}, test)


def either_or(
    taught: Float[Tensor, "words dim"], right: Bool[Tensor, " words"],
    tested: Float[Tensor, "words dim"], penalty: float = 1e-4,
) -> tuple[float, float]:  # fmt: skip
    """Of twelve words that are a name once and none once: how often the tagger is right, and ranks.

    The second number is how often the sentence with the name has the higher score of the two. A
    vector that is the word's alone is right on one of each two, and ranks none.

    Args:
        tested: of all words of `either_sentences()`.
    """
    weights = fitted(taught, right.long(), penalty, 2)
    scores = (with_ones(tested) @ weights).diff(dim=1)[:, 0]
    here = [word == asked for asked, *pair in EITHER for text in pair for word in text.split()]
    of_name, of_none = scores[torch.tensor(here)].view(-1, 2).T
    hits = torch.cat([of_name > 0, of_none <= 0]).double().mean().item()
    return hits, (of_name > of_none).double().mean().item()


def either_sentences() -> list[list[str]]:
    """The sentences of EITHER, as words."""
    return [text.split() for _, *pair in EITHER for text in pair]


def _result(says: Bool[Tensor, " words"], known: set[str], test: Sequence[Sequence[str]]) -> Result:
    right, met = labels(test), torch.tensor([w in known for words in test for w in words])
    return Result(*(_balanced(says[some], right[some]) for some in (met, ~met)))


def _balanced(says: Bool[Tensor, " words"], right: Bool[Tensor, " words"]) -> float:
    shares = [(says[right == kind] == kind).double().mean() for kind in (True, False)]
    return torch.stack(shares).mean().item()


def counted(test: Sequence[Sequence[str]], teach: Sequence[Sequence[str]]) -> Mapping[str, int]:
    """How many test words are names, and how many of those were not met."""
    known = {word for words in teach for word in words}
    found = [word for words in test for word in words if word in names()]
    return {"names": len(found), "new names": sum(word not in known for word in found)}
