"""What the chapter on families draws and counts itself: masks, the model of 2017, parts, costs."""

import pytest
import torch

import llmlib.architecture as arch
from llmlib.book.labs.families import components, drawing, knows, serving, slips
from llmlib.book.widgets import Slider, ThreeMasks
from llmlib.model_cards import card
from llmlib.model_cards.families import FAMILY_CARDS, TRANSFORMER


def test_what_moves_is_what_the_mask_allows() -> None:
    assert torch.equal(knows.knows("decoder", 6), torch.ones(6, 6, dtype=torch.bool).tril())
    assert knows.knows("encoder", 6).all()
    both = knows.knows("encoder-decoder", 7, 4)
    assert both[:, :4].all()
    assert not both[:4, 4:].any()
    assert torch.equal(both[4:, 4:], torch.ones(3, 3, dtype=torch.bool).tril())


@pytest.mark.parametrize("word", range(1, 9))
def test_a_panel_asks_for_the_word_at_its_row(word: int) -> None:
    decoder, encoder, pair = knows.three_masks(word, knows.SHOWS[1])["panels"]
    asked = knows.WORDS[word - 1]
    for panel in (decoder, encoder, pair):
        assert panel["learned"][panel["at"]] == asked
        assert panel["words"][panel["at"]] in (word, word - 1 + word % 2)
    assert encoder["rows"][encoder["at"]] == "▢"
    assert sum(x != "" for x in decoder["learned"]) == len(knows.WORDS)
    assert sum(x != "" for x in encoder["learned"]) == 1
    assert [x for x in pair["learned"] if x.startswith("⟨")] == ["⟨X⟩", "⟨Y⟩"]


def test_a_panel_of_another_size_is_refused() -> None:
    panel = {"title": "a", "rows": ["a", "b"], "mask": ["x."], "at": 0, "learned": [],
             "words": [1, 2], "split": 0}  # fmt: skip
    with pytest.raises(ValueError, match="expected 2 texts of 2 characters"):
        ThreeMasks(
            controls=[Slider("word", "word", [1, 2])],
            frame=lambda word: {"panels": [panel], "note": ""},
            alt="a mask",
        )


def test_the_drawing_follows_the_description() -> None:
    first = drawing.drawn(TRANSFORMER.config, "2017")
    t5 = drawing.drawn(card("T5-small").config, "T5")
    assert first.count("LayerNorm</text>") == 5
    assert t5.count("RMSNorm</text>") == 5 + 2  # and one after either stack
    assert "sines of the position" in first
    assert "sines" not in t5
    with pytest.raises(ValueError, match="family is 'decoder'"):
        drawing.drawn(card("GPT-2").config, "GPT-2")


def test_parts_in_words() -> None:
    found = components.components(FAMILY_CARDS["ModernBERT-base"].config)
    assert found["a token sees"] == "all, or 64 a side"
    assert found["norm"] == "LayerNorm, no shift"
    assert components.components(card("T5-small").config)["scores"] == "q·k"
    assert components.changes(TRANSFORMER.config, [TRANSFORMER.config]) == [0]


def test_code_is_counted_without_docstrings_and_comments() -> None:
    text = '"""A file.\n\nTwo.\n"""\n\nimport a  # why\n\n# why\ndef f():\n    """Says."""\n'
    assert components.lines_of(text + "    return (\n        1\n    )\n") == 5


def test_costs_of_a_job() -> None:
    pair = card("T5-small").config
    equal = serving.decoder_like(pair, 14)
    assert abs(serving.size(pair) / serving.size(equal) - 1) < 1e-3
    one_turn = serving.reading(equal, 200) + serving.writing(equal, 200, 200)
    assert serving.conversation(equal, 1) == pytest.approx(one_turn, rel=1e-9)
    assert serving.job(pair, 20, 10) == serving.reading(pair, 20) + serving.writing(pair, 20, 10)
    assert serving.job_seconds(pair, 2) < serving.job_seconds(equal, 2)
    with_head = arch.changed(card("BERT-base").config, arch.ModelConfig, head="tokens")
    assert serving.rewriting(with_head, 10, 2) > serving.rewriting(with_head, 10, 1)


def test_t5s_slips() -> None:
    found = slips.t5_slips()
    assert found["same first guess"] == 1
    assert found["unscaled"] > found["probability of it"]
