"""The model cards as a table: each card's choices in words, and its numbers counted.

Nothing here is a number of its own: sizes and choices come from `llmlib.model_cards`, counts from
`llmlib.accounting`.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from llmlib.accounting import forward_flops, kv_cache_bytes, parameters
from llmlib.book.widgets.base import Real
from llmlib.book.widgets.model_explorer import Column, ModelExplorer
from llmlib.model_cards import CARDS, ModelCard, ModelConfig

_GATED = {"swish": "SwiGLU", "gelu": "GeGLU", "gelu_tanh": "GeGLU", "relu": "ReGLU"}
_PLAIN = {"swish": "Swish", "gelu": "GELU", "gelu_tanh": "GELU", "relu": "ReLU"}
_POSITIONS = {"relative_bias": "relative", "rope": "RoPE", "alibi": "ALiBi"}
_TEAMS = {"Deepseek": "DeepSeek-AI", "Bigscience": "BigScience", "Gemma": "Gemma Team"}
_LINES = ("PanGu", "RoBERTa", "DeepSeek", "SmolLM2", "BLOOM", "PaLM", "LLaMA", "Mistral", "Mixtral",
          "Qwen", "Gemma", "BERT", "BART", "GPT", "T5")  # fmt: skip


def choices(config: ModelConfig) -> dict[str, str]:
    """What a model's designers chose, apart from sizes, in the words of their field."""
    c = config
    if c.latent is not None:
        heads = "MLA"
    elif c.n_kv_heads == c.n_heads:
        heads = "MHA"
    else:
        heads = "MQA" if c.n_kv_heads == 1 else "GQA"
    return {
        "norm": "RMSNorm" if c.norm == "rms" else "LayerNorm",
        "norm position": c.norm_position + (", parallel" if c.norms_per_block == 1 else ""),
        "activation": (_GATED if c.gated else _PLAIN)[c.activation],
        "positions": _POSITIONS.get(c.position, c.position),
        "heads": heads,
        "biases": _biases(c),
        "head matrix": "tied" if c.tied else "its own",
    }


def _biases(c: ModelConfig) -> str:
    found = {"Q, K, V": c.qkv_bias, "output": c.out_bias, "feed-forward": c.ffn_bias}
    if all(found.values()):
        return "all"
    return ", ".join(name for name, has in found.items() if has) or "none"


@dataclass(frozen=True)
class Entry:
    """A card and what counting makes of it."""

    card: ModelCard

    @property
    def config(self) -> ModelConfig:
        return self.card.config

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

    @cached_property
    def cache(self) -> int | None:
        """Bytes that each token adds to the cache in 16 bits; None for an encoder.

        In an encoder-decoder: each written token.
        """
        if self.config.family == "encoder":
            return None
        source = 0 if self.config.family == "encoder-decoder" else None
        return int(kv_cache_bytes(self.config, 1, 1, torch.bfloat16, source_seq=source))

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


def guess(config: ModelConfig) -> float:
    """`from_five_numbers` of a configuration."""
    c = config
    ratios = (c.ffn_dim / c.dim, c.n_kv_heads / c.n_heads)
    return float(from_five_numbers(c.vocab_size, c.dim, c.n_layers, *ratios,
                                   gated=bool(c.gated), tied=bool(c.tied)))  # fmt: skip


# --- the explorer -----------------------------------------------------------------------------


def explorer(entries: Sequence[Entry] | None = None) -> ModelExplorer:
    """The widget over all cards."""
    found = zoo() if entries is None else list(entries)
    kinds = ("decoder", "encoder", "encoder-decoder")
    lines = dict.fromkeys(entry.line for entry in found)
    filters = {"all": [True] * len(found)}
    filters |= {f"all {kind}s": [e.config.family == kind for e in found] for kind in kinds}
    filters |= {f"the {line} line": [e.line == line for e in found] for line in lines}
    return ModelExplorer(
        names=[entry.card.name for entry in found],
        columns=_columns(found),
        filters=filters,
        kinds={kind: [e.config.family == kind for e in found] for kind in kinds},
        start={"columns": "size", "order": "year", "x": "year", "y": "parameters (billions)"},
        alt=(
            "A scatter plot of language models over a table of their cards, with sizes, choices "
            "and costs, to be sorted, filtered and searched."
        ),
    )


def _columns(entries: Sequence[Entry]) -> list[Column]:
    every = ("size", "shape", "choices", "cost", "notes", "all but notes")
    return [
        Column("model", [e.card.name for e in entries], every),
        _number("year", entries, every, lambda e: e.card.year, str, axis="year", rising=True,
                searched=True),
        *_sizes(entries),
        *_shapes(entries),
        *_choices(entries),
        *_costs(entries),
        *_notes(entries),
    ]  # fmt: skip


def _number(
    label: str, entries: Sequence[Entry], groups: Sequence[str],
    value: Callable[[Entry], Any], text: Callable[[Any], str],
    *, axis: str = "", log: bool = False, unit: Real = 1, rising: bool = False,
    searched: bool = False,
) -> Column:  # fmt: skip
    """A column of numbers; `unit` is what the axis counts in, "–" stands for what is not known."""
    found = [value(entry) for entry in entries]
    return Column(
        label,
        ["–" if x is None else text(x).replace("-", "−") for x in found],
        groups,
        [None if x is None else x / unit if unit != 1 else x for x in found],
        axis,
        log,
        descending=not rising,
        searched=searched,
    )


