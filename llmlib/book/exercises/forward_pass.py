"""Exercises of the chapter on the forward pass."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import llmlib.architecture as arch
from llmlib.attention import Attention
from llmlib.book.exercise import Choice, Exercise, Function, Mistake, Number
from llmlib.decoder import DecoderConfig
from llmlib.sampling import Sampler


def _sharpened() -> float:
    return Sampler(0.5).probabilities(torch.tensor([0.8, 0.2]).log())[0].item()


def _grouped_weights() -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in Attention(1024, 16, 4).parameters())


def _half_right() -> float:
    """T with sigmoid(ln 9 / T) ** 20 = 1/2."""
    step = 0.5 ** (1 / 20)
    return math.log(9) / math.log(step / (1 - step))


def _expected_shapes(c: arch.ModelConfig, batch: int, seq: int) -> dict[str, tuple[int, ...]]:
    heads, ffn = c.block.mixer, c.block.feed_forward
    assert isinstance(heads, arch.Attention)
    assert isinstance(ffn, arch.FeedForward)
    return {
        "embedded": (batch, seq, c.dim),
        "queries": (batch, heads.n_heads, seq, heads.head_dim),
        "keys": (batch, heads.n_kv_heads, seq, heads.head_dim),
        "scores": (batch, heads.n_heads, seq, seq),
        "heads": (batch, seq, heads.n_heads * heads.head_dim),
        "hidden": (batch, seq, ffn.ffn_dim),
        "logits": (batch, seq, c.vocab_size),
    }


_SHAPE_HINTS = {
    "queries": "Each head has a row for each token: (batch, heads, seq, head_dim).",
    "keys": "Keys have n_kv_heads heads, which may be fewer than n_heads.",
    "scores": "Every query head compares each token with each: (batch, n_heads, seq, seq).",
    "heads": "Side by side the heads are n_heads * head_dim wide, which need not be dim.",
    "hidden": "Inside the feed-forward block a token has ffn_dim numbers.",
    "logits": "The head gives vocab_size scores at every position.",
}


def _grade_shapes(answer: Callable[..., Any]) -> str | None:
    configs = [
        DecoderConfig(vocab_size=100, dim=48, n_layers=2, n_heads=6, n_kv_heads=2, ffn_dim=80),
        DecoderConfig(vocab_size=90, dim=40, n_layers=3, n_heads=4, head_dim=16, ffn_dim=70),
    ]
    for config in configs:
        result = answer(config, 2, 7)
        if not isinstance(result, dict):
            return f"Return a dictionary; your function returned {type(result).__name__}."
        for name, shape in _expected_shapes(config, 2, 7).items():
            if name not in result:
                return f"The entry '{name}' is missing."
            if tuple(result[name]) != shape:
                hint = _SHAPE_HINTS.get(name, "A row of dim numbers for each token.")
                return f"{name}: expected {shape}, yours is {tuple(result[name])}. {hint}"
    return None


def _grade_top_p(answer: Callable[..., Any]) -> str | None:
    p = torch.tensor([0.05, 0.4, 0.1, 0.3, 0.15], dtype=torch.float64)
    for top_p, keep in ((0.65, [1, 3]), (0.75, [1, 3, 4]), (0.2, [1]), (1.0, [0, 1, 2, 3, 4])):
        expected = torch.zeros_like(p)
        expected[keep] = p[keep] / p[keep].sum()
        result = answer(p.clone(), top_p)
        if not isinstance(result, Tensor) or result.shape != p.shape:
            return "Return a tensor with a probability for each token, in the order of p."
        if torch.allclose(result.double(), expected):
            continue
        message = _top_p_message(result.double(), p, expected)
        return message.replace("TOP_P", f"{top_p:g}")
    return None


def _top_p_message(result: Tensor, p: Tensor, expected: Tensor) -> str:
    kept, wanted = result > 0, expected > 0
    if torch.equal(kept, wanted):
        return "The right tokens are kept, but the result must sum to 1 again: normalize."
    if not bool(kept.any()):
        return "With top_p = TOP_P nothing is kept; the most probable token always stays."
    if int(kept.sum()) < int(wanted.sum()) and bool((wanted | ~kept).all()):
        return (
            "With top_p = TOP_P you stop too early: the token that takes the sum over the "
            "threshold belongs to those that are kept."
        )
    if float(p[kept].min()) > 0 and torch.equal(kept.sum(), wanted.sum()):
        return "The number kept is right, but not the most probable ones: undo the sorting."
    return "With top_p = TOP_P you keep other tokens. Sort by probability, then add up."


EXERCISES: list[Exercise] = [
    Number(
        "forward_pass.temperature",
        level="easy",
        hint="Dividing logits by T raises probabilities to the power 1/T; then normalize.",
        solution=(
            "1/T = 2: 0.8<sup>2</sup> = 0.64 and 0.2<sup>2</sup> = 0.04. Normalized: "
            "0.64 / 0.68 = <strong>0.941</strong>."
        ),
        answer=_sharpened,
        tolerance=0.001,
        mistakes=[
            Mistake(0.64, "Squared, but not normalized: divide by 0.64 + 0.04."),
            Mistake(2 / 3, "That is T = 2, the square root: below 1 a temperature sharpens."),
            Mistake(0.8, "The temperature changes the distribution, unless it is 1."),
            Mistake(
                math.exp(1.6) / (math.exp(1.6) + math.exp(0.4)),
                "You divided the probabilities by T; it divides the logits, their logarithms.",
            ),
        ],
    ),
    Choice(
        "forward_pass.who_notices",
        level="easy",
        hint="Attention is the only way between tokens, and it looks back, and at itself.",
        solution=(
            "<strong>Rows 6 to 10.</strong> Row 6 reads the new token itself; later rows see it "
            "through attention. Earlier rows may not look ahead, so they keep every bit."
        ),
        options=["row 6 alone", "rows 6 to 10", "rows 1 to 6", "all ten rows"],
        answer=1,
        mistakes=[
            Mistake(0, "That would be so without attention: later tokens look at token 6."),
            Mistake(2, "The other way round: earlier tokens cannot look ahead."),
            Mistake(3, "The causal mask keeps the future from rows 1 to 5."),
        ],
    ),
    Function(
        "forward_pass.shapes",
        level="medium",
        hint=(
            "The model has dim and vocab_size, its block.mixer n_heads, n_kv_heads and head_dim, "
            "its block.feed_forward ffn_dim."
        ),
        solution="""\
