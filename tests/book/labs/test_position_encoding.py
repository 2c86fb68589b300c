"""The experiment on length: every variant tells order its own way, and is tested on the same."""

import math

import pytest
import torch

from llmlib.book.labs.position_encoding import (
    ENCODINGS,
    LONGEST,
    Measurement,
    decay_bounds,
    how_order_enters,
    losses_without,
    pair_sizes,
    rescaled,
    rows_of,
    save,
    small_decoder,
    stored,
    token_losses,
)
from llmlib.decoder import Decoder, DecoderConfig
from llmlib.kv_cache import KVCache
from llmlib.model_cards import CARDS

LINEAR = {"rope_type": "linear", "factor": 4.0}


def logits(model, ids):
    with torch.no_grad():
        return model.double().eval()(ids)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_order_reaches_the_last_token_through_the_encoding_alone(encoding):
    """In the first layer; without positions the last token sees a set, up to the second one."""
    model = small_decoder(encoding, 20)
    del model.blocks[1:]
    for parameter in model.parameters():
        if parameter.ndim == 2:
            parameter.data *= 5  # from its small start to weights that tell tokens apart
    ids = torch.tensor([[1, 5, 9, 3, 7, 2]])
    swapped = torch.tensor([[5, 1, 3, 9, 7, 2]])
    change = (logits(model, ids) - logits(model, swapped))[:, -1].abs().max()
    assert (change > 1e-6) == (encoding != "none")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_models_are_causal_and_alike(encoding):
    model = small_decoder(encoding, 20, seed=1)
    ids = torch.randint(20, (2, 12))
    torch.testing.assert_close(logits(model, ids)[:, :7], logits(model, ids[:, :7]))
    same = small_decoder(encoding, 20, seed=1)
    assert torch.equal(same.embedding.weight.double(), model.embedding.weight)


def test_rescaling_keeps_the_weights_and_changes_the_angles():
    model, ids = small_decoder("rope", 20), torch.randint(20, (1, 12))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(5)
    expected, slower = logits(model, ids), logits(rescaled(model, LINEAR), ids)
    torch.testing.assert_close(logits(rescaled(model, None), ids), expected)
    assert (slower - expected).abs().max() > 1e-6


def test_losses_of_pieces_are_those_of_the_pieces_alone():
    model = small_decoder("alibi", 20).double().eval()
    text = torch.randint(20, (2, LONGEST + 1))
    found = token_losses(model, text, 64)
    assert found.shape == (2, LONGEST)
    piece, targets = text[1:, 128:192], text[1, 129:193]
    alone = torch.nn.functional.cross_entropy(logits(model, piece)[0], targets, reduction="none")
    torch.testing.assert_close(found[1, 128:192], alone)


def test_rows_are_spread_over_the_text():
    rows = rows_of(torch.arange(5000), 3)
    assert rows[:, 0].tolist() == [0, 1987, 3975]
    assert (rows.diff(dim=1) == 1).all()


def test_measurements_come_back_as_they_were_stored(tmp_path):
    runs = [Measurement("rope", 0, 64, 1.5, 1.25), Measurement("t5", 2, 128, 2.0, 1.75)]
    save(runs, tmp_path / "runs.tsv")
    assert stored(tmp_path / "runs.tsv") == runs


def test_stored_runs_are_complete():
    """Every variant has three seeds and five lengths, and perplexities a model can have."""
    runs = stored()
    seen = {(run.encoding, run.seed, run.length) for run in runs}
    names = {run.encoding for run in runs}
    assert set(ENCODINGS) < names
    lengths = (64, 128, 256, 512, 1024)
    assert seen == {(name, seed, n) for name in names for seed in range(3) for n in lengths}
    assert len(seen) == len(runs)
    assert all(1 < math.exp(loss) < 65 for run in runs for loss in (run.pieces, run.full))


@pytest.mark.parametrize("layout", ["half", "interleaved"])
def test_the_size_of_a_pair_by_hand(layout):
    """A pair's part of any score is at most the product of its sizes, for any two tokens."""
    model = Decoder(DecoderConfig(20, 24, 2, 4, 2, rope_layout=layout))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(5 if parameter.ndim > 1 else 1)
    pairs, values = pair_sizes(model, torch.tensor([[1, 7, 7]]))  # two tokens count, both alike
    assert pairs.shape == values.shape == (2, 4, 3)
    mixer = model.blocks[0].mixer
    seen = torch.nn.functional.embedding(torch.tensor([[7]]), model.embedding.weight)
    q, k, v = mixer.project(model.blocks[0].norms["mixer_input"](seen))
    one = [0, 3] if layout == "half" else [0, 1]
    by_hand = q[0, :, 0, one].norm(dim=-1) * k[0, :, 0, one].norm(dim=-1).repeat_interleave(2)
    torch.testing.assert_close(pairs[0, :, 0], by_hand)
    expected = v[0, :, 0, one].square().sum(-1).repeat_interleave(2)
    torch.testing.assert_close(values[0, :, 0], expected)


