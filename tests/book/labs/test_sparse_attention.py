"""The sparse attention chapter's experiments: masks by name, beginning anew, stored runs."""

import pytest
import torch
from torch import nn

from llmlib.book.labs.kv_cache import BEGINNINGS, stored
from llmlib.book.labs.sparse_attention import (
    FILE,
    IN_FRONT,
    RESTARTED,
    VALUES,
    VISIBLE,
    restarted,
    revalued,
    under,
    visible,
)
from llmlib.decoder import Decoder, DecoderConfig
from llmlib.sparse_attention import sink_mask, sliding_window_mask


@pytest.fixture
def model() -> Decoder:
    torch.manual_seed(0)
    made = Decoder(DecoderConfig(60, 16, 2, 4, ffn_dim=32, context=400))
    for p in made.parameters():  # larger than the usual start: clearer effects
        p.data *= 3 if p.ndim == 2 else 1
    return made


def test_masks_are_what_their_names_say():
    assert torch.equal(visible("everything"), sliding_window_mask(256, 256, causal=True))
    assert torch.equal(visible("last 64"), sliding_window_mask(256, 64, causal=True))
    assert torch.equal(visible("0 and last 63"), sink_mask(256, 63, 1))
    assert torch.equal(visible("0-3 and last 60"), sink_mask(256, 60, 4))
    for name in VISIBLE:
        row = visible(name)[200]
        assert int(row.sum()) == (201 if name == "everything" else 64), name
        assert not row[201:].any()
    assert visible("8-11 and last 60")[200, :13].nonzero().flatten().tolist() == [8, 9, 10, 11]


@torch.no_grad()
def test_under_everything_is_the_models_own_loss(model):
    ids = torch.randint(60, (257,)).tolist()
    logits = model(torch.tensor([ids[:-1]]))[0]
    expected = nn.functional.cross_entropy(logits, torch.tensor(ids[1:]), reduction="none")
    torch.testing.assert_close(under(model, ids, "everything"), expected[128:])
    assert not torch.allclose(under(model, ids, "last 64"), expected[128:])


@torch.no_grad()
def test_beginning_anew_reads_the_last_tokens_alone(model):
    ids = torch.randint(60, (257,)).tolist()
    alone = []
    for t in RESTARTED:
        logits = model(torch.tensor([[5, *ids[t - 62 : t + 1]]]))[0, -1]
        alone.append(nn.functional.cross_entropy(logits, torch.tensor(ids[t + 1])))
    assert restarted(model, ids, [5]) == pytest.approx(float(torch.stack(alone).mean()), abs=1e-5)
    assert restarted(model, ids, []) != pytest.approx(restarted(model, ids, [5]), abs=1e-4)


@torch.no_grad()
def test_a_value_left_as_it_is_changes_nothing(model):
    ids = torch.randint(60, (257,)).tolist()
    for name in ("everything", "0 and last 63"):
        own = float(under(model, ids, name).mean())
        assert revalued(model, ids, "as it is", name) == pytest.approx(own, abs=1e-5)


@torch.no_grad()
def test_a_value_of_zero_is_one_that_a_cache_holds_as_zero(model):
    """The start token reads its own value, then only its keys are left to those who come after."""
    ids = torch.randint(60, (257,)).tolist()
    text, model = torch.tensor([ids]), model.double()
    cache = model.new_cache(capacity=256)
    model(text[:, :1], cache=cache)
    for index in range(2):
        cache.layer(index).held()[1].zero_()
    logits = model(text[:, 1:256], cache=cache)[0, 127:]
    expected = float(nn.functional.cross_entropy(logits, text[0, 129:]))
    assert revalued(model, ids, "zero", "everything") == pytest.approx(expected, abs=1e-9)
    assert revalued(model, ids, "as it is", "everything") != pytest.approx(expected, abs=1e-6)


@torch.no_grad()
def test_values_are_scaled_by_what_their_settings_say(model):
    ids = torch.randint(60, (257,)).tolist()
    found = {name: revalued(model, ids, name, "everything") for name in VALUES}
    assert len({round(loss, 5) for loss in found.values()}) == len(VALUES)
    # A value that is of median length already: that of one token throughout.
    alike = [7] * 257
    same = [revalued(model, alike, name, "everything") for name in ("as it is", "of median length")]
    assert same[0] == pytest.approx(same[1], abs=1e-5)

    def silenced(_, __, out):
        out = out.clone()
        out[:, 8] = 0
        return out

    hooks = [block.mixer.value.register_forward_hook(silenced) for block in model.blocks]
    expected = float(under(model, ids, "everything").mean())
    for hook in hooks:
        hook.remove()
    assert found["of token 8 zero"] == pytest.approx(expected, abs=1e-5)


def test_what_is_stored_is_complete():
    assert set(stored("visible", FILE)) == set(VISIBLE)
    assert len(stored("restart", FILE)) == 5
    for word in IN_FRONT:
        found = stored(word, FILE)
        assert set(found) == {"everything", "last 64", "0 and last 63"}
        assert all(set(texts) == set(BEGINNINGS) for texts in found.values())
