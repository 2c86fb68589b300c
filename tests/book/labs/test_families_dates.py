"""Dates: the forms, both models behind one door, and what hiding a place hides."""

import datetime

import pytest
import torch

from llmlib.book.labs.families import dates as d
from llmlib.book.labs.families.small import enlarged

DAY = datetime.date(1998, 3, 21)


def made(config):
    torch.manual_seed(0)
    return enlarged(d.Rewriter(config)).eval()


def test_the_forms_by_hand():
    assert {name: form(DAY) for name, form in d.FORMS.items()} == {
        "plain": "21 March 1998",
        "American": "March 21, 1998",
        "slashes": "21/03/1998",
        "weekday": "Saturday, 21 Mar 1998",
        "words": "the 21st of March, 1998",
    }
    assert [d.ordinal(n) for n in (1, 2, 3, 4, 11, 12, 13, 21, 22, 23, 30)] == [
        *("1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "22nd", "23rd", "30th")
    ]


def test_no_date_is_too_long_and_none_is_in_both_parts():
    training, held_out = d.calendar()
    assert len(held_out) == 1000
    assert not set(training) & set(held_out)
    longest = max(len(form(day)) for form in d.FORMS.values() for day in training + held_out)
    assert longest == d.LONGEST
    read, written = d.pairs([DAY], 0)
    assert d.text(written[0]) == "1998-03-21"
    assert d.text(read[0]) in [form(DAY) for form in d.FORMS.values()]


@pytest.mark.parametrize("config", [d.two_stacks(), d.one_stack(2), d.one_stack(1)])
def test_padding_changes_nothing_and_the_target_is_read_causally(config):
    model = made(config)
    read, written = d.pairs([DAY, datetime.date(2001, 5, 3)], 1)
    ids = torch.cat([read, written[:, :-1]], 1)
    scores = model(ids)
    assert scores.shape == (2, d.WRITTEN, d.VOCAB)
    changed = ids.clone()
    changed[:, -1] = 5
    torch.testing.assert_close(model(changed)[:, :-1], scores[:, :-1])
    longer = d.sources(["3 May 2001", "Wednesday, 30 Sep 1998"])  # another neighbour, more padding
    alone = model(torch.cat([longer[:1], written[1:, :-1]], 1))
    beside = model(torch.cat([longer, written[:, :-1].flip(0)], 1))[:1]
    torch.testing.assert_close(alone, beside)


def test_padding_moves_to_the_left():
    read = d.sources(["3 May 2001"])
    moved = d.shifted(read)
    assert moved[0, :17].tolist() == [d.PADDING] * 17
    assert d.text(moved[0, 17:]) == "3 May 2001"


def test_hiding_no_place_is_the_model_itself_and_a_hidden_place_is_not_seen():
    model = made(d.two_stacks())
    read, written = d.pairs([DAY], 0)
    whole = model(torch.cat([read, written[:, :-1]], 1)).softmax(-1)
    right = whole.gather(2, written[:, 1:, None])[..., 0]
    torch.testing.assert_close(d.without(model, read, written, "none"), right)
    hidden = d.without(model, read, written, "looked at")
    assert hidden.shape == (1, d.WRITTEN)
    assert (hidden != right).any()
    assert not torch.equal(hidden, d.without(model, read, written, "another"))


def test_the_map_has_a_row_for_each_character():
    text, maps = d.cross_map(made(d.two_stacks()), "3 May 2001")
    assert maps.shape == (4, d.WRITTEN, 10)
    torch.testing.assert_close(maps.sum(-1), torch.ones(4, d.WRITTEN))
    assert len(text) <= d.WRITTEN


def test_training_starts_to_learn():
    model = d.trained(d.two_stacks(), steps=15)
    read, written = d.pairs(d.calendar()[1][:50], 3)
    logits = model(torch.cat([read, written[:, :-1]], 1))
    loss = torch.nn.functional.cross_entropy(logits.mT, written[:, 1:]).item()
    assert loss < 3  # from log 46 = 3.8
    assert 0 <= d.exact(model, 10) <= 1


@pytest.mark.bad_input
def test_impossible_values_are_named():
    model = made(d.two_stacks())
    with pytest.raises(ValueError, match="which is 'first', expected 'looked at'"):
        d.without(model, *d.pairs([DAY], 0), "first")
