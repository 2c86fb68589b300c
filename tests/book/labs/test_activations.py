"""The activations chapter's experiments: blocks of equal size, stored runs, units that are read."""

import math
import statistics
from typing import ClassVar

import pytest
import torch

from llmlib.activations import glu, relu, swish
from llmlib.book.labs.activations import (
    BLOCKS,
    Run,
    Units,
    alike,
    block_decoder,
    raised,
    read_units,
    save,
    stored,
    unit_texts,
)
from llmlib.decoder import Decoder, DecoderConfig

pytestmark = pytest.mark.unchecked  # small stand-ins take the places of model and tokenizer


def test_blocks_have_one_size_but_for_the_wide_one():
    sizes = {
        name: sum(p.numel() for p in block_decoder(name, 50, 1, 0).parameters()) for name in BLOCKS
    }
    wide = sizes.pop("SwiGLU, 4d wide")
    assert len(set(sizes.values())) == 1
    assert wide - sizes["SwiGLU"] == 3 * 48 * (192 - 128)


def test_runs_survive_being_stored(tmp_path):
    runs = [Run("ReLU", 1, 0.01, 0, 2.25), Run("GLU", 4, 0.004, 2, 2.5)]
    save(runs, tmp_path / "runs.tsv")
    assert stored(tmp_path / "runs.tsv") == runs


def test_each_block_was_run_with_three_seeds():
    found: dict[tuple[str, int, float], set[int]] = {}
    for run in stored():
        found.setdefault((run.block, run.n_layers, run.rate), set()).add(run.seed)
    assert {block for block, _, _ in found} == set(BLOCKS)
    assert {key[1:] for key in found} >= {(1, 0.004), (1, 0.01), (1, 0.025), (4, 0.01)}
    assert all(seeds == {0, 1, 2} for seeds in found.values())


class Letters:
    """A tokenizer of letters, as far as `Units` asks for one."""

    special_tokens: ClassVar = {"<|endoftext|>": 0}

    def encode(self, text, add_special=False):
        return [ord(letter) - ord("a") + 1 for letter in text]

    def decode(self, ids):
        return "".join(chr(one + ord("a") - 1) for one in ids)


def test_a_model_without_a_start_token_reads_the_text_alone():
    given, _ = read_units(tiny(), [], [3, 4, 5])
    assert given.shape == (2, 3, 24)
    other, _ = read_units(tiny(), [0], [3, 4, 5])
    assert not torch.equal(given, other)


def tiny():
    torch.manual_seed(0)
    return Decoder(DecoderConfig(27, 16, 2, 2, ffn_dim=24)).eval()


@torch.no_grad()
def test_what_is_read_is_what_down_multiplies():
    model = tiny()
    given, gates = read_units(model, [0], [3, 4, 5])
    assert given.shape == gates.shape == (2, 3, 24)
    states = model.hidden_states(torch.tensor([[0, 3, 4, 5]]))
    block = model.blocks[1]
    added = given[1] @ block.feed_forward.down.weight.T
    middle = states[2][0, 1:] - added
    x = block.norms["feed_forward_input"](middle)
    torch.testing.assert_close(block.feed_forward.gate(x), gates[1], rtol=1e-4, atol=1e-5)
    assert not block.feed_forward.down._forward_pre_hooks  # nothing is left behind


def test_a_unit_that_answers_to_one_letter_is_found():
    units = Units(tiny(), Letters(), ["abx", "cxd", "efg"], count=2)
    for one, place in zip(units.given, (2, 1, None), strict=True):
        one[0, :, 7] = 0.0
        if place is not None:
            one[0, place, 7] = -5.0
    units.top[:, 0, 7] = torch.tensor([0, 1])
    assert units.words(0, 7) == ["x", "x"]
    assert units.sign(0, 7) == -1
    assert units.selectivity.shape == (2, 24)
    assert (units.selectivity >= 0).all()


def test_the_rule_can_be_run_on_what_the_units_did_not_give():
    units = Units(tiny(), Letters(), ["abx", "cxd", "efg"], count=1)

    def lone_peak(given):
        flat = torch.ones_like(given)
        flat[4, 3] = 10.0  # unit 3 rises at the fifth letter alone
        return flat

    other = units.changed(lone_peak)
    assert other.best(1) == [(0, 3), (1, 3)]
    assert other.words(1, 3) == ["x"]
    assert [len(one[0]) for one in other.given] == [3, 3, 3]
    assert units.changed(lambda given: given).best(2) == units.best(2)


def test_alike_counts_the_most_frequent_word():
    assert alike([" she", "She", " her", "she "]) == 3
    assert alike(["a", "b"]) == 1


def test_raised_tokens_are_those_that_point_along_the_row():
    model = tiny()
    row = model.blocks[0].feed_forward.down.weight[:, 5]
    with torch.no_grad():
        model.embedding.weight[9] = 10 * row
    assert raised(model, 0, 5, 1.0, count=1) == [9]
    assert 9 not in raised(model, 0, 5, -1.0, count=3)


@pytest.mark.parametrize("per_subject", [6])
def test_texts_are_six_on_each_of_eight_subjects(per_subject):
    texts = unit_texts()
    assert len(texts) == len(set(texts)) == 8 * per_subject
    assert statistics.mean(map(len, texts)) > 30


# --- what the chapter says in words ---------------------------------------------------------------


def slope_of_swish(x):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(swish(x).sum(), x)[0]


def test_swish_turns_at_its_minimum_and_its_slope_vanishes_for_two_reasons():
    assert slope_of_swish(torch.tensor([-1.2, -1.4, -10.0])).sign().tolist() == [1, -1, -1]
    true = slope_of_swish(torch.tensor([-90.0, -21.0], dtype=torch.float64)).abs()
    smallest = [torch.finfo(t).tiny * torch.finfo(t).eps for t in (torch.float32, torch.float16)]
    assert true[0] > smallest[0]  # float32 could hold it, but e^90 overflows on the way
    assert true[1] < smallest[1]
    assert math.exp(90) > torch.finfo(torch.float32).max


def test_a_free_gate_opens_and_closes_where_swish_cannot():
    one = torch.ones(2, dtype=torch.float64)
    free = glu(one * torch.tensor([-3.0, 3.0]), one)
    assert free.tolist() == pytest.approx([1 / (1 + math.exp(3)), 1 / (1 + math.exp(-3))])


def test_relu_units_draw_the_dip_of_swish():
    knots = torch.linspace(-6, 6, 25, dtype=torch.float64)
    grid = torch.linspace(-6, 6, 121, dtype=torch.float64)
    rise = swish(knots).diff() / knots.diff()
    bends = torch.cat([rise[:1], rise.diff()])
    drawn = swish(knots)[0] + relu(grid[:, None] - knots[:-1]) @ bends
    assert drawn.min().item() == pytest.approx(-0.2785, abs=0.01)
