"""GPT-1, GPT-2 and GPT-3: one design, scaled a thousandfold."""

from typing import Any

from llmlib.model_cards.config import ModelCard, ModelConfig, like, size_as_number

GPT2 = ModelConfig(
    dim=768,
    n_layers=12,
    n_heads=12,
    n_kv_heads=12,
    head_dim=64,
    ffn_dim=3072,
    vocab_size=50257,
    context=1024,
    norm="layer",
    norm_position="pre",
    activation="gelu_tanh",
    gated=False,
    bias=True,
    position="learned",
    tied=True,
)
GPT3 = like(GPT2, context=2048)


def wider(base: ModelConfig, dim: int, n_layers: int, n_heads: int, **changes: Any) -> ModelConfig:
    """A classic decoder of another size: heads share the width, the feed-forward block has 4 d."""
    sizes = {"dim": dim, "n_layers": n_layers, "n_heads": n_heads, "n_kv_heads": n_heads}
    return like(base, **{**sizes, "head_dim": dim // n_heads, "ffn_dim": 4 * dim, **changes})


# The printed sizes of GPT-2 are, to the last digit, those with GPT-1's 40,478 rows of vocabulary.
_GPT2_MISCOUNT = (
    "The authors later corrected the paper's figure to {corrected}. With GPT-1's vocabulary of "
    "40,478 rows the count would be {printed}, as printed."
)


def _gpt2(
    name: str, config: ModelConfig, count: int, quoted: str, corrected: str, note: str = ""
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


def _gpt3(size: str, config: ModelConfig, quoted: str, note: str = "", **rest: Any) -> ModelCard:
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
        config=like(GPT2, vocab_size=40478, context=512, norm_position="post"),
        published_parameters=116_534_784,
        quoted="117M",
        source="radford2018gpt",
        note="The paper prints no total; 117M is the GPT-2 paper's, for the equivalent size.",
    ),
    _gpt2("GPT-2", GPT2, 124_439_808, "117M", "124M", "The smallest of four."),
    _gpt2("GPT-2 medium", wider(GPT2, 1024, 24, 16), 354_823_168, "345M", "355M"),
    _gpt2("GPT-2 large", wider(GPT2, 1280, 36, 20), 774_030_080, "762M", "774M"),
    _gpt2(
        "GPT-2 XL",
        wider(GPT2, 1600, 48, 25),
        1_557_611_200,
        "1542M",
        "1558M",
        note="Held back at first: its weights came out nine months after the paper.",
    ),
    _gpt3("125M", GPT3, "125M"),
    _gpt3(
        "350M",
        wider(GPT3, 1024, 24, 16),
        "350M",
        difference="Rounded down; to two digits 356 million would be 360.",
    ),
    _gpt3("760M", wider(GPT3, 1536, 24, 16), "760M"),
    _gpt3(
        "1.3B",
        wider(GPT3, 2048, 24, 16),
        "1.3B",
        note=(
            "The paper prints 24 heads of 128 at d = 2048, which they exceed; with them the model "
            "would have 1.5 billion. 16 heads fill the width and the printed size."
        ),
        difference="Rounded to two digits.",
    ),
    _gpt3("2.7B", wider(GPT3, 2560, 32, 32), "2.7B", difference="Rounded to two digits."),
    _gpt3("6.7B", wider(GPT3, 4096, 32, 32), "6.7B"),
    _gpt3(
        "13B",
        wider(GPT3, 5120, 40, 40),
        "13.0B",
        note="The paper prints d = 5140, which 40 heads of 128 contradict; 5120 is assumed.",
        difference=(
            "Rounded up from 12.85; the misprinted width with 40 heads of 128 would give 12.94 "
            "billion."
        ),
    ),
    _gpt3("175B", wider(GPT3, 12288, 96, 96), "175.0B"),
]
