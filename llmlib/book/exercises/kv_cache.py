"""Exercises of the chapter on the KV cache."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

import llmlib.architecture as arch
from llmlib.attention import reference_attention
from llmlib.book.exercise import Choice, Exercise, Function, Mistake, Number
from llmlib.kv_cache import KVCache, RollingKVCache
from llmlib.model_cards import card


def _cache_bytes(layers: int, kv_heads: int, head_dim: int, n_tokens: int) -> int:
    """What a 16-bit cache holds, counted on tensors without memory."""
    cache = KVCache()
    x = torch.empty(1, kv_heads, n_tokens, head_dim, dtype=torch.bfloat16, device="meta")
    for i in range(layers):
        cache.layer(i).update(x, x)
    return cache.n_bytes


def _texts_on_the_server() -> int:
    config = card("Mistral-7B-v0.1").config
    heads = config.block.mixer
    assert isinstance(heads, arch.Attention)
    one = _cache_bytes(config.n_layers, heads.n_kv_heads, heads.head_dim, 16_384)
    free = 80e9 - 4e9 - 2 * card("Mistral-7B-v0.1").published_parameters
    return int(free // one)


def _grade_cached_step(answer: Callable[..., Any]) -> str | None:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    q, k, v, keys, values = draw(1, 6), draw(1, 6), draw(1, 6), draw(5, 6), draw(5, 6)
    result = answer(q, k, v, keys.clone(), values.clone())
    if not isinstance(result, Sequence) or len(result) != 3:
        return "Return three tensors: the output, the grown keys, the grown values."
    if not all(isinstance(x, Tensor) for x in result):
        return "All three results must be tensors."
    out, new_keys, new_values = result
    all_keys, all_values = torch.cat([keys, k]), torch.cat([values, v])
    if new_keys.shape != all_keys.shape or new_values.shape != all_values.shape:
        return f"The grown cache must have shape {tuple(all_keys.shape)}: one row more."
    if torch.equal(new_keys, torch.cat([k, keys])):
        return "The new key stands before the old ones; append it after them."
    if not torch.equal(new_keys, all_keys) or not torch.equal(new_values, all_values):
        return "The grown cache must hold the old rows, then k (for the values: v), unchanged."
    if out.shape != q.shape:
        return f"The output must have q's shape {tuple(q.shape)}, yours has {tuple(out.shape)}."
    return _judge_output(out, q, (keys, values), (all_keys, all_values))


def _judge_output(
    out: Tensor, q: Tensor, old: tuple[Tensor, Tensor], grown: tuple[Tensor, Tensor]
) -> str | None:
    """None for the attention of q over the grown cache, else what went wrong."""

    def attend(both: tuple[Tensor, Tensor], scale: float | None = None) -> Tensor:
        query, keys, values = q[None, None], both[0][None, None], both[1][None, None]
        return reference_attention(query, keys, values, scale=scale)[0, 0]

    if torch.allclose(out, attend(grown)):
        return None
    if torch.allclose(out, attend(old)):
        return "The query must see the new token too: append first, then attend."
    if torch.allclose(out, attend(grown, scale=1.0)):
        return "The scores are not scaled: divide them by the square root of the head's width."
    return "The cache is right, the output is not. Check scores, scale, softmax and average."


def _grade_ring_slots(answer: Callable[..., Any]) -> str | None:
    for length, window in ((3, 4), (4, 4), (5, 4), (11, 4), (7, 3), (6, 1)):
        cache = RollingKVCache(window)
        for _ in range(length - 1):
            cache.layer(0).update(torch.zeros(1, 1, 1, 2), torch.zeros(1, 1, 1, 2))
        expected = cache.key_positions(1).tolist()
        result = answer(length, window)
        if not isinstance(result, Sequence) or isinstance(result, str):
            return "Return a list of positions, one for each slot that is filled."
        found = [int(position) for position in result]
        if found == expected:
            continue
        case = f"After {length} tokens with {window} slots"
        if len(found) != len(expected):
            return f"{case}, {len(expected)} slots are filled; you list {len(found)}."
        if sorted(found) == sorted(expected):
            return f"{case}: the right positions, but not in the order of the slots."
        return f"{case}, the slots hold {expected}; you say {found}."
    return None


EXERCISES: list[Exercise] = [
    Number(
        "kv_cache.token_forwards",
        level="easy",
        hint="The first pass feeds 100 tokens, the second 101, and so on: fifty passes.",
        solution=(
            "The passes feed 100, 101, …, 149 tokens. Their sum is 50 · (100 + 149) / 2 = "
            "<strong>6,225</strong>. With a cache it would be 100 + 49 = 149."
        ),
        answer=lambda: sum(range(100, 150)),
        tolerance=0.5,
        mistakes=[
            Mistake(149, "That is with a cache. Without one, every pass reads the whole text."),
            Mistake(150, "That is with a cache, and the last token is never fed."),
            Mistake(5000, "That is 50 passes over the prompt alone; the text grows meanwhile."),
            Mistake(6275, "You fed 101 … 150: the first pass feeds the prompt alone."),
            Mistake(11175, "The prompt is read in one pass: start at 100, not at 1."),
            Mistake(1275, "You counted the new tokens only; the prompt is read again each time."),
        ],
    ),
    Number(
        "kv_cache.bytes_per_token",
        level="easy",
        hint=(
            "Keys and values, layers, key/value heads, their width, 2 bytes. Two of the numbers "
            "are decoys."
        ),
        solution=(
            "2 · 28 · 8 · 128 · 2 = <strong>114,688</strong> bytes. The model's width 3,072 and "
            "its 24 query heads do not appear."
        ),
        answer=lambda: _cache_bytes(28, 8, 128, 1),
        tolerance=0.5,
        mistakes=[
            Mistake(57_344, "Keys <em>and</em> values, or 2 bytes a number: one 2 is missing."),
            Mistake(344_064, "You counted the 24 query heads; queries are not kept."),
            Mistake(229_376, "That is with 4 bytes a number; 16 bits are 2 bytes."),
            Mistake(4096, "That is one layer: each of the 28 keeps its own."),
            Mistake(2_752_512, "You took the model's width for the width of a head."),
        ],
    ),
    Choice(
        "kv_cache.not_exact",
        level="medium",
        hint="Ask of each: can a token that is written later change an earlier state?",
        solution=(
            "The encoder. Each of its tokens sees all others, so a new token changes every earlier "
            "state after the first layer, and the kept keys and values are stale. A window and "
            "ALiBi leave the mask causal; sharing heads changes what is kept, not when it is final."
        ),
        options=[
            "a decoder with ALiBi, a bias on the scores in place of position vectors",
            "a decoder whose queries see the last 4,096 keys, with a rolling cache of 4,096",
            "an encoder such as BERT that gets one more word at the end of its text",
            "a decoder with one key/value head for all its query heads",
        ],
        answer=2,
        mistakes=[
            Mistake(0, "The bias touches scores; keys and values of the past do not change."),
            Mistake(1, "What the ring drops is what no later query may see."),
            Mistake(3, "One head's keys are as final as many heads' keys."),
        ],
    ),
    Function(
        "kv_cache.cached_step",
        level="medium",
        hint="Grow both tensors with <code>torch.cat</code>, then attend to all of them.",
        solution="""\
