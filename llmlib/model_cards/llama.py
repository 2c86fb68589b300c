"""LLaMA, Llama 2 and Llama 3, and the configuration that most later decoders start from."""

from typing import Any

from llmlib.model_cards.config import ModelCard, ModelConfig, like

LLAMA = ModelConfig(
    dim=4096,
    n_layers=32,
    n_heads=32,
    n_kv_heads=32,
    head_dim=128,
    ffn_dim=11008,
    vocab_size=32000,
    context=2048,
    norm="rms",
    norm_position="pre",
    activation="swish",
    gated=True,
    bias=False,
    position="rope",
    tied=False,
    norm_eps=1e-6,
    rope_base=10_000.0,
)
LLAMA2 = like(LLAMA, context=4096, norm_eps=1e-5)
LLAMA3 = like(
    LLAMA2,
    n_kv_heads=8,
    ffn_dim=14336,
    vocab_size=128_256,
    context=8192,
    rope_base=500_000.0,
)


def of_size(
    base: ModelConfig, dim: int, n_layers: int, n_heads: int, ffn_dim: int, **changes: Any
) -> ModelConfig:
    """A Llama of another size; each query head has its own keys unless `n_kv_heads` is given."""
    sizes = {"dim": dim, "n_layers": n_layers, "n_heads": n_heads, "n_kv_heads": n_heads}
    return like(base, **{**sizes, "ffn_dim": ffn_dim, **changes})


def _llama(name: str, config: ModelConfig, count: int, quoted: str, **rest: Any) -> ModelCard:
    """A LLaMA of February 2023."""
    return ModelCard(name, 2023, config, count, quoted, source="touvron2023llama", **rest)


def _llama2(name: str, config: ModelConfig, count: int, quoted: str, **rest: Any) -> ModelCard:
    """A Llama 2."""
    paper = {"source": "touvron2023llama2", "training_tokens": 2.0e12}
    return ModelCard(name, 2023, config, count, quoted, **{**paper, **rest})


def _llama3(name: str, config: ModelConfig, count: int, quoted: str, **rest: Any) -> ModelCard:
    """A Llama 3 or 3.1."""
    return ModelCard(name, 2024, config, count, quoted, source="dubey2024llama3", **rest)


LLAMA_CARDS = [
    _llama(
        "LLaMA-7B",
        LLAMA,
        6_738_415_616,
        "6.7B",
        training_tokens=1.0e12,
        note="The gated block is 8/3 d wide, rounded up to a multiple of 256.",
    ),
    _llama(
        "LLaMA-13B",
        of_size(LLAMA, 5120, 40, 40, 13824),
        13_015_864_320,
        "13.0B",
        training_tokens=1.0e12,
    ),
    _llama(
        "LLaMA-33B",
        of_size(LLAMA, 6656, 60, 52, 17920),
        32_528_943_616,
        "32.5B",
        training_tokens=1.4e12,
        note="Named 33B in the paper; the release's folder says 30B.",
    ),
    _llama(
        "LLaMA-65B",
        of_size(LLAMA, 8192, 80, 64, 22016, norm_eps=1e-5),
        65_285_660_672,
        "65.2B",
        training_tokens=1.4e12,
    ),
    _llama2(
        "Llama-2-7B",
        LLAMA2,
        6_738_415_616,
        "7B",
        note="LLaMA-7B with twice the context and twice the text.",
        difference="The name rounds 6.7 to one digit.",
    ),
    _llama2("Llama-2-13B", of_size(LLAMA2, 5120, 40, 40, 13824), 13_015_864_320, "13B"),
    _llama2(
        "Llama-2-70B",
        of_size(LLAMA2, 8192, 80, 64, 28672, n_kv_heads=8),
        68_976_648_192,
        "70B",
        note="The only Llama 2 with grouped queries; what they save went into a wider block.",
        difference="The name rounds 69 to one digit.",
    ),
    _llama3(
        "Llama-3-8B",
        LLAMA3,
        8_030_261_248,
        "8B",
        training_tokens=15e12,
        note="Four times the vocabulary of Llama 2: its two matrices are an eighth of the model.",
    ),
    _llama3(
        "Llama-3-70B",
        of_size(LLAMA3, 8192, 80, 64, 28672, n_kv_heads=8),
        70_553_706_496,
        "70B",
        training_tokens=15e12,
    ),
    _llama3(
        "Llama-3.1-405B",
        of_size(LLAMA3, 16384, 126, 128, 53248, n_kv_heads=8, context=131_072),
        405_853_388_800,
        "405B",
        training_tokens=15.6e12,
        note="Its release also stretches RoPE to the long context, which stores nothing.",
    ),
]
