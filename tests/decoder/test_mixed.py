"""Stacks whose layers differ: built from the description, whole and cached, held in bytes."""

from itertools import pairwise

import pytest
import torch

import llmlib.architecture as arch
from llmlib.accounting import kv_cache_bytes, parameters
from llmlib.decoder import Decoder, generate
from llmlib.kv_cache import FixedKVCache, FullLayer, LatentLayer, LayeredKVCache, RollingLayer
from llmlib.sampling import Sampler

GAIN = arch.Norm(gain="1 + weight")
NEAR = arch.Block(
    arch.Attention(4, 2, 8, arch.Rope(), window=4, qk_norm=GAIN, scale=0.3, softcap=20.0),
    arch.FeedForward(40, "gelu_tanh"), GAIN, "sandwich",
)  # fmt: skip
FAR = arch.changed(NEAR, arch.Attention, window=None, rope=arch.Rope(1e6, share=0.5))
KINDS = {
    "near": NEAR,
    "far": FAR,
    "no positions, narrow values, sinks, a gate": arch.changed(
        NEAR, arch.Attention, window=None, rope=None, value_dim=6, sinks=True, gate=True
    ),
    "wider heads": arch.changed(NEAR, arch.Attention, head_dim=12, n_kv_heads=1),
    "parallel, one norm": arch.Block(
        arch.Attention(4, 1, 8, arch.Rope(layout="interleaved")),
        arch.FeedForward(40, "gelu", gated=False, bias=True), arch.LAYER,
        order="parallel, one norm",
    ),
    "parallel": arch.Block(
        arch.Attention(4, 4, 8, alibi=True), arch.FeedForward(40), order="parallel",
    ),
    "norms of outputs": arch.Block(
        arch.Attention(4, 2, 8, arch.Rope(), qk_norm=arch.RMS, qk_norm_over="all heads"),
        arch.FeedForward(40), norms="output", residual_scale=0.3,
    ),
    "latent": arch.Block(
        arch.Latent(4, 12, 4, 6, 8, 10, rope=arch.Rope()), arch.FeedForward(40)
    ),
    "mixer alone": arch.Block(arch.Attention(4, 2, 8, arch.Rope()), None),
}  # fmt: skip
GEMMA = [NEAR, NEAR, FAR]
ALL = list(KINDS.values())


def model(blocks: list[arch.Block], **around: object) -> Decoder:
    torch.manual_seed(0)
    stack = arch.Stack(arch.runs_of(blocks), GAIN)
    config = arch.ModelConfig(32, 50, 64, stack, tied=True, **around)  # type: ignore[arg-type]
    made = Decoder(config).double().eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return made


AROUND = {"embedding_scale": 5.0, "softcap": 30.0, "output_scale": 0.5}
IDS = torch.arange(28).view(2, 14) * 7 % 50


@torch.no_grad()
@pytest.mark.parametrize("kind", [*KINDS, "gemma", "all"])
def test_pieces_through_a_cache_are_the_whole(kind: str) -> None:
    blocks = {"gemma": GEMMA, "all": ALL}.get(kind) or [KINDS[kind]] * 2
    decoder = model(blocks, **AROUND)
    expected = decoder(IDS)
    for pieces in ([14], [5, 1, 3, 1, 1, 1, 2], [1] * 14):
        cache = decoder.new_cache()
        found = torch.cat([decoder(piece, cache) for piece in IDS.split(pieces, 1)], 1)
        torch.testing.assert_close(found, expected)
    fixed = FixedKVCache(20)
    if kind not in ("latent", "all"):  # a fixed cache has one shape for all layers' values
        found = torch.cat([decoder(piece, fixed) for piece in IDS.split([9, 1, 4], 1)], 1)
        torch.testing.assert_close(found, expected)


@torch.no_grad()
def test_padding_changes_nothing_in_a_mixed_stack() -> None:
    decoder = model([NEAR, FAR, KINDS["parallel"]])
    alone = decoder(IDS[:1, 4:])
    padded = torch.cat([torch.zeros(1, 3, dtype=torch.long), IDS[:1, 4:]], 1)
    mask = torch.tensor([[0] * 3 + [1] * 10])
    torch.testing.assert_close(decoder(padded, attention_mask=mask)[:, 3:], alone)


