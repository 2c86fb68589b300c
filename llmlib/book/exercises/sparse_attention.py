"""Exercises of the chapter on sparse attention."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from llmlib.attention import reference_attention
from llmlib.book.exercise import Choice, Exercise, Function, Mistake, Number
from llmlib.sparse_attention import (
    LinearState,
    path_lengths,
    sliding_window_mask,
    sliding_window_pairs,
)

TOKENS, BUDGET = 64, 640


def _reach(n_layers: int, window: int) -> int:
    """Counted on the mask of a small window, whose reach is in proportion."""
    paths = path_lengths(sliding_window_mask(200, 8, causal=True))[-1]
    per_layer = 199 - int(((paths >= 0) & (paths <= n_layers)).nonzero()[0])
    return per_layer // 7 * (window - 1)


def _find(mask: Tensor, place: int) -> Tensor:
    """What each token knows of a needle after two layers: 1 yes, 0 no.

    A token that knows of the needle has the feature 1. Each layer looks for that feature, and what
    a query finds among the keys it sees is its own feature from then on.
    """
    known = torch.zeros(1, 1, len(mask), 1)
    known[0, 0, place] = 1.0
    for _ in range(2):
        looks = torch.full_like(known, 100.0)
        found = reference_attention(looks, known, known, mask=mask, scale=1.0)
        known = torch.maximum(known, found.round())  # the residual keeps what is known
    return known[0, 0, :, 0]


def _grade_mask(answer: Callable[..., Any]) -> str | None:
    mask = answer(TOKENS)
    if not isinstance(mask, Tensor) or mask.shape != (TOKENS, TOKENS):
        return f"Return a tensor of shape ({TOKENS}, {TOKENS})."
    if mask.dtype != torch.bool:
        return f"The mask must be boolean, yours is {mask.dtype}."
    pairs = int(mask.sum())
    if pairs > BUDGET:
        return f"Your mask has {pairs:,} pairs, the budget is {BUDGET}."
    for place in range(TOKENS):
        blind = (_find(mask, place) == 0).nonzero().flatten().tolist()
        if blind:
            return (
                f"With {pairs} pairs: a needle at token {place} does not reach token {blind[0]} "
                f"in two layers ({len(blind)} tokens miss it)."
            )
    return None


def _grade_linear_step(answer: Callable[..., Any]) -> str | None:
    generator = torch.Generator().manual_seed(0)
    keys, queries = (torch.rand(6, 4, generator=generator).double() for _ in range(2))
    values = torch.randn(6, 3, generator=generator).double()
    matrix, total = torch.zeros(4, 3).double(), torch.zeros(4).double()
    state = LinearState()
    for q, k, v in zip(queries, keys, values, strict=True):
        before = None if state.matrix is None else state.read(q[None])[0]
        state.add(k[None], v[None])
        assert state.matrix is not None
        assert state.total is not None
        result = answer(matrix.clone(), total.clone(), q.clone(), k.clone(), v.clone())
        if not isinstance(result, Sequence) or len(result) != 3:
            return "Return three tensors: the output, the new matrix, the new total."
        if not all(isinstance(x, Tensor) for x in result):
            return "All three results must be tensors."
        out, matrix, total = result
        message = _judge_step((out, matrix, total), (state.matrix, state.total), q, before)
        if message:
            return message
    return None


def _judge_step(
    result: tuple[Tensor, Tensor, Tensor],
    state: tuple[Tensor, Tensor],
    q: Tensor,
    before: Tensor | None,
) -> str | None:
    """None for a right step, else what went wrong."""
    out, matrix, total = result
    top = q @ state[0]
    if out.shape != top.shape:
        return f"The output must have v's shape {tuple(top.shape)}, yours is {tuple(out.shape)}."
    if matrix.shape != state[0].shape:
        return f"The matrix must keep its shape {tuple(state[0].shape)}: the outer product of k, v."
    if total.shape != state[1].shape or not torch.allclose(total, state[1]):
        return "The new total is not the old one plus k."
    if not torch.allclose(matrix, state[0]):
        return "The new matrix is not the old one plus the outer product of k and v."
    if torch.allclose(out, top / (q @ state[1])):
        return None
    if torch.allclose(out, top):
        return "The output is not divided by q · total: the weights must sum to 1."
    if before is not None and torch.allclose(out, before):
        return "You read the state before the new token was added; it must see itself."
    return "The state is right, the output is not: q · matrix over q · total."


def _tokens_until_larger(width: int) -> int:
    state = LinearState()
    state.add(torch.ones(1, width), torch.ones(1, width))
    numbers = state.n_bytes // 4
    return numbers // (2 * width) + 1


EXERCISES: list[Exercise] = [
    Number(
        "sparse_attention.reach",
        level="easy",
        hint="Each layer looks W − 1 tokens back, because the query is one of the W.",
        solution="26 · (512 − 1) = <strong>13,286</strong> tokens.",
        answer=lambda: _reach(26, 512),
        tolerance=0.5,
        mistakes=[
            Mistake(13_312, "The query itself is one of the 512: a layer looks 511 back."),
            Mistake(511, "That is one layer; each further layer adds as much."),
            Mistake(512, "That is one layer's window, and the query itself is in it."),
            Mistake(12_775, "That is 25 layers; the first one counts as well."),
        ],
    ),
    Number(
        "sparse_attention.pairs",
        level="easy",
        hint="128 keys for each query, less what the first 127 queries lack.",
        solution=(
            "128 · 1,024 − 128 · 127 / 2 = 131,072 − 8,128 = <strong>122,944</strong>: query 1 "
            "lacks 127 keys, query 2 lacks 126, and so on."
        ),
        answer=lambda: sliding_window_pairs(1024, 128, causal=True),
        tolerance=0.5,
        mistakes=[
            Mistake(131_072, "The first 127 queries have fewer than 128 keys before them."),
            Mistake(524_800, "That is full causal attention."),
            Mistake(1_048_576, "That is every pair, without mask."),
            Mistake(244_864, "That is a window on both sides; causal is one side."),
            Mistake(123_840, "That is 128 keys before the query and itself; it is one of the 128."),
            Mistake(121_920, "You left out the query itself: it is one of the 128."),
        ],
    ),
    Choice(
        "sparse_attention.blind_mask",
        level="medium",
        hint="Follow the arrows from the last query down two layers. Who has seen the word?",
        solution=(
            "Window and hub under a causal mask. The first token sees nobody after it, so it has "
            "nothing to relay, and two windows of 64 end 126 tokens back. (The first token itself "
            "is seen by all; a word beside it stays out of reach.)"
        ),
        options=[
            "window of 64 in layer 1, full causal attention in layer 2",
            "window of 64 and the first token as hub, both directions",
            "window of 64 and the first token as hub, causal",
            "full causal attention in layer 1, window of 64 in layer 2",
        ],
        answer=2,
        mistakes=[
            Mistake(0, "In layer 2 the last token sees every token itself."),
            Mistake(1, "The hub reads the word in layer 1, the last token reads the hub."),
            Mistake(3, "In layer 1 the last token's state has already read the whole text."),
        ],
    ),
    Function(
        "sparse_attention.design",
        level="medium",
        hint=(
            "A hub that sees all and is seen by all costs 2n pairs, and makes every path two "
            "layers long."
        ),
        solution="""\
