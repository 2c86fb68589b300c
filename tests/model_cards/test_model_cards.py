"""Model cards: consistent in themselves, and equal in every row to what this library builds."""

import dataclasses
import re
from pathlib import Path

import pytest
import torch

from llmlib.accounting import parameters
from llmlib.activations import ACTIVATIONS, FeedForward, GatedFeedForward, matched_ffn_dim
from llmlib.decoder import decoder_config
from llmlib.model_cards import CARDS, MILESTONES, ModelCard, card, like, size_as_number
from llmlib.pretrained import smollm2
from tests.accounting.test_parameters import built, renamed
from tests.folding import for_each

BIB = Path(__file__).resolve().parent.parent / "chapters" / "references.bib"
# What this library's decoder does not do, and why.
REFUSED = {
    "family": [
        *("BERT-base", "BERT-large", "RoBERTa-base", "RoBERTa-large"),
        *("T5-small", "T5-base", "T5-large", "BART-base", "BART-large"),
    ],
    "experts": ["Mixtral-8x7B-v0.1", "DeepSeek-V2-Lite", "DeepSeek-V2"],
    "norms_per_block": ["PaLM-8B", "PaLM-62B", "PaLM-540B"],
    "embedding_scaled": ["Gemma-2B", "Gemma-7B"],
    "position_rows": ["PanGu-alpha-200B"],
}
NOT_BUILT = {name for names in REFUSED.values() for name in names}
BUILDABLE = [name for name in CARDS if name not in NOT_BUILT]
# Whose heads together are not as wide as the residual stream.
HEADS_APART = [
    *("PaLM-540B", "Gemma-7B", "Qwen3-0.6B", "Qwen3-4B", "Qwen3-32B"),
    *("DeepSeek-V2-Lite", "DeepSeek-V2"),
]


def total(one: ModelCard, **changes: object) -> int:
    """The counted parameters of a card, or of one with other values in some fields."""
    count = parameters(like(one.config, **changes)).total
    assert isinstance(count, int)
    return count


def as_printed(count: float, like_this: str) -> str:
    """A count with the unit and the digits of a printed size."""
    digits, unit = like_this[:-1], like_this[-1]
    decimals = len(digits.partition(".")[2])
    return f"{count / {'M': 1e6, 'B': 1e9}[unit]:.{decimals}f}{unit}"


# --- the list ---------------------------------------------------------------------------------


def test_cards_are_in_order_of_year_and_size() -> None:
    order = [(one.year, one.published_parameters) for one in CARDS.values()]
    assert order == sorted(order)
    assert len(CARDS) >= 57
    assert [one.name for one in CARDS.values()] == list(CARDS)


def test_milestones_are_one_of_each_line_in_order() -> None:
    assert list(MILESTONES) == [
        *("GPT-1", "BERT-base", "GPT-2", "T5-small", "GPT-3 175B"),
        *("LLaMA-7B", "Mistral-7B-v0.1", "Qwen2-7B"),
    ]
    years = [one.year for one in MILESTONES.values()]
    assert years == sorted(years)


@for_each("name", CARDS)
def test_card_is_consistent(name: str) -> None:
    one, c = CARDS[name], CARDS[name].config
    assert f"{{{one.source}," in BIB.read_text(encoding="utf-8")
    assert c.n_heads % c.n_kv_heads == 0
    assert (c.n_heads * c.head_dim == c.dim) == (name not in HEADS_APART)
    assert c.activation in ACTIVATIONS
    assert not (c.bias and c.gated)
    assert (c.rope_base is None) == (c.position != "rope")
    assert (c.experts is not None) == bool(one.quoted_active)
    assert one.training_tokens is None or 1e11 < one.training_tokens < 1e14
    for text in (one.note, one.difference):
        assert re.fullmatch(r"([A-Z0-9].*\.)?", text)


