"""Unit tests of llmlib.tokenization.unigram: the likeliest way of all, the unknown, files."""

import itertools
import json
import random

import pytest

from llmlib.tokenization import UnigramTokenizer, WordPieceTokenizer, likeliest, open_tokenizer

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
