"""The attention chapter's experiments: variants, the task, stored runs."""

import pytest
import torch

import llmlib.architecture as arch
from llmlib.book.labs.attention import (
    EQUAL_SIZE,
    FILE,
    LATENT,
    VARIANTS,
    Look,
    OneLook,
    Run,
    TwoPatterns,
    both_right,
    looks,
    save,
    save_looks,
    small_decoder,
    stored,
    stored_looks,
)
from llmlib.book.widgets import HeadSharing, Slider
from llmlib.kv_cache import KVCache, LatentKVCache


@torch.no_grad()
@pytest.mark.parametrize(
    ("variant", "numbers"),
    [
        ("MHA", 128),
        ("GQA, G = 4", 64),
        ("GQA, G = 2", 32),
        ("MQA", 16),
        ("MLA", LATENT.row),
        ("MLA, latent of 56", 64),
        ("MLA, heads of 16", LATENT.row),
    ],
)
def test_numbers_that_a_token_and_layer_adds_to_the_cache(variant, numbers):
    model = small_decoder(variant, 20, seed=0)
    cache = LatentKVCache() if variant.startswith("MLA") else KVCache()
    model(torch.zeros(1, 3, dtype=torch.long), cache)
    assert cache.n_bytes == 3 * 2 * numbers * 4


def test_variants_differ_in_nothing_else():
    configs = [small_decoder(name, 20, seed=0).config for name in VARIANTS]
    same = arch.Attention(1, 1, 1)
    assert len({arch.changed(one, arch.Block, mixer=same) for one in configs}) == 1
    grouped = [one.block.mixer for one in configs if isinstance(one.block.mixer, arch.Attention)]
    assert len({arch.changed(one, arch.Attention, n_kv_heads=8) for one in grouped}) == 1


def test_controls_of_equal_size_differ_in_the_feed_forward_blocks_alone():
    small, large = (small_decoder(name, 65, seed=0) for name in EQUAL_SIZE)
    mha, mqa = (small_decoder(name, 65, seed=0) for name in ("MHA", "MQA"))
    for control, of in ((small, mha), (large, mqa)):
        assert arch.changed(control.config, arch.FeedForward, ffn_dim=160) == of.config
    sizes = [sum(p.numel() for p in model.parameters()) for model in (small, mqa, large, mha)]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.003)
    assert sizes[2] == pytest.approx(sizes[3], rel=0.003)


def test_looks_by_hand():
    task, model = TwoPatterns(values=5, seq=6), OneLook(2, TwoPatterns(values=5, seq=6))
    maps = torch.zeros(1, 2, 6, 6)
    maps[0, 0] = torch.eye(6).roll(2, 0) * 0.75  # head 1 looks two back, head 2 at the first
    maps[0, 1, :, 0] = 0.5
    model.maps = lambda tokens: maps
    assert looks(model, task) == (0.75, 0.5)


def test_looks_survive_being_stored(tmp_path):
    found = [Look(1, 300, 0, 0.5, 0.25, 0.125), Look(2, 1500, 4, 1.0, 0.75, 0.5)]
    save_looks(found, tmp_path / "looks.tsv")
    assert stored_looks(tmp_path / "looks.tsv") == found
    seen = [one[:3] for one in stored_looks()]
    steps = {1: (300, 1500, 6000), 2: (300, 1500)}
    assert seen == [(h, n, seed) for h in steps for n in steps[h] for seed in range(5)]


def test_answers_by_hand():
    task = TwoPatterns(values=5, seq=4)
    tokens = torch.tensor([[4, 1, 3, 0]])
    assert task.answers(tokens).tolist() == [[[-100, -100], [-100, -100], [4, 4], [1, 4]]]
    inputs, answers = next(task.batches(3, seed=0))
    assert torch.equal(answers, task.answers(inputs))


@torch.no_grad()
def test_both_answers_have_to_be_right():
    task, model = TwoPatterns(values=5), OneLook(2, TwoPatterns(values=5))
    model.forward = lambda tokens: torch.nn.functional.one_hot(task.answers(tokens).clamp(0), 5)
    assert both_right(model, task) == 1.0
    first = model.forward
    model.forward = lambda tokens: first(tokens).flip(2)  # the answers to the other question
    assert 0.1 < both_right(model, task) < 0.4  # right where both tokens happen to be the same


def test_every_number_of_heads_has_the_same_weights():
    counts = {sum(p.numel() for p in OneLook(n, TwoPatterns()).parameters()) for n in (1, 2, 4)}
    assert len(counts) == 1
    maps = OneLook(2, TwoPatterns()).maps(torch.zeros(1, 12, dtype=torch.long))
    assert maps.shape == (1, 2, 12, 12)


def test_runs_survive_being_stored(tmp_path):
    save([Run("MHA", 0, 1.5), Run("MHA", 1, 1.75), Run("MQA", 0, 1.6)], tmp_path / "runs.tsv")
    assert stored(tmp_path / "runs.tsv") == {"MHA": [1.5, 1.75], "MQA": [1.6]}


def test_the_runs_of_the_chapter_are_there():
    runs = stored(FILE)
    assert {*VARIANTS, *EQUAL_SIZE} <= set(runs)
    assert len({len(losses) for losses in runs.values()}) == 1


# --- the picture of shared heads ---------------------------------------------------------------


def sharing(groups=2, share=0.5):
    bars = [{"label": "cache", "text": "1", "share": share, "color": 1}]
    return HeadSharing(
        controls=[Slider("heads", "H", [4, 8])],
        frame=lambda heads: {"heads": heads, "groups": groups, "bars": bars, "note": "n"},
        alt="a picture",
    )


def test_picture_holds_a_frame_for_each_stop():
    assert [(frame["heads"], frame["groups"]) for frame in sharing().frames] == [(4, 2), (8, 2)]


@pytest.mark.bad_input
@pytest.mark.parametrize(("options", "named"), [
    ({"groups": 3}, "frame 0: 3 groups, expected a divisor of 4"),
    ({"groups": 0}, "0 groups"),
    ({"share": 1.5}, r"shares \[1.5\], expected 0 to 1"),
])  # fmt: skip
def test_picture_that_cannot_be_drawn(options, named):
    with pytest.raises(ValueError, match=named):
        sharing(**options)
