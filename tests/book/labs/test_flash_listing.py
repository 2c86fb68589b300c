"""The printed flash attention and its repairs: each step does what it is for, and was needed."""

import inspect

import pytest
import torch
from torch import nn

from llmlib.book.labs.flash_attention.traffic import Traffic, kept_for_backward
from llmlib.book.labs.flash_listing.checks import (
    CHECKS,
    attempt,
    gap,
    passes,
    random_qkv,
    row_of_scores,
    working_set,
)
from llmlib.book.labs.flash_listing.listing import (
    NAMES,
    REPAIRS,
    Repair,
    diff,
    execute,
    load,
    missing_names,
    run,
    version,
)


def test_a_check_for_each_repair():
    assert [check.__name__ for check in CHECKS] == [repair.name for repair in REPAIRS]


@pytest.mark.parametrize("name", NAMES)
def test_each_version_passes_the_checks_up_to_its_own_and_fails_the_next(name):
    done = NAMES.index(name)
    assert [passes(name, check) for check in CHECKS[:done]] == [True] * done
    assert [passes(name, check) for check in CHECKS[done : done + 1]] == [False] * (name != "sram")


def test_the_printed_listing_runs_as_far_as_its_names():
    assert missing_names(version("printed")) == ["TransformerLayer", "math", "nn", "torch"]
    assert missing_names(version("imports")) == []
    with pytest.raises(NameError, match="nn"):
        run("printed")


def test_the_printed_shapes():
    """With the imports: an error, or a tensor of the wrong shape, never the right one."""
    flash = load("printed")
    for sizes in ((2, 4, 8, 16), (2, 3, 300, 16), (1, 8, 64, 16)):
        with pytest.raises(RuntimeError, match="must match"):
            flash(*torch.randn(3, *sizes))
    assert flash(*torch.randn(3, 1, 1, 8, 16)).shape == (1, 1, 8, 8, 16)


def test_a_repair_that_does_not_fit_says_so():
    with pytest.raises(ValueError, match="occurs 2 times"):
        Repair("twice", "E0-00", (("a", "b"),)).apply("a a")
    with pytest.raises(ValueError, match="no version 'new'"):
        version("new")


def test_the_diff_of_a_step_is_what_changed():
    lines = diff("shape")
    assert [line for line in lines if line.startswith("-")] == [
        "-        exp_diff = torch.exp(m.unsqueeze(-1) - m_new.unsqueeze(-1))"
    ]
    assert [line for line in lines if line.startswith("+")] == [
        "+        exp_diff = torch.exp(m - m_new)"
    ]


@pytest.mark.parametrize("name", [repair.name for repair in REPAIRS])
def test_diffs_fit_the_page(name):
    assert max(map(len, diff(name))) <= 88


def test_the_last_version_is_attention_for_many_sizes():
    space = run("sram")
    for seq_q, seq_k in ((1, 1), (1, 300), (300, 1), (113, 203), (257, 129)):
        for width in (16, 40, 128):
            for options in ({}, {"causal": True}, {"causal": True, "window": 50}):
                assert gap(space, *random_qkv(seq_q, seq_k, width), **options) < 2e-5


def test_every_check_says_what_it_checks():
    assert all(inspect.getdoc(check) for check in CHECKS)


def test_scores_of_a_row_come_out_as_its_weights():
    weights = execute(version("start"))["flash_attention"](*row_of_scores([1.0, 2.0, 3.0]))
    assert torch.allclose(weights[0, 0, 0], torch.tensor([1.0, 2.0, 3.0]).softmax(0))


def test_working_set_counts_a_tile_of_each():
    for width, rows in ((128, 32), (256, 16)):
        found = working_set(run("sram"), *random_qkv(96, width=width))
        assert found == 4 * (4 * rows * width + rows * rows) <= 100 * 1024


def test_traffic_counts_reads_and_writes_and_no_views():
    x = torch.zeros(8, 4, device="meta")
    with Traffic() as counter:
        x.t()
        x.view(4, 8)
    assert counter.bytes == 0
    with Traffic() as counter:
        y = x + 1
        y.mul_(2)
    assert counter.bytes == 4 * 32 * 4
    weight = torch.zeros(3, 4, device="meta")
    with Traffic() as counter:
        nn.functional.linear(x, weight)
    assert counter.bytes == 4 * (8 * 4 + 3 * 4 + 8 * 3)
    assert counter.matmuls == [(4 * 32, 4 * 12, 4 * 24)]
    with Traffic() as counter:
        x[:1].expand(8, 4) + 1
    assert counter.bytes == 4 * (32 + 32), "a row that is repeated is read from its storage"


def test_an_attempt_is_judged(capsys):
    """The version before a repair fails; the repair's own changes, or none that help, are told."""
    attempt("shape")
    attempt("shape", *REPAIRS[1].changes)
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "version imports, as it stands: test shape"
    assert told[1].startswith("  fails: RuntimeError: The size of tensor a")
    assert told[-2:] == ["version imports, with 1 of your changes: test shape", "  passes"]
    with pytest.raises(ValueError, match="no repair 'printed'"):
        attempt("printed")
    with pytest.raises(ValueError, match="occurs 0 times"):
        attempt("shape", ("not there", ""))


def test_what_autograd_keeps_is_counted_once():
    x = torch.ones(4, 8)
    assert kept_for_backward(lambda x: x * 2, x) == 0
    assert kept_for_backward(lambda x: x * x, x) == 4 * 32, "both factors are one tensor"
    assert kept_for_backward(lambda x: x.exp(), x) == 4 * 32
