"""The table of model cards: its words, its counts, and the widget that shows it."""

import json
import re

import pytest
import torch

from llmlib.book.labs.model_cards import (
    Entry,
    choices,
    explorer,
    from_five_numbers,
    guess,
    unbroken,
    zoo,
)
from llmlib.book.widgets import Column, ModelExplorer
from llmlib.book.widgets.base import static_script
from llmlib.kv_cache import KVCache
from llmlib.model_cards import CARDS, card
from tests.folding import for_each

ZOO = {entry.card.name: entry for entry in zoo()}


def test_every_card_is_there_oldest_first() -> None:
    assert set(ZOO) == set(CARDS)
    years = [entry.card.year for entry in ZOO.values()]
    assert years == sorted(years)
    assert [entry.card.name for entry in zoo([card("GPT-2"), card("GPT-1")])] == ["GPT-1", "GPT-2"]


@for_each("name", ZOO)
def test_counts_agree_with_what_was_published(name: str) -> None:
    entry = ZOO[name]
    if entry.card.exact:
        assert entry.difference == 0
    assert abs(entry.difference) < 0.02
    assert entry.active <= entry.total
    assert (entry.active < entry.total) == (entry.config.experts is not None)
    assert entry.line in name.replace("Llama", "LLaMA")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("GPT-2", ["LayerNorm", "pre", "GELU", "learned", "MHA", "all", "tied"]),
        ("PaLM-8B", ["LayerNorm", "pre, parallel", "SwiGLU", "RoPE", "MQA", "none", "tied"]),
        ("T5-small", ["RMSNorm", "pre", "ReLU", "relative", "MHA", "none", "tied"]),
        ("BLOOM-176B", ["LayerNorm", "pre", "GELU", "ALiBi", "MHA", "all", "tied"]),
        ("Gemma-2B", ["RMSNorm", "pre", "GeGLU", "RoPE", "MQA", "none", "tied"]),
        ("Qwen2-7B", ["RMSNorm", "pre", "SwiGLU", "RoPE", "GQA", "Q, K, V", "its own"]),
        ("DeepSeek-V2", ["RMSNorm", "pre", "SwiGLU", "RoPE", "MLA", "none", "its own"]),
    ],
)
def test_choices_in_words(name: str, expected: list[str]) -> None:
    assert list(choices(card(name).config).values()) == expected


@pytest.mark.parametrize("name", ["GPT-2", "Mistral-7B-v0.1", "Qwen3-0.6B", "T5-small"])
def test_cache_is_what_the_cache_holds(name: str) -> None:
    c, cache = ZOO[name].config, KVCache()
    x = torch.empty(1, c.n_kv_heads, 1, c.head_dim, dtype=torch.bfloat16, device="meta")
    for i in range(c.n_layers):
        cache.layer(i).update(x, x)
    assert ZOO[name].cache == cache.n_bytes


def test_an_encoder_keeps_no_cache() -> None:
    assert ZOO["BERT-base"].cache is None


def test_flops_are_twice_the_matrices() -> None:
    gpt = ZOO["GPT-2"]
    matrices = 12 * 12 * 768**2 + 50257 * 768
    assert gpt.flops == 2 * matrices + 12 * 2 * 2 * 768  # a single score in each layer and head


def test_five_numbers() -> None:
    assert from_five_numbers(10, 4, 3, 2, 0.5) == 2 * 10 * 4 + 3 * 16 * (2 + 1 + 3 * 2)
    assert from_five_numbers(10, 4, 3, 2, 1, gated=False, tied=True) == 40 + 3 * 16 * (4 + 4)
    assert guess(card("LLaMA-7B").config) == pytest.approx(ZOO["LLaMA-7B"].total, rel=1e-4)
    assert guess(card("Qwen3-0.6B").config) < 0.9 * ZOO["Qwen3-0.6B"].total


def test_tokens_per_parameter_needs_the_tokens() -> None:
    assert ZOO["LLaMA-7B"].tokens_per_parameter == pytest.approx(1e12 / 6_738_415_616)
    unknown = next(entry for entry in ZOO.values() if entry.card.training_tokens is None)
    assert unknown.tokens_per_parameter is None


