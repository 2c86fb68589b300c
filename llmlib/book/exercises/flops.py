"""Exercises of the chapter on FLOPs."""

import dataclasses
from collections.abc import Callable
from typing import Any

import llmlib.architecture as arch
from llmlib.accounting import CHIPS, forward_flops, parameters, training_flops
from llmlib.book.exercise import Choice, Exercise, Function, Mistake, Number
from llmlib.model_cards import card


def _gpu_hours() -> float:
    n = 13e9
    return 6 * n * 20 * n / (0.4 * CHIPS["H100"].rate("bfloat16")) / 3600


def _even_length() -> float:
    """Where the pairs cost as much as a block's weights, with all pairs computed."""
    counts = forward_flops(card("LLaMA-13B").config, 1, 1)
    pairs = counts["attention.scores"] + counts["attention.average"]
    return (counts.total - counts["head"] - pairs) / pairs


def _closest_to_six_n() -> int:
    """Of the choices the one whose training FLOPs are nearest to 6 N for each token."""
    long, mixture = card("Llama-3-8B").config, card("Mixtral-8x7B-v0.1").config
    cases: list[tuple[arch.ModelConfig, int, bool]] = [
        (long, 131_072, False), (card("GPT-3 175B").config, 2048, False),
        (mixture, 4096, False), (card("LLaMA-65B").config, 2048, True),
    ]  # fmt: skip
    off = []
    for config, seq, checkpointing in cases:
        done = training_flops(config, 1, seq, checkpointing=checkpointing).total / seq
        off.append(abs(done / (6 * parameters(config).total) - 1))
    return off.index(min(off))


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What the reader's function is given: a decoder in eight numbers."""

    vocab_size: int = 97
    dim: int = 24
    n_layers: int = 3
    n_heads: int = 6
    n_kv_heads: int = 6
    head_dim: int = 4
    ffn_dim: int = 96
    gated: bool = False

    def flops(self, past: int, pairs: Any = "all") -> Any:
        """What the library counts for two texts of seven tokens."""
        block = arch.Block(
            arch.Attention(self.n_heads, self.n_kv_heads, self.head_dim),
            arch.FeedForward(self.ffn_dim, "gelu", gated=self.gated),
        )
        stack = arch.Stack((arch.repeat(self.n_layers, block),))
        config = arch.ModelConfig(self.dim, self.vocab_size, 64, stack)
        return forward_flops(config, 2, 7, past=past, pairs=pairs)


SHAPES = {
    "a classic decoder": Sizes(),
    "a gated block": Sizes(gated=True, ffn_dim=40),
    "grouped keys and values": Sizes(n_kv_heads=2),
    "heads whose widths do not add up to dim": Sizes(head_dim=10),
    "all of these together": Sizes(gated=True, n_kv_heads=2, head_dim=10, ffn_dim=40),
}


def _grade_forward(answer: Callable[..., Any]) -> str | None:
    for past in (0, 5):
        for what, c in SHAPES.items():
            right, found = c.flops(past), answer(c, 2, 7, past)
            if found == right.total:
                continue
            return _judge(found, c, past) or (
                f"For {what}, batch 2, 7 tokens after {past} cached ones the answer is "
                f"{right.total:,}; yours is {found!r}."
            )
    return None


def _judge(found: Any, c: Sizes, past: int) -> str | None:
    """What a reader who got this number has probably left out."""
    if isinstance(found, bool) or not isinstance(found, int | float):
        return f"Return a number of FLOPs; yours is {found!r}."
    right, plain = c.flops(past), dataclasses.replace(c, n_kv_heads=c.n_heads)
    known = {
        right.total - right["head"]: "The head is missing: it is a matrix, V by d.",
        right.total / 2: "A multiply-add counts as two.",
        c.flops(past, "visible").total: "Count all pairs, also those that a mask would hide.",
        c.flops(0).total: "Queries meet the cached keys too: past + seq of them.",
        plain.flops(past).total: "Keys and values have fewer heads: n_kv_heads.",
        right.total - right.get("feed_forward.gate", 0): "A gated block has three matrices.",
    }
    known.pop(right.total, None)
    return known.get(found)


