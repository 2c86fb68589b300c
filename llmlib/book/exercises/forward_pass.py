"""Exercises of the chapter on the forward pass."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import llmlib.architecture as arch
from llmlib.attention import Attention, reference_attention
from llmlib.book.exercise import Choice, Exercise, Function, Mistake, Number
from llmlib.decoder import DecoderConfig


def _grouped_weights() -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in Attention(1024, 16, 4).parameters())


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


def _grade_attention(answer: Callable[..., Any]) -> str | None:
    generator = torch.Generator().manual_seed(0)
    for queries, keys in ((4, 4), (2, 5)):
        q = torch.randn(queries, 8, generator=generator, dtype=torch.float64)
        k, v = (torch.randn(keys, 8, generator=generator, dtype=torch.float64) for _ in "kv")
        result = answer(q.clone(), k.clone(), v.clone())
        if not isinstance(result, Tensor) or result.shape != v[:queries].shape:
            return "Return a tensor with a row for each query, as wide as a value."
        if not torch.allclose(result.double(), _attention(q, k, v)):
            return _attention_message(result.double(), q, k, v)
    return None


def _attention(q: Tensor, k: Tensor, v: Tensor, causal: bool = True) -> Tensor:
    return reference_attention(*(t[None, None] for t in (q, k, v)), causal=causal)[0, 0]


def _attention_message(result: Tensor, q: Tensor, k: Tensor, v: Tensor) -> str:
    if bool(result.isnan().any()):
        return "There are NaNs: some row of weights had nothing to look at."
    if torch.allclose(result, _attention(q, k, v, causal=False)):
        return "Your queries see the future: a query may see itself and the keys before it."
    if torch.allclose(result, _attention(q * q.shape[-1] ** 0.5, k, v)):
        return "The scores are not divided by the root of the width of a key."
    if len(q) < len(k):
        return (
            "With as many keys as queries yours is right. With more keys the last query is to "
            "see the last key: query i of s sees the first i + (number of keys) - s + 1."
        )
    return "Other numbers: scores q kᵀ / √width, mask the future, softmax over the keys, times v."


EXERCISES: list[Exercise] = [
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
        "forward_pass.attention",
        level="medium",
        hint=(
            "The mask is <code>torch.ones(len(q), len(k)).tril(len(k) - len(q)).bool()</code>: "
            "what it leaves out gets the score minus infinity before the softmax."
        ),
        solution="""\
import torch


def my_attention(q, k, v):
    scores = q @ k.T / k.shape[-1] ** 0.5
    past = torch.ones(len(q), len(k)).tril(len(k) - len(q)).bool()
    return scores.masked_fill(~past, -torch.inf).softmax(-1) @ v
""",
        grader=_grade_attention,
        mistakes=[
            Mistake(
                "def f(q, k, v):\n    return (q @ k.T / k.shape[-1] ** 0.5).softmax(-1) @ v\n",
                "see the future",
            ),
            Mistake(
                "import torch\n"
                "def f(q, k, v):\n"
                "    past = torch.ones(len(q), len(k)).tril(len(k) - len(q)).bool()\n"
                "    return (q @ k.T).masked_fill(~past, -torch.inf).softmax(-1) @ v\n",
                "not divided",
            ),
            Mistake(
                "import torch\n"
                "def f(q, k, v):\n"
                "    past = torch.ones(len(q), len(k)).tril().bool()\n"
                "    scores = q @ k.T / k.shape[-1] ** 0.5\n"
                "    return scores.masked_fill(~past, -torch.inf).softmax(-1) @ v\n",
                "the last query",
            ),
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
]
