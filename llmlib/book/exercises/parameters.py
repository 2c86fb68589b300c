"""Exercises of the chapter on parameters."""

import dataclasses
from collections.abc import Callable
from typing import Any

import llmlib.architecture as arch
from llmlib.accounting import parameters
from llmlib.book.exercise import Choice, Exercise, Function, Mistake, Number
from llmlib.model_cards import card
from llmlib.model_cards.gpt import gpt3


def _qwen(part: type[arch.Described] | None = None, **changes: Any) -> int:
    """Qwen2-0.5B, or a model that a slip would count: with other values in a kind of its parts."""
    config = card("Qwen2-0.5B").config
    if part is None:
        return int(parameters(dataclasses.replace(config, **changes)).total)
    return int(parameters(arch.changed(config, part, **changes)).total)


def _deep_gpt2() -> int:
    """GPT-2 with twice its layers."""
    return int(parameters(arch.changed(card("GPT-2").config, arch.Run, times=24)).total)


def _width_of_a_trillion() -> int:
    """The multiple of 128 whose d / 128 blocks are nearest to 10¹² parameters."""

    def blocks(d: int) -> int:
        counted = parameters(gpt3(d, d // 128, d // 128))
        return int(counted["attention"] + counted["feed_forward"] + counted["norms"])

    return min(range(128, 64_000, 128), key=lambda d: abs(blocks(d) - 10**12))


def _block(sizes: tuple[int, ...]) -> int:
    """One block of a Llama-type decoder, without what stands around it."""
    dim, n_heads, n_kv_heads, head_dim, ffn_dim = sizes
    block = arch.Block(
        arch.Attention(n_heads, n_kv_heads, head_dim, arch.Rope()), arch.FeedForward(ffn_dim)
    )
    stack = arch.Stack((arch.repeat(1, block),))
    counted = parameters(arch.ModelConfig(dim, 1, 1, stack))
    return int(sum(counted[name] for name in ("attention", "feed_forward", "norms")))


def _grade_block(answer: Callable[..., Any]) -> str | None:
    for sizes in ((4096, 32, 8, 128, 14336), (576, 9, 3, 64, 1536), (3072, 16, 16, 256, 24576)):
        dim, n_heads, n_kv_heads, head_dim, ffn_dim = sizes
        found, expected = answer(*sizes), _block(sizes)
        if isinstance(found, bool) or not isinstance(found, int | float):
            return "Return one number, the parameters of the block."
        if found == expected:
            continue
        if n_heads * head_dim != dim and found == _block((*sizes[:3], dim // n_heads, ffn_dim)):
            return "You took d / H for the width of a head; it is an argument of its own."
        slips: dict[float, str] = {
            n_heads * head_dim * dim: "That much the output matrix of attention holds: count it.",
            dim * ffn_dim: "One of the feed-forward block's three matrices is missing.",
            2 * dim: "The two norms are missing: an RMSNorm holds a gain of d numbers.",
            -2 * dim: "An RMSNorm has no shift: d numbers each, not 2d.",
            dim: "There are two norms in a block.",
        }
        if expected - found in slips:
            return slips[expected - found]
        groups = 2 * (n_heads - n_kv_heads) * head_dim * dim
        if found - expected == groups:
            return "Keys and values have the heads of their groups, G, not H."
        return f"For (d, H, G, d_head, d_ff) = {sizes} it is {expected:,}, yours gives {found:,}."
    return None


_RIGHT_BLOCK = """\
def my_block(dim, n_heads, n_kv_heads, head_dim, ffn_dim):
    attention = 2 * dim * n_heads * head_dim  # queries and output
    attention += 2 * dim * n_kv_heads * head_dim  # keys and values
    return attention + 3 * dim * ffn_dim + 2 * dim
"""

EXERCISES: list[Exercise] = [
    Number(
        "parameters.gpt2_by_hand",
        level="easy",
        hint=(
            "Two tables, (V + n<sub>ctx</sub>) d; 24 blocks of 12 d<sup>2</sup> + 13 d; a last "
            "norm with gain and shift. The head is the embedding."
        ),
        solution=(
            "d<sup>2</sup> = 589,824, so a block has 12 · 589,824 + 13 · 768 = 7,077,888 + 9,984 = "
            "7,087,872, and twenty-four of them 170,108,928. The tables: (50,257 + 1,024) · 768 = "
            "39,383,808. The last norm: 1,536. Together <strong>209,494,272</strong>."
        ),
        answer=_deep_gpt2,
        tolerance=0.5,
        mistakes=[
            Mistake(124_439_808, "That is GPT-2 itself, with 12 layers; here are 24."),
            Mistake(248_879_616, "Twice GPT-2: the tables and the last norm do not double."),
            Mistake(208_706_304, "Positions and the last norm are missing."),
            Mistake(209_492_736, "The last norm is missing: 2d."),
            Mistake(208_707_840, "The table of positions is missing: n<sub>ctx</sub> d."),
            Mistake(248_091_648, "The head is tied: it is the embedding, count it once."),
            Mistake(209_475_840, "A block has 13 d small ones, not 12 d."),
            Mistake(209_254_656, "Biases and norms of the blocks are missing: 13 d each."),
        ],
    ),
    Choice(
        "parameters.head_twice",
        level="medium",
        hint="Count it, 48 blocks of 12 d<sup>2</sup> + 13 d and the rest, then add V d once more.",
        solution=(
            "48 · (12 · 1,600<sup>2</sup> + 13 · 1,600) = 1,475,558,400; tables (50,257 + 1,024) · "
            "1,600 = 82,049,600; last norm 3,200. Together 1,557,611,200, and with V d = "
            "80,411,200 on top <strong>1,638,022,400</strong>. The 1,636,380,800 has the head "
            "twice but neither positions (1,638,400) nor the last norm."
        ),
        options=[
            "1,555,969,600",
            "1,557,608,000",
            "1,557,611,200",
            "1,636,380,800",
            "1,638,022,400",
        ],
        answer=4,
        mistakes=[
            Mistake(0, "That is V d + L (12 d<sup>2</sup> + 13 d): no positions, no last norm."),
            Mistake(1, "That lacks the last norm, 2 · 1,600, and has the head once."),
            Mistake(2, "That is the right total."),
            Mistake(3, "The head is there twice, but positions and last norm are missing."),
        ],
    ),
    Function(
        "parameters.llama_block",
        level="medium",
        hint="Four matrices in attention, two of them narrower; three in the feed-forward block.",
        solution=_RIGHT_BLOCK,
        grader=_grade_block,
        mistakes=[
            Mistake(_RIGHT_BLOCK.replace("2 * dim * n_heads", "dim * n_heads"), "output matrix"),
            Mistake(_RIGHT_BLOCK.replace("3 * dim", "2 * dim"), "three matrices is missing"),
            Mistake(_RIGHT_BLOCK.replace("n_kv_heads * head_dim", "n_heads * head_dim"), "not H"),
            Mistake(_RIGHT_BLOCK.replace("+ 2 * dim", "+ 4 * dim"), "no shift"),
            Mistake(_RIGHT_BLOCK.replace("ffn_dim + 2 * dim", "ffn_dim"), "two norms are missing"),
            Mistake(
                _RIGHT_BLOCK.replace("* head_dim", "* (dim // n_heads)"), "argument of its own"
            ),
        ],
    ),
    Number(
        "parameters.qwen_by_hand",
        level="medium",
        hint=(
            "A block has 2 d H d<sub>head</sub> + 2 d G d<sub>head</sub> in matrices of attention, "
            "(H + 2G) d<sub>head</sub> in biases, 3 d d<sub>ff</sub> after it and 2d in norms."
        ),
        solution=(
            "Attention: 2 · 896 · 896 + 2 · 896 · 128 = 1,835,008, and 896 + 2 · 128 = 1,152 in "
            "biases. Feed-forward: 3 · 896 · 4,864 = 13,074,432. Norms: 1,792. A block: "
            "14,912,384; 24 of them 357,897,216. The embedding: 151,936 · 896 = 136,134,656; the "
            "last norm: 896. Together <strong>494,032,768</strong>."
        ),
        answer=lambda: parameters(card("Qwen2-0.5B").config).total,
        tolerance=0.5,
        mistakes=[
            Mistake(_qwen(arch.Attention, qkv_bias=False), "The biases of Q, K and V are missing."),
            Mistake(_qwen(tied=False), "The head is tied: V d only once."),
            Mistake(_qwen() - 896, "The last norm is missing."),
            Mistake(
                _qwen(arch.Attention, n_kv_heads=14),
                "Keys and values have two heads, not fourteen.",
            ),
            Mistake(_qwen(arch.FeedForward, gated=False), "A gated block has three matrices."),
            Mistake(_qwen(arch.Norm, kind="layer", bias=True), "An RMSNorm has no shift."),
        ],
    ),
    Number(
        "parameters.trillion",
        level="hard",
        hint="Put L = d / 128 into N = 12 L d<sup>2</sup>: a third power.",
        solution=(
            "12 d<sup>3</sup> / 128 = 10<sup>12</sup>, so d is the cube root of 1.0667 · "
            "10<sup>13</sup>, about 22,013; the nearest multiple of 128 is 172 · 128 = "
            "<strong>22,016</strong>, with 172 layers and 172 heads."
        ),
        answer=_width_of_a_trillion,
        tolerance=0.5,
        mistakes=[
            Mistake(22_013, "Close: which multiple of 128 is that nearest to?"),
            Mistake(29_440, "That keeps GPT-3's 96 layers; here L grows with d."),
            Mistake(29_463, "That keeps GPT-3's 96 layers; here L grows with d."),
            Mistake(50_432, "The 12 is missing."),
            Mistake(9_984, "Both the 12 and the 128 are missing: 12 d<sup>2</sup> · d / 128."),
            Mistake(4_352, "L is d / 128, not d: 12 d<sup>3</sup> / 128."),
        ],
    ),
]
