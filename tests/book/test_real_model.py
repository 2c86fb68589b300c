"""The reader's own model in the place of SmolLM2: what is opened, copied, and steps aside."""

import nbformat
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from llmlib.book import ClaimError, claim, lab, named, real_model
from llmlib.book.real_model import SMOLLM2, VARIABLE, model_name
from tests.pretrained_files import LLAMA, folder, llama_weights

ROWS = 261  # of the embedding


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A reader's folder, whose name has a blank, set as `make lab MODEL=...` does."""
    path = tmp_path / "my model"
    path.mkdir()
    ends = {f"{name}.weight": torch.randn(ROWS, 24) for name in ("model.embed_tokens", "lm_head")}
    folder(path, LLAMA, {**llama_weights(), **ends}, vocab_size=ROWS)
    write_tokenizer(path, pre_tokenizers.ByteLevel.alphabet())
    monkeypatch.setenv(VARIABLE, str(path))
    return path


def write_tokenizer(path, alphabet):
    """A tokenizer of bytes: of these, and of those in a short text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=ROWS, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(["a b c abc"] * 9, trainer)
    tokenizer.save(str(path / "tokenizer.json"))


def test_the_chapters_get_the_readers_model(own):
    model, tokenizer = real_model(torch.float64)
    assert model.config.vocab_size == ROWS
    assert model.embedding.weight.dtype == torch.float64
    assert tokenizer.decode(tokenizer.encode("cab")) == "cab"
    assert model_name() == "my model"


def test_without_one_they_get_the_books(monkeypatch):
    for unset in ("", "  "):
        monkeypatch.setenv(VARIABLE, unset)
        assert model_name() == SMOLLM2
    monkeypatch.delenv(VARIABLE)
    assert real_model()[0].config.n_layers == 30


def test_texts_name_the_model_that_stands_there(own, monkeypatch):
    texts = "SmolLM2 writes", "SmolLM2-135M", f"{SMOLLM2}'s keys"
    assert [named(x) for x in texts] == ["my model writes", "my model", "my model's keys"]
    monkeypatch.delenv(VARIABLE)
    assert [named(x) for x in texts] == list(texts)


def test_a_claim_about_the_other_model_shows_both_numbers_and_steps_aside(own, capsys):
    claim("kv_cache.heads", "Heads of a layer", 6, 9, 0, about=SMOLLM2)
    claim("kv_cache.word", "The next word", "a", "Paris", 0, about=SMOLLM2)
    first, second = capsys.readouterr().out.splitlines()
    assert first == (
        f"– kv_cache.heads: Heads of a layer: measured 6, expected 9; the claim is {SMOLLM2}'s "
        "and steps aside for my model"
    )
    assert "measured a, expected Paris;" in second
    with pytest.raises(ClaimError):  # what holds for any model is still checked
        claim("kv_cache.any", "What holds for any model", 1, 2, 0)


def test_a_claim_about_the_model_that_is_there_is_checked(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(ClaimError):
        claim("kv_cache.heads", "Heads of a layer", 6, 9, 0, about=SMOLLM2)


def test_chapters_are_copied_without_outputs_and_a_readers_copy_stays(own):
    copies = lab.copies(own, own.parent / "own")
    names = {file.stem for file in copies.glob("*.ipynb")}
    assert names == {"decoding", "forward_pass", "intro", "kv_cache", "overview",
                     "position_encoding", "sparse_attention"}  # fmt: skip
    assert copies == own.parent / "own" / "my model"
    for file in copies.glob("*.ipynb"):
        cells = nbformat.read(file, as_version=4).cells
        assert not any(cell.get("outputs") for cell in cells)
    mine = copies / "overview.ipynb"
    mine.write_text("changed", encoding="utf-8")
    lab.copies(own, own.parent / "own")
    assert mine.read_text(encoding="utf-8") == "changed"


def test_what_is_opened_is_said_in_a_line(own):
    numbers = sum(x.numel() for x in llama_weights().values()) + 2 * (ROWS - 61) * 24
    assert lab.opened(own) == f"my model: {numbers:,} parameters, 2 layers: 2 A"


@pytest.mark.bad_input
def test_a_tokenizer_that_cannot_write_the_chapters_is_refused_at_once(own):
    write_tokenizer(own, [])
    said = r"my model's tokenizer has no token for 'd' 'e' .* \(92 of 96 letters\).*every byte"
    with pytest.raises(ValueError, match=said):
        real_model()
    with pytest.raises(SystemExit, match=f"MODEL: {said}"):
        lab.opened(own)


@pytest.mark.bad_input
def test_what_cannot_be_opened_is_said_before_anything_starts(tmp_path):
    (tmp_path / "notes.txt").write_text("no model")
    for path, said in (("gone", "gone is not there"), ("notes.txt", "notes.txt")):
        with pytest.raises(SystemExit, match=f"MODEL: .*{said}"):
            lab.opened(tmp_path / path)
