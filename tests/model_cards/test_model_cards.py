"""Model cards: consistent in themselves, and equal in every row to what this library builds."""

import dataclasses
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import llmlib.architecture as arch
from llmlib.accounting import parameters
from llmlib.activations import ACTIVATIONS, FeedForward, GatedFeedForward, matched_ffn_dim
from llmlib.decoder import Decoder
from llmlib.model_cards import CARDS, MILESTONES, card, size_as_number
from llmlib.model_cards.gpt import gpt, gpt3
from llmlib.pretrained import smollm2
from tests.accounting.test_parameters import built, renamed
from tests.folding import for_each

MIXTURES = [name for name, one in CARDS.items() if "Experts" in repr(one.config)]
# Whose heads together are not as wide as the residual stream.
HEADS_APART = [
    *("PaLM-540B", "Gemma-7B", "Qwen3-0.6B", "Qwen3-4B", "Qwen3-32B"),
    *("DeepSeek-V2-Lite", "DeepSeek-V2", "DeepSeek-V3", "Gemma-2-2B", "Gemma-2-9B", "Gemma-2-27B"),
    *("Gemma-3-1B", "Gemma-3-4B", "Gemma-3-12B", "Gemma-3-27B", "gpt-oss-20b", "gpt-oss-120b"),
    "Qwen3-Next-80B-A3B",
]


def total(config: arch.ModelConfig) -> int:
    """The counted parameters."""
    count = parameters(config).total
    assert isinstance(count, int)
    return count


def blocks_of(config: arch.ModelConfig) -> list[arch.Block]:
    """The kinds of blocks of a model, its encoder's first."""
    runs = () if config.source is None else config.source.runs
    return list(dict.fromkeys(one for one, _, _ in arch.kinds((*runs, *config.stack.runs))))


def feed_forwards(config: arch.ModelConfig) -> set[arch.FeedForward]:
    """Its feed-forward blocks, and its experts."""
    parts: list[Any] = [block.feed_forward for block in blocks_of(config)]
    return {getattr(part, "expert", part) for part in parts}


# The library's blocks have neither experts nor states, and no squared ReLU.
BUILDABLE = [
    name
    for name, one in CARDS.items()
    if one.config.family == "decoder" and name not in (*MIXTURES, "Nemotron-4-15B")
]


def as_printed(count: float, like_this: str) -> str:
    """A count with the unit and the digits of a printed size."""
    digits, unit = like_this[:-1], like_this[-1]
    decimals = len(digits.partition(".")[2])
    return f"{count / {'M': 1e6, 'B': 1e9}[unit]:.{decimals}f}{unit}"


# --- the list ---------------------------------------------------------------------------------


def test_cards_are_in_order_of_year_and_size() -> None:
    order = [(one.year, one.published_parameters) for one in CARDS.values()]
    assert order == sorted(order)
    assert len(CARDS) >= 89
    assert [one.name for one in CARDS.values()] == list(CARDS)


def test_milestones_are_one_of_each_line_in_order() -> None:
    assert list(MILESTONES) == [
        *("GPT-1", "BERT-base", "GPT-2", "T5-small", "GPT-3 175B"),
        *("LLaMA-7B", "Mistral-7B-v0.1", "Qwen2-7B"),
    ]
    years = [one.year for one in MILESTONES.values()]
    assert years == sorted(years)


@for_each("name", CARDS)
def test_card_is_consistent(name: str, root: Path) -> None:
    one, c = CARDS[name], CARDS[name].config
    known = (root / "chapters" / "references.bib").read_text(encoding="utf-8")
    assert f"{{{one.source}," in known
    mixers = [block.mixer for block in blocks_of(c)]
    heads = [x for x in mixers if not isinstance(x, arch.GatedDelta)]
    assert all(x.n_heads * x.head_dim == c.dim for x in heads) == (name not in HEADS_APART)
    for part in feed_forwards(c):
        assert part.activation in ACTIVATIONS
        assert not (part.bias and part.gated) or name.startswith("gpt-oss")
    assert (name in MIXTURES) == bool(one.quoted_active)
    assert one.training_tokens is None or 1e11 < one.training_tokens < 1e14
    for text in (one.note, one.difference):
        assert re.fullmatch(r"([A-Z0-9].*\.)?", text)