@pytest.mark.parametrize("layout", ["half", "interleaved"])
def test_the_bound_by_hand_and_no_score_above_it(layout):
    model = Decoder(DecoderConfig(20, 24, 2, 4, 2, rope_layout=layout))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(5 if parameter.ndim > 1 else 1)
    bounds = decay_bounds(model, torch.tensor([[1, 7]]), torch.tensor([3]), samples=2)
    assert bounds.shape == (2, 4, 2)  # one token counts: every sample is its query and its key
    seen = torch.nn.functional.embedding(torch.tensor([[7]]), model.embedding.weight)
    q, k, _ = model.blocks[0].mixer.project(model.blocks[0].norms["mixer_input"](seen))
    q, k = q[0, :, 0].double(), k[0, :, 0].double().repeat_interleave(2, 0)
    pairs = [(i, i + 3) if layout == "half" else (2 * i, 2 * i + 1) for i in range(3)]
    theta = model.blocks[0].angles.frequencies.tolist()
    for head in range(4):
        a, b = ([complex(*t[head, list(p)].tolist()) for p in pairs] for t in (q, k))
        h = [x * y.conjugate() for x, y in zip(a, b, strict=True)]
        turns = [complex(math.cos(3 * t), math.sin(3 * t)) for t in theta]
        step = max(abs(h[1] - h[0]), abs(h[2] - h[1]), abs(h[2]))
        bound = step * sum(abs(sum(turns[: j + 1])) for j in range(3))
        lengths = (q[head].norm() * k[head].norm()).item()
        assert bounds[0, head].tolist() == pytest.approx([bound / lengths] * 2, rel=1e-5)
        score = abs(sum(x * y for x, y in zip(h, turns, strict=True)).real)
        assert score <= bound * (1 + 1e-9)


def test_a_model_that_turns_nothing_has_no_pairs():
    model, ids = small_decoder("alibi", 20), torch.tensor([[1, 2, 3]])
    pairs, values = pair_sizes(model, ids)
    assert pairs.numel() == values.numel() == 0
    assert decay_bounds(model, ids, torch.tensor([3])).numel() == 0


def test_pairs_are_taken_away_and_put_back():
    model, ids = small_decoder("rope", 20).eval(), torch.randint(20, (2, 13))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(5)
    whole = losses_without(model, ids, [])
    torch.testing.assert_close(whole, token_mean(model, ids))
    assert (losses_without(model, ids, [0, 1]) - whole).abs().max() > 1e-6
    torch.testing.assert_close(losses_without(model, ids, []), whole)
    every = losses_without(model, ids, range(8))  # no query left: each key has the same weight
    for block in model.blocks:
        block.mixer.query.weight.data.zero_()
    torch.testing.assert_close(every, token_mean(model, ids))


@torch.no_grad()
def token_mean(model, ids):
    logits = model(ids[:, :-1])
    return torch.nn.functional.cross_entropy(logits.mT, ids[:, 1:], reduction="none").mean(-1)


@pytest.mark.parametrize(("name", "expected"), [
    ("GPT-2", ("learned table", "–", "–")),
    ("BLOOM-176B", ("ALiBi", "–", "–")),
    ("Pythia-70M", ("RoPE on 16 of 64", "10,000", "19,869")),
    ("SmolLM3-3B", ("RoPE: 27 layers, none: 9 layers", "5,000,000", "24,687,577")),
])  # fmt: skip
def test_how_order_enters_in_words(name, expected):
    kinds, bases, waves = how_order_enters(CARDS[name].config)
    assert (kinds, bases) == expected[:2]
    assert waves == expected[2]


@pytest.mark.bad_input
def test_impossible_values_are_named():
    with pytest.raises(ValueError, match="encoding is 'rotary', expected one of none"):
        small_decoder("rotary", 20)
    with pytest.raises(ValueError, match="length is 100, expected a divisor"):
        token_losses(small_decoder("none", 20), torch.zeros(1, 65, dtype=torch.long), 100)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_cache_changes_nothing(encoding: str) -> None:
    model, ids = small_decoder(encoding, 31), torch.arange(20)[None]
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(5 if p.ndim > 1 else 1)  # so large that a wrong bias shows
        cache = KVCache()
        found = torch.cat([model(piece, cache) for piece in ids.split([7, 1, 1, 11], 1)], 1)
        torch.testing.assert_close(found, model(ids), rtol=1e-4, atol=1e-4)
