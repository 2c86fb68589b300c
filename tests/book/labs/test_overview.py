"""The timeline: complete rows, known classes, a citable source for each."""

import re
from pathlib import Path

import pytest

from llmlib.book.labs.overview import (
    SHOTS,
    WORD_PAIRS,
    Release,
    few_shot,
    read_timeline,
    release,
    stored_few_shot,
    stored_sums,
    sums,
)
from llmlib.model_cards import CARDS
from tests.folding import for_each

ROWS = read_timeline()
CARD_OF = {
    "GPT-1": "GPT-1",
    "BERT-large": "BERT-large",
    "GPT-2": "GPT-2 XL",
    "RoBERTa-large": "RoBERTa-large",
    "GPT-3": "GPT-3 175B",
    "PaLM": "PaLM-540B",
    "BLOOM": "BLOOM-176B",
    "LLaMA-65B": "LLaMA-65B",
    "Llama 2 70B": "Llama-2-70B",
    "Mistral 7B": "Mistral-7B-v0.1",
    "Mixtral 8x7B": "Mixtral-8x7B-v0.1",
    "Gemma 7B": "Gemma-7B",
    "Phi-3-mini": "Phi-3-mini",
    "DeepSeek-V3": "DeepSeek-V3",
    "Qwen2-72B": "Qwen2-72B",
    "Llama 3.1 405B": "Llama-3.1-405B",
    "SmolLM2-135M": "SmolLM2-135M",
    "Gemma 3 27B": "Gemma-3-27B",
    "Qwen3-32B": "Qwen3-32B",
    "SmolLM3-3B": "SmolLM3-3B",
    "gpt-oss-120b": "gpt-oss-120b",
    "Qwen3-Next-80B": "Qwen3-Next-80B-A3B",
}
BIB = Path(__file__).resolve().parents[3] / "chapters" / "references.bib"


def test_rows_are_in_order_and_named_once() -> None:
    assert len(ROWS) >= 20
    assert [row.date for row in ROWS] == sorted(row.date for row in ROWS)
    assert len({row.name for row in ROWS}) == len(ROWS)


@for_each("row", ROWS, ids=lambda row: row.name)
def test_row_is_complete_and_plausible(row: Release) -> None:
    assert re.fullmatch(r"20(18|19|2[0-6])-(0[1-9]|1[0-2])", row.date)
    assert row.openness in ("open weights", "closed")
    assert row.family in ("decoder", "encoder", "encoder-decoder", "unpublished")
    assert row.parameters is None or 0.1 < row.parameters < 2000
    assert row.tokens is None or 100 < row.tokens <= 40_000
    assert row.openness == "closed" or row.parameters is not None
    assert f"{{{row.source}," in BIB.read_text(encoding="utf-8")


@for_each("name", CARD_OF)
def test_rows_agree_with_the_model_cards(name: str) -> None:
    row, one = release(name), CARDS[CARD_OF[name]]
    assert (int(row.date[:4]), row.family, row.source) == (one.year, one.config.family, one.source)
    assert (row.openness == "open weights") == one.exact
    tokens = None if row.tokens is None else row.tokens * 1e9
    assert tokens == pytest.approx(one.training_tokens)
    assert row.parameters is not None
    assert (row.active is None) == (one.quoted_active == "")
    assert row.active is None or f"{row.active:g}B" == one.quoted_active
    decimals = len(f"{row.parameters:g}".partition(".")[2])
    sizes = (one.quoted_number, one.published_parameters)
    assert row.parameters in [round(size / 1e9, decimals) for size in sizes]


def test_every_row_that_has_a_card_is_compared() -> None:
    plain = {re.sub(r"\W", "", name).lower() for name in CARDS}
    named = {row.name for row in ROWS if re.sub(r"\W", "", row.name).lower() in plain}
    assert named <= set(CARD_OF)


def test_training_flops_needs_both_numbers() -> None:
    assert release("GPT-3").training_flops == pytest.approx(3.15e23)
    assert release("GPT-4").training_flops is None


def test_a_mixture_is_trained_with_the_part_that_a_token_passes() -> None:
    assert release("DeepSeek-V3").training_flops == pytest.approx(6 * 37e9 * 14.8e12)
    assert all(row.active < row.parameters for row in ROWS if row.active and row.parameters)


@pytest.mark.bad_input
def test_unknown_name_lists_the_rows() -> None:
    with pytest.raises(ValueError, match=r"no row for 'GPT-9'.*SmolLM2-135M"):
        release("GPT-9")