EXERCISES: list[Exercise] = [
    Number(
        "flops.gpu_hours",
        level="easy",
        hint="C = 6ND with D = 20N. Divide by the rate that is reached, 40% of the peak, and by "
        "3,600 seconds.",
        solution="D = 20 · 13·10<sup>9</sup> = 2.6·10<sup>11</sup> tokens, so C = 6 · "
        "1.3·10<sup>10</sup> · 2.6·10<sup>11</sup> = 2.03·10<sup>22</sup> FLOPs. At 0.4 · "
        "989.4·10<sup>12</sup> FLOP/s that is 5.12·10<sup>7</sup> seconds, or <strong>about "
        "14,235 GPU-hours</strong>: six days on a hundred chips.",
        answer=_gpu_hours,
        tolerance=100,
        mistakes=[
            Mistake(5694, "That is at the full peak; the chips reach 40% of it."),
            Mistake(4745, "2ND is the forward pass alone; the backward pass costs 4ND more."),
            Mistake(711.7, "The number of tokens is 20 for each parameter, so D = 20N."),
        ],
    ),
    Number(
        "flops.even_length",
        level="medium",
        hint="A token costs 2 FLOPs for each weight of the block and 4d for each of the s tokens "
        "that it meets.",
        solution="The block has 4 · 5120² + 3 · 5120 · 13,824 = 317,194,240 weights, 634,388,480 "
        "FLOPs a token. The pairs cost 4 · 5120 · s. Both are the same at s = 634,388,480 / 20,480 "
        "= <strong>30,976</strong>, close to 6d = 30,720, because LLaMA's gated block is sized to "
        "have about the weights of a classic one.",
        answer=_even_length,
        tolerance=1,
        mistakes=[
            Mistake(30_720, "6d holds for the classic block, d_ff = 4d with two matrices."),
            Mistake(
                61_951, "That is the length if hidden pairs are skipped; here all are computed."
            ),
            Mistake(15_488, "Each weight costs 2 FLOPs a token, not 1."),
        ],
    ),
    Choice(
        "flops.when_it_holds",
        level="medium",
        hint="6ND leaves out the pairs, counts every parameter as used, and knows no "
        "recomputation.",
        solution="<strong>GPT-3 at 2,048 tokens</strong> is within 3%. At 131,072 tokens Llama 3 "
        "8B spends more on pairs than on weights. In Mixtral a token passes through 13 of 47 "
        "billion parameters. And checkpointing makes it nearly 8ND.",
        options=[
            "Llama 3 8B on texts of 131,072 tokens",
            "GPT-3 175B on texts of 2,048 tokens",
            "Mixtral 8x7B, eight experts of which two are used, on texts of 4,096 tokens",
            "LLaMA-65B with every block checkpointed, on texts of 2,048 tokens",
        ],
        answer=_closest_to_six_n(),
        mistakes=[
            Mistake(
                0, "32 times the width: the pairs cost more than the weights, and 6ND has no pairs."
            ),
            Mistake(2, "N would have to be the active parameters, about 13 of 47 billion."),
            Mistake(3, "Every block is computed once more: 8ND for what the chips do."),
        ],
    ),
    Function(
        "flops.forward",
        level="medium",
        hint="Per layer: query and output have n_heads · head_dim columns, key and value "
        "n_kv_heads · head_dim. Scores and average cost 2 · head_dim for each query head and pair. "
        "Then two or three matrices of dim by ffn_dim, and once the head.",
        solution="""def my_forward_flops(c, batch, seq, past=0):
    queries, keys = c.n_heads * c.head_dim, c.n_kv_heads * c.head_dim
    weights = c.dim * (2 * queries + 2 * keys) + (2 + c.gated) * c.dim * c.ffn_dim
    pairs = 4 * seq * (past + seq) * queries
    per_text = c.n_layers * (2 * seq * weights + pairs) + 2 * seq * c.dim * c.vocab_size
    return batch * per_text
""",
        grader=_grade_forward,
        mistakes=[
            Mistake(
                """def my_forward_flops(c, batch, seq, past=0):
    h = c.n_heads * c.head_dim
    weights = c.dim * 4 * h + (2 + c.gated) * c.dim * c.ffn_dim
    per_text = c.n_layers * (2 * seq * weights + 4 * seq * (past + seq) * h)
    return batch * (per_text + 2 * seq * c.dim * c.vocab_size)
""",
                "n_kv_heads",
            ),
            Mistake(
                """def my_forward_flops(c, batch, seq, past=0):
    queries, keys = c.n_heads * c.head_dim, c.n_kv_heads * c.head_dim
    weights = c.dim * (2 * queries + 2 * keys) + (2 + c.gated) * c.dim * c.ffn_dim
    return batch * c.n_layers * (2 * seq * weights + 4 * seq * (past + seq) * queries)
""",
                "head is missing",
            ),
            Mistake(
                """def my_forward_flops(c, batch, seq, past=0):
    queries, keys = c.n_heads * c.head_dim, c.n_kv_heads * c.head_dim
    weights = c.dim * (2 * queries + 2 * keys) + (2 + c.gated) * c.dim * c.ffn_dim
    per_text = c.n_layers * (2 * seq * weights + 4 * seq * seq * queries)
    return batch * (per_text + 2 * seq * c.dim * c.vocab_size)
""",
                "past + seq",
            ),
            Mistake(
                """def my_forward_flops(c, batch, seq, past=0):
    queries, keys = c.n_heads * c.head_dim, c.n_kv_heads * c.head_dim
    weights = c.dim * (2 * queries + 2 * keys) + 2 * c.dim * c.ffn_dim
    per_text = c.n_layers * (2 * seq * weights + 4 * seq * (past + seq) * queries)
    return batch * (per_text + 2 * seq * c.dim * c.vocab_size)
""",
                "three matrices",
            ),
            Mistake(
                """def my_forward_flops(c, batch, seq, past=0):
    queries, keys = c.n_heads * c.head_dim, c.n_kv_heads * c.head_dim
    weights = c.dim * (2 * queries + 2 * keys) + (2 + c.gated) * c.dim * c.ffn_dim
    per_text = c.n_layers * (seq * weights + 2 * seq * (past + seq) * queries)
    return batch * (per_text + seq * c.dim * c.vocab_size)
""",
                "counts as two",
            ),
        ],
    ),
    Number(
        "flops.longest_context",
        level="hard",
        hint="Set FLOPs over bytes equal to 295.3 and solve for t. The pairs' own FLOPs matter "
        "little.",
        solution="(2N' + 4LHd<sub>head</sub>t) / (4LGd<sub>head</sub>t) = 295.3. With "
        "4LHd<sub>head</sub> = 524,288 and 4LGd<sub>head</sub> = 131,072, t = "
        "1.422·10<sup>10</sup> / (295.3 · 131,072 − 524,288) = <strong>about 372 tokens</strong>. "
        "Beyond that every decode step waits for the cache, whatever the batch.",
        answer=lambda: 2 * 7.11e9 / (295.3 * 131_072 - 524_288),
        tolerance=2,
        mistakes=[
            Mistake(92, "The cache holds 8 key/value heads, not 32: 4LG d_head bytes a token."),
            Mistake(186, "A multiply-add counts as two: 2N' FLOPs."),
            Mistake(367, "Close: the pairs' own FLOPs move the limit a little further out."),
        ],
    ),
]