def test_names_that_do_not_break() -> None:
    assert unbroken("GPT-2 XL") == "GPT\u20112\u00a0XL"


# --- the widget -------------------------------------------------------------------------------


def test_explorer_holds_every_card_exactly() -> None:
    widget = explorer()
    names = widget.spec["names"]
    assert names == list(ZOO)
    columns = {column["label"]: column for column in widget.spec["columns"]}
    for label, column in columns.items():
        assert len(column["texts"]) == len(names), label
        assert column["values"] is None or len(column["values"]) == len(names), label
    row = names.index("Qwen2-72B")
    assert columns["parameters (counted)"]["texts"][row] == "72,706,203,648"
    assert columns["difference"]["texts"][row] == "0"
    assert columns["biases"]["texts"][row] == "Q, K, V"
    assert columns["cache a token"]["texts"][names.index("BERT-base")] == "–"
    assert columns["cache a token"]["values"][names.index("BERT-base")] is None
    assert columns["published"]["texts"][names.index("GPT-3 175B")].startswith("≈")
    assert columns["d_ff / d"]["texts"][names.index("DeepSeek-V2")] == "–"
    assert columns["d_ff / d"]["texts"][names.index("Mixtral-8x7B-v0.1")] == "3.5"


def test_explorer_names_every_source_and_searches_words_not_notes() -> None:
    columns = {column["label"]: column for column in explorer().spec["columns"]}
    assert columns["source"]["texts"][list(ZOO).index("BLOOM-176B")] == "BigScience 2022"
    assert all(re.fullmatch(r"[A-Z][\w -]+ 20\d\d", text) for text in columns["source"]["texts"])
    searched = {label for label, column in columns.items() if column["searched"]}
    assert {"year", "heads", "source"} <= searched
    assert not searched & {"note", "context", "difference"}


def test_every_filter_shows_some_cards_and_every_column_is_in_a_group() -> None:
    spec = explorer().spec
    assert all(any(rows) for rows in spec["filters"])
    assert len({tuple(rows) for rows in spec["filters"]}) == len(spec["filters"])
    groups = spec["controls"][0]["labels"]
    assert all(set(column["groups"]) <= set(groups) for column in spec["columns"])
    assert [sum(kind) for kind in zip(*spec["kinds"].values(), strict=True)] == [1] * len(ZOO)


def test_axes_are_positive_where_they_are_logarithmic() -> None:
    spec = explorer().spec
    for index in spec["axes"]:
        column = spec["columns"][index]
        known = [x for x in column["values"] if x is not None]
        assert len(known) > 5
        assert not column["log"] or min(known) > 0


def test_page_carries_the_table_and_the_module() -> None:
    page = explorer([Entry(card("GPT-2"))]).static_html()
    state = json.loads(page.split('<script type="application/json">')[1].split("</script>")[0])
    assert state["at"][5:] == [-1, ""]
    assert state["spec"]["names"] == ["GPT-2"]
    assert '"model_explorer"' in static_script()


def small(**changes: object) -> ModelExplorer:
    arguments = {
        "names": ["a", "b"],
        "columns": [Column("model", ["a", "b"], ["all"]),
                    Column("size", ["1", "2"], ["all"], [1, 2], axis="size")],
        "filters": {"all": [True, True]},
        "kinds": {"decoder": [True, True]},
        "start": {"columns": "all", "order": "size", "x": "size", "y": "size"},
        "alt": "two models",
    }  # fmt: skip
    return ModelExplorer(**{**arguments, **changes})  # type: ignore[arg-type]


def test_where_it_starts() -> None:
    widget = small()
    assert widget.at == [0, 0, 1, 0, 0, -1, ""]
    assert [control["label"] for control in widget.spec["controls"]][:2] == ["columns", "cards"]


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alt": " "}, "alt text"),
        ({"filters": {"all": [True]}}, "'all' has 1 rows, expected 2"),
        ({"kinds": {"decoder": [True] * 3}}, "'decoder' has 3 rows, expected 2"),
        ({"names": ["a"]}, "'model' has 2 rows, expected 1"),
    ],
)
def test_rows_of_another_length(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**changes)
