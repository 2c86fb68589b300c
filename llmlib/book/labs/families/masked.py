"""Guessing a hidden word of the King James Bible: tiny models that see one side of it, or both.

Three models of the same blocks read the same windows for the same number of steps:

    both sides   masked words, no causal mask: BERT's task
    one side     masked words, a causal mask: the control, in which the mask alone differs
    next word    every next word, a causal mask: GPT's task, with 5.5 times as many guesses

Beside them guess counts of words and of pairs of words, and the decoder that is allowed to read the
words on the right: it scores the whole text with each candidate in the hole.
"""

import functools
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

import llmlib.architecture as arch
from llmlib.book.labs.families.small import enlarged
from llmlib.decoder import Decoder, DecoderConfig
from llmlib.encoder import Encoder
from llmlib.formats.packaged import kjv_text
from llmlib.training import IGNORED, Batch, train

MASK, RARE, FIRST = 0, 1, 2
"""Ids: the hidden word, a word outside the vocabulary, the first of the vocabulary."""
N_WORDS, WINDOW, MIDDLE, HIDDEN = 500, 12, 6, 2
LIVE = 400
"""Steps of a training that a page has time for."""
Windows = Int[Tensor, "n window"]
Scores = Float[Tensor, "n vocab"]


@dataclass(frozen=True)
class Text:
    """The King James Bible as ids of lower-case words, its last 5% held out."""

    words: tuple[str, ...]
    train: Int[Tensor, " length"]
    held_out: Int[Tensor, " rest"]

    @property
    def vocab_size(self) -> int:
        """Rows of an embedding: the words and what stands before them."""
        return len(self.words)

    def ids(self, words: list[str]) -> Int[Tensor, " length"]:
        """Ids of words, of which "[MASK]" is one; a word outside the vocabulary is rare."""
        known = {word: i for i, word in enumerate(self.words)}
        return torch.tensor([known.get(word, RARE) for word in words])


@functools.cache
def king_james() -> Text:
    """The text in its 500 most frequent words, which are 83% of all; the others are one id."""
    spoken = re.findall(r"[a-z]+", kjv_text().lower())
    words = ["[MASK]", "[RARE]", *(word for word, _ in Counter(spoken).most_common(N_WORDS))]
    known = {word: i for i, word in enumerate(words)}
    ids = torch.tensor([known.get(word, RARE) for word in spoken])
    cut = round(0.95 * len(ids))
    return Text(tuple(words), ids[:cut], ids[cut:])


def windows(ids: Int[Tensor, " length"], n: int, draw: torch.Generator) -> Windows:
    """So many windows of 12 words."""
    starts = torch.randint(len(ids) - WINDOW + 1, (n, 1), generator=draw)
    return ids[starts + torch.arange(WINDOW)]


def questions(n: int = 2000) -> Windows:
    """Windows of the held-out text whose middle word is in the vocabulary; the same each time."""
    drawn = windows(king_james().held_out, 2 * n, torch.Generator().manual_seed(99))
    return drawn[drawn[:, MIDDLE] != RARE][:n]


# --- the models -------------------------------------------------------------------------------


def config(causal: bool) -> arch.ModelConfig:
    """One block of width 64 with four heads; the causal mask is the one difference."""
    described = DecoderConfig(king_james().vocab_size, 64, 1, 4, ffn_dim=128, context=64)
    return arch.changed(described, arch.Stack, causal=causal)


class Masked(nn.Module):
    """A stack with a head at the hidden words alone.

    Args:
        causal: whether a word sees those before it only.
    """

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.model = Decoder(config(causal)) if causal else Encoder(config(causal))

    def hidden(self, ids: Windows, seen: Bool[Tensor, "n window"] | None = None) -> Tensor:
        """The last stream, (n, window, 64); places that are not `seen` are hidden from all."""
        if isinstance(self.model, Encoder):
            return self.model(ids, None if seen is None else seen.long())
        x = self.model.hidden_states(ids)[-1]
        return x if self.model.norm is None else self.model.norm(x)

    def forward(self, ids: Windows) -> Float[Tensor, "masked vocab"]:
        """Scores of the words at each masked place, row by row."""
        return self.hidden(ids)[ids == MASK] @ self.model.embedding.weight.T


def masked_batches(seed: int, rows: int = 64) -> Iterator[Batch]:
    """Windows with two words hidden, and those words; rare ones teach nothing."""
    draw = torch.Generator().manual_seed(seed)
    while True:
        read = windows(king_james().train, rows, draw)
        places = torch.rand(rows, WINDOW, generator=draw).topk(HIDDEN, 1).indices
        hidden = torch.zeros_like(read, dtype=torch.bool).scatter(1, places, value=True)
        target = read[hidden]
        yield read.masked_fill(hidden, MASK), target.masked_fill(target == RARE, IGNORED)


def next_batches(seed: int, rows: int = 64) -> Iterator[Batch]:
    """The same windows, and at each word the next."""
    draw = torch.Generator().manual_seed(seed)
    while True:
        read = windows(king_james().train, rows, draw)
        torch.rand(rows, WINDOW, generator=draw)  # so that both see the same windows
        target = read[:, 1:]
        yield read[:, :-1], target.masked_fill(target == RARE, IGNORED)


KINDS = ("both sides", "one side", "next word")