from llmlib.sparse_attention import longformer_mask


def my_mask(n):
    return longformer_mask(n, 4, [0])
""",
        grader=_grade_mask,
        mistakes=[
            Mistake(
                """\
from llmlib.sparse_attention import sliding_window_mask


def my_mask(n):
    return sliding_window_mask(n, 5)
""",
                "a needle at token 0 does not reach token 9",
            ),
            Mistake(
                """\
from llmlib.sparse_attention import sliding_window_mask


def my_mask(n):
    return sliding_window_mask(n, n // 2 + 1)
""",
                "the budget is 640",
            ),
            Mistake(
                """\
from llmlib.sparse_attention import longformer_mask


def my_mask(n):
    return longformer_mask(n, 4, [0], causal=True)
""",
                "does not reach token 0 ",
            ),
            Mistake(
                """\
from llmlib.sparse_attention import longformer_mask


def my_mask(n):
    return longformer_mask(n, 4, [0]).float()
""",
                "must be boolean",
            ),
        ],
    ),
    Function(
        "sparse_attention.linear_step",
        level="medium",
        hint="Add the token to both sums first, then read: <code>q @ matrix</code> over what?",
        solution="""\
import torch


def my_linear_step(matrix, total, q, k, v):
    matrix, total = matrix + torch.outer(k, v), total + k
    return (q @ matrix) / (q @ total), matrix, total
""",
        grader=_grade_linear_step,
        mistakes=[
            Mistake(
                """\
import torch


def my_linear_step(matrix, total, q, k, v):
    matrix, total = matrix + torch.outer(k, v), total + k
    return q @ matrix, matrix, total
""",
                "not divided",
            ),
            Mistake(
                """\
import torch


def my_linear_step(matrix, total, q, k, v):
    bottom = q @ total
    out = (q @ matrix) / bottom if bottom > 0 else v
    return out, matrix + torch.outer(k, v), total + k
""",
                "before the new token was added",
            ),
            Mistake(
                """\
import torch


def my_linear_step(matrix, total, q, k, v):
    matrix, total = matrix + torch.outer(k, v), total + 1
    return (q @ matrix) / (q @ total), matrix, total
""",
                "not the old one plus k",
            ),
        ],
    ),
    Number(
        "sparse_attention.state_or_cache",
        level="hard",
        hint="Numbers a token in the cache: 2 · 128. Numbers in the state: 128 · 128 + 128.",
        solution=(
            "The state has 128 · 129 = 16,512 numbers, a token of the cache 256. "
            "16,512 / 256 = 64.5, so from <strong>65</strong> tokens on the cache is larger."
        ),
        answer=lambda: _tokens_until_larger(128),
        tolerance=0.4,
        mistakes=[
            Mistake(64, "At 64 tokens the cache has 16,384 numbers, the state 16,512."),
            Mistake(64.5, "There are no half tokens: round up."),
            Mistake(128, "Each token costs the cache a key <em>and</em> a value."),
            Mistake(129, "Each token costs the cache a key <em>and</em> a value."),
            Mistake(66, "One too many: 65 · 256 = 16,640 is already above 16,512."),
        ],
    ),
]
