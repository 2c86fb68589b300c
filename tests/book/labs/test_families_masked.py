"""The hidden word: what each guesser may see, and the chain rule by hand."""

import math

import pytest
import torch

from llmlib.book.labs.families import masked as m
from llmlib.book.labs.families import runs, writing
from llmlib.book.labs.families.small import enlarged
from llmlib.decoder import Decoder


@pytest.fixture(scope="module")
def read():
    return m.questions(40)


def models():
    torch.manual_seed(0)
    made = m.Masked(causal=False), m.Masked(causal=True), Decoder(m.config(causal=True))
    return [enlarged(model).eval() for model in made]


def test_the_words_of_the_text():
    text = m.king_james()
    assert text.vocab_size == 502
    assert text.words[2:5] == ("the", "and", "of")
    assert text.ids(["the", "[MASK]", "xyzzy"]).tolist() == [2, m.MASK, m.RARE]
    known = torch.cat([text.train, text.held_out]) != m.RARE
    assert 0.82 < known.double().mean() < 0.84


def test_batches_hide_two_words_and_give_them(read):
    ids, target = next(m.masked_batches(0))
    assert ids.shape == (64, m.WINDOW)
    assert ((ids == m.MASK).sum(1) == m.HIDDEN).all()
    assert target.shape == (64 * m.HIDDEN,)
    following, after = next(m.next_batches(0))
    hidden = ids[:, :-1] == m.MASK
    assert torch.equal(following[~hidden], ids[:, :-1][~hidden])  # the same windows
    assert (after[following.roll(-1, 1) == m.RARE][:-1] < 502).all()
    assert (read[:, m.MIDDLE] >= m.FIRST).all()


def test_who_sees_what_stands_on_the_right(read):
    both, one, decoder = models()
    other = read.clone()
    other[:, m.MIDDLE + 1 :] = other[:, m.MIDDLE + 1 :].roll(1, 0)
    same = torch.testing.assert_close
    assert (m.by_masked(both, read) - m.by_masked(both, other))[:, 2:].abs().max() > 1e-3
    same(m.by_masked(both, read, right=False), m.by_masked(both, other, right=False))
    same(m.by_masked(one, read), m.by_masked(one, other))
    same(m.by_decoder(decoder, read), m.by_decoder(decoder, other))
    differ = m.by_whole_text(decoder, read) != m.by_whole_text(decoder, other)
    assert differ.any()


def test_no_guesser_sees_the_hidden_word(read):
    both, one, decoder = models()
    other = read.clone()
    other[:, m.MIDDLE] = 7
    for guess in (
        lambda x: m.by_masked(both, x), lambda x: m.by_masked(one, x),
        lambda x: m.by_decoder(decoder, x), lambda x: m.by_whole_text(decoder, x),
        lambda x: m.by_counts(x, left=True, right=True),
    ):  # fmt: skip
        assert torch.equal(guess(read), guess(other))


def test_the_whole_text_is_scored_by_the_chain_rule(read):
    """All 500 candidates: p(w | left, right) is p(left, w, right) over the sum."""
    decoder, text = models()[2], read[:1]
    found = m.by_whole_text(decoder, text, candidates=500)[0]
    with torch.no_grad():
        totals = []
        for word in (5, 60, 400):
            ids = text.clone()
            ids[0, m.MIDDLE] = word
            left = m.by_decoder(decoder, ids)[0, word].item()
            log_p = decoder(ids)[0].double().log_softmax(-1)
            later = range(m.MIDDLE + 1, m.WINDOW)
            right = [log_p[i - 1, ids[0, i]].item() for i in later if ids[0, i] != m.RARE]
            totals.append(left + sum(right))
    differences = [found[60] - found[5], found[400] - found[5]]
    assert differences == pytest.approx([t - totals[0] for t in totals[1:]], abs=1e-4)
    assert found.exp().sum() == pytest.approx(1)


def test_counts_by_hand(read):
    text = m.king_james()
    assert int(m.by_counts(read).argmax(1)[0]) == text.ids(["the"])[0]
    left = m.by_counts(read, left=True)
    torch.testing.assert_close(left.exp().sum(1), torch.ones(len(read), dtype=torch.float64))
    after_and = read.clone()
    after_and[:, m.MIDDLE - 1] = text.ids(["children"])[0]
    assert text.words[int(m.by_counts(after_and, left=True).argmax(1)[0])] == "of"


def test_training_teaches_each_kind(read):
    for kind in m.KINDS:
        model = m.trained(kind, seed=1, steps=30)
        guess = m.by_decoder if kind == "next word" else m.by_masked
        assert m.loss(guess(model, read), read) < math.log(500) - 0.3


def test_the_cost_of_writing():
    both, _, decoder = models()
    words, cost = writing.by_masked(both, [5, 6, 7], 4)
    assert len(words) == 4
    assert (cost.passes, cost.tokens) == (4, 4 + 5 + 6 + 7)
    words, cost = writing.by_decoder(decoder, [5, 6, 7], 4)
    assert len(words) == 4
    assert (cost.passes, cost.tokens) == (4, 3 + 3)


def test_filling_writes_the_span_and_nothing_else(read):
    both = models()[0]
    found = writing.filled(both, read, 3, 9, at_once=2)
    assert torch.equal(found[:, :3], read[:, :3])
    assert torch.equal(found[:, 9:], read[:, 9:])
    assert (found[:, 3:9] >= m.FIRST).all()
    assert writing.pairs_met(read, 3, 9) > 0.9


def test_stored_runs_are_complete():
    found = runs.stored_masked()
    seen = {(run.guesser, run.seed, run.steps) for run in found}
    names = {run.guesser for run in found}
    assert len(names) == 8
    assert seen == {(n, s, k) for n in names for s in range(3) for k in runs.STEPS}
    assert len(seen) == len(found)
    dates = runs.stored_dates()
    assert {(run.model, run.seed) for run in dates} == {
        (name, seed) for name in runs.MODELS for seed in range(3)
    }


@pytest.mark.bad_input
def test_impossible_values_are_named():
    with pytest.raises(ValueError, match="kind is 'left', expected one of both sides"):
        m.trained("left")
