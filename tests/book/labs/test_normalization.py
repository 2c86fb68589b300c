"""Tests of the toy decoder: its ablations, seeds, and the depth laws the chapters draw."""

import math

import pytest
import torch

from llmlib.activations import FeedForward, GatedFeedForward, matched_ffn_dim
from llmlib.book.labs.normalization import (
    NORMS,
    CenterOnly,
    DynamicTanh,
    NoNorm,
    Run,
    ffn_output_matrices,
    gradient_by_layer,
    random_tokens,
    save,
    small_start,
    stored,
    stream_std_by_layer,
    token_cosine,
    token_cosine_by_layer,
    toy_decoder,
    with_norms,
    without_residual,
)
from llmlib.decoder import Decoder
from llmlib.normalization import LayerNorm, RMSNorm, layer_norm
from llmlib.training import next_token_loss, train

GATED = {"gated": True, "activation": "swish", "ffn_dim": matched_ffn_dim(64), "ffn_bias": False}


def toy(n_layers=3, **settings):
    return toy_decoder(11, 16, 4, n_layers, seq=12, **settings).double()


VARIANTS = {
    "pre": toy,
    "post": lambda: toy(norm_position="post"),
    "no norm": lambda: with_norms(toy(), NoNorm),
    "no residual": lambda: without_residual(toy()),
    "pre, RMSNorm": lambda: with_norms(toy(), RMSNorm),
    "post, centered": lambda: with_norms(toy(norm_position="post"), CenterOnly),
    "gated": lambda: toy(**GATED),
}


def tokens(batch=2, seq=12):
    return random_tokens(11, batch, seq, seed=5)


# --- wiring -------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_shapes_and_finite_logits(variant):
    logits = VARIANTS[variant]()(tokens())
    assert logits.shape == (2, 12, 11)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_position_sees_a_later_one(variant):
    model, before = VARIANTS[variant](), tokens()
    after = before.clone()
    after[:, 7] = (after[:, 7] + 1) % 11
    # Without residuals the stream shrinks to almost nothing, so the bound is relative.
    change = (model(after) - model(before)).abs().amax(dim=(0, 2))
    assert torch.all(change[:7] == 0)
    assert change[7] > 0


def test_it_is_the_decoder_of_the_library_as_described():
    model = toy(norm_position="post", activation="gelu")
    assert type(model) is Decoder
    assert model.config.block.norms == "post"
    assert model.config.block.feed_forward.activation == "gelu"
    assert [type(norm) for norm in model.blocks[0].norms.values()] == [LayerNorm] * 2


def test_only_pre_norm_has_a_final_norm():
    assert toy(norm_position="post").norm is None
    model = toy()
    assert isinstance(model.norm, LayerNorm)
    last = model.hidden_states(tokens())[-1]
    torch.testing.assert_close(model(tokens()), model.output(layer_norm(last, None, None)))


@pytest.mark.parametrize("placement", ["pre", "post"])
def test_every_norm_is_replaced(placement):
    model = with_norms(toy(norm_position=placement), RMSNorm)
    found = [module for module in model.modules() if isinstance(module, LayerNorm | RMSNorm)]
    assert [type(module) for module in found] == [RMSNorm] * (7 if placement == "pre" else 6)
    assert {module.weight.dtype for module in found} == {torch.float64}


def test_without_norms_the_stream_starts_at_the_embeddings_and_adds_the_parts():
    model = with_norms(toy(), NoNorm)
    states = model.hidden_states(tokens())
    assert len(states) == 4
    embedded = model.embedding(tokens()) + model.positions.weight
    torch.testing.assert_close(states[0], embedded)
    block = model.blocks[0]
    middle = states[0] + block.mixer(states[0])
    torch.testing.assert_close(states[1], middle + block.feed_forward(middle))


def test_no_residual_is_the_bare_composition():
    model = toy(n_layers=1)
    block = model.blocks[0]
    without_residual(model)
    start, end = model.hidden_states(tokens())
    torch.testing.assert_close(end, block.feed_forward(block.mixer(start)))
    torch.testing.assert_close(model(tokens()), model.output(end))


def test_center_only_is_layer_norm_without_the_division():
    x = torch.randn(4, 9, dtype=torch.float64) * 3 + 2
    centered = CenterOnly(9)(x)
    std = x.std(-1, correction=0, keepdim=True)
    torch.testing.assert_close(centered / std, layer_norm(x, None, None, eps=0.0))
    assert list(CenterOnly(9).parameters()) == []


# --- initialization -----------------------------------------------------------------------------


def test_seed_alone_decides_the_weights():
    torch.manual_seed(1)
    first = toy(seed=3).state_dict()
    torch.manual_seed(2)
    again, other = toy(seed=3).state_dict(), toy(seed=4).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["output.weight"], other["output.weight"])


def test_xavier_scale_zero_biases_and_unit_stream():
    model = toy_decoder(256, 64, 4, 2, seq=32)
    attention, ffn = model.blocks[0].mixer, model.blocks[0].feed_forward
    for matrix in (attention.query, attention.key, attention.value):
        assert matrix.weight.std().item() == pytest.approx(math.sqrt(2 / (4 * 64)), rel=0.03)
    assert attention.output.weight.std().item() == pytest.approx(math.sqrt(2 / (2 * 64)), rel=0.03)
    assert ffn.down.weight.std().item() == pytest.approx(math.sqrt(2 / (5 * 64)), rel=0.03)
    assert ffn.up.bias.abs().max() == 0
    assert stream_std_by_layer(model, random_tokens(256, 8, 32, 0))[0] == pytest.approx(1, abs=0.05)


