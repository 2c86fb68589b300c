"""Exercises of the chapter on attention."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from llmlib.attention import LatentAttention, reference_attention
from llmlib.book.exercise import Choice, Exercise, Function, Mistake, Number
from llmlib.kv_cache import KVCache


def _llama_gigabytes() -> float:
    """80 layers, 8 key/value heads of width 128, 4,096 tokens, counted without memory."""
    cache = KVCache(capacity=4096)
    x = torch.empty(1, 8, 4096, 128, dtype=torch.bfloat16, device="meta")
    for i in range(80):
        cache.layer(i).update(x, x)
    return cache.n_bytes / 1e9


def _balance() -> int:
    """The most new queries for which the library absorbs."""
    with torch.device("meta"):
        layer = LatentAttention(64, 1, 256, 32, 64, 64)
    return max(n for n in range(1, 1000) if layer.absorbing_is_cheaper(n))


def _grade_group(answer: Callable[..., Any]) -> str | None:
    for n_heads, n_kv_heads in ((8, 8), (8, 1), (8, 2), (12, 3), (32, 8)):
        expected = torch.arange(n_kv_heads).repeat_interleave(n_heads // n_kv_heads).tolist()
        found = [answer(head, n_heads, n_kv_heads) for head in range(n_heads)]
        if found == expected:
            continue
        case = f"With {n_heads} heads and {n_kv_heads} groups"
        if any(isinstance(group, float) for group in found):
            return f"{case}, return whole numbers: // divides without a remainder."
        if found == [group + 1 for group in expected]:
            return f"{case}: right, but counted from 1; here both are counted from 0."
        if found == [head % n_kv_heads for head in range(n_heads)]:
            return f"{case}, you deal the heads out in turn; neighbors share."
        return f"{case}, the groups are {expected[:8]} …; you say {found[:8]} …"
    return None


def _grade_gqa(answer: Callable[..., Any]) -> str | None:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    for heads, groups in ((4, 4), (4, 1), (6, 2)):
        q, k, v = draw(heads, 5, 8), draw(groups, 5, 8), draw(groups, 5, 8)
        found = answer(q.clone(), k.clone(), v.clone())
        if not isinstance(found, Tensor) or found.shape != q.shape:
            shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            return f"Return a tensor of q's shape {tuple(q.shape)}; yours is {shape}."
        wrong = _what_is_wrong(found, q, k, v)
        if wrong is not None:
            return f"H = {heads}, G = {groups}: {wrong}"
    return None


def _what_is_wrong(found: Tensor, q: Tensor, k: Tensor, v: Tensor) -> str | None:
    """None for the right output, else a sentence about the likely cause."""

    def same(k: Tensor, v: Tensor, **options: Any) -> bool:
        expected = reference_attention(q[None], k[None], v[None], **options)[0]
        return bool(torch.allclose(found, expected))

    share = len(q) // len(k)
    if same(k, v):
        return None
    if same(k.repeat(share, 1, 1), v.repeat(share, 1, 1)):
        return "you repeat whole rounds of heads; copies must stand beside their head."
    if same(k, v, scale=1.0):
        return "the scores are not scaled by the root of the head's width."
    if same(k, v, scale=1 / q.shape[-1]):
        return "the scores are divided by the width; it should be by its root."
    if same(k, v, causal=True):
        return "you mask the future; here every query sees every key."
    return "the numbers differ. Check which group each head reads, scale, softmax and average."


EXERCISES: list[Exercise] = [
    Number(
        "attention.llama_cache",
        level="easy",
        hint="Keys and values, layers, key/value heads, width, tokens, 2 bytes a number.",
        solution=(
            "2 · 80 · 8 · 128 · 4,096 · 2 bytes = <strong>1.34 GB</strong>. With 64 heads of keys "
            "and values it would be 10.7 GB, eight times as much, for every text that is served."
        ),
        answer=_llama_gigabytes,
        tolerance=0.01,
        mistakes=[
            Mistake(10.74, "That is with 64 key/value heads; queries are not kept."),
            Mistake(0.671, "Keys <em>and</em> values, 2 bytes each: one factor of 2 is missing."),
            Mistake(2.684, "That is with 4 bytes a number; 16 bits are 2 bytes."),
            Mistake(0.0168, "That is one layer: each of the 80 keeps its own."),
            Mistake(1.25, "That is in GiB, 2<sup>30</sup> bytes; asked are 10<sup>9</sup>."),
        ],
    ),
    Choice(
        "attention.unchanged",
        level="easy",
        hint="Ask of each: does it grow with the query heads, or with the key/value heads?",
        solution=(
            "The FLOPs of the scores. Every query head still compares its queries with all keys; "
            "that several of them read the same keys changes nothing in the count. Cache, weights "
            "and the bytes read at each step all hold the number of key/value heads."
        ),
        options=[
            "the weights of a layer's attention",
            "the FLOPs of the scores",
            "the bytes that a decoding step reads from the cache",
            "the FLOPs of the projections",
        ],
        answer=1,
        mistakes=[
            Mistake(0, "The key and value matrices have a quarter of their rows."),
            Mistake(2, "A step reads the whole cache, and that is a quarter now."),
            Mistake(3, "Keys and values are made by smaller matrices."),
        ],
    ),
    Function(
        "attention.group",
        level="medium",
        hint="<code>n_heads // n_kv_heads</code> neighbors share a group.",
        solution="""\
