"""Descriptions of models: what they refuse, how they print, walk and find their runs again."""

import copy
import pickle
import subprocess
import sys

import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

import llmlib.architecture as arch
from llmlib.activations import ACTIVATIONS
from tests.folding import for_each

GAIN = arch.Norm(gain="1 + weight")
NEAR = arch.Block(
    arch.Attention(4, 2, 8, arch.Rope(), window=16, qk_norm=GAIN),
    arch.FeedForward(32, "gelu_tanh"), GAIN, "sandwich",
)  # fmt: skip
FAR = arch.changed(NEAR, arch.Attention, window=None, rope=arch.Rope(1e6))
RUNS = (arch.repeat(10, arch.repeat(5, NEAR), FAR), arch.repeat(2, NEAR))
MIXED = arch.ModelConfig(32, 64, 128, arch.Stack(RUNS, GAIN), tied=True)


def test_it_is_described_without_torch_and_sympy() -> None:
    code = "import llmlib.architecture, sys; print({'torch', 'sympy'} & sys.modules.keys())"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"


def test_a_stack_is_walked_in_order_and_summed_by_kind() -> None:
    assert MIXED.n_layers == 62
    assert [block.mixer.window for block in arch.layers(RUNS)] == ([16] * 5 + [None]) * 10 + [
        16
    ] * 2
    assert [(times, own) for _, times, own in arch.kinds(RUNS)] == [(50, 50), (10, 10), (2, 2)]
    shared = (arch.Run(3, (arch.repeat(2, NEAR), FAR), shared=True),)
    assert [(times, own) for _, times, own in arch.kinds(shared)] == [(6, 2), (3, 1)]


def test_times_may_be_letters_to_count_but_not_to_build() -> None:
    length = sympy.Symbol("L", positive=True, integer=True)
    runs = (arch.repeat(length / 6, arch.repeat(5, NEAR), FAR),)
    assert sum(times for _, times, _ in arch.kinds(runs)) == length
    with pytest.raises(TypeError, match="times is L/6, expected a number"):
        arch.layers(runs)


@given(
    st.lists(
        st.sampled_from([NEAR, FAR, arch.changed(FAR, arch.FeedForward, ffn_dim=8)]), min_size=1
    )
)
def test_runs_found_again_are_the_layers(blocks: list[arch.Block]) -> None:
    runs = arch.runs_of(blocks)
    assert arch.layers(runs) == blocks
    assert arch.runs_of(arch.layers(runs)) == runs


@for_each(
    "runs, said",
    [
        (RUNS, "10 × (5 A, B), 2 A"),
        ((arch.repeat(3, NEAR), arch.repeat(58, FAR)), "3 A, 58 B"),
        ((arch.repeat(12, arch.repeat(3, NEAR), FAR),), "12 × (3 A, B)"),
        ((arch.repeat(18, NEAR, FAR),), "18 × (A, B)"),
        ((arch.repeat(1, NEAR),), "A"),
    ],
)
def test_periodic_stacks_come_back_as_they_are_written(
    runs: tuple[arch.Run, ...], said: str
) -> None:
    assert arch.ribbon(arch.Stack(runs)) == said
    assert arch.runs_of(arch.layers(runs)) == runs


def test_the_block_of_a_model_is_given_only_where_there_is_one() -> None:
    one = arch.ModelConfig(32, 64, 128, arch.Stack((arch.repeat(2, NEAR), arch.repeat(3, NEAR))))
    assert one.block == NEAR
    with pytest.raises(ValueError, match="2 kinds of blocks, expected one"):
        _ = MIXED.block


def test_a_change_reaches_every_part_of_its_kind() -> None:
    wide = arch.changed(MIXED, arch.Attention, window=None, rope=None)
    assert {block.mixer.window for block in arch.layers(wide.stack.runs)} == {None}
    assert wide.block.mixer.rope is None
    with pytest.raises(ValueError, match="no Latent in"):
        arch.changed(MIXED, arch.Latent, kv_rank=3)
    with pytest.raises(TypeError, match="breadth"):
        arch.changed(MIXED, arch.Attention, breadth=3)


