"""Unit tests of llmlib.tokenization.wordpiece: the longest token first, unknown words, files."""

import pytest

from llmlib.tokenization import UnigramTokenizer, WordPieceTokenizer, longest_first
from llmlib.tokenization.normalizers import Bert

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "un", "##aff", "##able", "##a", "##f", "caf", "e"]
VOCABULARY += ["##e", "##é", ",", "世", "u"]
bad_input = pytest.mark.bad_input


@pytest.fixture
def path(tmp_path):
    found = tmp_path / "vocab.txt"
    found.write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    return found


def test_the_longest_token_goes_first():
    assert longest_first("unaffable", VOCABULARY) == ["un", "##aff", "##able"]
    assert longest_first("unaf", VOCABULARY) == ["un", "##a", "##f"]
    assert longest_first("", VOCABULARY) == []
    # un is longer than u, but leaves what has no token; no other way is tried
    assert longest_first("una!", VOCABULARY) is None
    assert longest_first("affable", VOCABULARY) is None
    assert longest_first("u-a", ["u", "-a", "--"], prefix="-") == ["u", "--", "-a"]


def test_a_word_that_cannot_be_written_is_unknown_as_a_whole(path):
    tokenizer = WordPieceTokenizer.from_vocab(path)
    named = [tokenizer.tokens[i] for i in tokenizer.encode("Unaffable, unaffably 世世 CAFÉ")]
    assert named == ["un", "##aff", "##able", ",", "[UNK]", "世", "世", "caf", "##e"]
    assert tokenizer.decode(tokenizer.encode("unaffable , u")) == "unaffable, u"
    short = WordPieceTokenizer(VOCABULARY, longest=8)
    assert short.encode("unaffable una") == [1, 4, 7]


def test_case_and_accents_stay_if_the_model_knows_them(path):
    tokenizer = WordPieceTokenizer.from_vocab(path, Bert(lowercase=False))
    assert [tokenizer.tokens[i] for i in tokenizer.encode("café Un")] == ["caf", "##é", "[UNK]"]


def test_marks_stand_around_a_text_and_are_not_read_in_it(path):
    tokenizer = WordPieceTokenizer.from_vocab(path)
    assert tokenizer.encode("u", add_special=True) == [2, VOCABULARY.index("u"), 3]
    assert tokenizer.encode("[SEP]", allow_special=True) == [3]
    assert 3 not in tokenizer.encode("[SEP]")


def test_what_was_saved_is_loaded(path, tmp_path):
    tokenizer = WordPieceTokenizer.from_vocab(path)
    tokenizer.save(tmp_path)
    loaded = WordPieceTokenizer.load(tmp_path)
    for name in ("tokens", "added_tokens", "around", "normalization", "pattern", "decoding"):
        assert getattr(loaded, name) == getattr(tokenizer, name), name
    assert (loaded.unknown, loaded.prefix, loaded.longest) == ("[UNK]", "##", 100)


@bad_input
def test_what_is_no_vocabulary_is_named(path, tmp_path):
    path.write_text("a\nb\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"vocab\.txt: no token \[UNK\]"):
        WordPieceTokenizer.from_vocab(path)
    path.write_text("\n".join([*VOCABULARY, "un"]), encoding="utf-8")
    with pytest.raises(ValueError, match=r"vocab\.txt: the token 'un' is listed twice"):
        WordPieceTokenizer.from_vocab(path)
    with pytest.raises(ValueError, match="unknown is 'x', which is not in the vocabulary"):
        WordPieceTokenizer(VOCABULARY, unknown="x")
    UnigramTokenizer(["a"], [0.0], pattern=()).save(tmp_path)
    with pytest.raises(ValueError, match="not WordPiece of characters but Unigram"):
        WordPieceTokenizer.load(tmp_path)
