"""GPT-1, GPT-2 and GPT-3: one design, scaled a thousandfold."""

from typing import Any, Literal

import llmlib.architecture as arch
from llmlib.model_cards.card import ModelCard, all_alike, size_as_number


def classic_attention(dim: int, n_heads: int) -> arch.Attention:
    """Heads that share the width, each with keys and values of its own, biases everywhere."""
    return arch.Attention(n_heads, n_heads, dim // n_heads, qkv_bias=True, out_bias=True)


def classic_block(
    dim: int, n_heads: int, norm: arch.Norm = arch.LAYER,
    activation: arch.Activation = "gelu_tanh", norms: Literal["pre", "post"] = "pre",
) -> arch.Block:  # fmt: skip
    """A block with biases everywhere, whose feed-forward block is 4 d wide."""
    feed_forward = arch.FeedForward(4 * dim, activation, gated=False, bias=True)
    return arch.Block(classic_attention(dim, n_heads), feed_forward, norm, norms)


def gpt(
    dim: int, n_layers: int, n_heads: int, *, vocab_size: int = 50_257, context: int = 1024,
    rows: int | None = None, norms: Literal["pre", "post"] = "pre",
) -> arch.ModelConfig:  # fmt: skip
    """A GPT of a size; the table of positions has `rows`, those of the context if None."""
    table = arch.Learned(context if rows is None else rows)
    stack = all_alike(n_layers, classic_block(dim, n_heads, norms=norms), positions=table)
    return arch.ModelConfig(dim, vocab_size, context, stack, tied=True)


def gpt3(dim: int, n_layers: int, n_heads: int) -> arch.ModelConfig:
    """A GPT-3: twice GPT-2's context."""
    return gpt(dim, n_layers, n_heads, context=2048)


GPT2 = gpt(768, 12, 12)

# The printed sizes of GPT-2 are, to the last digit, those with GPT-1's 40,478 rows of vocabulary.
_GPT2_MISCOUNT = (
    "The authors later corrected the paper's figure to {corrected}. With GPT-1's vocabulary of "
    "40,478 rows the count would be {printed}, as printed."
)


def _gpt2(
    name: str, config: arch.ModelConfig, count: int, quoted: str, corrected: str, note: str = ""
) -> ModelCard:
    """A GPT-2; its paper's size is too small, whichever it is."""
    return ModelCard(
        name=name,
        year=2019,
        config=config,
        published_parameters=count,
        quoted=quoted,
        source="radford2019gpt2",
        note=note,
        difference=_GPT2_MISCOUNT.format(corrected=corrected, printed=quoted),
    )


def _gpt3(
    size: str, config: arch.ModelConfig, quoted: str, note: str = "", **rest: Any
) -> ModelCard:
    """A row of the GPT-3 paper's Table 2.1."""
    common = (
        "Weights are not public; activation, vocabulary and tied head are GPT-2's. Every other "
        "layer's attention is sparse, which changes no size."
    )
    return ModelCard(
        name=f"GPT-3 {size}",
        year=2020,
        config=config,
        published_parameters=round(size_as_number(quoted)),
        quoted=quoted,
        source="brown2020gpt3",
        exact=False,
        training_tokens=300e9,
        note=f"{note} {common}".lstrip(),
        **rest,
    )


GPT_CARDS = [
    ModelCard(
        name="GPT-1",
        year=2018,
        config=gpt(768, 12, 12, vocab_size=40_478, context=512, norms="post"),
        published_parameters=116_534_784,
        quoted="117M",
        source="radford2018gpt",
        note="The paper prints no total; 117M is the GPT-2 paper's, for the equivalent size.",
    ),
    _gpt2("GPT-2", GPT2, 124_439_808, "117M", "124M", "The smallest of four."),
    _gpt2("GPT-2 medium", gpt(1024, 24, 16), 354_823_168, "345M", "355M"),
    _gpt2("GPT-2 large", gpt(1280, 36, 20), 774_030_080, "762M", "774M"),
    _gpt2(
        "GPT-2 XL",
        gpt(1600, 48, 25),
        1_557_611_200,
        "1542M",
        "1558M",
        note="Held back at first: its weights came out nine months after the paper.",
    ),
    _gpt3("125M", gpt3(768, 12, 12), "125M"),
    _gpt3(
        "350M",
        gpt3(1024, 24, 16),
        "350M",
        difference="Rounded down; to two digits 356 million would be 360.",
    ),
    _gpt3("760M", gpt3(1536, 24, 16), "760M"),
    _gpt3(
        "1.3B",
        gpt3(2048, 24, 16),
        "1.3B",
        note=(
            "The paper prints 24 heads of 128 at d = 2048, which they exceed; with them the model "
            "would have 1.5 billion. 16 heads fill the width and the printed size."
        ),
        difference="Rounded to two digits.",
    ),
    _gpt3("2.7B", gpt3(2560, 32, 32), "2.7B", difference="Rounded to two digits."),
    _gpt3("6.7B", gpt3(4096, 32, 32), "6.7B"),
    _gpt3(
        "13B",
        gpt3(5120, 40, 40),
        "13.0B",
        note="The paper prints d = 5140, which 40 heads of 128 contradict; 5120 is assumed.",
        difference=(
            "Rounded up from 12.85; the misprinted width with 40 heads of 128 would give 12.94 "
            "billion."
        ),
    ),
    _gpt3("175B", gpt3(12288, 96, 96), "175.0B"),
]
