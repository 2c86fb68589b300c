"""Objectives by hand, and the text that comes back from each."""

import pytest

from llmlib.book.labs.families import objectives as o

TEXT = ["the", "dog", "ran", ".", "the", "cat", "slept", "."]


def test_what_each_objective_reads_and_asks_for():
    words = ["a", "b", "c", "d", "e", "f"]
    assert o.gpt(words).target == tuple("bcdef")
    task = o.bert(words, [4, 1])
    assert (task.read, task.target) == (("a", o.MASK, "c", "d", o.MASK, "f"), ("b", "e"))
    task = o.t5(words, [(4, 5), (1, 3)])
    assert task.read == ("a", "<0>", "d", "<1>", "f")
    assert task.target == ("<0>", "b", "c", "<1>", "e", "<2>")
    assert task.writer == (o.START, "<0>", "b", "c", "<1>", "e")
    task = o.bart_infill(words, [(1, 3), (4, 4)])
    assert task.read == ("a", o.MASK, "d", o.MASK, "e", "f")
    assert task.target == (*words, o.END)
    assert o.bart_delete(words, [0, 5]).read == tuple("bcde")
    assert o.bart_permute(TEXT, [1, 0]).read == (*TEXT[4:], *TEXT[:4])


def test_targets_for_each_token_that_a_model_reads():
    words = ["a", "b", "c", "d", "e", "f"]
    assert o.gpt(words).targets_per_token == 1
    assert o.bert(words, [0]).targets_per_token == 1 / 6
    assert o.t5(words, [(1, 3)]).targets_per_token == 4 / (5 + 4)
    assert o.bart_delete(words, [0]).targets_per_token == 7 / (5 + 7)


@pytest.mark.parametrize("seed", range(20))
def test_every_objective_gives_the_text_back(seed):
    words = [f"w{i}" for i in range(40)]
    places, spans = o.hidden_places(40, 0.15, seed), o.hidden_spans(40, 0.3, 3, seed)
    for task in (
        o.gpt(words), o.bert(words, places), o.t5(words, spans), o.bart_infill(words, spans),
        o.bart_delete(words, places),
    ):  # fmt: skip
        assert o.restored(task) == words
    assert o.restored(o.bart_permute(TEXT, [1, 0])) == TEXT
    assert len(places) == 6
    assert sum(stop - start for start, stop in spans) == 12
    assert len(spans) == 4


@pytest.mark.bad_input
def test_impossible_values_are_named():
    with pytest.raises(ValueError, match=r"span \(1, 4\) of 6 tokens"):
        o.t5("abcdef", [(0, 2), (1, 4)])
    with pytest.raises(ValueError, match=r"order is \[0, 0\]"):
        o.bart_permute(TEXT, [0, 0])
    with pytest.raises(ValueError, match="share is 0"):
        o.hidden_places(10, 0, 0)
    with pytest.raises(ValueError, match=r"share is 0\.9"):
        o.hidden_spans(10, 0.9, 1, 0)
