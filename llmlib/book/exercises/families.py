"""Exercises of the chapter on the three families."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from llmlib.accounting import parameters
from llmlib.book.exercise import Choice, Exercise, Function, Mistake, Number
from llmlib.book.labs.families import objectives
from llmlib.book.labs.families.serving import decoder_like
from llmlib.encoder import mean_pooled
from llmlib.model_cards import card


def _equal_layers() -> int:
    """Layers of a decoder whose matrices weigh what T5-large's do."""

    def matrices(config: Any) -> int:
        found = parameters(config)
        return sum(
            int(found.get(name, 0)) for name in ("attention", "cross_attention", "feed_forward")
        )

    config = card("T5-large").config
    return matrices(config) // matrices(decoder_like(config, 1))


def _grade_prefix_mask(answer: Callable[..., Any]) -> str | None:
    for prefix, n in ((3, 7), (1, 4), (5, 5)):
        mask = answer(prefix, n)
        if not isinstance(mask, Tensor) or mask.shape != (n, n):
            return f"For prefix {prefix} of {n} tokens return a tensor of shape ({n}, {n})."
        if mask.dtype != torch.bool:
            return f"The mask must be boolean, yours is {mask.dtype}."
        message = _judge_prefix_mask(mask, prefix, n)
        if message:
            return message
    return None


def _judge_prefix_mask(mask: Tensor, prefix: int, n: int) -> str | None:
    """None for the right mask of one size, else what is wrong with it."""
    where = f"With a prompt of {prefix} of {n} tokens: "
    if not mask[:prefix, :prefix].all():
        return where + "a token of the prompt does not know all of the prompt."
    if mask[:prefix, prefix:].any():
        return where + "the prompt knows what is written after it."
    if not mask[prefix:, :prefix].all():
        return where + "a written token does not know all of the prompt."
    written = mask[prefix:, prefix:]
    if written.triu(1).any():
        return where + "a written token knows a later one."
    if not torch.equal(written, torch.ones_like(written).tril()):
        return where + "a written token does not know itself and all written before it."
    return None


_TEXTS = (
    ("thank you for inviting me to your party last week", [(2, 4), (8, 9)]),
    ("a b c d e f", [(0, 2), (5, 6)]),
    ("a b c", [(1, 2)]),
)


def _grade_span_corruption(answer: Callable[..., Any]) -> str | None:
    for text, spans in _TEXTS:
        tokens = text.split()
        task = objectives.t5(tokens, spans)
        result = answer(list(tokens), list(spans))
        if not isinstance(result, Sequence) or len(result) != 2:
            return "Return two lists: the source and the target."
        source, target = map(list, result)
        if source != list(task.read):
            return f"For {text!r} and spans {spans} the source is {source}, not {list(task.read)}."
        if target == list(task.target[:-1]):
            return "The target lacks the mark that ends it: the next number."
        if target != list(task.target):
            return (
                f"For {text!r} and spans {spans} the target is {target}, not {list(task.target)}."
            )
    return None


def _grade_mean_vector(answer: Callable[..., Any]) -> str | None:
    draw = torch.Generator().manual_seed(0)
    hidden = torch.randn(3, 5, 4, generator=draw, dtype=torch.float64)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 0, 1, 1, 1]])
    right = torch.nn.functional.normalize(mean_pooled(hidden, mask), dim=-1)
    for spoiled in (False, True):
        given = hidden.masked_fill(mask[..., None] == 0, torch.nan) if spoiled else hidden
        out = answer(given.clone(), mask.clone())
        if not isinstance(out, Tensor) or out.shape != right.shape:
            return "Return a tensor of shape (batch, dim) = (3, 4)."
        if spoiled and out.isnan().any():
            return "Right where padding holds numbers. Where it holds NaN, 0 · NaN is NaN."
        if not torch.allclose(out.norm(dim=-1), torch.ones(3, dtype=torch.float64)):
            return f"The lengths are {[round(x, 3) for x in out.norm(dim=-1).tolist()]}, not 1."
        if not torch.allclose(out[0], right[0]):
            return "The vector of a text without padding is wrong."
        if not torch.allclose(out, right):
            return "A text with padding gives another vector than its tokens alone."
    return None


