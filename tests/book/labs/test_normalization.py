"""Tests of the toy transformer: wiring, causality, seeds, and the depth laws the chapters draw."""

import math

import pytest
import torch
from torch import nn

from llmlib.activations import FeedForward, GatedFeedForward, matched_ffn_dim
from llmlib.book.labs.normalization import (
    CausalSelfAttention,
    CenterOnly,
    NoNorm,
    ToyTransformer,
    ffn_output_matrices,
    gradient_by_layer,
    random_tokens,
    stream_std_by_layer,
    token_cosine,
    token_cosine_by_layer,
)
from llmlib.normalization import LayerNorm, PostNorm, PreNorm, RMSNorm, layer_norm
from llmlib.training import next_token_loss, train

VARIANTS = [
    {"placement": "pre"},
    {"placement": "post"},
    {"placement": "none"},
    {"placement": "none", "residual": False},
    {"placement": "pre", "norm": RMSNorm},
    {"placement": "post", "norm": CenterOnly},
    {"placement": "pre", "norm": NoNorm},
    {"ffn": lambda dim: GatedFeedForward(dim, matched_ffn_dim(4 * dim))},
]


def toy(n_layers=3, **settings):
    return ToyTransformer(11, 16, 4, n_layers, seq=12, **settings).double()


def tokens(batch=2, seq=12):
    return random_tokens(11, batch, seq, seed=5)


# --- wiring -------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", VARIANTS)
def test_shapes_and_finite_logits(settings):
    logits = toy(**settings)(tokens())
    assert logits.shape == (2, 12, 11)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("settings", VARIANTS)
def test_no_position_sees_a_later_one(settings):
    model, before = toy(**settings), tokens()
    after = before.clone()
    after[:, 7] = (after[:, 7] + 1) % 11
    # The non-residual variant shrinks its stream to almost nothing, so the bound is relative.
    change = (model(after) - model(before)).abs().amax(dim=(0, 2))
    assert torch.all(change[:7] == 0)
    assert change[7] > 0


def test_attention_equals_the_formula_written_out():
    torch.manual_seed(0)
    attention = CausalSelfAttention(8, 2).double()
    x = torch.randn(3, 5, 8, dtype=torch.float64)
    q, k, v = attention.qkv(x).chunk(3, dim=-1)
    heads = []
    for part in (slice(0, 4), slice(4, 8)):
        scores = q[..., part] @ k[..., part].transpose(-1, -2) / math.sqrt(4)
        scores = scores.masked_fill(torch.ones(5, 5).triu(1).bool(), -torch.inf)
        heads.append(scores.softmax(-1) @ v[..., part])
    torch.testing.assert_close(attention(x), attention.out(torch.cat(heads, dim=-1)))


@pytest.mark.parametrize(("placement", "block"), [("pre", PreNorm), ("post", PostNorm)])
def test_blocks_are_those_of_the_library(placement, block):
    model = toy(placement=placement, norm=RMSNorm)
    blocks = [module for layer in model.layers for module in layer]
    assert [type(module) for module in blocks] == [block] * 6
    assert all(type(module.norm) is RMSNorm for module in blocks)


def test_only_pre_norm_has_a_final_norm():
    assert isinstance(toy(placement="pre").final_norm, LayerNorm)
    assert isinstance(toy(placement="post").final_norm, nn.Identity)
    model = toy(placement="pre")
    last = model.stream(tokens())[-1]
    torch.testing.assert_close(model(tokens()), model.head(layer_norm(last, None, None)))


def test_stream_starts_at_the_embeddings_and_adds_the_sublayers():
    model = toy(placement="none")
    states = model.stream(tokens())
    assert len(states) == 4
    torch.testing.assert_close(states[0], model.tokens(tokens()) + model.positions.weight)
    attention, ffn = (block.sublayer for block in model.layers[0])
    middle = states[0] + attention(states[0])
    torch.testing.assert_close(states[1], middle + ffn(middle))


def test_no_residual_is_the_bare_composition():
    model = toy(n_layers=1, placement="none", residual=False)
    start, end = model.stream(tokens())
    attention, ffn = model.layers[0]
    torch.testing.assert_close(end, ffn(attention(start)))


def test_center_only_is_layer_norm_without_the_division():
    x = torch.randn(4, 9, dtype=torch.float64) * 3 + 2
    centered = CenterOnly(9)(x)
    std = x.std(-1, correction=0, keepdim=True)
    torch.testing.assert_close(centered / std, layer_norm(x, None, None, eps=0.0))
    assert list(CenterOnly(9).parameters()) == []