def my_group(head, n_heads, n_kv_heads):
    return head // (n_heads // n_kv_heads)
""",
        grader=_grade_group,
        mistakes=[
            Mistake(
                """\
def my_group(head, n_heads, n_kv_heads):
    return head % n_kv_heads
""",
                "neighbors share",
            ),
            Mistake(
                """\
import math


def my_group(head, n_heads, n_kv_heads):
    return math.ceil((head + 1) * n_kv_heads / n_heads)
""",
                "counted from 0",
            ),
            Mistake(
                """\
def my_group(head, n_heads, n_kv_heads):
    return head / (n_heads / n_kv_heads)
""",
                "whole numbers",
            ),
            Mistake(
                """\
def my_group(head, n_heads, n_kv_heads):
    return head // n_kv_heads
""",
                "the groups are",
            ),
        ],
    ),
    Function(
        "attention.gqa",
        level="hard",
        hint=(
            "Give each group an axis of its own, (G, H/G, s, d), or copy with "
            "<code>repeat_interleave</code>."
        ),
        solution="""\
def my_gqa(q, k, v):
    grouped = q.unflatten(0, (k.shape[0], -1))
    scores = grouped @ k[:, None].transpose(-1, -2) / q.shape[-1] ** 0.5
    return (scores.softmax(-1) @ v[:, None]).flatten(0, 1)
""",
        grader=_grade_gqa,
        mistakes=[
            Mistake(
                """\
def my_gqa(q, k, v):
    n = q.shape[0] // k.shape[0]
    k, v = k.repeat(n, 1, 1), v.repeat(n, 1, 1)
    return (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1) @ v
""",
                "whole rounds",
            ),
            Mistake(
                """\
def my_gqa(q, k, v):
    n = q.shape[0] // k.shape[0]
    k, v = k.repeat_interleave(n, 0), v.repeat_interleave(n, 0)
    return (q @ k.transpose(-1, -2)).softmax(-1) @ v
""",
                "not scaled",
            ),
            Mistake(
                """\
def my_gqa(q, k, v):
    n = q.shape[0] // k.shape[0]
    k, v = k.repeat_interleave(n, 0), v.repeat_interleave(n, 0)
    return (q @ k.transpose(-1, -2) / q.shape[-1]).softmax(-1) @ v
""",
                "by its root",
            ),
            Mistake(
                """\
def my_gqa(q, k, v):
    grouped = q.unflatten(0, (k.shape[0], -1))
    scores = grouped @ k[:, None].transpose(-1, -2) / q.shape[-1] ** 0.5
    return scores.softmax(-1) @ v[:, None]
""",
                "Return a tensor of q's shape",
            ),
        ],
    ),
    Number(
        "attention.balance",
        level="hard",
        hint=(
            "For n queries and one key: expanded r · 128 + n · (64 + 32 + 64), absorbed "
            "n · (256 + 32 + 256)."
        ),
        solution=(
            "Expanded: 256 · 128 + 160 n. Absorbed: 544 n. The second is smaller while 384 n &lt; "
            "32,768, that is n &lt; 85.3: up to <strong>85</strong> queries."
        ),
        answer=_balance,
        tolerance=0.4,
        mistakes=[
            Mistake(86, "85.3: at 86 queries expanding is the cheaper one."),
            Mistake(60, "The expanded form pays for each query too, 160 multiply-adds a key."),
            Mistake(42, "Expanding makes a key and a value: 256 · 128, not 256 · 64."),
        ],
    ),
]
