"""What Python hands to the page of the tokenizer that a reader types into, and what it refuses."""

import base64
import struct

import pytest
import regex

from llmlib.book.widgets import TypingTokenizer, Vocabulary, first_merges
from llmlib.book.widgets.typing_tokenizer import for_javascript, packed
from llmlib.tokenization import GPT2_PATTERN, ByteLevelBPETokenizer

TEXT = "the cat sat on the mat, and the hat " * 20
TOKENIZER = ByteLevelBPETokenizer.train(TEXT, 270)


def test_the_merges_come_back_from_their_bytes():
    sent = packed(Vocabulary("tiny", TOKENIZER, "about"))
    raw = base64.b64decode(sent["merges"])
    ids = struct.unpack(f"<{len(raw) // 2}H", raw)
    pairs = [
        (TOKENIZER.tokens[a], TOKENIZER.tokens[b]) for a, b in zip(*[iter(ids)] * 2, strict=True)
    ]
    assert pairs == TOKENIZER.merges
    assert sent["first"] == 256
    assert all(TOKENIZER.tokens[i] == bytes([byte]) for byte, i in enumerate(sent["bytes"]))


def test_fewer_merges_keep_their_ids():
    few = first_merges(TOKENIZER, 5)
    assert few.tokens == TOKENIZER.tokens[:261]
    assert few.merges == TOKENIZER.merges[:5]
    letters = [TOKENIZER.encode(letter)[0] for letter in "the"]
    assert first_merges(TOKENIZER, 0).encode("the") == letters


def test_white_space_is_unicode_s_and_no_browser_s_own():
    assert r"\s" not in for_javascript(GPT2_PATTERN)
    for code in range(0x110000):
        same = bool(regex.match(r"\s", chr(code))) == bool(
            regex.match(r"\p{White_Space}", chr(code))
        )
        assert same, hex(code)


@pytest.mark.bad_input
def test_what_it_refuses():
    with pytest.raises(ValueError, match="n is 99, expected 0 to 14"):
        first_merges(TOKENIZER, 99)
    turned = ByteLevelBPETokenizer(TOKENIZER.tokens[::-1], TOKENIZER.merges)
    with pytest.raises(ValueError, match="not numbered in the order of the merges"):
        first_merges(turned, 3)
    with pytest.raises(TypeError, match="expected a regular expression"):
        for_javascript(("a",))
    one = Vocabulary("tiny", TOKENIZER, "about")
    with pytest.raises(ValueError, match="two vocabularies"):
        TypingTokenizer(vocabularies=[one], examples={"a": "a"}, alt="alt")