EXERCISES: list[Exercise] = [
    Number(
        "families.targets",
        level="easy",
        hint="One target for each hidden token; the others are read and teach nothing.",
        solution=(
            "0.15 · 512 = 76.8, so <strong>77</strong>. A decoder learns from 511 on the same text."
        ),
        answer=lambda: len(
            objectives.bert(["x"] * 512, objectives.hidden_places(512, 0.15, 0)).target
        ),
        tolerance=0.5,
        mistakes=[
            Mistake(511, "That is a decoder: every token but the first is a target."),
            Mistake(512, "The tokens that are not hidden are no targets."),
            Mistake(435, "Those are the tokens that are not hidden."),
            Mistake(61, "Hidden tokens that are left as they are, or made random, count as well."),
        ],
    ),
    Number(
        "families.equal_layers",
        level="easy",
        hint=(
            "In units of d²: 4 for attention, 8 for the feed-forward block. Which of the two "
            "stacks has attention twice?"
        ),
        solution=(
            "24 · 12 d² to read, 24 · 16 d² to write, together 672 d². A decoder's layer has "
            "12 d²: <strong>56</strong>."
        ),
        answer=_equal_layers,
        tolerance=0.5,
        mistakes=[
            Mistake(48, "You left out cross-attention: 4 d² in each layer that writes."),
            Mistake(64, "Only the layers that write have cross-attention."),
            Mistake(24, "The encoder's weights count too."),
            Mistake(52, "Cross-attention has four matrices: 4 d², not 2 d²."),
        ],
    ),
    Function(
        "families.prefix_mask",
        level="medium",
        hint="Begin with a lower triangle. Which columns does every row of the prompt see?",
        solution="""\
import torch


def my_prefix_mask(prefix, n):
    mask = torch.ones(n, n, dtype=torch.bool).tril()
    mask[:, :prefix] = True
    return mask
""",
        grader=_grade_prefix_mask,
        mistakes=[
            Mistake(
                """\
import torch


def my_prefix_mask(prefix, n):
    return torch.ones(n, n, dtype=torch.bool).tril()
""",
                "does not know all of the prompt",
            ),
            Mistake(
                """\
import torch


def my_prefix_mask(prefix, n):
    mask = torch.ones(n, n, dtype=torch.bool).tril()
    mask[:prefix] = True
    return mask
""",
                "the prompt knows what is written after it",
            ),
            Mistake(
                """\
import torch


def my_prefix_mask(prefix, n):
    mask = torch.ones(n, n, dtype=torch.bool).tril(-1)
    mask[:, :prefix] = True
    return mask
""",
                "itself",
            ),
            Mistake(
                """\
import torch


def my_prefix_mask(prefix, n):
    mask = torch.ones(n, n).tril()
    mask[:, :prefix] = 1
    return mask
""",
                "must be boolean",
            ),
        ],
    ),
    Function(
        "families.span_corruption",
        level="medium",
        hint="Walk through the spans with the place where the last one ended.",
        solution="""\
def my_t5(tokens, spans):
    source, target, at = [], [], 0
    for number, (start, stop) in enumerate(spans):
        source += tokens[at:start] + [f"<{number}>"]
        target += [f"<{number}>"] + tokens[start:stop]
        at = stop
    return source + tokens[at:], target + [f"<{len(spans)}>"]
""",
        grader=_grade_span_corruption,
        mistakes=[
            Mistake(
                """\
def my_t5(tokens, spans):
    source, target, at = [], [], 0
    for number, (start, stop) in enumerate(spans):
        source += tokens[at:start] + [f"<{number}>"]
        target += [f"<{number}>"] + tokens[start:stop]
        at = stop
    return source + tokens[at:], target
""",
                "lacks the mark that ends it",
            ),
            Mistake(
                """\
def my_t5(tokens, spans):
    source, target, at = [], [], 0
    for number, (start, stop) in enumerate(spans):
        source += tokens[at:start] + [f"<{number}>"]
        target += [f"<{number}>"] + tokens[start:stop]
        at = stop
    return source, target + [f"<{len(spans)}>"]
""",
                "the source is",
            ),
            Mistake(
                """\
def my_t5(tokens, spans):
    source, target, at = [], [], 0
    for number, (start, stop) in enumerate(spans):
        source += tokens[at:start] + [f"<{number}>"]
        target += tokens[start:stop]
        at = stop
    return source + tokens[at:], target + [f"<{len(spans)}>"]
""",
                "the target is",
            ),
        ],
    ),
    Choice(
        "families.shared_prompt",
        level="medium",
        hint="Whose states of the first 2,000 tokens stay as they are when a question follows?",
        solution=(
            "<strong>A decoder with a causal mask.</strong> In the others the states of the system "
            "prompt depend on the question that follows it: the encoder, and a prefix decoder with "
            "the question inside its prefix, read both in both directions."
        ),
        options=[
            "an encoder-decoder that reads system prompt and question, and writes the answer",
            "a decoder with a causal mask",
            "a prefix decoder whose prefix is system prompt and question",
            "an encoder that appends masks",
        ],
        answer=1,
        mistakes=[
            Mistake(0, "The encoder reads both together: each question changes every state."),
            Mistake(2, "Inside the prefix the system prompt sees the question."),
            Mistake(3, "Every new token changes every state."),
        ],
    ),
    Function(
        "families.mean_vector",
        level="hard",
        hint="Multiplying by the mask keeps NaN. What puts a 0 where the mask is 0?",
        solution="""\
import torch


def my_vectors(hidden, mask):
    kept = torch.where(mask[..., None] == 1, hidden, 0.0)
    mean = kept.sum(1) / mask.sum(1, keepdim=True)
    return mean / mean.norm(dim=-1, keepdim=True)
""",
        grader=_grade_mean_vector,
        mistakes=[
            Mistake(
                """\
def my_vectors(hidden, mask):
    mean = hidden.mean(1)
    return mean / mean.norm(dim=-1, keepdim=True)
""",
                "with padding gives another vector",
            ),
            Mistake(
                """\
def my_vectors(hidden, mask):
    mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    return mean / mean.norm(dim=-1, keepdim=True)
""",
                "0 · NaN",
            ),
            Mistake(
                """\
import torch


def my_vectors(hidden, mask):
    kept = torch.where(mask[..., None] == 1, hidden, 0.0)
    return kept.sum(1) / mask.sum(1, keepdim=True)
""",
                "not 1",
            ),
            Mistake(
                """\
def my_vectors(hidden, mask):
    return hidden[:, 0] / hidden[:, 0].norm(dim=-1, keepdim=True)
""",
                "without padding is wrong",
            ),
        ],
    ),
]