import torch


def my_cached_step(q, k, v, keys, values):
    keys, values = torch.cat([keys, k]), torch.cat([values, v])
    weights = (q @ keys.T / keys.shape[-1] ** 0.5).softmax(-1)
    return weights @ values, keys, values
""",
        grader=_grade_cached_step,
        mistakes=[
            Mistake(
                """\
import torch


def my_cached_step(q, k, v, keys, values):
    out = (q @ keys.T / keys.shape[-1] ** 0.5).softmax(-1) @ values
    return out, torch.cat([keys, k]), torch.cat([values, v])
""",
                "append first, then attend",
            ),
            Mistake(
                """\
import torch


def my_cached_step(q, k, v, keys, values):
    keys, values = torch.cat([k, keys]), torch.cat([v, values])
    weights = (q @ keys.T / keys.shape[-1] ** 0.5).softmax(-1)
    return weights @ values, keys, values
""",
                "append it after them",
            ),
            Mistake(
                """\
import torch


def my_cached_step(q, k, v, keys, values):
    keys, values = torch.cat([keys, k]), torch.cat([values, v])
    return (q @ keys.T).softmax(-1) @ values, keys, values
""",
                "not scaled",
            ),
            Mistake(
                """\
import torch


def my_cached_step(q, k, v, keys, values):
    keys, values = torch.cat([keys, k]), torch.cat([values, v])
    return (q @ keys.T / keys.shape[-1] ** 0.5).softmax(-1) @ values
""",
                "Return three tensors",
            ),
        ],
    ),
    Function(
        "kv_cache.ring_slots",
        level="medium",
        hint=(
            "Slot i holds the largest position p below <code>length</code> with "
            "<code>p % window == i</code>."
        ),
        solution="""\
def my_slots(length, window):
    slots = [None] * min(length, window)
    for position in range(length):
        slots[position % window] = position
    return slots
""",
        grader=_grade_ring_slots,
        mistakes=[
            Mistake(
                """\
def my_slots(length, window):
    return list(range(max(0, length - window), length))
""",
                "not in the order of the slots",
            ),
            Mistake(
                """\
def my_slots(length, window):
    return list(range(length))
""",
                "slots are filled",
            ),
            Mistake(
                """\
def my_slots(length, window):
    return list(range(min(length, window)))
""",
                "the slots hold",
            ),
        ],
    ),
    Number(
        "kv_cache.server",
        level="hard",
        hint="Bytes of one text: 2·L·G·d_head·2 a token, times 16,384. What is left for texts?",
        solution=(
            "A token takes 2·32·8·128·2 = 131,072 bytes, a text 131,072 · 16,384 = 2.147 GB. The "
            "weights take 14.483 GB, so 80 − 4 − 14.483 = 61.517 GB are left, and "
            "61.517 / 2.147 = 28.6: <strong>28</strong> texts."
        ),
        answer=_texts_on_the_server,
        tolerance=0.4,
        mistakes=[
            Mistake(29, "28.6 texts: the last one does not fit, so round down."),
            Mistake(35, "You forgot the weights: they take 14.5 GB."),
            Mistake(30, "You forgot the 4 GB that stay free."),
            Mistake(7, "You counted 32 key/value heads; the model has 8."),
            Mistake(57, "Keys and values, 2 bytes each: one factor of 2 is missing."),
            Mistake(114, "That is with a rolling cache of 4,096; the question has a full one."),
        ],
    ),
]
