"""Unit tests of llmlib.tokenization.wordpiece: the longest token first, unknown words, files."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlib.formats.packaged import kjv_text
from llmlib.tokenization import (
    UnigramTokenizer,
    WordPieceTokenizer,
    longest_first,
    reference_longest_first,
)
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


@given(
    st.text("ab#", max_size=12),
    st.sets(st.text("ab#", min_size=1, max_size=5), max_size=20),
    st.sampled_from(["##", "#", ""]),
)
def test_the_plain_and_the_bounded_search_find_the_same(word, vocabulary, prefix):
    expected = reference_longest_first(word, vocabulary, prefix)
    assert longest_first(word, vocabulary, prefix) == expected
    assert longest_first(word, vocabulary, prefix, longest=5) == expected
    if expected is not None and word:
        first, *others = expected
        assert first + "".join(token.removeprefix(prefix) for token in others) == word


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


@pytest.fixture(scope="module")
def trained():
    return WordPieceTokenizer.train(kjv_text()[:50_000], 600, special_tokens=["[DONE]"])


def test_what_was_trained_has_berts_tokens_the_characters_and_their_parts(trained):
    assert trained.vocab_size == 600
    assert trained.tokens[:5] == ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    assert trained.tokens[-1] == "[DONE]"
    assert trained.tokens[5:8] == ("'", "(", ")")
    assert trained.encode("[DONE]", allow_special=True, add_special=True) == [2, 599, 3]
    assert trained.encode("", add_special=True) == [2, 3]
    text = kjv_text()[:50_000]
    assert trained.unknown not in {trained.tokens[i] for i in trained.encode(text)}
    assert trained.encode(text.upper()) == trained.encode(text)
    assert trained.decode(trained.encode("Let there be light")) == "let there be light"


@given(st.text(st.sampled_from("abcdeÉ ,\n世"), max_size=30))
def test_every_word_is_written_or_unknown_and_the_cached_ids_are_the_first(trained, text):
    ids = trained.encode(text)
    assert trained.encode(text) == ids
    pieces = trained.pieces(trained.normalization[0](text))
    expected = [reference_longest_first(piece, trained.tokens) or ["[UNK]"] for piece in pieces]
    assert [trained.tokens[i] for i in ids] == list(itertools.chain.from_iterable(expected))


def test_training_has_a_choice_of_score_and_of_letters(tmp_path):
    text = "Hug hug Pug pun pun bun hugs " + "x" * 101
    tokenizer = WordPieceTokenizer.train(text, 99, normalization=None, score="count", min_count=2)
    assert {"un", "H", "##ug", "pun"} - {"un", "##un"} <= set(tokenizer.tokens)
    assert tokenizer.vocab_size < 99  # no pair is left
    assert "x" not in tokenizer.tokens  # only in a word that is too long
    assert tokenizer.encode("x") == [1]
    tokenizer.save(tmp_path)
    loaded = WordPieceTokenizer.load(tmp_path)
    assert loaded.tokens == tokenizer.tokens
    assert loaded.normalization is None
    assert loaded.encode(text, add_special=True) == tokenizer.encode(text, add_special=True)


@bad_input
def test_what_cannot_be_trained_on_is_named():
    for problem, arguments in {
        r"vocab_size is 6, expected 8 \(characters and special tokens\)": ("ab c", 6),
        "score is 'x', expected one of": ("ab", 20, "score", "x"),
        "min_count is 0, expected 1 or more": ("ab", 20, "min_count", 0),
        r"lone surrogate U\+D800 at position 1": ("a\ud800", 20),
    }.items():
        with pytest.raises(ValueError, match=problem):
            WordPieceTokenizer.train(*arguments[:2], **dict([arguments[2:]] * bool(arguments[2:])))
    with pytest.raises(TypeError, match="text is a bytes, expected str"):
        WordPieceTokenizer.train(b"ab", 20)
    with pytest.raises(TypeError, match=r"vocab_size is 20\.0, expected an integer"):
        WordPieceTokenizer.train("ab", 20.0)
    with pytest.raises(ValueError, match="the word '##a', expected one that does not begin with"):
        WordPieceTokenizer.train("##a", 20, " ")


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
