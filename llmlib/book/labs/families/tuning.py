"""What tuning changes in a tiny trained decoder, and what it leaves as it was.

Pre-training reads statements of where 48 people live, and lists of questions; nobody ever answers
one. Supervised tuning shows answers for 24 of the people, half of them long, half short. Preference
tuning shows pairs, a short answer above a long one. All of it is tested on the other 24, and on
people of whom the text says nothing.
"""

import copy
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from llmlib.book.labs.families.small import enlarged
from llmlib.decoder import Decoder, DecoderConfig
from llmlib.training import IGNORED, Batch, train

PLACES = [
    *("athens", "berlin", "cairo", "dublin", "geneva", "lima"),
    *("madrid", "oslo", "paris", "rome", "tokyo", "vienna"),
]
ENDS = ("na", "ro", "mi", "la", "to", "vi")
PEOPLE = [a + b for a in ("al", "be", "ca", "do", "el", "fa", "gi", "ha") for b in ENDS]
STRANGERS = [a + b for a in ("qu", "zu") for b in ENDS]
REST = ["<pad>", "<s>", ".", "?", "lives", "in", "the", "home", "of", "is", "where", "does", "live"]
WORDS = [*REST, *PLACES, *PEOPLE, *STRANGERS]
IDS = {word: i for i, word in enumerate(WORDS)}
PAD = 0
TAUGHT, OTHERS = PEOPLE[::2], PEOPLE[1::2]
LENGTH = 12
Ids = Int[Tensor, "rows seq"]
Pair = tuple[list[str], list[str], list[str]]  # question, chosen, rejected