def my_shapes(config, batch, seq):
    a = config.block.mixer
    return {
        "embedded": (batch, seq, config.dim),
        "queries": (batch, a.n_heads, seq, a.head_dim),
        "keys": (batch, a.n_kv_heads, seq, a.head_dim),
        "scores": (batch, a.n_heads, seq, seq),
        "heads": (batch, seq, a.n_heads * a.head_dim),
        "hidden": (batch, seq, config.block.feed_forward.ffn_dim),
        "logits": (batch, seq, config.vocab_size),
    }
""",
        grader=_grade_shapes,
        mistakes=[
            Mistake(
                "def f(c, b, s):\n"
                "    a = c.block.mixer\n"
                "    q = (b, a.n_heads, s, a.head_dim)\n"
                "    return {'embedded': (b, s, c.dim), 'queries': q, 'keys': q}\n",
                "fewer than n_heads",
            ),
            Mistake("def f(c, b, s):\n    return {'embedded': (b, s, c.dim)}\n", "is missing"),
            Mistake("def f(c, b, s):\n    return (b, s)\n", "Return a dictionary"),
        ],
    ),
    Function(
        "forward_pass.top_p",
        level="medium",
        hint=(
            "Sort from high to low and add up. A token stays when those before it hold less "
            "than <code>top_p</code>."
        ),
        solution="""\
import torch


def my_top_p(p, top_p):
    ordered, order = p.sort(descending=True)
    before = ordered.cumsum(0) - ordered
    kept = torch.zeros_like(p)
    kept[order] = ordered * (before < top_p)
    return kept / kept.sum()
""",
        grader=_grade_top_p,
        mistakes=[
            Mistake(
                "import torch\n"
                "def f(p, top_p):\n"
                "    ordered, order = p.sort(descending=True)\n"
                "    kept = torch.zeros_like(p)\n"
                "    kept[order] = ordered * (ordered.cumsum(0) <= top_p)\n"
                "    return kept / kept.sum()\n",
                "stop too early",
            ),
            Mistake(
                "import torch\n"
                "def f(p, top_p):\n"
                "    ordered, order = p.sort(descending=True)\n"
                "    kept = torch.zeros_like(p)\n"
                "    kept[order] = ordered * (ordered.cumsum(0) - ordered < top_p)\n"
                "    return kept\n",
                "normalize",
            ),
            Mistake(
                "import torch\n"
                "def f(p, top_p):\n"
                "    ordered, _ = p.sort(descending=True)\n"
                "    kept = ordered * (ordered.cumsum(0) - ordered < top_p)\n"
                "    return kept / kept.sum()\n",
                "undo the sorting",
            ),
        ],
    ),
    Number(
        "forward_pass.grouped_weights",
        level="medium",
        hint="Queries and output are d × H·64; keys and values are d × G·64.",
        solution=(
            "Queries and output: 2 · 1024 · 1024 = 2,097,152. Keys and values: "
            "2 · 1024 · 256 = 524,288. Together <strong>2,621,440</strong>."
        ),
        answer=_grouped_weights,
        tolerance=0.5,
        mistakes=[
            Mistake(4_194_304, "That is 4d², with 16 key and value heads; here there are 4."),
            Mistake(1_572_864, "Three matrices: the output projection is missing."),
            Mistake(1_310_720, "You counted one of each kind: queries, output, keys, values."),
        ],
    ),
    Number(
        "forward_pass.half_right",
        level="hard",
        hint=(
            "Each step must be right with probability 0.5<sup>1/20</sup>. At temperature T the "
            "odds 9 : 1 become 9<sup>1/T</sup> : 1."
        ),
        solution=(
            "0.5<sup>1/20</sup> = 0.96594, that is odds of 28.36 : 1. "
            "9<sup>1/T</sup> = 28.36 gives T = ln 9 / ln 28.36 = <strong>0.66</strong>."
        ),
        answer=_half_right,
        tolerance=0.006,
        mistakes=[
            Mistake(1.52, "That is 1/T: the chain must be surer than at T = 1, so T is below 1."),
            Mistake(0.5, "At 0.5 the chain is right in 78% of the cases."),
            Mistake(1, "At 1 it is right in 12% of the cases."),
        ],
    ),
]
