"""The widget over all cards."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from llmlib.book.labs.model_cards.table import Entry, zoo
from llmlib.book.labs.model_cards.words import choices, newer, pattern
from llmlib.book.widgets.base import Real
from llmlib.book.widgets.model_explorer import Column, ModelExplorer
from llmlib.model_cards import ModelCard

_TEAMS = {"Deepseek": "DeepSeek-AI", "Bigscience": "BigScience", "Gemma": "Gemma Team",
          "Olmo": "Team OLMo", "Openai": "OpenAI", "Glm": "Team GLM", "Mistral": "Mistral AI",
          "Qwen": "Qwen Team", "Granite": "Granite Team", "Mosaicml": "MosaicML"}  # fmt: skip


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
        start={
            "columns": "size",
            "order": "year",
            "x": "parameters (billions)",
            "y": "cache a token, 16 bits (kB)",
        },
        alt=(
            "A scatter plot of language models over a table of their cards, with sizes, choices "
            "and costs, to be sorted, filtered and searched."
        ),
    )


def _columns(entries: Sequence[Entry]) -> list[Column]:
    every = ("size", "shape", "choices", "newer choices", "cost", "notes", "all but notes")
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
    group = ("shape", "all but notes")
    both = ("size", *group)

    def heads(field: str) -> Callable[[Entry], Any]:
        return lambda entry: getattr(entry.shape, field)

    return [
        _number("layers L", entries, both, lambda e: e.config.n_layers, _ratio, axis="layers L",
                log=True),
        _number("width d", entries, both, lambda e: e.config.dim, _ratio, axis="width d", log=True),
        _number("heads H", entries, group, heads("n_heads"), _ratio),
        _number("key/value heads G", entries, group, heads("n_kv_heads"), _ratio),
        _number("d_head", entries, group, heads("head_dim"), _ratio, axis="width of a head"),
        _number("d_ff / d", entries, group, _width_ratio, _ratio, axis="d_ff / d"),
        _number("d / L", entries, group, lambda e: e.config.dim / e.config.n_layers,
                lambda x: f"{x:.0f}", axis="width for each layer, d / L"),
        _number("vocabulary V", entries, both, lambda e: e.config.vocab_size, _whole,
                axis="vocabulary V (thousands)", log=True, unit=1e3),
        _number("context", entries, group, lambda e: e.config.context, _whole,
                axis="context (thousands of tokens)", log=True, unit=1e3),
        Column("kinds of layers", [pattern(e.config) for e in entries],
               (*group, "newer choices"), searched=True),
    ]  # fmt: skip


def _choices(entries: Sequence[Entry]) -> list[Column]:
    found = [choices(entry.config) for entry in entries]
    added = [newer(entry.config) for entry in entries]
    old, new = ("choices", "all but notes"), ("newer choices", "all but notes")
    return [
        *(Column(name, [one[name] for one in found], old, searched=True) for name in found[0]),
        *(Column(name, [one[name] for one in added], new) for name in added[0]),
    ]


def _costs(entries: Sequence[Entry]) -> list[Column]:
    cost = ("cost", "all but notes")
    return [
        _number("parameters in use", entries, cost, lambda e: e.active, _whole),
        _number("weights, 16 bits", entries, cost, lambda e: 2 * e.total, _bytes),
        _number("cache a token", entries, cost, lambda e: e.cache, _bytes,
                axis="cache a token, 16 bits (kB)", log=True, unit=1e3),
        _number("cache, whole context", entries, cost,
                lambda e: e.cache_of(e.config.context), _bytes),
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
    """d_ff / d; None where layers have several widths."""
    width = entry.shape.ffn_dim
    return None if width is None else width / entry.config.dim


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
