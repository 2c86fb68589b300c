"""The table of model cards: its words, its counts, and the widget that shows it."""

import json
import re

import pytest
import torch

import llmlib.architecture as arch
from llmlib.book.labs.model_cards import (
    Entry,
    choices,
    explorer,
    from_five_numbers,
    guess,
    newer,
    pattern,
    shape,
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
    assert (entry.active < entry.total) == entry.shape.experts
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
        ("Falcon-7B", ["LayerNorm", "pre, parallel", "GELU", "RoPE", "MQA", "none", "tied"]),
        ("MPT-7B", ["LayerNorm", "pre", "GELU", "ALiBi", "MHA", "none", "tied"]),
        ("OLMo-2-7B", ["RMSNorm", "output", "SwiGLU", "RoPE", "MHA", "none", "its own"]),
        ("Gemma-3-1B", ["RMSNorm", "sandwich", "GeGLU", "RoPE", "MQA", "none", "tied"]),
        ("SmolLM3-3B", ["RMSNorm", "pre", "SwiGLU", "RoPE, or none", "GQA", "none", "tied"]),
        (
            "Nemotron-4-15B",
            ["LayerNorm", "pre", "ReLU²", "RoPE, partial", "GQA", "none", "its own"],
        ),
        ("gpt-oss-20b", ["RMSNorm", "pre", "SwiGLU", "RoPE", "GQA", "all", "its own"]),
        (
            "Qwen3-Next-80B-A3B",
            ["RMSNorm", "pre", "SwiGLU", "RoPE, partial", "state and GQA", "none", "its own"],
        ),
    ],
)
def test_choices_in_words(name: str, expected: list[str]) -> None:
    assert list(choices(card(name).config).values()) == expected


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("GPT-2", "–"),
        ("DeepSeek-V3", "3 dense, 58 experts"),
        ("Mistral-7B-v0.1", "window 4,096"),
        ("Gemma-3-27B", "10 × (5 window 1,024, 1 full), 2 window 1,024"),
        ("gpt-oss-120b", "18 × (1 window 128, 1 full)"),
        ("SmolLM3-3B", "9 × (3 with RoPE, 1 without positions)"),
        ("Qwen3-Next-80B-A3B", "12 × (3 state, 1 full)"),
    ],
)
def test_a_stack_reads_as_the_sentence_that_describes_it(name: str, said: str) -> None:
    assert pattern(card(name).config) == said


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("GPT-2", ["–"] * 8),
        ("MPT-7B", ["–"] * 8),
        ("Gemma-3-27B", ["52 of 62 (1,024)", "–", "yes", "–", "–", "–", "–", "–"]),
        ("SmolLM3-3B", ["–", "9 of 36", "–", "–", "–", "–", "–", "–"]),
        ("gpt-oss-120b", ["18 of 36 (128)", "–", "–", "yes", "–", "–", "4 of 128", "–"]),
        ("DeepSeek-V3", ["–", "–", "–", "–", "512 + 64", "–", "8 of 256", "1"]),
        ("Qwen3-Next-80B-A3B", ["–", "–", "yes", "–", "–", "36 of 48", "10 of 512", "1"]),
    ],
)
def test_newer_choices_in_words(name: str, said: list[str]) -> None:
    assert list(newer(card(name).config).values()) == said


def test_sizes_that_all_layers_share() -> None:
    deepseek, gemma = shape(card("DeepSeek-V2").config), shape(card("Gemma-3-27B").config)
    assert (deepseek.n_heads, deepseek.n_kv_heads, deepseek.head_dim) == (128, 128, 192)
    assert deepseek.ffn_dim is None
    assert (gemma.n_heads, gemma.n_kv_heads, gemma.ffn_dim) == (32, 16, 21_504)
    assert shape(card("Qwen3-Next-80B-A3B").config).n_kv_heads == 2


@pytest.mark.parametrize(
    "name", ["GPT-2", "Mistral-7B-v0.1", "Qwen3-0.6B", "T5-small", "Gemma-3-27B"]
)
def test_cache_is_what_the_cache_holds(name: str) -> None:
    c, cache = ZOO[name].config, KVCache()
    for i, block in enumerate(arch.layers(c.stack.runs)):
        a = block.mixer
        assert isinstance(a, arch.Attention)
        x = torch.empty(1, a.n_kv_heads, 1, a.head_dim, dtype=torch.bfloat16, device="meta")
        cache.layer(i).update(x, x)
    assert ZOO[name].cache == ZOO[name].cache_of(1) == cache.n_bytes


def test_a_state_is_no_part_of_what_a_token_adds() -> None:
    entry = ZOO["Qwen3-Next-80B-A3B"]
    assert entry.cache == 12 * 2 * 2 * 256 * 2
    assert entry.cache_of(1) > 1000 * entry.cache


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
    assert columns["kinds of layers"]["texts"][names.index("DeepSeek-V2")] == "1 dense, 59 experts"


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