def test_no_norm_placed_before_equals_placement_none():
    before, none = toy(norm=NoNorm), toy(placement="none")
    torch.testing.assert_close(before(tokens()), none(tokens()))


# --- initialization -----------------------------------------------------------------------------


def test_seed_alone_decides_the_weights():
    torch.manual_seed(1)
    first = toy(seed=3).state_dict()
    torch.manual_seed(2)
    again, other = toy(seed=3).state_dict(), toy(seed=4).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_xavier_scale_zero_biases_and_unit_stream():
    model = ToyTransformer(256, 64, 4, 2, seq=32)
    attention, ffn = (block.sublayer for block in model.layers[0])
    assert attention.qkv.weight.std().item() == pytest.approx(math.sqrt(2 / (4 * 64)), rel=0.03)
    assert attention.out.weight.std().item() == pytest.approx(math.sqrt(2 / (2 * 64)), rel=0.03)
    assert ffn.down.weight.std().item() == pytest.approx(math.sqrt(2 / (5 * 64)), rel=0.03)
    assert ffn.up.bias.abs().max() == 0
    assert stream_std_by_layer(model, random_tokens(256, 8, 32, 0))[0] == pytest.approx(1, abs=0.05)


def test_random_tokens_repeat_and_cover_the_vocabulary():
    drawn = random_tokens(11, 30, 40, seed=0)
    assert torch.equal(drawn, random_tokens(11, 30, 40, seed=0))
    assert not torch.equal(drawn, random_tokens(11, 30, 40, seed=1))
    assert drawn.unique().tolist() == list(range(11))


# --- measurements -------------------------------------------------------------------------------


@pytest.mark.parametrize("ffn", [None, VARIANTS[-1]["ffn"]])
def test_ffn_output_matrices_are_one_a_layer_in_order(ffn):
    model = toy(ffn=ffn)
    expected = [layer[1].sublayer.down.weight for layer in model.layers]
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
    expected = [token_cosine(state) for state in model.stream(tokens())]
    assert token_cosine_by_layer(model, tokens()) == expected


def depth_law(placement, n_layers):
    model = ToyTransformer(256, 64, 4, n_layers, seq=32, placement=placement).double()
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
    model = ToyTransformer(256, 64, 4, 24, seq=32, placement="none", residual=False).double()
    ids = random_tokens(256, 4, 32, seed=0)
    assert stream_std_by_layer(model, ids)[-1] < 1e-6
    assert token_cosine_by_layer(model, ids)[-1] > 0.999


def test_it_learns_a_repeating_sequence():
    ids = torch.arange(13).repeat(4, 1) % 11
    model = ToyTransformer(11, 16, 4, 1, seq=12)
    history = train(model, [(ids[:, :-1], ids[:, 1:])] * 60, 60, lr=1e-2)
    assert history.final_loss(5) < 0.1 < history.losses[0]


# --- bad input ----------------------------------------------------------------------------------


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("sizes", "settings", "message"),
    [
        ((0, 16, 4, 1), {}, "vocab_size 0"),
        ((11, 16, 4, 0), {}, "n_layers 0"),
        ((11, 16, 3, 1), {}, "dim 16, n_heads 3"),
        ((11, 16, 0, 1), {}, "n_heads 0"),
        ((11, 0, 1, 1), {}, "dim 0"),
        ((11, 16, 4, 1), {"seq": 0}, "seq 0"),
        ((11, 16, 4, 1), {"placement": "sandwich"}, "placement is 'sandwich'"),
        ((11, 16, 4, 1), {"residual": False}, "residual=False needs placement 'none'"),
    ],
)
def test_impossible_models_are_named(sizes, settings, message):
    with pytest.raises(ValueError, match=message):
        ToyTransformer(*sizes, **settings)


@pytest.mark.bad_input
def test_sequence_longer_than_the_positions():
    with pytest.raises(ValueError, match="13 tokens, expected at most 12"):
        toy()(tokens(seq=13))


@pytest.mark.bad_input
def test_ffn_of_another_width_is_refused():
    with pytest.raises(ValueError, match=r"must be 32 \(dim\)"):
        toy(ffn=lambda dim: FeedForward(2 * dim, dim))(tokens())