def test_each_layer_keeps_what_its_mixer_needs() -> None:
    decoder = model(ALL)
    cache = decoder.new_cache()
    assert isinstance(cache, LayeredKVCache)
    kinds = [type(cache.layer(i)) for i in range(len(ALL))]
    windows = [getattr(block.mixer, "window", None) for block in ALL]
    expected = [RollingLayer if window else FullLayer for window in windows]
    expected[list(KINDS).index("latent")] = LatentLayer
    assert kinds == expected
    with torch.no_grad():
        decoder(IDS, cache)
    assert cache.n_bytes == kv_cache_bytes(decoder.config, 2, 14, torch.float64)
    assert cache.allocated_bytes > cache.n_bytes
    with pytest.raises(ValueError, match=r"keeps 4 tokens, expected None, the window of the model"):
        model([FAR] * 9)(IDS, LayeredKVCache([RollingLayer(4) for _ in range(9)]))


def test_beyond_the_window_only_full_layers_grow() -> None:
    decoder, held = model(GEMMA), []
    cache = decoder.new_cache()
    with torch.no_grad():
        for piece in IDS.split([1] * 14, 1):
            decoder(piece, cache)
            held.append(cache.n_bytes)
    steps = [b - a for a, b in pairwise(held)]
    assert steps == [held[0]] * 3 + [held[0] // 3] * 10
    rooms = [cache.layer(i).allocated_bytes for i in range(3)]
    decoder(IDS[:, :5], cache)
    assert [cache.layer(i).allocated_bytes for i in range(3)] == rooms  # rings do not grow


def test_texts_are_those_of_the_whole_model() -> None:
    decoder = model([KINDS["far"], *ALL])
    texts = [
        list(generate(decoder, [3, 1, 4], 20, sampler=Sampler(1.5, seed=0), use_cache=cached))
        for cached in (True, False)
    ]
    assert texts[0] == texts[1]


@torch.no_grad()
def test_a_block_of_another_model_keeps_its_own_angles() -> None:
    """Angles are numbered in their stack; a block that is moved brings a number along."""
    llama = arch.Block(arch.Attention(4, 2, 8, arch.Rope()), arch.FeedForward(40))
    fast = arch.changed(llama, arch.Rope, base=50.0)
    decoder, other = model([llama] * 3), model([fast] * 3)
    expected = model([llama, fast, llama])
    expected.load_state_dict(decoder.state_dict())
    other.load_state_dict(decoder.state_dict())
    decoder.blocks[1] = other.blocks[1]
    torch.testing.assert_close(decoder(IDS), expected(IDS))
    texts = [list(generate(m, [3, 1, 4], 12, sampler=Sampler(1.5, seed=0)))
             for m in (decoder, expected)]  # fmt: skip
    assert texts[0] == texts[1]


def test_counts_are_those_of_the_modules() -> None:
    decoder = model(ALL)
    assert parameters(decoder.config).total == sum(p.numel() for p in decoder.parameters())


def test_shared_runs_have_one_set_of_weights() -> None:
    stack = arch.Stack((arch.Run(3, (arch.repeat(2, NEAR), FAR), shared=True),))
    decoder = Decoder(arch.ModelConfig(32, 50, 64, stack, tied=True))
    assert len(decoder.blocks) == 9
    assert len({id(block) for block in decoder.blocks}) == 3
    assert parameters(decoder.config).total == sum(p.numel() for p in decoder.parameters())
    with torch.no_grad():
        cache = decoder.new_cache()
        found = torch.cat([decoder(piece, cache) for piece in IDS.split([9, 1, 4], 1)], 1)
        torch.testing.assert_close(found, decoder(IDS))


def test_a_gradient_reaches_every_weight() -> None:
    decoder = model(ALL, **AROUND)
    decoder(IDS).square().mean().backward()
    missing = [name for name, p in decoder.named_parameters()
               if p.grad is None or not bool(p.grad.abs().sum() > 0)]  # fmt: skip
    assert missing == []


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("block", "said"),
    [
        (arch.Block(arch.GatedDelta(2, 4, 8, 8), arch.FeedForward(8)), "layer 2: GatedDelta"),
        (arch.changed(NEAR, arch.Block, feed_forward=arch.Experts(4, 2, arch.FeedForward(8))),
         "layer 2: Experts"),
        (arch.changed(NEAR, arch.FeedForward, clamp=7.0), "layer 2: FeedForward.*clamp=7.0"),
        (arch.changed(NEAR, arch.Norm, bias=True), "layer 2: Norm.*no bias"),
        (arch.changed(KINDS["latent"], arch.Latent, norm=arch.LAYER), "layer 2: .* over latents"),
    ],
)  # fmt: skip
def test_what_cannot_be_built_names_its_layer(block: arch.Block, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        model([NEAR, block])
