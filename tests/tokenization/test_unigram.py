"""Unit tests of llmlib.tokenization.unigram: the likeliest way of all, the unknown, files."""

import itertools
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlib.formats.packaged import kjv_text
from llmlib.tokenization import (
    UnigramTokenizer,
    WordPieceTokenizer,
    likeliest,
    open_tokenizer,
    reference_likeliest,
)
from llmlib.tokenization.normalizers import Lowercase

bad_input = pytest.mark.bad_input


def every_way(text):
    """All ways to cut a text into parts."""
    for places in itertools.product([False, True], repeat=max(len(text) - 1, 0)):
        cuts = [0, *(i + 1 for i, cut in enumerate(places) if cut), len(text)]
        yield [text[i:j] for i, j in itertools.pairwise(cuts)]


def test_no_way_to_write_a_text_is_likelier():
    draw = random.Random(0)
    for _ in range(100):
        words = {"".join(draw.choices("abc", k=draw.randint(1, 4))) for _ in range(12)}
        scores = {word: -draw.random() * 5 for word in [*words, "a", "b", "c"]}
        text = "".join(draw.choices("abc", k=draw.randint(1, 9)))
        found = likeliest(text, scores, 4)
        assert "".join(token for token, _ in found) == text
        assert all(known for _, known in found)
        sums = [
            sum(scores[part] for part in way)
            for way in every_way(text)
            if all(part in scores for part in way)
        ]
        assert sum(scores[token] for token, _ in found) == pytest.approx(max(sums))


def test_unknown_characters_side_by_side_are_one():
    scores = {"a": -1.0, "<unk>": 0.0}
    assert likeliest("axya", scores, 5) == [("a", True), ("xy", False), ("a", True)]
    assert likeliest("<unk>x", scores, 5, "<unk>") == [("<unk>x", False)]
    assert likeliest("", scores, 5) == []


def test_two_common_tokens_beat_a_rare_one_and_of_equals_the_longer_wins():
    scores = {"a": -1.0, "b": -1.0}
    assert likeliest("ab", scores | {"ab": -2.1}, 2) == [("a", True), ("b", True)]
    assert likeliest("ab", scores | {"ab": -2.0}, 2) == [("ab", True)]


def test_unknown_characters_are_bytes_one_token_or_an_error():
    tokens = ["<unk>", "a", *(f"<0x{byte:02X}>" for byte in range(256))]
    scores = [0.0, -1.0, *[-9.0] * 256]
    fallback = UnigramTokenizer(tokens, scores, pattern=(), unknown=0, byte_fallback=True)
    assert fallback.encode("aé") == [1, 2 + 0xC3, 2 + 0xA9]
    assert UnigramTokenizer(tokens, scores, pattern=(), unknown=0).encode("aéé") == [1, 0]
    with pytest.raises(ValueError, match="'é' has no token, and there is none for the unknown"):
        UnigramTokenizer(tokens, scores, pattern=()).encode("é")


@pytest.fixture(scope="module")
def trained():
    return UnigramTokenizer.train(kjv_text()[:12_000], 300, special_tokens=["</s>"])


def test_what_was_trained_has_the_unknown_the_likeliest_and_special_tokens(trained):
    assert trained.vocab_size == 300
    assert (trained.tokens[0], trained.tokens[-1], trained.unknown) == ("<unk>", "</s>", 0)
    assert trained.special_tokens == {"<unk>": 0, "</s>": 299}
    assert trained.scores[1:] == sorted(trained.scores[1:], reverse=True)
    text = kjv_text()[:12_000]
    assert trained.decode(trained.encode(text)) == text
    assert trained.encode("</s>", allow_special=True) == [299]
    assert trained.decode(trained.encode("in the beginning 世")) == "in the beginning <unk>"


@given(st.text(st.sampled_from("the and of\nGod:"), max_size=40))
def test_every_text_of_known_characters_comes_back_in_the_likeliest_tokens(trained, text):
    ids = trained.encode(text)
    scores = dict(zip(trained.tokens[1:-1], trained.scores[1:], strict=True))
    expected = [reference_likeliest(piece, scores) for piece in trained.pieces(text)]
    assert [trained.tokens[i] for i in ids] == list(itertools.chain.from_iterable(expected))
    # a space at the very beginning is the mark that stands there anyway
    assert trained.decode(ids) == text.removeprefix(" ")


def test_training_keeps_to_its_normalization_and_comes_back_from_a_file(tmp_path):
    tokenizer = UnigramTokenizer.train("Ab ab AB <unk> aB", 40, normalization=(Lowercase(),))
    assert "A" not in tokenizer.tokens
    assert tokenizer.tokens.count("<unk>") == 1
    assert tokenizer.encode("AB") == tokenizer.encode("ab")
    assert tokenizer.encode("<unk>") != [0]
    tokenizer.save(tmp_path)
    loaded = UnigramTokenizer.load(tmp_path)
    for name in ("tokens", "scores", "unknown", "added_tokens", "pattern", "decoding"):
        assert getattr(loaded, name) == getattr(tokenizer, name), name
    assert loaded.encode("ab Ab <unk>") == tokenizer.encode("ab Ab <unk>")


@bad_input
def test_what_cannot_be_trained_on_is_named():
    with pytest.raises(ValueError, match=r"vocab_size is 3, expected 4 \(characters, <unk>"):
        UnigramTokenizer.train("ab", 3)
    with pytest.raises(ValueError, match=r"lone surrogate U\+D800 at position 0"):
        UnigramTokenizer.train("\ud800", 30)
    with pytest.raises(TypeError, match="vocab_size is True, expected an integer"):
        UnigramTokenizer.train("ab", True)
    with pytest.raises(TypeError, match="special_tokens is '</s>', expected a list of texts"):
        UnigramTokenizer.train("ab", 30, special_tokens="</s>")


def model(**more):
    content = {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["a", -1]], **more}
    return json.dumps({"model": content, "decoder": {"type": "Fuse"}})


def test_a_file_without_the_name_of_its_model(tmp_path):
    (tmp_path / "tokenizer.json").write_text(model().replace('"type": "Unigram", ', ""))
    assert isinstance(open_tokenizer(tmp_path), UnigramTokenizer)


@bad_input
@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"vocab": {}}, r"model.vocab is \{\}, expected a list"),
        ({"vocab": [["a"]]}, r"vocab holds \['a'\], expected a token and a score"),
        ({"vocab": [["a", True]]}, r"vocab holds \['a', True\]"),
        ({"vocab": [["a", 0.0], ["a", 0.0]]}, r"the token 'a' is listed twice"),
        ({"unk_id": 2}, r"unk_id is 2, expected 0 to 1"),
        ({"unk_id": "0"}, r"unk_id is '0', expected a whole number"),
        ({"alpha": 1}, r"model option 'alpha' is 1"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, more, problem):
    (tmp_path / "tokenizer.json").write_text(model(**more), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"tokenizer\.json: .*{problem}"):
        UnigramTokenizer.load(tmp_path)


@bad_input
def test_wrong_arguments_and_other_files_are_named(tmp_path):
    with pytest.raises(ValueError, match="2 scores for 1 tokens"):
        UnigramTokenizer(["a"], [0.0, 1.0], pattern=())
    with pytest.raises(ValueError, match="unknown is id 1, expected 0 to 0"):
        UnigramTokenizer(["a"], [0.0], pattern=(), unknown=1)
    WordPieceTokenizer(["[UNK]"]).save(tmp_path)
    with pytest.raises(ValueError, match="not Unigram of characters but WordPiece"):
        UnigramTokenizer.load(tmp_path)