def trained(kind: str, seed: int = 0, steps: int = LIVE) -> nn.Module:
    """One of the three kinds, trained on 768 words a step; in evaluation mode.

    Raises: ValueError: another kind.
    """
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}, expected one of {', '.join(KINDS)}")
    torch.manual_seed(seed)
    following = kind == "next word"
    model = enlarged(Decoder(config(causal=True)) if following else Masked(kind == "one side"))
    batches = next_batches(seed) if following else masked_batches(seed)
    train(
        model, batches, steps, lr=5e-3, warmup_steps=min(30, steps), schedule="cosine",
        clip_norm=1.0, betas=(0.9, 0.98),
    )  # fmt: skip
    return model.eval()


# --- the guesses ------------------------------------------------------------------------------


def only_words(scores: Scores) -> Scores:
    """Log-probabilities of the words; no guess is a mask or a rare word."""
    scores = scores.double().clone()
    scores[:, :FIRST] = -torch.inf
    return scores.log_softmax(-1)


@torch.no_grad()
def by_masked(model: Masked, read: Windows, right: bool = True) -> Scores:
    """What a masked model makes of the middle; without `right`, of the words on the left alone."""
    seen = None if right else (torch.arange(WINDOW) <= MIDDLE).expand(len(read), -1)
    ids = read.clone()
    ids[:, MIDDLE] = MASK
    return only_words(model.hidden(ids, seen)[:, MIDDLE] @ model.model.embedding.weight.T)


@torch.no_grad()
def by_decoder(model: Decoder, read: Windows) -> Scores:
    """What a decoder makes of the middle, from the words on the left."""
    return only_words(model(read[:, :MIDDLE], last_only=True)[:, -1])


@torch.no_grad()
def by_whole_text(model: Decoder, read: Windows, candidates: int = 50) -> Scores:
    """What a decoder makes of it from both sides: p(left, w, right) over all candidates w.

    p(w | left, right) is p(w | left) p(right | left, w), normalized. Candidates are the likeliest
    by the left alone; others get probability 0. Rare words on the right are left out.
    """
    first = by_decoder(model, read)
    found = torch.full_like(first, -torch.inf)
    for some, left, scores in zip(read.split(20), first.split(20), found.split(20), strict=True):
        top = left.topk(candidates, 1)
        texts = some[:, None].repeat(1, candidates, 1)
        texts[:, :, MIDDLE] = top.indices
        texts = texts.flatten(0, 1)
        log_p = model(texts[:, :-1])[:, MIDDLE:].log_softmax(-1)
        right = texts[:, MIDDLE + 1 :, None]
        each = log_p.gather(2, right).masked_fill(right == RARE, 0).double()
        scores.scatter_(1, top.indices, top.values + each.sum((1, 2)).view(-1, candidates))
    return found.log_softmax(-1)


def by_counts(read: Windows, left: bool = False, right: bool = False) -> Scores:
    """What counts make of it: how often a word is, and how often beside its neighbours.

    p(w) p(left neighbour | w) p(right neighbour | w), with the pairs mixed with the words alone as
    if each had been seen 20 times more.
    """
    single, pairs = _counts()
    after = single.log().expand(len(read), -1)
    if left:
        after = pairs[read[:, MIDDLE - 1]].log()
    if right:
        after = after + pairs[:, read[:, MIDDLE + 1]].T.log()
    return only_words(after)


@functools.cache
def _counts() -> tuple[Float[Tensor, " vocab"], Float[Tensor, "vocab vocab"]]:
    """p(w), and p(w | the word before)."""
    text = king_james()
    ids, n = text.train, text.vocab_size
    pairs = torch.bincount(ids[:-1] * n + ids[1:], minlength=n * n).view(n, n).double()
    single = (torch.bincount(ids, minlength=n).double() + 1) / (len(ids) + n)
    return single, (pairs + 20 * single) / (pairs.sum(1, keepdim=True) + 20)


def accuracy(scores: Scores, read: Windows) -> float:
    """The share of windows whose middle word is the first guess."""
    return (scores.argmax(1) == read[:, MIDDLE]).double().mean().item()


def loss(scores: Scores, read: Windows) -> float:
    """-log of the probability of the middle word, in nats, the mean over windows."""
    return -scores.gather(1, read[:, MIDDLE, None]).mean().item()


@dataclass(frozen=True)
class Study:
    """Three trained models and the guesses of all: log-probabilities of the middle word by name."""

    seed: int
    read: Windows
    models: dict[str, nn.Module]
    guesses: dict[str, Scores]

    def accuracies(self) -> dict[str, float]:
        """Share of first guesses that are right."""
        return {name: accuracy(scores, self.read) for name, scores in self.guesses.items()}

    def losses(self) -> dict[str, float]:
        """Nats a word."""
        return {name: loss(scores, self.read) for name, scores in self.guesses.items()}


def study(seed: int = 0, steps: int = LIVE, n: int = 1000) -> Study:
    """Train the three and let everybody guess the middle of the same held-out windows."""
    read = questions(n)
    models = {kind: trained(kind, seed, steps) for kind in KINDS}
    both, one, decoder = models.values()
    assert isinstance(both, Masked)
    assert isinstance(one, Masked)
    assert isinstance(decoder, Decoder)
    guesses = {
        "most frequent word": by_counts(read),
        "counts, left neighbour": by_counts(read, left=True),
        "counts, both neighbours": by_counts(read, left=True, right=True),
        "decoder, next word": by_decoder(decoder, read),
        "decoder, one side": by_masked(one, read),
        "encoder, right side hidden": by_masked(both, read, right=False),
        "encoder, both sides": by_masked(both, read),
        "decoder, whole text scored": by_whole_text(decoder, read),
    }
    return Study(seed, read, models, guesses)
