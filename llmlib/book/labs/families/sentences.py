"""Which of thirty sentences mean the same? MiniLM's vectors beside two that know no word order.

Ten sentences have a partner that says the same in other words, and a decoy that has most of its
words and says something else. A vector is asked which of the other 29 is nearest. MiniLM is wrong
on half of the sentences: of who bit whom, and of a "not", too little is left in its vectors.
"""

import math
import re
from collections import Counter

import torch
from jaxtyping import Float
from torch import Tensor

from llmlib.encoder import Encoder, embed_texts, mean_pooled, padded
from llmlib.tokenization import AnyTokenizer

TRIPLES = (
    ("The dog bit the man.", "A man was bitten by a dog.", "The man bit the dog."),
    ("How do I reset my password?", "I forgot my login and need a new one.",
     "How do I set my alarm?"),
    ("The bank raised its interest rates.", "Borrowing money became more expensive.",
     "The river rose over its bank."),
    ("She finished the marathon in four hours.", "It took her 240 minutes to run the race.",
     "She finished the book in four hours."),
    ("The film was not bad at all.", "I quite enjoyed the movie.", "The film was bad."),
    ("Water boils at 100 degrees.", "At a hundred Celsius this liquid turns to steam.",
     "Water freezes at 0 degrees."),
    ("The train to Paris was cancelled.", "There is no rail service to the French capital today.",
     "The train to Paris was early."),
    ("He sold his car to his neighbour.", "The man next door bought his automobile.",
     "His neighbour sold his car to him."),
    ("The medicine lowered her fever.", "Her temperature fell after she took the drug.",
     "The medicine raised her blood pressure."),
    ("Nobody came to the meeting.", "The conference room stayed empty.",
     "Everybody came to the meeting."),
)  # fmt: skip
"""A sentence, its partner in meaning, its decoy in words."""
SENTENCES = [sentence for triple in TRIPLES for sentence in triple]
Vectors = Float[Tensor, "texts dim"]


def by_minilm(model: Encoder, tokenizer: AnyTokenizer, texts: list[str]) -> Vectors:
    """The mean of MiniLM's last stream, of length 1."""
    return embed_texts(model, tokenizer, texts)


@torch.no_grad()
def by_inputs(model: Encoder, tokenizer: AnyTokenizer, texts: list[str]) -> Vectors:
    """The mean of the rows of MiniLM's own table of tokens, of length 1: its layers left out."""
    ids, mask = padded([tokenizer.encode(text) for text in texts])
    table = model.embedding.weight
    centred = table - table.mean(0)
    return torch.nn.functional.normalize(mean_pooled(centred[ids], mask), dim=-1)


def by_words(texts: list[str], known: list[str] | None = None) -> Vectors:
    """Bags of words, of length 1: counts of each word, times log(texts / texts that have it).

    Args:
        texts: the texts.
        known: those that the vocabulary and the weights come from; None: the texts themselves.
    """
    bags = [Counter(words(text)) for text in texts]
    seen = Counter(word for text in known or texts for word in set(words(text)))
    n, column = len(known or texts), {word: i for i, word in enumerate(sorted(seen))}
    found = torch.zeros(len(texts), len(column), dtype=torch.float64)
    for row, bag in enumerate(bags):
        for word, count in bag.items():
            if word in column:
                found[row, column[word]] = count * math.log((1 + n) / seen[word])
    return torch.nn.functional.normalize(found, dim=-1)


def words(text: str) -> list[str]:
    """The words and numbers of a text in lower case."""
    return re.findall(r"[a-z0-9]+", text.lower())


def nearest(vectors: Vectors, i: int, n: int = 3) -> list[tuple[int, float]]:
    """The n nearest to vector i, and their cosines."""
    cosines = vectors @ vectors[i]
    cosines[i] = -math.inf
    top = cosines.topk(n)
    return list(zip(top.indices.tolist(), top.values.tolist(), strict=True))


def verdicts(vectors: Vectors) -> list[str]:
    """For each triple, what is nearest to its sentence: "partner", "decoy" or "other"."""
    names = {1: "partner", 2: "decoy"}
    first = [nearest(vectors, 3 * i, 1)[0][0] - 3 * i for i in range(len(vectors) // 3)]
    return [names.get(place, "other") for place in first]


def partners_found(vectors: Vectors) -> float:
    """An easier question: of twenty sentences, how many have their partner nearest of ten others?

    The decoys are left out: a sentence looks among the ten partners, a partner among the ten
    sentences. By chance 0.1.
    """
    sentences, partners = vectors[0::3], vectors[1::3]
    cosines, own = sentences @ partners.T, torch.arange(len(sentences))
    found = torch.cat([cosines.argmax(1) == own, cosines.argmax(0) == own])
    return found.double().mean().item()


def partner_beats_decoy(vectors: Vectors) -> list[bool]:
    """For each triple, whether the partner is nearer than the decoy."""
    triples = vectors.unflatten(0, (-1, 3))
    partner, decoy = ((triples[:, 0] * triples[:, k]).sum(-1) for k in (1, 2))
    return (partner > decoy).tolist()
