"""Unit tests of llmlib.tokenization.unigram_learning: counts over all ways, seeds, what goes."""

import itertools
import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlib.formats.packaged import kjv_text
from llmlib.tokenization import (
    expected_counts,
    frequent_substrings,
    learn_unigram,
    losses,
)
from llmlib.tokenization.unigram_learning import to_scores
from tests.folding import for_each

bad_input = pytest.mark.bad_input
WORDS = st.dictionaries(st.text("abc", min_size=1, max_size=7), st.integers(1, 9), min_size=1)
SCORES = st.dictionaries(st.text("abc", min_size=1, max_size=4), st.floats(-9, 0), max_size=12)
CHARACTERS = {"a": -2.0, "b": -3.0, "c": -4.0}


def every_way(word, scores):
    """All ways to cut a word into tokens."""
    for places in itertools.product([False, True], repeat=len(word) - 1):
        cuts = [0, *(i + 1 for i, cut in enumerate(places) if cut), len(word)]
        way = [word[i:j] for i, j in itertools.pairwise(cuts)]
        if all(token in scores for token in way):
            yield way


@given(WORDS, SCORES)
def test_forward_and_backward_are_the_sum_over_all_ways(words, scores):
    scores = CHARACTERS | scores
    counts, likelihood = Counter(), 0.0
    for word, times in words.items():
        ways = [(way, math.exp(sum(map(scores.get, way)))) for way in every_way(word, scores)]
        whole = math.fsum(share for _, share in ways)
        likelihood += times * math.log(whole)
        for way, share in ways:
            for token in way:
                counts[token] += times * share / whole
    found, log_likelihood = expected_counts(words, scores, 4)
    assert log_likelihood == pytest.approx(likelihood)
    assert found == pytest.approx(dict(counts))
    characters = sum(len(token) * count for token, count in found.items())
    assert characters == pytest.approx(sum(len(word) * n for word, n in words.items()))


@given(WORDS)
def test_a_round_makes_the_words_no_less_likely(words):
    """As long as no count is under the least that a token is given."""
    scores = to_scores(frequent_substrings(words, 40))
    before = -math.inf
    for _ in range(4):
        expected, likelihood = expected_counts(words, scores)
        assert likelihood >= before - 1e-9
        if min(expected[token] for token in scores) < 0.5:
            break
        scores, before = to_scores(expected), likelihood


def test_a_long_word_of_rare_characters_loses_no_digits():
    word = "ab" * 2000
    found, likelihood = expected_counts({word: 1}, {"a": -20.0, "b": -20.0, "ab": -90.0})
    assert likelihood == pytest.approx(-80_000.0)
    assert found["a"] == pytest.approx(2000.0)


def test_substrings_are_counted_and_ranked_by_what_they_write():
    words = {"abab": 2, "abc": 1}
    found = frequent_substrings(words, 2)
    # ab 5 times, abab and its parts twice; abc once
    assert found == {"a": 5, "b": 5, "c": 1, "ab": 5, "abab": 2}
    assert frequent_substrings(words, 9, longest=2) == {"a": 5, "b": 5, "c": 1, "ab": 5, "ba": 2}


def test_a_loss_is_what_the_likeliest_other_tokens_cost():
    scores = {"a": -1.0, "b": -2.0, "ab": -1.5, "aba": -5.0}
    found = losses(scores, {"ab": 10.0, "aba": 4.0})
    assert found == {"ab": 15.0, "aba": pytest.approx(4 * (-5 + 2.5))}


def test_what_is_learned_is_a_distribution_with_all_characters():
    words = Counter(kjv_text()[:12_000].split(" "))
    scores = learn_unigram(words, 200)
    assert len(scores) == 200
    assert math.fsum(map(math.exp, scores.values())) == pytest.approx(1.0)
    assert {character for word in words for character in word} <= set(scores)
    assert list(scores.values()) == sorted(scores.values(), reverse=True)
    assert {"the", "and", "of"} <= set(scores)
    assert list(learn_unigram(dict(reversed(words.items())), 200)) == list(scores)
    # with more tokens than characters, the words are likelier
    alone = learn_unigram(words, len({c for word in words for c in word}))
    assert expected_counts(words, scores)[1] > expected_counts(words, alone)[1]


def test_there_are_fewer_tokens_where_nothing_occurs_twice():
    assert set(learn_unigram({"abc": 1}, 50)) == {"a", "b", "c"}
    assert learn_unigram({}, 5) == {}


@bad_input
@for_each(
    "words,options,problem",
    [
        ({"ab": 1}, {"n_tokens": 1}, r"n_tokens is 1, expected 2 \(characters\) or more"),
        ({"ab": 0}, {}, "the word 'ab' occurs 0 times, expected 1 or more"),
        ({"ab": 1}, {"longest": 0}, "longest is 0, expected 1 or more"),
        ({"ab": 1}, {"seeds": 0}, "seeds is 0, expected 1 or more"),
    ],
)
def test_what_cannot_be_learned_from_is_named(words, options, problem):
    with pytest.raises(ValueError, match=problem):
        learn_unigram(words, **{"n_tokens": 9, **options})


@bad_input
def test_a_word_that_no_tokens_spell_is_named():
    with pytest.raises(ValueError, match="no tokens spell the word 'ax'"):
        expected_counts({"ax": 1}, {"a": -1.0})
