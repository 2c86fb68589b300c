"""Unit tests of llmlib.tokenization.gguf_vocabulary: kinds of tokens, and keys that matter."""

import pytest

from llmlib.tokenization import BYTE_SYMBOLS, ByteLevelBPETokenizer

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
bad_input = pytest.mark.bad_input


def metadata(*added, **more):
    """A vocabulary of bytes and of (text, type) tokens; keys set or, None, gone."""
    settings = {
        "model": "gpt2",
        "pre": "qwen2",
        "merges": [],
        "tokens": [*BYTE_SYMBOLS, *(text for text, _ in added)],
        "token_type": [NORMAL] * 256 + [type_ for _, type_ in added],
        **more,
    }
    return {f"tokenizer.ggml.{k}": v for k, v in settings.items() if v is not None}


def read(*added, **more):
    return ByteLevelBPETokenizer.from_gguf_metadata(metadata(*added, **more), "f.gguf")


@pytest.mark.parametrize("text", ["<think>", "   ", "<｜tool｜>", "\n\n", "é", "Ġ"])
def test_a_user_defined_token_is_text_that_is_always_found_whole(text):
    tokenizer = read((text, USER_DEFINED))
    for allow_special in (False, True):
        ids = tokenizer.encode(f"a{text}b", allow_special=allow_special)
        assert ids == [ord("a"), 256, ord("b")]
    assert tokenizer.decode(ids) == f"a{text}b"
    assert tokenizer.special_tokens == {}


@pytest.mark.parametrize("type_", [CONTROL, UNKNOWN])
def test_a_control_token_is_found_only_when_allowed(type_):
    tokenizer = read(("<s>", type_))
    assert tokenizer.encode("<s>", allow_special=True) == [256]
    assert tokenizer.encode("<s>") == [ord(c) for c in "<s>"]
    assert tokenizer.special_tokens == {"<s>": 256}


def test_an_unused_token_has_an_id_and_no_text():
    tokenizer = read(("[PAD 1]", UNUSED), ("<s>", CONTROL))
    assert tokenizer.vocab_size == 258
    assert 256 not in tokenizer.encode("[PAD 1]", allow_special=True)
    assert tokenizer.decode([256]) == "[PAD 1]"


def test_a_user_defined_run_of_spaces_goes_before_the_merges():
    tokens = [*BYTE_SYMBOLS, "ĠĠ", "  "]
    types = [NORMAL] * 257 + [USER_DEFINED]
    tokenizer = read(tokens=tokens, token_type=types, merges=["Ġ Ġ"])
    assert tokenizer.encode("  ") == [257]
    assert tokenizer.decode([256, 257]) == "    "


def test_tokens_around_a_text_are_those_the_file_asks_for():
    some = {"bos_token_id": 256, "eos_token_id": 257}
    marks = ("<s>", CONTROL), ("</s>", CONTROL)
    for more, before, behind in [
        ({}, [], []),
        ({"add_bos_token": True}, [256], []),
        ({"add_eos_token": True, "add_bos_token": False}, [], [257]),
        ({"pre": "llama-bpe"}, [256], []),  # llama.cpp's rule for this kind
        ({"pre": "llama-bpe", "add_bos_token": False}, [], []),
    ]:
        tokenizer = read(*marks, **some, **more)
        assert tokenizer.encode("a", add_special=True) == [*before, ord("a"), *behind]
        assert tokenizer.encode("a") == [ord("a")]


def test_llama_3_takes_a_piece_that_is_a_token_whatever_the_merges_say():
    more = {"tokens": [*BYTE_SYMBOLS, "ab", "bc", "abc"], "token_type": [NORMAL] * 259}
    merges = ["a b", "b c", "a bc"]  # a + b goes first: abc is never made
    assert read(**more, merges=merges).encode("abc") == [256, ord("c")]
    llama = read(**more, merges=merges, pre="llama-bpe", bos_token_id=0)
    assert llama.encode("abc") == [258]


@bad_input
@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"model": None}, r"model is missing, expected llama"),
        ({"model": "t5", "merges": None}, r"a tokenizer 't5' \(SentencePiece unigram\)"),
        ({"model": "bert", "tokens": None}, r"a tokenizer 'bert' \(WordPiece\)"),
        ({"model": 7}, r"a tokenizer 7"),
        ({"pre": None}, r"pre is missing, as in files from before May 2024"),
        ({"pre": "superbpe"}, r"split by 'superbpe', expected llama .*gpt2 .*qwen2"),
        ({"merges": None}, r"tokenizer.ggml.merges is missing"),
        ({"tokens": None}, r"tokenizer.ggml.tokens is missing"),
        ({"token_type": None}, r"tokenizer.ggml.token_type is missing"),
        ({"token_type": [1]}, r"1 entries of token_type for 256 tokens"),
        ({"token_type": [BYTE] * 256}, r"token_type of .* is 6, expected 1 \(normal\)"),
        ({"token_type": ["1"] * 256}, r"token_type of .* is '1', expected"),
        ({"tokens": [1] * 256}, r"tokens\[0\] is 1, expected a text"),
        ({"tokens": "abc"}, r"tokens is 'abc', expected a list"),
        ({"tokens": ["a"] * 256}, r"b'a' is listed twice"),
        ({"tokens": ["€", *BYTE_SYMBOLS[1:]]}, r"'€' in the token '€' stands for no byte"),
        ({"merges": ["a"]}, r"the merge 'a', expected two tokens"),
        ({"merges": "a b"}, r"merges is 'a b', expected a list"),
        ({"merges": ["a b"]}, r"merge 0 needs the token b'ab'"),
        ({"merges": ["a zz"]}, r"the merges use 'zz'"),
        ({"add_space_prefix": True}, r"add_space_prefix is True.*expected False"),
        ({"remove_extra_whitespaces": True}, r"remove_extra_whitespaces is True"),
        ({"precompiled_charsmap": [1, 2]}, r"precompiled_charsmap is \[1, 2\]"),
        ({"add_bos_token": True}, r"add_bos_token is true, but .*bos_token_id is missing"),
        ({"add_bos_token": 1, "bos_token_id": 0}, r"add_bos_token is 1, expected true or false"),
        ({"bos_token_id": 256}, r"bos_token_id is 256, expected 0 to 255"),
        ({"eos_token_id": "2"}, r"eos_token_id is '2', expected 0 to 255"),
        ({"unheard_of": 3}, r"tokenizer.ggml.unheard_of is 3, which is not read here"),
    ],
)
def test_a_key_that_is_missing_damaged_or_unknown_is_named(more, problem):
    with pytest.raises(ValueError, match=f"^f.gguf: .*{problem}"):
        read(**more)


@bad_input
def test_every_key_that_is_left_out_of_a_good_file_is_missed():
    whole = metadata(("<s>", CONTROL))
    for key in whole:
        rest = {k: v for k, v in whole.items() if k != key}
        with pytest.raises(ValueError, match=f"^f.gguf: {key} is missing"):
            ByteLevelBPETokenizer.from_gguf_metadata(rest, "f.gguf")
