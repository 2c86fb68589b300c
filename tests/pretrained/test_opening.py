"""Unit tests of opening a model with its tokenizer."""

import pytest
import torch

from llmlib.formats.packaged import smollm2_gguf
from llmlib.pretrained import load_tokenizer, open_model
from llmlib.tokenization import ByteLevelBPETokenizer
from tests.pretrained_files import folder, small, write_gguf

TEMPLATE = "{% for m in messages %}<|im_start|>{{ m['content'] }}{% endfor %}"


def with_tokenizer(path):
    """A folder with a tokenizer of 61 tokens at most, and a template."""
    tokenizer = ByteLevelBPETokenizer.train("a b", 257, special_tokens=["<|im_start|>"])
    tokenizer.save(path / "tokenizer.json")
    (path / "chat_template.jinja").write_text(TEMPLATE)
    return folder(path)


def test_folders_with_their_tokenizer_and_template(tmp_path):
    model, tokenizer = open_model(with_tokenizer(tmp_path), "bfloat16")
    assert model.embedding.weight.dtype == torch.bfloat16
    assert tokenizer.decode(tokenizer.encode("héllo")) == "héllo"
    assert tokenizer.chat([{"role": "user", "content": "a"}]) == [256, *tokenizer.encode("a")]
    assert load_tokenizer(tmp_path).vocab_size == 257


def test_gguf_files_with_their_tokenizer():
    model, tokenizer = open_model(smollm2_gguf(), "bfloat16")
    assert tokenizer.vocab_size == model.config.vocab_size == 49_152


@pytest.mark.bad_input
def test_what_cannot_be_opened_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone is not there: expected a folder of a model"):
        open_model(tmp_path / "gone")
    write_gguf(tmp_path / "a.gguf", small())
    with pytest.raises(ValueError, match=r"a folder with a\.gguf and without config\.json, expect"):
        open_model(tmp_path)
    folder(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"tokenizer\.json is not there"):
        open_model(tmp_path)
    for name in ("config.json", "model.safetensors"):
        with pytest.raises(ValueError, match=rf"{name} is a file of a model, expected its folder"):
            open_model(tmp_path / name)
    with pytest.raises(ValueError, match=r"a\.gguf"):
        open_model(tmp_path / "a.gguf")  # it has no tokenizer


@pytest.mark.bad_input
def test_tokenizers_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone is not there: expected a folder with"):
        load_tokenizer(tmp_path / "gone")
    (tmp_path / "tokenizer.model").write_bytes(b"x")
    with pytest.raises(FileNotFoundError, match=r"tokenizer\.model is not read: save the model"):
        load_tokenizer(tmp_path)
    with pytest.raises(ValueError, match=r"tokenizer\.model is a file: expected a folder"):
        load_tokenizer(tmp_path / "tokenizer.model")
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ValueError, match=r"tokenizer\.json"):
        load_tokenizer(tmp_path)