def test_random_tokens_repeat_and_cover_the_vocabulary():
    drawn = random_tokens(11, 30, 40, seed=0)
    assert torch.equal(drawn, random_tokens(11, 30, 40, seed=0))
    assert not torch.equal(drawn, random_tokens(11, 30, 40, seed=1))
    assert drawn.unique().tolist() == list(range(11))


# --- measurements -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [{}, GATED])
def test_ffn_output_matrices_are_one_a_layer_in_order(kind):
    model = toy(**kind)
    part = GatedFeedForward if kind else FeedForward
    assert all(type(block.feed_forward) is part for block in model.blocks)
    expected = [block.feed_forward.down.weight for block in model.blocks]
    assert [id(p) for p in ffn_output_matrices(model)] == [id(p) for p in expected]


def test_gradient_by_layer_equals_backward_and_leaves_grad_alone():
    model, ids = toy(), tokens()
    measured = gradient_by_layer(model, ids)
    assert all(p.grad is None for p in model.parameters())
    next_token_loss(model(ids[:, :-1]), ids[:, 1:]).backward()
    assert measured == pytest.approx([m.grad.norm().item() for m in ffn_output_matrices(model)])


def test_token_cosine_of_hand_made_states():
    states = [torch.tensor([[[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]]]), torch.ones(2, 3, 2)]
    assert [token_cosine(state) for state in states] == pytest.approx([1 / 3, 1.0])
    model = toy(n_layers=1)
    expected = [token_cosine(state) for state in model.hidden_states(tokens())]
    assert token_cosine_by_layer(model, tokens()) == expected


def depth_law(placement, n_layers):
    model = toy_decoder(256, 64, 4, n_layers, seq=32, norm_position=placement).double()
    ids = random_tokens(256, 8, 33, seed=100)
    return gradient_by_layer(model, ids), stream_std_by_layer(model, ids[:, :-1])


def test_pre_norm_gradient_of_the_last_layer_falls_as_root_of_depth():
    scaled = [depth_law("pre", n)[0][-1] * math.sqrt(n) for n in (6, 24)]
    assert scaled == pytest.approx([0.36, 0.36], abs=0.05)


def test_post_norm_gradient_of_the_last_layer_is_flat_in_depth():
    last = [depth_law("post", n)[0][-1] for n in (6, 24)]
    assert last == pytest.approx([0.27, 0.27], abs=0.07)


def test_stream_grows_with_depth_under_pre_norm_only():
    assert depth_law("post", 12)[1][-1] == pytest.approx(1.0, abs=0.01)
    shallow, deep = depth_law("pre", 6)[1][-1], depth_law("pre", 24)[1][-1]
    assert deep / shallow == pytest.approx(2.0, abs=0.4)


def test_without_residual_the_tokens_collapse():
    model = without_residual(toy_decoder(256, 64, 4, 24, seq=32).double())
    ids = random_tokens(256, 4, 32, seed=0)
    assert stream_std_by_layer(model, ids)[-1] < 1e-6
    assert token_cosine_by_layer(model, ids)[-1] > 0.999


def test_it_learns_a_repeating_sequence():
    ids = torch.arange(13).repeat(4, 1) % 11
    model = toy_decoder(11, 16, 4, 1, seq=12)
    history = train(model, [(ids[:, :-1], ids[:, 1:])] * 60, 60, lr=1e-2)
    assert history.final_loss(5) < 0.1 < history.losses[0]


# --- bad input ----------------------------------------------------------------------------------


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("sizes", "settings", "message"),
    [
        ((11, 16, 3, 1), {}, "dim 16 does not divide into 3 heads"),
        ((11, 16, 4, 1), {"norm_position": "none"}, "norm_position is 'none'"),
    ],
)
def test_impossible_models_are_named(sizes, settings, message):
    with pytest.raises(ValueError, match=message):
        toy_decoder(*sizes, **settings)


@pytest.mark.bad_input
def test_sequence_longer_than_the_positions():
    with pytest.raises(ValueError, match="13"):
        toy()(tokens(seq=13))


@pytest.mark.bad_input
def test_norms_of_what_has_no_blocks():
    with pytest.raises(TypeError, match="a block is a Composed"):
        with_norms(without_residual(toy()), NoNorm)


# --- what the longer runs gave ------------------------------------------------------------------


def test_dynamic_tanh_bounds_each_feature_by_itself():
    norm = DynamicTanh(3, alpha=2.0)
    x = torch.tensor([[0.0, 0.1, 1e6]])
    torch.testing.assert_close(norm(x), torch.tanh(2 * x))
    assert sum(p.numel() for p in norm.parameters()) == 1 + 2 * 3


def test_a_small_start_shrinks_what_each_part_adds_and_nothing_else():
    model, small = toy(), small_start(toy())
    for (name, before), (_, after) in zip(
        model.named_parameters(), small.named_parameters(), strict=True
    ):
        factor = math.sqrt(6) if name.endswith(("mixer.output.weight", "down.weight")) else 1
        torch.testing.assert_close(after * factor, before)


def test_runs_survive_being_stored(tmp_path):
    runs = [Run("pre", "LayerNorm", 6, 0, 0.001, 0, 2.5), Run("pre", "none", 24, 20, 0.004, 1, 3.0)]
    save(runs, tmp_path / "runs.tsv")
    assert stored(tmp_path / "runs.tsv") == runs


def test_the_runs_of_the_chapter_are_there():
    seeds: dict[tuple[object, ...], set[int]] = {}
    for run in stored():
        assert run.norm in NORMS
        seeds.setdefault(run[:5], set()).add(run.seed)
    rates = {key: seed for key, seed in seeds.items() if key[1] == "LayerNorm" and key[3] != 20}
    assert len(rates) >= 5 * 6
    assert all(found == {0, 1, 2} for found in rates.values())