def homes(seed: int = 0) -> dict[str, str]:
    """Where everybody lives: as many in each place."""
    draw = random.Random(seed)
    places = PLACES * (len(PEOPLE) // len(PLACES))
    draw.shuffle(places)
    return dict(zip(PEOPLE, places, strict=True))


def question(person: str) -> list[str]:
    """What is asked."""
    return f"<s> where does {person} live ?".split()


def answers(place: str) -> tuple[list[str], list[str]]:
    """A long answer and a short one."""
    return f"lives in {place} .".split(), f"in {place} .".split()


def rows(texts: Sequence[Sequence[str]]) -> Ids:
    """Words as ids, padded on the right."""
    return torch.tensor([[IDS[w] for w in text] + [PAD] * (LENGTH - len(text)) for text in texts])


def _read_and_next(texts: Sequence[Sequence[str]], from_: Sequence[int]) -> Batch:
    """Each text and its next tokens; those before the place `from_` teach nothing."""
    ids = rows(texts)
    later = torch.arange(1, LENGTH) >= torch.tensor(from_)[:, None]
    target = ids[:, 1:]
    return ids[:, :-1], target.masked_fill(~later | (target == PAD), IGNORED)


def pretraining(where: dict[str, str], seed: int) -> Iterator[Batch]:
    """64 texts a step: statements in two forms, and two questions in a row."""
    draw = random.Random(seed)
    while True:
        texts = []
        for person in draw.choices(PEOPLE, k=64):
            other = draw.choice(PEOPLE)
            texts.append(draw.choice((
                f"<s> {person} lives in {where[person]} .",
                f"<s> the home of {person} is {where[person]} .",
                f"<s> where does {person} live ? where does {other} live ?",
            )).split())  # fmt: skip
        yield _read_and_next(texts, [1] * len(texts))


def demonstrations(where: dict[str, str], seed: int, shuffled: bool = False) -> Iterator[Batch]:
    """32 questions a step with their answers, of which the answers alone teach.

    Args:
        shuffled: the control: each answer gives the place of somebody else.
    """
    draw = random.Random(seed)
    if shuffled:
        there = [where[person] for person in TAUGHT]
        where = where | dict(zip(TAUGHT, there[1:] + there[:1], strict=True))
    while True:
        people = draw.choices(TAUGHT, k=32)
        texts = [question(p) + draw.choice(answers(where[p])) for p in people]
        yield _read_and_next(texts, [len(question(p)) for p in people])


def preferences(where: dict[str, str], seed: int, shuffled: bool = False) -> list[Pair]:
    """For each of the 24 a question, the answer that is chosen and the one that is rejected.

    Args:
        shuffled: the control: a coin says which of the two is chosen, for half of the people each.
    """
    found: list[Pair] = []
    for i, person in enumerate(random.Random(seed).sample(TAUGHT, len(TAUGHT))):
        long, short = answers(where[person])
        chosen, rejected = (long, short) if shuffled and i % 2 else (short, long)
        found.append((question(person), chosen, rejected))
    return found


# --- three stages of training -----------------------------------------------------------------


def pretrained(where: dict[str, str], seed: int = 0, steps: int = 200) -> Decoder:
    """A decoder of two blocks of width 64 that has read the statements."""
    torch.manual_seed(seed)
    config = DecoderConfig(len(WORDS), 64, 2, 4, ffn_dim=128, context=32)
    model = enlarged(Decoder(config))
    batches = pretraining(where, seed)
    train(model, batches, steps, lr=3e-3, warmup_steps=20, schedule="cosine", clip_norm=1.0)
    return model.eval()


def supervised(model: Decoder, batches: Iterator[Batch], steps: int = 100) -> Decoder:
    """A copy of the model, trained on answers."""
    tuned = copy.deepcopy(model)
    train(tuned, batches, steps, lr=1e-3, warmup_steps=5, clip_norm=1.0)
    return tuned.eval()


def log_probability(model: Decoder, pairs: Sequence[Pair], which: int) -> Float[Tensor, " rows"]:
    """log p(answer | question) of the chosen (1) or rejected (2) answer of each pair."""
    read, target = _read_and_next(
        [pair[0] + pair[which] for pair in pairs], [len(pair[0]) for pair in pairs]
    )
    log_p = model(read).log_softmax(-1)
    each = log_p.gather(2, target.clamp_min(0)[..., None])[..., 0]
    return each.masked_fill(target == IGNORED, 0).sum(1)


def dpo_loss(
    chosen: Float[Tensor, " rows"],
    rejected: Float[Tensor, " rows"],
    first_chosen: Float[Tensor, " rows"],
    first_rejected: Float[Tensor, " rows"],
    beta: float = 0.1,
) -> Float[Tensor, ""]:
    """-log sigmoid(beta (log p/p_0 (chosen) - log p/p_0 (rejected))), the mean over pairs.

    Args:
        chosen, rejected: log-probabilities of whole answers under the model that is tuned.
        first_chosen, first_rejected: the same under the model before, which stays as it is.
        beta: how expensive it is to leave the first model.

    Source: rafailov2023dpo
    """
    gain = (chosen - first_chosen) - (rejected - first_rejected)
    return -torch.nn.functional.logsigmoid(beta * gain).mean()


def preferred(
    model: Decoder, pairs: Sequence[Pair], steps: int = 15, beta: float = 0.1, lr: float = 3e-4
) -> Decoder:
    """A copy of the model, trained on pairs with `dpo_loss`."""
    tuned = copy.deepcopy(model)
    with torch.no_grad():
        first = [log_probability(model, pairs, which) for which in (1, 2)]
    optimizer = torch.optim.Adam(tuned.parameters(), lr=lr)
    for _ in range(steps):
        now = [log_probability(tuned, pairs, which) for which in (1, 2)]
        loss = dpo_loss(now[0], now[1], first[0], first[1], beta)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return tuned.eval()


# --- what is asked of a model -----------------------------------------------------------------


@dataclass(frozen=True)
class Report:
    """Shares of people, and a probability.

    Attributes:
        knows: "<person> lives in" is continued with the right place.
        follows: a question is followed by an answer in one of the two forms.
        right: and the place in it is right.
        short: p of a short answer, over that of a short or long one, as its first word tells.
    """

    knows: float
    follows: float
    right: float
    short: float


def report(model: Decoder, people: Sequence[str], where: dict[str, str]) -> Report:
    """How the model does on these people; a stranger's place is never right."""
    states = [_next(model, f"<s> {person} lives in".split()) for person in people]
    known = [WORDS[int(p.argmax())] == where.get(name)
             for p, name in zip(states, people, strict=True)]  # fmt: skip
    said = [continuation(model, question(person)) for person in people]
    places = [place_said(words) for words in said]
    right = [p is not None and p == where.get(name) for p, name in zip(places, people, strict=True)]
    first = [_next(model, question(person)) for person in people]
    short = [(p[IDS["in"]] / (p[IDS["in"]] + p[IDS["lives"]])).item() for p in first]
    follows = sum(place is not None for place in places)
    n = len(people)
    return Report(sum(known) / n, follows / n, sum(right) / n, sum(short) / n)


@torch.no_grad()
def _next(model: Decoder, words: Sequence[str]) -> Float[Tensor, " vocab"]:
    """Probabilities of the next word."""
    ids = torch.tensor([[IDS[word] for word in words]])
    return model(ids, last_only=True)[0, -1].double().softmax(-1)


def continuation(model: Decoder, words: Sequence[str], n: int = 6) -> list[str]:
    """The likeliest next words, up to the first full stop."""
    said: list[str] = []
    while len(said) < n and said[-1:] != ["."]:
        said.append(WORDS[int(_next(model, [*words, *said]).argmax())])
    return said


def place_said(said: list[str]) -> str | None:
    """The place of an answer in one of the two forms."""
    for place in PLACES:
        if said in answers(place):
            return place
    return None


def study(seed: int = 0) -> dict[str, Decoder]:
    """Every model of the experiment by its name."""
    where = homes(seed)
    base = pretrained(where, seed)
    tuned = supervised(base, demonstrations(where, seed))
    return {
        "pre-trained": base,
        "supervised": tuned,
        "supervised, shuffled": supervised(base, demonstrations(where, seed, shuffled=True)),
        "preferences": preferred(tuned, preferences(where, seed)),
        "preferences, shuffled": preferred(tuned, preferences(where, seed, shuffled=True)),
    }
