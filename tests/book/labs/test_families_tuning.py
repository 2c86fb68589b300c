"""Tuning: the texts by hand, and DPO's loss and gradient against the paper's formulas."""

import math

import pytest
import torch

from llmlib.book.labs.families import tuning as u


def test_everybody_lives_somewhere_and_every_place_is_as_full():
    where = u.homes(3)
    assert [list(where.values()).count(place) for place in u.PLACES] == [4] * 12
    assert set(u.TAUGHT) | set(u.OTHERS) == set(u.PEOPLE)
    assert not set(u.STRANGERS) & set(u.PEOPLE)
    assert len(set(u.WORDS)) == len(u.WORDS)


def test_only_the_answer_teaches():
    ids, target = next(u.demonstrations(u.homes(), 0))
    before = len(u.question("alna")) - 1
    assert (target[:, :before] == -100).all()
    assert (target[:, before] != -100).all()
    words = [u.WORDS[i] for i in ids[0].tolist() if i != u.PAD]
    assert words[:3] == ["<s>", "where", "does"]


def test_shuffled_answers_name_the_place_of_somebody_else():
    where = u.homes()
    ids, _ = next(u.demonstrations(where, 0, shuffled=True))
    wrong = 0
    for row in ids.tolist():
        words = [u.WORDS[i] for i in row]
        place = next(word for word in words if word in u.PLACES)
        wrong += where[words[3]] != place
    assert wrong > 24  # a neighbour may live in the same place
    flipped = u.preferences(where, 0, shuffled=True)
    assert sum(len(chosen) < len(rejected) for _, chosen, rejected in flipped) == 12
    assert all(len(c) < len(r) for _, c, r in u.preferences(where, 0))


def test_dpo_is_log_2_at_the_start_and_falls_with_the_gain():
    first = torch.tensor([-3.0, -1.0]), torch.tensor([-2.0, -4.0])
    assert u.dpo_loss(*first, *first).item() == pytest.approx(math.log(2))
    chosen = first[0] + 1
    gain = 0.1 * 1.0
    expected = -math.log(1 / (1 + math.exp(-gain)))
    assert u.dpo_loss(chosen, first[1], *first).item() == pytest.approx(expected)


def test_dpo_has_the_gradient_of_the_paper():
    """-beta sigma(r_rejected - r_chosen) for the chosen one, plus it for the rejected one."""
    chosen = torch.tensor([-2.0], dtype=torch.float64, requires_grad=True)
    rejected = torch.tensor([-3.5], dtype=torch.float64, requires_grad=True)
    first = torch.tensor([-2.5], dtype=torch.float64), torch.tensor([-3.0], dtype=torch.float64)
    u.dpo_loss(chosen, rejected, *first, beta=0.5).backward()
    rewards = 0.5 * (chosen - first[0]), 0.5 * (rejected - first[1])
    pull = 0.5 * torch.sigmoid(rewards[1] - rewards[0]).item()
    assert chosen.grad.item() == pytest.approx(-pull)
    assert rejected.grad.item() == pytest.approx(pull)


def test_the_probability_of_an_answer_is_the_product_over_its_words():
    where = u.homes()
    model = u.pretrained(where, steps=20)
    pairs = u.preferences(where, 0)[:2]
    found = u.log_probability(model, pairs, 1)
    asked, chosen, _ = pairs[0]
    total = 0.0
    for i, word in enumerate(chosen):
        ids = torch.tensor([[u.IDS[w] for w in [*asked, *chosen[:i]]]])
        total += model(ids)[0, -1].log_softmax(-1)[u.IDS[word]].item()
    assert found[0].item() == pytest.approx(total, abs=1e-4)


def test_tuning_leaves_the_first_model_as_it_was_and_moves_the_copy():
    where = u.homes()
    model = u.pretrained(where, steps=20)
    kept = [p.clone() for p in model.parameters()]
    tuned = u.supervised(model, u.demonstrations(where, 0), steps=5)
    pairs = u.preferences(where, 0)
    preferred = u.preferred(tuned, pairs, steps=3)
    assert all(map(torch.equal, kept, model.parameters()))
    gain = [u.log_probability(preferred, pairs, k) - u.log_probability(tuned, pairs, k)
            for k in (1, 2)]  # fmt: skip
    assert (gain[0] - gain[1]).mean() > 0


def test_reports_by_hand():
    model = u.pretrained(u.homes(), steps=20)
    found = u.report(model, u.OTHERS[:3], u.homes())
    assert found.follows == 0  # it has never seen an answer
    assert 0 <= found.short <= 1
    assert u.place_said(["in", "rome", "."]) == "rome"
    assert u.place_said(["in", "the", "."]) is None
