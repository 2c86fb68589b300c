"""Unit tests of llmlib.tokenization.sentencepiece: merges by score, bytes, what is refused."""

import random

import pytest

from llmlib.tokenization import (
    ByteLevelBPETokenizer,
    SentencePieceTokenizer,
    gguf_tokenizer,
    merge_by_score,
    reference_merge_by_score,
)

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
bad_input = pytest.mark.bad_input


def metadata(*words, **more):
    """A vocabulary of three marks, bytes and words, whose scores fall; keys set or, None, gone."""
    tokens = ["<unk>", "<s>", "</s>", *BYTES, *words]
    settings = {
        "model": "llama",
        "pre": "default",
        "tokens": tokens,
        "scores": [0.0] * 259 + [-float(i) for i in range(len(words))],
        "token_type": [UNKNOWN, CONTROL, CONTROL, *[BYTE] * 256, *[NORMAL] * len(words)],
        **more,
    }
    return {f"tokenizer.ggml.{k}": v for k, v in settings.items() if v is not None}


def read(*words, **more):
    return gguf_tokenizer(metadata(*words, **more), "f.gguf")


def test_the_highest_score_goes_first_wherever_it_stands():
    scores = {"ab": 1.0, "bc": 2.0, "abc": 0.0, "cd": 3.0}
    assert merge_by_score("abcd", scores) == ["ab", "cd"]
    assert merge_by_score("abc", scores) == ["abc"]  # from a and bc, though ab would do as well
    assert merge_by_score("xx", scores) == ["x", "x"]
    assert merge_by_score("", scores) == []


def test_of_equal_scores_the_first_place_goes_first():
    assert merge_by_score("aaa", {"aa": 0.0}) == ["aa", "a"]
    assert merge_by_score("abab", {"ab": 0.0, "ba": 0.0}) == ["ab", "ab"]


def test_random_texts_and_scores_with_ties():
    draw = random.Random(0)
    for _ in range(300):
        words = ["".join(draw.choices("ab▁", k=draw.randint(2, 5))) for _ in range(12)]
        scores = {word: float(draw.randint(-3, 3)) for word in words}
        text = "".join(draw.choices("ab▁", k=draw.randint(0, 30)))
        assert merge_by_score(text, scores) == reference_merge_by_score(text, scores)


def test_word_by_word_is_the_same_as_the_whole_text():
    """A token with a space within makes the tokenizer take the text as one piece."""
    words = ["▁a", "ab", "▁", "a", "b", "▁ab"]
    apart, whole = read(*words), read(*words, "b▁qq")
    for text in ("a ab  ba", " ab", "ab ab", "   "):
        assert apart.encode(text) == whole.encode(text)


@pytest.mark.parametrize("prefix", [True, False])
def test_spaces_are_marks_and_come_back(prefix):
    tokenizer = read("▁", "a", "▁a", add_space_prefix=prefix)
    named = [tokenizer.tokens[i] for i in tokenizer.encode("a  a")]
    assert named == ["▁a" if prefix else "a", "▁", "▁a"]
    for text in ("a", "a a", " a", "  ", "a\n", "é 世界 🙂"):
        assert tokenizer.decode(tokenizer.encode(text), errors="strict") == text


def test_a_character_without_a_token_is_its_bytes():
    tokenizer = read("▁", add_space_prefix=False)
    assert [tokenizer.tokens[i] for i in tokenizer.encode("é")] == ["<0xC3>", "<0xA9>"]
    cut = tokenizer.encode("é")[:1]
    assert tokenizer.decode(cut) == "\ufffd"
    assert tokenizer.decode(cut, errors="ignore") == ""
    with pytest.raises(UnicodeDecodeError):
        tokenizer.decode(cut, errors="strict")


def test_bos_is_added_unless_the_file_denies_it():
    assert read("a").encode("", add_special=True) == [1]
    assert read("a", add_bos_token=False, add_eos_token=True).encode("", add_special=True) == [2]
    assert read("a", bos_token_id=259).encode("", add_special=True) == [259]


def test_a_conversation():
    template = "{{ bos_token }}{% for m in messages %}[INST] {{ m.content }} [/INST]{% endfor %}"
    settings = metadata("▁", "[", "I") | {"tokenizer.chat_template": template}
    tokenizer = gguf_tokenizer(settings)
    ids = tokenizer.chat([{"role": "user", "content": "x <s>"}])
    assert ids[0] == 1 not in ids[1:]
    assert tokenizer.decode(ids[1:]) == "[INST] x <s> [/INST]"


@bad_input
@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"scores": None}, r"tokenizer.ggml.scores is missing"),
        ({"scores": [0.0]}, r"1 entries of scores for 260 tokens"),
        ({"scores": ["x"] * 260}, r"scores holds 'x', expected numbers"),
        ({"scores": [float("nan")] * 260}, r"scores holds nan, expected numbers"),
        ({"add_space_prefix": 1}, r"add_space_prefix is 1, expected true or false"),
        ({"escape_whitespaces": False}, r"escape_whitespaces is False.*expected True"),
        ({"precompiled_charsmap": [1]}, r"precompiled_charsmap is \[1\]"),
        ({"token_type": [9] * 260}, r"is 9, expected 1 \(normal\), .* 5 \(unused\) or 6 \(byte\)"),
        ({"unheard_of": 1}, r"tokenizer.ggml.unheard_of is 1, which is not read here"),
    ],
)
def test_a_key_that_is_missing_damaged_or_unknown_is_named(more, problem):
    with pytest.raises(ValueError, match=f"^f.gguf: .*{problem}"):
        read("a", **more)


@bad_input
def test_what_it_cannot_do_is_named(tmp_path):
    tokenizer = read("a")
    with pytest.raises(ValueError, match=r"merges by score cannot be saved as tokenizer\.json"):
        tokenizer.save(tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="not byte-level BPE but Scored"):
        ByteLevelBPETokenizer.from_gguf_metadata(metadata("a"))
    with pytest.raises(ValueError, match=r"'é' \(U\+00E9\) has no token, and not all of its bytes"):
        SentencePieceTokenizer(["a"], [0.0]).encode("é")
    with pytest.raises(ValueError, match="1 scores for 2 tokens"):
        SentencePieceTokenizer(["a", "b"], [0.0])
    ByteLevelBPETokenizer.train("a", 256).save(tmp_path)
    with pytest.raises(ValueError, match="not merges by score but BPE"):
        SentencePieceTokenizer.load(tmp_path)
