"""Unit tests of llmlib.tokenization.viterbi: the plain algorithm, and the one for every text."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlib.tokenization import likeliest, reference_likeliest

TEXT = st.text("abc", max_size=12)
SCORES = st.dictionaries(st.text("abc", min_size=1, max_size=4), st.floats(-9, 0), max_size=20)


@given(TEXT, SCORES)
def test_both_find_the_same_tokens_where_every_character_is_one(text, scores):
    scores = {"a": -3.0, "b": -3.0, "c": -3.0, **scores}
    expected = reference_likeliest(text, scores)
    assert [token for token, _ in likeliest(text, scores, 4)] == expected
    assert [token for token, _ in likeliest(text, scores, 4, rare=-math.inf)] == expected


@given(TEXT, SCORES)
def test_the_plain_one_finds_none_only_where_the_other_needs_the_unknown(text, scores):
    found = likeliest(text, scores, 4, rare=-1e9)
    expected = reference_likeliest(text, scores)
    assert (expected is None) == any(not known for _, known in found)
    assert "".join(token for token, _ in found) == text
    if expected is not None:
        total = sum(scores[token] for token, _ in found)
        assert total == pytest.approx(sum(map(scores.__getitem__, expected)))


def test_words_by_hand():
    scores = {"a": -1.0, "b": -1.0, "ab": -2.1}
    assert reference_likeliest("ab", scores) == ["a", "b"]
    assert reference_likeliest("ab", scores | {"ab": -2.0}) == ["ab"]  # of equals, the longer
    assert reference_likeliest("", scores) == []
    assert reference_likeliest("abx", scores) is None
    assert reference_likeliest("a", {}) is None