def test_equal_descriptions_are_one_key_and_travel() -> None:
    again = arch.ModelConfig(
        32, 64, 128, arch.Stack(arch.runs_of(arch.layers(RUNS)), GAIN), tied=True
    )
    assert {MIXED: "a"}[again] == "a"
    assert pickle.loads(pickle.dumps(MIXED)) == MIXED == copy.deepcopy(MIXED)


def test_only_what_is_not_usual_is_printed() -> None:
    plain = arch.Block(arch.Attention(4, 2, 8, arch.Rope(500_000.0)), arch.FeedForward(32))
    assert repr(plain) == "Block(Attention(4, 2, 8, rope=Rope(base=500000.0)), FeedForward(32))"
    assert eval(repr(MIXED), vars(arch)) == MIXED


@for_each(
    "settings",
    [
        {"rope_type": "linear", "factor": 8.0},
        {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192,
         "low_freq_factor": 1.0, "high_freq_factor": 4.0},
        {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32,
         "truncate": False},
    ],
)  # fmt: skip
def test_a_scaling_is_the_dictionary_it_was_made_of(settings: dict[str, object]) -> None:
    assert arch.Scaling.of(settings).settings() == settings
    assert arch.Scaling.of({"type": settings["rope_type"], **settings}) == arch.Scaling.of(settings)


def test_activations_are_those_of_the_library() -> None:
    for name in ACTIVATIONS:
        assert arch.FeedForward(8, name).activation == name  # type: ignore[arg-type]


@pytest.mark.bad_input
@for_each(
    "make, error, said",
    [
        (lambda: arch.Attention(4, 3, 8), ValueError, "n_kv_heads is 3, expected a divisor of 4"),
        (lambda: arch.Attention(4, 2, 0), ValueError, "head_dim must be positive, got 0"),
        (lambda: arch.Attention(4.0, 2, 8), TypeError, "n_heads must be an integer, got 4.0"),
        (lambda: arch.Attention(4, 2, 8, window=True), TypeError, "window must be an integer"),
        (lambda: arch.Attention(4, 2, 8, qkv_bias=1), TypeError, "qkv_bias is 1, expected True or"),
        (lambda: arch.Attention(4, 2, 8, rope=1e4), TypeError, "rope is 10000.0, expected Rope"),
        (lambda: arch.Attention(4, 2, 8, scale=float("nan")), ValueError, "scale is nan"),
        (lambda: arch.Attention(4, 2, 8, softcap=0.0), ValueError, "softcap is 0.0, expected"),
        (lambda: arch.Norm(eps=-1.0), ValueError, "eps is -1.0, expected a finite number from 0"),
        (lambda: arch.Norm("batch"), ValueError, "kind is 'batch', expected one of rms, layer"),
        (lambda: arch.Rope(0.0), ValueError, "base is 0.0, expected a finite number above 0"),
        (lambda: arch.Rope(share=1.5), ValueError, "share is 1.5, expected above 0, at most 1"),
        (lambda: arch.Scaling("dynamic"), ValueError, "kind is 'dynamic', expected one of linear"),
        (lambda: arch.FeedForward(8, "gelo"), ValueError, "activation is 'gelo', expected one of"),
        (lambda: arch.Experts(4, 5, arch.FeedForward(8)), ValueError, "n_active is 5, expected at"),
        (lambda: arch.Block(arch.FeedForward(8), None), TypeError, "mixer is FeedForward"),
        (lambda: arch.Block(NEAR.mixer, None, norms="post", order="parallel"), ValueError, "order"),
        (lambda: arch.Block(NEAR.mixer, None, order="parallel"), ValueError, "without a feed-forw"),
        (lambda: arch.Block(NEAR.mixer, None, norms="output", mixer_norm=False), ValueError,
         "mixer_norm is False with norms 'output'"),
        (lambda: arch.repeat(0, NEAR), ValueError, "times must be positive, got 0"),
        (lambda: arch.repeat(2), TypeError, r"parts is \(\), expected blocks or runs"),
        (lambda: arch.Stack((NEAR,)), TypeError, "runs is .*, expected a tuple of runs"),
        (lambda: arch.Stack(arch.repeat(2, NEAR)), TypeError, "runs is .*, expected a tuple"),
        (lambda: arch.ModelConfig(8, 8, 8, NEAR), TypeError, "stack is .*, expected Stack"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_when_it_is_said(make, error, said) -> None:
    with pytest.raises(error, match=said):
        make()
