"""The timeline: complete rows, known classes, a citable source for each."""

import re
from pathlib import Path
from typing import ClassVar

import pytest
import torch

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

pytestmark = pytest.mark.unchecked  # small stand-ins take the places of model and tokenizer

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


# --- the longer runs ---------------------------------------------------------------------------


class Letters:
    """A tokenizer of letters."""

    special_tokens: ClassVar = {"<|endoftext|>": 0}

    def encode(self, text: str, add_special: bool = False) -> list[int]:
        return [ord(letter) for letter in text]


class Listener:
    """A model that knows nothing, and remembers what it was asked."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def __call__(self, ids: torch.Tensor) -> torch.Tensor:
        self.heard += ["".join(map(chr, row)).strip("\0") for row in ids.tolist()]
        return torch.zeros(*ids.shape, 128)


def asked(examples: str, shots: int) -> list[tuple[list[tuple[str, str]], str]]:
    """The examples that are shown, and the question, of every prompt."""
    model = Listener()
    few_shot(model, Letters(), examples, 0, shots=[shots])  # type: ignore[arg-type]
    lines = [[line.partition(" ->")[::2] for line in text.split("\n")] for text in model.heard]
    return [([(a, b.strip()) for a, b in rows[:-1]], rows[-1][0]) for rows in lines]


RIGHT = {pair for pairs in WORD_PAIRS.values() for pair in pairs}
KIND_OF = {question: kind for kind, pairs in WORD_PAIRS.items() for question, _ in pairs}


def test_right_examples_are_right_and_leave_the_question_out() -> None:
    prompts = asked("right", 3)
    assert len(prompts) == 16
    for shown, question in prompts:
        assert len(shown) == 3
        assert set(shown) <= RIGHT
        assert question not in dict(shown)
        assert {KIND_OF[a] for a, _ in shown} == {KIND_OF[question]}


@pytest.mark.parametrize("shots", [1, 2, 9])
def test_wrong_answers_are_answers_to_other_questions_of_the_kind(shots: int) -> None:
    for shown, question in asked("wrong answers", shots):
        assert len(shown) == shots
        assert not set(shown) & RIGHT
        assert {b for _, b in shown} <= {b for _, b in WORD_PAIRS[KIND_OF[question]]}


def test_examples_of_another_kind_are_right_and_of_another_kind() -> None:
    for shown, question in asked("another kind", 4):
        assert set(shown) <= RIGHT
        assert KIND_OF[question] not in {KIND_OF[a] for a, _ in shown}


def test_a_model_that_knows_nothing_is_no_better_with_examples() -> None:
    for row in few_shot(Listener(), Letters(), "right", 1, shots=[0, 9]):  # type: ignore[arg-type]
        assert row.probability == pytest.approx(1 / 128)
        assert row.first == 0


def test_sums_are_asked_and_answered() -> None:
    model = Listener()
    rows = sums(model, Letters(), 5, n=3)  # type: ignore[arg-type]
    assert [row.certainty for row in rows] == pytest.approx([1 / 128] * 3)
    lines = [line.split(" = ") for line in model.heard[0].strip().split("\n")]
    assert [sum(map(int, left.split(" + "))) == int(right) for left, right in lines] == [True] * 3


def test_stored_runs_are_whole() -> None:
    rows = stored_few_shot()
    assert len({row[:3] for row in rows}) == len(rows) == 3 * 3 * len(SHOTS)
    assert all(0 <= row.probability <= 1 and 0 <= row.first <= 1 for row in rows)
    judged = stored_sums()
    assert [row.seed for row in judged] == [seed for seed in range(50) for _ in range(12)]
    assert all(0 < row.certainty <= 1 and row.right in (0, 1) for row in judged)


def test_closed_models_alone_keep_their_size_to_themselves() -> None:
    assert {row.name for row in ROWS if row.family == "unpublished"} == {"GPT-4", "Claude"}
    assert all(row.openness == "closed" for row in ROWS if row.parameters is None)
    assert release("Chinchilla").tokens == 20 * (release("Chinchilla").parameters or 0)
