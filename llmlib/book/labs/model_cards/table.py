"""A card and what counting makes of it, and a size from five numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import llmlib.architecture as arch
from llmlib.accounting import forward_flops, kv_cache_bytes, parameters
from llmlib.book.labs.model_cards.words import (
    Shape,
    attentions_of,
    feed_forward_of,
    kinds_of,
    shape,
)
from llmlib.model_cards import CARDS, ModelCard

_LINES = ("PanGu", "RoBERTa", "DeepSeek", "SmolLM", "StarCoder", "BLOOM", "PaLM", "LLaMA",
          "Mistral", "Mixtral", "Ministral", "Qwen", "Gemma", "Pythia", "Falcon", "MPT", "Command",
          "Nemotron", "OLMo", "Phi", "Granite", "GLM", "gpt-oss", "BERT", "BART", "GPT",
          "T5")  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """A card and what counting makes of it."""

    card: ModelCard

    @property
    def config(self) -> arch.ModelConfig:
        return self.card.config

    @cached_property
    def shape(self) -> Shape:
        """The sizes of its layers."""
        return shape(self.config)

    @property
    def line(self) -> str:
        """The series of models that it belongs to, such as GPT or LLaMA."""
        name = self.card.name.lower()
        return next((line for line in _LINES if name.startswith(line.lower())), self.card.name)

    @cached_property
    def total(self) -> int:
        """N, counted from the configuration."""
        return int(parameters(self.config).total)

    @cached_property
    def active(self) -> int:
        """The parameters that one token passes through: all, but for a mixture of experts."""
        return int(parameters(self.config, active=True).total)

    @property
    def difference(self) -> float:
        """(counted - published) / published: 0 where the weights are public."""
        return self.total / self.card.published_parameters - 1

    @property
    def quoted_difference(self) -> float:
        """(counted - quoted) / quoted."""
        return self.total / self.card.quoted_number - 1

    def cache_of(self, seq: int) -> int | None:
        """Bytes of the cache of so many tokens in 16 bits; None for an encoder.

        In an encoder-decoder: of the written ones.
        """
        if self.config.family == "encoder":
            return None
        source = 0 if self.config.family == "encoder-decoder" else None
        return int(kv_cache_bytes(self.config, 1, seq, "bfloat16", source_seq=source))

    @cached_property
    def cache(self) -> int | None:
        """Bytes that each token adds to the cache at first, before windows are full."""
        one, two = self.cache_of(1), self.cache_of(2)
        return None if one is None or two is None else two - one

    @cached_property
    def flops(self) -> int:
        """The FLOPs of the first token; in an encoder-decoder one is read and one written."""
        return int(forward_flops(self.config, 1, 1).total)

    @property
    def tokens_per_parameter(self) -> float | None:
        """D / N, where D is published."""
        tokens = self.card.training_tokens
        return None if tokens is None else tokens / self.total


def unbroken(name: str) -> str:
    """A model's name that a narrow table does not break at its hyphens and spaces."""
    return name.replace("-", "\N{NON-BREAKING HYPHEN}").replace(" ", "\N{NO-BREAK SPACE}")


def zoo(cards: Sequence[ModelCard] | None = None) -> list[Entry]:
    """An entry for each card, oldest first; within a year in the order of `CARDS`."""
    found = list(CARDS.values()) if cards is None else list(cards)
    return sorted((Entry(one) for one in found), key=lambda entry: entry.card.year)


def from_five_numbers(
    vocab_size: Any, dim: Any, n_layers: Any, ffn_ratio: Any, kv_share: Any,
    *, gated: Any = True, tied: Any = False,
) -> Any:  # fmt: skip
    """About how many parameters a decoder has: matrices alone, with H d_head = d.

    N ≈ (2 - tied) V d + L d² (2 + 2 G/H + (2 + gated) d_ff/d)

    Args:
        ffn_ratio: d_ff / d.
        kv_share: G / H.
        gated, tied: True or False, or letters that stand for 1 and 0.
    """
    matrices = 2 + 2 * kv_share + (2 + gated) * ffn_ratio
    return (2 - tied) * vocab_size * dim + n_layers * dim**2 * matrices


def guess(config: arch.ModelConfig) -> float:
    """`from_five_numbers` of a model, as if all layers were like its first one."""
    first, attention = feed_forward_of(kinds_of(config)[0]), attentions_of(config)[0]
    share = getattr(attention, "n_kv_heads", attention.n_heads) / attention.n_heads
    return float(
        from_five_numbers(
            config.vocab_size, config.dim, config.n_layers, first.ffn_dim / config.dim, share,
            gated=first.gated, tied=config.tied,
        )
    )  # fmt: skip