def test_lookup_ignores_case_and_cards_are_frozen() -> None:
    assert card("llama-7b") is CARDS["LLaMA-7B"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        card("GPT-2").year = 2020  # type: ignore[misc]


def test_like_keeps_what_the_changes_do_not_touch() -> None:
    qwen, roberta = card("Qwen2-7B").config, card("RoBERTa-base").config
    assert like(qwen, n_layers=2).qkv_bias is True
    assert like(qwen, bias=False).qkv_bias is False
    assert like(roberta, n_layers=2).position_rows == 514
    assert like(roberta, context=100).position_rows == 100
    assert like(roberta, norm="rms").norm_bias is False


def test_a_card_gives_its_quoted_size_as_a_number() -> None:
    assert card("GPT-2 XL").quoted_number == 1.542e9
    assert card("Mistral-7B-v0.1").quoted_number == 7e9


# --- the counts -------------------------------------------------------------------------------


@for_each("name", CARDS)
def test_counted_total_is_the_published_one(name: str) -> None:
    one = CARDS[name]
    if one.exact:
        assert total(one) == one.published_parameters
    else:
        assert one.published_parameters == round(one.quoted_number)


@for_each("name", CARDS)
def test_more_than_a_percent_off_the_quoted_size_has_a_reason(name: str) -> None:
    one = CARDS[name]
    assert (abs(total(one) / one.quoted_number - 1) > 0.01) == bool(one.difference)


def test_decoders_that_are_refused_are_the_expected_ones() -> None:
    for reason, names in REFUSED.items():
        for name in names:
            with pytest.raises(ValueError, match=f"^{reason} is"):
                decoder_config(CARDS[name].config)
    for name in BUILDABLE:
        decoder_config(CARDS[name].config)
    assert len(BUILDABLE) == 39


@for_each("name", BUILDABLE)
def test_every_row_is_that_of_the_built_decoder(name: str) -> None:
    config = decoder_config(CARDS[name].config)
    counted = {row: count for row, count in parameters(CARDS[name].config).items() if count}
    assert counted == renamed(built(config), config)


@for_each("name", [name for name in CARDS if CARDS[name].config.experts is None])
def test_feed_forward_is_that_of_the_built_block(name: str) -> None:
    c = CARDS[name].config
    block_class = GatedFeedForward if c.gated else FeedForward
    with torch.device("meta"):
        block = block_class(c.dim, c.ffn_dim, c.activation, bool(c.ffn_bias))
    blocks = c.n_layers * (2 if c.family == "encoder-decoder" else 1)
    expected = blocks * sum(p.numel() for p in block.parameters())
    assert parameters(c)["feed_forward"] == expected


def test_the_real_model_is_its_card() -> None:
    model, _ = smollm2()
    one = card("SmolLM2-135M")
    assert model.config == decoder_config(one.config)
    assert sum(p.numel() for p in model.parameters()) == one.published_parameters


# --- what the notes say -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["GPT-2", "GPT-2 medium", "GPT-2 large", "GPT-2 XL"])
def test_gpt2_was_printed_with_the_vocabulary_of_gpt1(name: str) -> None:
    one = CARDS[name]
    assert as_printed(total(one, vocab_size=40478), one.quoted) == one.quoted
    assert as_printed(total(one), one.quoted) in one.difference


def test_gpt3_widths_that_are_misprints() -> None:
    assert total(card("GPT-3 175B")) == 174_604_259_328
    # 13B: the printed d = 5140 is not 40 heads of 128; one head serves to count, as any number.
    wide = {"dim": 5140, "ffn_dim": 4 * 5140, "n_heads": 1, "n_kv_heads": 1, "head_dim": 5140}
    assert as_printed(total(card("GPT-3 13B"), **wide), "0.00B") == "12.95B"
    assert as_printed(total(card("GPT-3 13B")), "0.00B") == "12.85B"
    # 1.3B: with 24 heads of 128, as printed, the model would be a 1.5B.
    heads = {"n_heads": 24, "n_kv_heads": 24}
    assert as_printed(total(card("GPT-3 1.3B"), **heads), "0.0B") == "1.5B"
    assert as_printed(total(card("GPT-3 1.3B")), "0.0B") == "1.3B"


def test_pangu_is_the_207b_of_the_mislabelled_row() -> None:
    c = card("PanGu-alpha-200B").config
    assert (c.n_layers, c.n_heads, c.dim, c.context) == (64, 128, 16384, 1024)
    assert as_printed(total(card("PanGu-alpha-200B")), "0B") == "207B"
    # One layer more, for the query layer, would not be the printed size.
    assert as_printed(total(card("PanGu-alpha-200B"), n_layers=65), "0B") == "210B"


def test_palm_totals_are_those_of_the_paper() -> None:
    for name in REFUSED["norms_per_block"]:
        assert total(CARDS[name]) == pytest.approx(CARDS[name].quoted_number, rel=3e-4)


def test_names_that_leave_out_a_vocabulary_matrix() -> None:
    """Qwen2-7B counts one of two, Gemma none."""
    counts = {name: parameters(CARDS[name].config) for name in ("Qwen2-7B", "Gemma-2B", "Gemma-7B")}
    without = {name: b.total - b["embedding"] for name, b in counts.items()}
    assert as_printed(without["Qwen2-7B"], "0.00B") == "7.07B"
    assert as_printed(without["Gemma-2B"], "0.00B") == "1.98B"
    assert as_printed(without["Gemma-7B"], "0.00B") == "7.75B"


def test_t5_large_with_a_head_of_its_own() -> None:
    assert as_printed(total(card("T5-large"), tied=False), "0.0M") == "770.6M"


@pytest.mark.parametrize("name", REFUSED["experts"])
def test_active_parameters_are_the_printed_ones(name: str) -> None:
    """DeepSeek's figures leave out the embedding, which is looked up."""
    one = CARDS[name]
    active = parameters(one.config, active=True)
    looked_up = active["embedding"] if "DeepSeek" in name else 0
    # DeepSeek-V2-Lite: 2.45 billion are printed as 2.4B.
    assert active.total - looked_up == pytest.approx(size_as_number(one.quoted_active), rel=0.025)


def test_shares_that_notes_mention() -> None:
    def share(name: str, *rows: str) -> float:
        return sum(parameters(CARDS[name].config).share(row) for row in rows)

    assert share("BLOOM-560M", "embedding") == pytest.approx(0.46, abs=0.005)
    assert share("Qwen2-0.5B", "embedding") == pytest.approx(0.275, abs=0.005)
    assert share("Llama-3-8B", "embedding", "head") == pytest.approx(1 / 8, abs=0.01)


def test_llama_width_is_the_two_thirds_rule() -> None:
    for name in ("LLaMA-7B", "LLaMA-13B", "LLaMA-33B", "LLaMA-65B"):
        c = CARDS[name].config
        assert c.ffn_dim == matched_ffn_dim(4 * c.dim, multiple_of=256)
        assert c.ffn_ratio == c.ffn_dim / c.dim


# --- bad input --------------------------------------------------------------------------------


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("name", "near"), [("LLaMA-8B", "LLaMA-7B"), ("gpt2", "GPT-2"), ("", "GPT-1")]
)
def test_unknown_name_lists_near_ones(name: str, near: str) -> None:
    with pytest.raises(ValueError, match=near):
        card(name)


@pytest.mark.bad_input
@pytest.mark.parametrize("printed", ["", "7", "7e9", "B", "seven B"])
def test_sizes_that_are_none(printed: str) -> None:
    with pytest.raises(ValueError, match=r"size is|could not convert"):
        size_as_number(printed)