@for_each("name", CARDS)
def test_every_model_knows_positions_in_one_way(name: str) -> None:
    """A table, a bias by distance, or rotation: of decoders one, and of the layers of a stack."""
    stack = CARDS[name].config.stack
    mixers = [block.mixer for block in blocks_of(CARDS[name].config)]
    turned = any(getattr(mixer, "rope", None) is not None for mixer in mixers)
    sloped = any(getattr(mixer, "alibi", False) for mixer in mixers)
    assert [stack.positions is not None, turned, sloped].count(True) == 1


@for_each("name", CARDS)
def test_stacks_are_written_as_they_are_found_again(name: str) -> None:
    """So that a loader, which finds its runs in a list of layers, gives an equal description."""
    stack = CARDS[name].config.stack
    assert arch.runs_of(arch.layers(stack.runs)) == stack.runs


def test_cards_are_read_without_torch() -> None:
    code = "import llmlib.model_cards, sys; print({'torch', 'sympy'} & sys.modules.keys())"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"


def test_lookup_ignores_case_and_cards_are_frozen() -> None:
    assert card("llama-7b") is CARDS["LLaMA-7B"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        card("GPT-2").year = 2020  # type: ignore[misc]


def test_a_card_gives_its_quoted_size_as_a_number() -> None:
    assert card("GPT-2 XL").quoted_number == 1.542e9
    assert card("Mistral-7B-v0.1").quoted_number == 7e9


# --- the counts -------------------------------------------------------------------------------


@for_each("name", CARDS)
def test_counted_total_is_the_published_one(name: str) -> None:
    one = CARDS[name]
    if one.exact:
        assert total(one.config) == one.published_parameters
    else:
        assert one.published_parameters == round(one.quoted_number)


@for_each("name", CARDS)
def test_more_than_a_percent_off_the_quoted_size_has_a_reason(name: str) -> None:
    one = CARDS[name]
    assert (abs(total(one.config) / one.quoted_number - 1) > 0.01) == bool(one.difference)


def test_encoders_are_no_decoders() -> None:
    assert len(BUILDABLE) == 72
    for name, one in CARDS.items():
        if one.config.family != "decoder":
            with pytest.raises(ValueError, match=f"family is {one.config.family!r}"):
                Decoder(CARDS[name].config)


@for_each("name", BUILDABLE)
def test_every_row_is_that_of_the_built_decoder(name: str) -> None:
    config = CARDS[name].config
    counted = {row: count for row, count in parameters(config).items() if count}
    assert counted == renamed(built(config), config)


@for_each("name", [name for name in CARDS if name not in MIXTURES and name != "Nemotron-4-15B"])
def test_feed_forward_is_that_of_the_built_block(name: str) -> None:
    c = CARDS[name].config
    (part,) = feed_forwards(c)
    block_class = GatedFeedForward if part.gated else FeedForward
    with torch.device("meta"):
        block = block_class(c.dim, part.ffn_dim, part.activation, part.bias)
    blocks = c.n_layers + (0 if c.source is None else c.source.n_layers)
    expected = blocks * sum(p.numel() for p in block.parameters())
    assert parameters(c)["feed_forward"] == expected


def test_the_real_model_is_its_card() -> None:
    model, _ = smollm2()
    one = card("SmolLM2-135M")
    assert model.config == one.config
    assert sum(p.numel() for p in model.parameters()) == one.published_parameters


# --- what the notes say -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["GPT-2", "GPT-2 medium", "GPT-2 large", "GPT-2 XL"])
def test_gpt2_was_printed_with_the_vocabulary_of_gpt1(name: str) -> None:
    one = CARDS[name]
    old = dataclasses.replace(one.config, vocab_size=40_478)
    assert as_printed(total(old), one.quoted) == one.quoted
    assert as_printed(total(one.config), one.quoted) in one.difference


def test_gpt3_widths_that_are_misprints() -> None:
    assert total(card("GPT-3 175B").config) == 174_604_259_328
    # 13B: the printed d = 5140 is not 40 heads of 128; one head serves to count, as any number.
    assert as_printed(total(gpt3(5140, 40, 1)), "0.00B") == "12.95B"
    assert as_printed(total(card("GPT-3 13B").config), "0.00B") == "12.85B"
    # 1.3B: with 24 heads of 128, as printed, the model would be a 1.5B.
    printed = card("GPT-3 1.3B").config
    wide = arch.changed(printed, arch.Attention, n_heads=24, n_kv_heads=24)
    assert as_printed(total(wide), "0.0B") == "1.5B"
    assert as_printed(total(printed), "0.0B") == "1.3B"


def test_pangu_is_the_207b_of_the_mislabelled_row() -> None:
    c = card("PanGu-alpha-200B").config
    assert (c.n_layers, c.block.mixer.n_heads, c.dim, c.context) == (64, 128, 16384, 1024)
    assert as_printed(total(c), "0B") == "207B"
    # One layer more, for the query layer, would not be the printed size.
    deeper = gpt(16384, 65, 128, vocab_size=40_000, rows=2048)
    assert as_printed(total(deeper), "0B") == "210B"


def test_palm_totals_are_those_of_the_paper() -> None:
    for name in ("PaLM-8B", "PaLM-62B", "PaLM-540B"):
        one = CARDS[name]
        assert total(one.config) == pytest.approx(one.quoted_number, rel=3e-4)


def test_names_that_leave_out_a_vocabulary_matrix() -> None:
    """Qwen2-7B counts one of two, Gemma none."""
    names = ("Qwen2-7B", "Gemma-2B", "Gemma-7B", "Gemma-2-2B")
    counts = {name: parameters(CARDS[name].config) for name in names}
    without = {name: b.total - b["embedding"] for name, b in counts.items()}
    assert as_printed(without["Qwen2-7B"], "0.00B") == "7.07B"
    assert as_printed(without["Gemma-2B"], "0.00B") == "1.98B"
    assert as_printed(without["Gemma-7B"], "0.00B") == "7.75B"
    assert as_printed(without["Gemma-2-2B"], "0.00B") == "2.02B"


def test_t5_large_with_a_head_of_its_own() -> None:
    untied = dataclasses.replace(card("T5-large").config, tied=False)
    assert as_printed(total(untied), "0.0M") == "770.6M"


@pytest.mark.parametrize("name", MIXTURES)
def test_active_parameters_are_the_printed_ones(name: str) -> None:
    """Most figures leave out the embedding, which is looked up; Qwen3-Next's head and more too."""
    one = CARDS[name]
    active = parameters(one.config, active=True)
    looked_up = 0 if name.startswith("Mixtral") else active["embedding"]
    looked_up += active["head"] if name.startswith("Qwen3-Next") else 0
    # DeepSeek-V2-Lite: 2.45 billion are printed as 2.4B; Qwen3-Next: 3.25 as 3B.
    rel = 0.1 if name.startswith("Qwen3-Next") else 0.025
    assert active.total - looked_up == pytest.approx(size_as_number(one.quoted_active), rel=rel)


def test_published_parts_of_the_parameters() -> None:
    """Papers that print the embedding apart: Gemma 3, and Nemotron-4 with its head."""
    printed = {
        "Gemma-3-4B": (675, 3209),
        "Gemma-3-12B": (1012, 10_759),
        "Gemma-3-27B": (1416, 25_600),
    }
    for name, (embedding, others) in printed.items():
        counted = parameters(CARDS[name].config)
        assert counted["embedding"] == pytest.approx(embedding * 1e6, rel=0.01)
        assert counted.total - counted["embedding"] == pytest.approx(others * 1e6, rel=0.002)
    counted = parameters(CARDS["Nemotron-4-15B"].config)
    tables = counted["embedding"] + counted["head"]
    assert tables == pytest.approx(3.2e9, rel=0.02)
    assert as_printed(counted.total - tables, "0.0B") == "12.5B"


def test_shares_that_notes_mention() -> None:
    def share(name: str, *rows: str) -> float:
        return sum(parameters(CARDS[name].config).share(row) for row in rows)

    assert share("BLOOM-560M", "embedding") == pytest.approx(0.46, abs=0.005)
    assert share("Qwen2-0.5B", "embedding") == pytest.approx(0.275, abs=0.005)
    assert share("Llama-3-8B", "embedding", "head") == pytest.approx(1 / 8, abs=0.01)


def test_llama_width_is_the_two_thirds_rule() -> None:
    for name in ("LLaMA-7B", "LLaMA-13B", "LLaMA-33B", "LLaMA-65B"):
        c = CARDS[name].config
        (part,) = feed_forwards(c)
        assert part.ffn_dim == matched_ffn_dim(4 * c.dim, multiple_of=256)


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
