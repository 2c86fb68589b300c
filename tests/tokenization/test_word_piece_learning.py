"""Unit tests of llmlib.tokenization.word_piece_learning: scores, plain and fast, bad input."""

import math
from collections import Counter
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlib.formats.packaged import kjv_text
from llmlib.tokenization import (
    learn_merges,
    learn_word_pieces,
    longest_first,
    pieces_of,
    reference_learn_word_pieces,
    word_piece_steps,
)
from llmlib.tokenization.word_piece_learning import spell_word, word_alphabet
from tests.folding import for_each

bad_input = pytest.mark.bad_input
SCORES = ("ratio", "gain", "count")
HUGS = {"hug": 10, "pug": 5, "pun": 12, "bun": 4, "hugs": 5}  # the course's example
WORDS = st.dictionaries(st.text("abc", min_size=1, max_size=7), st.integers(1, 9), max_size=12)


def symbols(words):
    found = Counter()
    for word, count in words.items():
        for symbol in word:
            found[symbol] += count
    return found


def test_the_first_steps_of_the_course_by_hand():
    first, second = islice(word_piece_steps(HUGS), 2)
    assert first.pair == ("##g", "##s")
    assert first.piece == "##gs"
    assert first.scores["##g", "##s"] == 5 / (20 * 5)
    assert first.scores["##u", "##g"] == 20 / (36 * 20)
    assert first.words["h", "##u", "##gs"] == 5
    # now all pairs with ##u score 1/36, and the one with the oldest symbol goes first
    assert second.scores["p", "##u"] == second.scores["##u", "##gs"] == 1 / 36
    assert second.pair == ("b", "##u")
    assert word_alphabet(HUGS) == ["b", "h", "p", "##g", "##n", "##s", "##u"]


def test_each_score_has_its_favourite():
    """The ratio takes what meets once and never apart; a count what is frequent."""
    words = {"tea": 50, "tax": 50, "toe": 50, "ab": 40, "te": 1, "xy": 1}
    firsts = {score: learn_word_pieces(words, 1, score=score) for score in SCORES}
    assert firsts == {
        "ratio": [("x", "##y")],
        "gain": [("a", "##b")],
        "count": [("t", "##e")],
    }
    assert learn_word_pieces(words, 1, min_count=2) == [("a", "##b")]


@given(WORDS, st.sampled_from(SCORES), st.integers(1, 3), st.integers(0, 30))
def test_the_fast_way_makes_the_merges_of_the_textbook(words, score, min_count, n_pieces):
    options = {"score": score, "min_count": min_count}
    merges = learn_word_pieces(words, n_pieces, **options)
    assert merges == reference_learn_word_pieces(words, n_pieces, **options)
    assert len(pieces_of(merges)) <= n_pieces


@for_each("score", SCORES)
def test_plain_and_fast_agree_on_real_words(score):
    words = Counter(kjv_text()[:8_000].split())
    merges = learn_word_pieces(words, 50, score=score, min_count=2)
    assert merges == reference_learn_word_pieces(words, 50, score=score, min_count=2)
    assert len(merges) == 50


def test_by_count_it_is_byte_pair_encoding():
    words = Counter(kjv_text()[:100_000].split())
    spelled = {spell_word(word): count for word, count in words.items()}
    merges = learn_merges(spelled, 400, alphabet=word_alphabet(words))
    plain = [tuple(part.replace("##", "") for part in merge) for merge in merges]
    found = learn_word_pieces(words, 400, score="count")
    assert [tuple(part.replace("##", "") for part in merge) for merge in found] == plain


def test_the_gain_is_what_the_likelihood_gains():
    """All symbols keep their probabilities, and the new one gets its share of as many places."""
    words = Counter(kjv_text()[:20_000].split())
    before = {spell_word(word): count for word, count in words.items()}
    step = next(word_piece_steps(words, score="gain"))
    n, counts, after = symbols(before).total(), symbols(before), symbols(step.words)
    probability = {symbol: count / n for symbol, count in counts.items()}
    probability[step.piece] = after[step.piece] / n
    likelihood = [
        math.fsum(count * math.log(probability[symbol]) for symbol, count in found.items())
        for found in (counts, after)
    ]
    assert likelihood[1] - likelihood[0] == pytest.approx(step.scores[step.pair], abs=1e-6)


def test_in_the_end_every_word_is_one_token():
    words = {"baa": 1, "caa": 1, "aaa": 3, "aaaa": 1, "abcabc": 2}
    for score in SCORES:
        vocabulary = {*word_alphabet(words), *pieces_of(learn_word_pieces(words, 50, score=score))}
        assert [longest_first(word, vocabulary) for word in words] == [[word] for word in words]


@bad_input
@for_each(
    "words,options,problem",
    [
        ({"a": 1}, {"n_pieces": -1}, "n_pieces is -1, expected 0 or more"),
        ({"a": 1}, {"score": "best"}, "score is 'best', expected one of ratio, gain, count"),
        ({"a": 1}, {"min_count": 0}, "min_count is 0, expected 1 or more"),
        ({"a": 1}, {"prefix": ""}, "prefix is '', expected a text"),
        ({"##a": 1}, {}, "the word '##a', expected one that does not begin with '##'"),
        ({"": 1}, {}, "the word '', expected one"),
        ({"a": 0}, {}, "the word 'a' occurs 0 times, expected 1 or more"),
    ],
)
def test_what_cannot_be_learned_from_is_named(words, options, problem):
    for learn in (learn_word_pieces, reference_learn_word_pieces):
        if learn is learn_word_pieces or "n_pieces" not in options:
            with pytest.raises(ValueError, match=problem):
                learn(words, **{"n_pieces": 3, **options})
