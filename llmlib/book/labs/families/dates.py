"""Dates in five forms, written anew as 1998-03-03: a tiny encoder-decoder, and its rival.

The encoder reads the characters of "the 3rd of March, 1998", the decoder writes ten characters. The
rival is a decoder that reads "source|target" as one text: two blocks like the other's two, and no
cross-attention. Tests ask for dates that neither has met in any form.
"""

import datetime
import functools
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

import llmlib.architecture as arch
from llmlib.book.labs.families.small import enlarged
from llmlib.decoder import Decoder
from llmlib.encoder_decoder import EncoderDecoder
from llmlib.source import Source
from llmlib.training import Batch, train

MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def ordinal(n: int) -> str:
    """Such as 21st for 21."""
    teen = 10 < n % 100 < 20
    return f"{n}" + ("th" if teen else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th"))


FORMS: dict[str, Callable[[datetime.date], str]] = {
    "plain": lambda d: f"{d.day} {MONTHS[d.month - 1]} {d.year}",
    "American": lambda d: f"{MONTHS[d.month - 1]} {d.day}, {d.year}",
    "slashes": lambda d: f"{d.day:02}/{d.month:02}/{d.year}",
    "weekday": lambda d: f"{DAYS[d.weekday()]}, {d.day} {MONTHS[d.month - 1][:3]} {d.year}",
    "words": lambda d: f"the {ordinal(d.day)} of {MONTHS[d.month - 1]}, {d.year}",
}
CHARACTERS = sorted(set(" ,/-0123456789thestndrdof" + "".join(MONTHS + DAYS)))
PADDING, START = 0, 1
IDS = {character: i + 2 for i, character in enumerate(CHARACTERS)}
VOCAB, LONGEST, WRITTEN = len(IDS) + 2, 27, 10
Texts = Int[Tensor, "rows seq"]
Written = Int[Tensor, "rows written"]


@functools.cache
def calendar() -> tuple[tuple[datetime.date, ...], tuple[datetime.date, ...]]:
    """The days of two centuries, shuffled: those to train on, and 1,000 that are held out."""
    first, last = datetime.date(1900, 1, 1), datetime.date(2099, 12, 31)
    days = [first + datetime.timedelta(i) for i in range((last - first).days + 1)]
    random.Random(0).shuffle(days)
    return tuple(days[1000:]), tuple(days[:1000])


def sources(texts: Sequence[str]) -> Texts:
    """Characters as ids, padded on the right to the longest form's 27."""
    rows = [[IDS[c] for c in text] for text in texts]
    return torch.tensor([row + [PADDING] * (LONGEST - len(row)) for row in rows])


def targets(days: Sequence[datetime.date]) -> Texts:
    """The token that begins a target, then ten characters."""
    return torch.tensor([[START, *(IDS[c] for c in day.isoformat())] for day in days])


def pairs(days: Sequence[datetime.date], seed: int) -> tuple[Texts, Written]:
    """Each day in a form drawn for it, and what is to be written."""
    draw = random.Random(seed)
    forms = list(FORMS.values())
    return sources([draw.choice(forms)(day) for day in days]), targets(days)


def text(ids: Int[Tensor, " seq"]) -> str:
    """Ids as characters again."""
    return "".join(CHARACTERS[i - 2] for i in ids.tolist() if i > START)


# --- the two models ---------------------------------------------------------------------------


def two_stacks(dim: int = 48, heads: int = 4) -> arch.ModelConfig:
    """One block reads, one writes and looks across."""
    attention = arch.Attention(heads, heads, dim // heads, arch.Rope())
    across = arch.Attention(heads, heads, dim // heads)  # knows no positions
    work = arch.FeedForward(2 * dim, "swish", True, False)
    writing = arch.Stack((arch.repeat(1, arch.Block(attention, work, cross=across)),))
    reading = arch.Stack((arch.repeat(1, arch.Block(attention, work)),), causal=False)
    return arch.ModelConfig(dim, VOCAB, 64, writing, source=reading, tied=True)


def one_stack(blocks: int = 2, dim: int = 48, heads: int = 4) -> arch.ModelConfig:
    """Two blocks of the same width, all of whose attention is causal: nearly as many weights.

    Each token passes through both, where the two stacks share the tokens out: twice the work. One
    block is the rival of equal work.
    """
    attention = arch.Attention(heads, heads, dim // heads, arch.Rope())
    work = arch.FeedForward(2 * dim, "swish", True, False)
    stack = arch.Stack((arch.repeat(blocks, arch.Block(attention, work)),))
    return arch.ModelConfig(dim, VOCAB, 64, stack, tied=True)


class Rewriter(nn.Module):
    """Either model behind one door: source and target in one row, scores of the target out."""

    def __init__(self, config: arch.ModelConfig) -> None:
        super().__init__()
        self.model = EncoderDecoder(config) if config.source else Decoder(config)

    def forward(self, ids: Texts) -> Float[Tensor, "rows written vocab"]:
        """ids are 27 characters of the source, then the target so far."""
        read, begun = ids[:, :LONGEST], ids[:, LONGEST:]
        seen = (read != PADDING).long()
        if isinstance(self.model, EncoderDecoder):
            return self.model(read, begun, source_mask=seen)
        # A decoder pads on the left: the text has to stand next to what is written.
        whole = torch.cat([shifted(read), begun], 1)
        mask = torch.cat([seen.flip(1), torch.ones_like(begun)], 1)
        return self.model(whole, attention_mask=mask)[:, LONGEST:]


def shifted(read: Texts) -> Texts:
    """Padding moved from the right to the left."""
    n = (read != PADDING).sum(1, keepdim=True)
    places = (torch.arange(LONGEST) + n) % LONGEST
    return read.gather(1, places)


def batches(seed: int, rows: int = 64) -> Iterator[Batch]:
    """Rows of a source and the target without its last character, and the target."""
    draw, (days, _) = random.Random(seed), calendar()
    while True:
        read, written = pairs(draw.choices(days, k=rows), draw.randrange(2**31))
        yield torch.cat([read, written[:, :-1]], 1), written[:, 1:]


def trained(config: arch.ModelConfig, seed: int = 0, steps: int = 350) -> Rewriter:
    """One of the two, trained on 64 dates a step; in evaluation mode."""
    torch.manual_seed(seed)
    model = enlarged(Rewriter(config))
    train(
        model, batches(seed), steps, lr=5e-3, warmup_steps=min(30, steps), schedule="cosine",
        betas=(0.9, 0.98), clip_norm=1.0,
    )  # fmt: skip
    return model.eval()


@torch.no_grad()
def written(model: Rewriter, read: Texts) -> Written:
    """What the model writes, the likeliest character each time."""
    begun = torch.full((len(read), 1), START)
    for _ in range(WRITTEN):
        after = model(torch.cat([read, begun], 1))[:, -1:]
        begun = torch.cat([begun, after.argmax(-1)], 1)
    return begun


def exact(model: Rewriter, n: int = 500) -> float:
    """The share of held-out dates that are right in all ten characters."""
    read, expected = pairs(calendar()[1][:n], seed=5)
    return (written(model, read) == expected).all(1).double().mean().item()


# --- where it looks ---------------------------------------------------------------------------


def cross_map(model: Rewriter, source: str) -> tuple[str, Float[Tensor, "heads written source"]]:
    """What the encoder-decoder writes for a source, and where each head looks as it does."""
    assert isinstance(model.model, EncoderDecoder)
    read = sources([source])
    ids = written(model, read)
    seen = (read != PADDING).long()
    maps = model.model.cross_maps(read, ids[:, :-1], seen)[-1][0]
    return text(ids[0]), maps[:, :, : len(source)]


@torch.no_grad()
def without(
    model: Rewriter, read: Texts, expected: Written, which: str, seed: int = 0
) -> Float[Tensor, "rows right"]:
    """How probable each right character is when one place of the source is hidden as it is written.

    The place is hidden from cross-attention alone: the encoder has read it before. That is the one
    at which the heads look most on average ("looked at"), another at random among the source's
    ("another"), or none ("none").

    Raises: ValueError: another word.
    """
    if which not in ("looked at", "another", "none"):
        raise ValueError(f"which is {which!r}, expected 'looked at', 'another' or 'none'")
    encoder_decoder: Any = model.model
    seen = read != PADDING
    begun, right = expected[:, :-1], expected[:, 1:]
    maps = encoder_decoder.cross_maps(read, begun, seen.long())[-1].mean(1)
    draw = torch.Generator().manual_seed(seed)
    source = encoder_decoder.encode(read, seen.long())
    found = []
    for i in range(WRITTEN):
        most = maps[:, i].argmax(1, keepdim=True)
        other = torch.rand(read.shape, generator=draw).masked_fill(~seen, -1)
        other = other.scatter(1, most, -1.0).argmax(1, keepdim=True)
        left = seen if which == "none" else seen.scatter(
            1, most if which == "looked at" else other, value=False
        )  # fmt: skip
        logits = encoder_decoder(Source(source.hidden, left), begun)[:, i]
        found.append(logits.softmax(-1).gather(1, right[:, i : i + 1])[:, 0])
    return torch.stack(found, 1)
