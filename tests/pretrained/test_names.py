"""Unit tests of llmlib.pretrained's tables of names, and the parts of fused matrices."""

import pytest
import torch

import llmlib.architecture as arch
from llmlib.pretrained.huggingface import FAMILIES
from llmlib.pretrained.names import half, in_groups, projection, rules_of, third, transposed
from tests.pretrained_files import small

GROUPED = arch.Block(arch.Attention(4, 2, 1), arch.FeedForward(8))
ROWS = torch.arange(8)


@pytest.mark.parametrize(
    ("part", "rows"),
    [
        (in_groups(0), [0, 1, 4, 5]),
        (in_groups(1), [2, 6]),
        (in_groups(2), [3, 7]),
        (projection(0), [0, 1, 2, 3]),
        (projection(1), [4, 5]),
        (projection(2), [6, 7]),
        (half(0), [0, 1, 2, 3]),
        (half(1), [4, 5, 6, 7]),
    ],
)
def test_rows_of_fused_matrices(part, rows):
    """Four queries and two keys of width 1; the same rows of a bias."""
    assert part(GROUPED, ROWS).tolist() == rows
    assert part(GROUPED, ROWS[:, None].repeat(1, 3))[:, 0].tolist() == rows


def test_thirds_and_transpositions():
    rows = torch.arange(6).view(6, 1)
    assert [third(n)(GROUPED, rows).flatten().tolist() for n in range(3)] == [
        [0, 1],
        [2, 3],
        [4, 5],
    ]
    assert transposed(GROUPED, rows).shape == (1, 6)
    assert torch.equal(transposed(GROUPED, rows[:, 0]), rows[:, 0])


def test_names_of_layers_and_kinds():
    model = small(bias=True)
    names = FAMILIES["llama"].names_of(model.config)
    found = {rule.parameter: rule.tensor for rule in rules_of(model, model.config, names)}
    assert list(found) == [name for name, _ in model.named_parameters()]
    assert found["blocks.1.mixer.key.bias"] == "model.layers.1.self_attn.k_proj.bias"
    assert found["norm.weight"] == "model.norm.weight"


def test_a_family_stands_over_another():
    """The last name that fits counts, be it exact or not."""
    model = small()
    names = {"{i}": "", "blocks.{i}.mixer.key.{kind}": "first.{i}.{kind}"}
    names |= {name: name for name, _ in model.named_parameters() if ".key." not in name}
    names["blocks.{i}.mixer.key.weight"] = "second.{i}"
    rules = rules_of(model, model.config, names)
    assert [rule.tensor for rule in rules if "key" in rule.parameter] == ["second.0", "second.1"]


@pytest.mark.bad_input
def test_parameters_without_a_name():
    model = small()
    with pytest.raises(AssertionError, match=r"lacks the parameter embedding\.weight"):
        rules_of(model, model.config, {})
