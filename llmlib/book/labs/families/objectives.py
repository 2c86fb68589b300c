"""What GPT, BERT, T5 and BART are trained on: one list of tokens, made into a task in four ways.

Each function is the objective and nothing else; which places are hidden is an argument, and
`hidden_places` and `hidden_spans` draw them as the papers do. Not here: BERT's 80/10/10 rule (of
ten hidden tokens one stays and one becomes a random token) and its guess at the next sentence.
"""

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MASK, START, END = "[MASK]", "<s>", "</s>"
Span = tuple[int, int]  # start, and one after the last


@dataclass(frozen=True)
class Task:
    """What a model reads, and what it is asked for.

    Attributes:
        read: what all of the model may look at; in an encoder-decoder, what the encoder reads.
        target: what is to be guessed, in order.
        writer: what a decoder beside the encoder reads, the target one place late; empty if none.
        places: where in `read` each target is guessed; empty where the writer guesses them.
    """

    read: tuple[str, ...]
    target: tuple[str, ...]
    writer: tuple[str, ...] = ()
    places: tuple[int, ...] = ()

    @property
    def targets_per_token(self) -> float:
        """Guesses that teach, for each token that passes through the model."""
        return len(self.target) / (len(self.read) + len(self.writer))


def gpt(tokens: Sequence[str]) -> Task:
    """Every next token from those before it.

    Source: radford2018gpt
    """
    read, target = tuple(tokens[:-1]), tuple(tokens[1:])
    return Task(read, target, places=tuple(range(len(read))))


def bert(tokens: Sequence[str], places: Sequence[int]) -> Task:
    """Hidden tokens from all the others.

    Source: devlin2019bert
    """
    hidden = sorted(set(places))
    read = tuple(MASK if i in hidden else token for i, token in enumerate(tokens))
    return Task(read, tuple(tokens[i] for i in hidden), places=tuple(hidden))


def t5(tokens: Sequence[str], spans: Sequence[Span]) -> Task:
    """Each span leaves a numbered mark; the target is every mark with what it stood for.

    Source: raffel2020t5
    """
    read, target, at = [], [], 0
    for number, (start, stop) in enumerate(_in_order(tokens, spans)):
        mark = f"<{number}>"
        read += [*tokens[at:start], mark]
        target += [mark, *tokens[start:stop]]
        at = stop
    read += tokens[at:]
    target.append(f"<{len(spans)}>")
    return _written(read, target)


def bart_infill(tokens: Sequence[str], spans: Sequence[Span]) -> Task:
    """Each span, even an empty one, becomes one mask; the target is the whole text.

    Source: lewis2020bart
    """
    read, at = [], 0
    for start, stop in _in_order(tokens, spans):
        read += [*tokens[at:start], MASK]
        at = stop
    return _written([*read, *tokens[at:]], [*tokens, END])


def bart_delete(tokens: Sequence[str], places: Sequence[int]) -> Task:
    """Tokens vanish without a mark; the target is the whole text.

    Source: lewis2020bart
    """
    gone = set(places)
    return _written([t for i, t in enumerate(tokens) if i not in gone], [*tokens, END])


def bart_permute(tokens: Sequence[str], order: Sequence[int], stop: str = ".") -> Task:
    """Sentences, which end with `stop`, change places; the target is the whole text.

    Raises: ValueError: an order that is none of the sentences.
    Source: lewis2020bart
    """
    parts: list[list[str]] = [[]]
    for token in tokens:
        parts[-1].append(token)
        if token == stop:
            parts.append([])
    parts = [part for part in parts if part]
    if sorted(order) != list(range(len(parts))):
        raise ValueError(f"order is {list(order)}, expected the numbers 0 .. {len(parts) - 1} of "
                         "the sentences, each once")  # fmt: skip
    return _written([token for i in order for token in parts[i]], [*tokens, END])


def _written(read: Sequence[str], target: Sequence[str]) -> Task:
    """A task of two stacks: the writer reads its target one place late."""
    return Task(tuple(read), tuple(target), (START, *target[:-1]))


def _in_order(tokens: Sequence[str], spans: Sequence[Span]) -> list[Span]:
    found = sorted(spans)
    ends = [0, *(stop for _, stop in found)]
    for (start, stop), before in zip(found, ends, strict=False):
        if not before <= start <= stop <= len(tokens):
            raise ValueError(f"span ({start}, {stop}) of {len(tokens)} tokens, expected spans "
                             "inside the text that do not overlap")  # fmt: skip
    return found


# --- and back ---------------------------------------------------------------------------------


def restored(task: Task) -> list[str]:
    """The text that a task was made of, from what was read and what was to be guessed.

    Exact for each objective: the target of BART is the text, BERT's and T5's fill the holes. This
    is what makes the task one that can be learned at all.
    """
    if not task.writer and task.places == tuple(range(len(task.read))):
        return [task.read[0], *task.target]
    if not task.writer:
        answers = dict(zip(task.places, task.target, strict=True))
        return [answers.get(i, token) for i, token in enumerate(task.read)]
    if task.target[-1] == END:
        return list(task.target[:-1])
    spans = _spans_of(task.target)
    return [token for mark in task.read for token in spans.get(mark, [mark])]


def _spans_of(target: Sequence[str]) -> Mapping[str, list[str]]:
    """What each numbered mark of T5's target stands for."""
    spans: dict[str, list[str]] = {}
    for token in target:
        if token == f"<{len(spans)}>":
            spans[token] = last = []
        else:
            last.append(token)
    return spans


# --- which places -----------------------------------------------------------------------------


def hidden_places(length: int, share: float, seed: int) -> list[int]:
    """A share of the places, drawn without returning any: 15% in BERT.

    Raises: ValueError: a share outside (0, 1].
    """
    if not 0 < share <= 1:
        raise ValueError(f"share is {share}, expected above 0, at most 1")
    n = max(1, round(share * length))
    return sorted(random.Random(seed).sample(range(length), n))


def hidden_spans(length: int, share: float, mean: int | float, seed: int) -> list[Span]:
    """Spans that cover a share of the text: so many that each has `mean` tokens on average.

    T5 hides 15% in spans of 3, BART 30% in spans whose lengths are Poisson with mean 3 (0 too).
    Here lengths and gaps are a random cut of the text into parts, at least one token each, as in
    T5's code, so that no two spans touch; no span is empty.

    Raises: ValueError: a share outside (0, 1), or spans that leave no token between them.
    """
    noise = max(1, round(share * length))
    n = max(1, round(noise / mean))
    if not 0 < share < 1 or length - noise < n:
        raise ValueError(f"share is {share}, mean {mean} of {length} tokens, expected spans with "
                         "a token before each")  # fmt: skip
    draw = random.Random(seed)
    gaps, sizes = _cut(length - noise, n, draw), _cut(noise, n, draw)
    spans, at = [], 0
    for gap, size in zip(gaps, sizes, strict=True):
        spans.append((at + gap, at + gap + size))
        at += gap + size
    return spans


def _cut(length: int, n: int, draw: random.Random) -> list[int]:
    """A length as n positive parts."""
    borders = [0, *sorted(draw.sample(range(1, length), n - 1)), length]
    return [b - a for a, b in itertools.pairwise(borders)]