def _sizes(entries: Sequence[Entry]) -> list[Column]:
    size, both = ("size", "all but notes"), ("size", "cost", "all but notes")

    return [
        _number("parameters (counted)", entries, both, lambda e: e.total, _whole,
                axis="parameters (billions)", log=True, unit=1e9),
        Column("published", [_published(e) for e in entries], size,
               [e.card.published_parameters for e in entries], descending=True),
        _number("difference", entries, size, lambda e: 100 * e.difference, _percent),
        Column("quoted", [e.card.quoted for e in entries], size,
               [e.card.quoted_number for e in entries], descending=True),
        _number("off the quoted", entries, size, lambda e: 100 * e.quoted_difference, _percent),
        _number("training tokens", entries, size, lambda e: e.card.training_tokens, _short,
                axis="training tokens (billions)", log=True, unit=1e9),
        _number("tokens per parameter", entries, size, lambda e: e.tokens_per_parameter,
                lambda x: f"{x:,.1f}", axis="training tokens per parameter", log=True),
    ]  # fmt: skip


def _shapes(entries: Sequence[Entry]) -> list[Column]:
    shape = ("shape", "all but notes")
    both = ("size", *shape)
    c = {
        "layers L": (both, "n_layers", "layers L", True),
        "width d": (both, "dim", "width d", True),
        "heads H": (shape, "n_heads", "", False),
        "key/value heads G": (shape, "n_kv_heads", "", False),
        "d_head": (shape, "head_dim", "width of a head", False),
    }
    named = [
        _number(label, entries, groups, lambda e, f=field: getattr(e.config, f),  # type: ignore
                _ratio, axis=axis, log=log)
        for label, (groups, field, axis, log) in c.items()
    ]  # fmt: skip
    return [
        *named,
        _number("d_ff / d", entries, shape, _width_ratio, _ratio, axis="d_ff / d"),
        _number("d / L", entries, shape, lambda e: e.config.dim / e.config.n_layers,
                lambda x: f"{x:.0f}", axis="width for each layer, d / L"),
        _number("vocabulary V", entries, both, lambda e: e.config.vocab_size, _whole,
                axis="vocabulary V (thousands)", log=True, unit=1e3),
        _number("context", entries, shape, lambda e: e.config.context, _whole,
                axis="context (thousands of tokens)", log=True, unit=1e3),
    ]  # fmt: skip


def _choices(entries: Sequence[Entry]) -> list[Column]:
    found = [choices(entry.config) for entry in entries]
    groups = ("choices", "all but notes")
    return [Column(name, [one[name] for one in found], groups, searched=True) for name in found[0]]


def _costs(entries: Sequence[Entry]) -> list[Column]:
    cost = ("cost", "all but notes")
    return [
        _number("parameters in use", entries, cost, lambda e: e.active, _whole),
        _number("weights, 16 bits", entries, cost, lambda e: 2 * e.total, _bytes),
        _number("cache a token", entries, cost, lambda e: e.cache, _bytes,
                axis="cache a token, 16 bits (kB)", log=True, unit=1e3),
        _number("cache, whole context", entries, cost,
                lambda e: None if e.cache is None else e.cache * e.config.context, _bytes),
        _number("FLOPs a token", entries, cost, lambda e: e.flops, _short,
                axis="FLOPs a token (billions)", log=True, unit=1e9),
    ]  # fmt: skip


def _notes(entries: Sequence[Entry]) -> list[Column]:
    def said(one: ModelCard) -> str:
        off = f"On the quoted size: {one.difference}" if one.difference else ""
        return f"{one.note} {off}".strip() or "–"

    return [
        Column("source", [_source(e.card.source) for e in entries], ("notes",), searched=True),
        Column("note", [said(e.card) for e in entries], ("notes",), prose=True),
    ]


def _source(key: str) -> str:
    """First author and year, from a key of the bibliography: "radford2019gpt2" is Radford 2019."""
    author, year = re.findall(r"[a-z]+|\d{4}", key)[:2]
    return f"{_TEAMS.get(author.capitalize(), author.capitalize())} {year}"


def _width_ratio(entry: Entry) -> float | None:
    """d_ff / d; None where it is that of a few first layers, and the others have experts."""
    experts = entry.config.experts
    return None if experts is not None and experts.n_dense_layers else entry.config.ffn_ratio


def _published(entry: Entry) -> str:
    count = f"{entry.card.published_parameters:,}"
    return count if entry.card.exact else f"≈ {count}"


def _whole(x: Real) -> str:
    return f"{x:,.0f}"


def _percent(x: Real) -> str:
    return "0" if x == 0 else f"{x:+.2f} %"


def _ratio(x: Real) -> str:
    return f"{x:,}" if isinstance(x, int) else f"{x:.2f}".rstrip("0").rstrip(".")


def _short(x: Real) -> str:
    """Three digits and a unit: 1.23 T."""
    for unit, name in ((1e12, "T"), (1e9, "B"), (1e6, "M")):
        if x >= unit:
            return f"{x / unit:.3g} {name}"
    return f"{x:,.0f}"


def _bytes(x: Real) -> str:
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if x >= unit:
            return f"{x / unit:.3g} {name}"
    return f"{x:.0f} B"
