"""The KV cache chapter's experiments: what is evicted, what is left out, stored runs."""

import dataclasses

import pytest
import torch
from torch import nn

from llmlib.attention import Attention, engine
from llmlib.book.labs.kv_cache import (
    BEGINNINGS,
    POLICIES,
    RANKS,
    Run,
    directions,
    evicting,
    flattened,
    kept_keys,
    losses,
    passage,
    ranks,
    ranks_of_more_text,
    recorded,
    save,
    stored,
)
from llmlib.book.real_model import start_of
from llmlib.decoder import Decoder, DecoderConfig
from llmlib.formats.packaged import kjv_text
from llmlib.pretrained import smollm2
from llmlib.sparse_attention import sink_mask, sliding_window_mask
from llmlib.tokenization import ByteLevelBPETokenizer

SEQ = 24


@pytest.fixture
def model() -> Decoder:
    torch.manual_seed(0)
    config = DecoderConfig(60, 16, 2, 4, n_kv_heads=2, ffn_dim=32, context=400)
    made = Decoder(config)
    for p in made.parameters():
        p.data *= 3 if p.ndim == 2 else 1
    return made


def keys(policy: str, budget: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(7)
    q, k = (torch.randn(2, heads, SEQ, 8, generator=generator) for heads in (4, 2))
    return kept_keys(q, k, budget, policy, seed)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_policy_keeps_its_budget_and_never_takes_back(policy):
    seen = keys(policy, 8)
    assert seen.shape == (2, 4, SEQ, SEQ)
    for t in range(SEQ):
        row = seen[:, :, t]
        assert (row.sum(-1) == min(t + 1, 9)).all()  # the budget and the new token
        assert row[..., t].all()
        assert not row[..., t + 1 :].any()
        if t:
            assert not (row[..., :t] & ~seen[:, :, t - 1, :t]).any()
    assert torch.equal(seen[:, 0], seen[:, 1])  # heads of a group read one cache


def test_the_window_is_the_mask_of_sparse_attention():
    window = sliding_window_mask(SEQ, 9, causal=True)
    assert torch.equal(keys("window", 8)[0, 0], window)
    assert torch.equal(keys("window and start", 8)[0, 0], sink_mask(SEQ, 8, 1))


def test_the_start_is_spared_where_the_name_says_so_and_draws_follow_the_seed():
    assert keys("random and start", 8)[..., 0].all()
    assert not keys("random", 8)[..., -1, 0].all()
    assert torch.equal(keys("random", 8, 1), keys("random", 8, 1))
    assert not torch.equal(keys("random", 8, 1), keys("random", 8, 2))


def test_heavy_hitters_keep_the_key_that_all_queries_look_at():
    q = torch.ones(1, 1, SEQ, 4)
    k = torch.zeros(1, 1, SEQ, 4)
    k[:, :, 3] = 5.0
    assert kept_keys(q, k, 6, "heavy hitters")[0, 0, 3:, 3].all()


@torch.no_grad()
def test_losses_under_no_mask_are_the_models_own(model):
    ids = torch.randint(60, (2, 200))
    expected = nn.functional.cross_entropy(
        model(ids[:, :-1]).transpose(1, 2), ids[:, 1:], reduction="none"
    )
    torch.testing.assert_close(losses(model, ids, lambda block, x: None), expected)
    everything = evicting(model, ids, 8, "everything")
    torch.testing.assert_close(everything, expected[:, 128:].mean(1))
    assert not torch.allclose(evicting(model, ids, 8, "random"), everything)
    torch.testing.assert_close(evicting(model, ids, 300, "random"), everything)


@torch.no_grad()
def test_all_directions_change_nothing_and_few_change_much(model):
    ids = torch.randint(60, (1, 120))
    kept = recorded(model, ids)
    assert [k.shape for k, _ in kept] == [(120, 8)] * 2
    found = [directions(k, v) for k, v in kept]
    one = found[0]
    assert one.missed(*kept[0], 16) < 1e-6 < one.missed(*kept[0], 4) < 1
    whole = model(ids)
    with flattened(model, found, 16):
        torch.testing.assert_close(model(ids), whole, atol=1e-3, rtol=1e-3)
    with flattened(model, found, 2):
        assert (model(ids) - whole).abs().max() > 0.01
    torch.testing.assert_close(model(ids), whole)


@torch.no_grad()
def test_directions_of_more_text_are_tested_on_the_same_tokens(model):
    """Sixteen directions are all that the model has: there what was fitted does not matter."""
    letters = ByteLevelBPETokenizer.train("in the beginning " * 9, 256)
    model = Decoder(dataclasses.replace(model.config, vocab_size=256))
    for p in model.parameters():
        p.data *= 6 if p.ndim == 2 else 1
    one, more = (
        {(run.setting, run.text): run.loss for run in found}
        for found in (ranks(model, letters), ranks_of_more_text(model, letters, pieces=2))
    )
    assert set(more) == {(str(rank), text) for rank in RANKS for text in BEGINNINGS}
    for (rank, text), loss in more.items():
        if int(rank) >= 16:
            assert loss == pytest.approx(one["all", text], abs=1e-4)
        else:
            assert loss != pytest.approx(one["all", text], abs=1e-4)
            assert loss != pytest.approx(one[rank, text], abs=1e-6), "fitted on other tokens"


def test_passages_begin_with_the_token_between_texts():
    special = {"<|endoftext|>": 256}
    made = ByteLevelBPETokenizer.train("in the beginning " * 9, 260, special_tokens=[*special])
    start = start_of(made)
    assert len(start) == 1
    for name in BEGINNINGS:
        ids = passage(made, name, 40)
        assert len(ids) == 41
        assert ids[:1] == start
        assert made.decode(ids[1:]) in kjv_text()


def test_runs_come_back_as_means_over_seeds(tmp_path):
    path = tmp_path / "runs.tsv"
    save([Run("a", "b", "c", 0, 1.0), Run("a", "b", "c", 1, 2.0), Run("z", "b", "c", 0, 9.0)], path)
    assert stored("a", path) == {"b": {"c": 1.5}}


def test_what_is_stored_is_complete():
    assert set(stored("rank")) == {"all", *map(str, RANKS)}
    for budget in (64, 32):
        found = stored(f"evict {budget}")
        assert set(found) == {"everything", *POLICIES}
        assert all(set(texts) == set(BEGINNINGS) for texts in found.values())


@torch.no_grad()
def test_a_stored_loss_is_found_again():
    model, tokenizer = smollm2()
    ids = torch.tensor([passage(tokenizer, "Ruth")])
    found = losses(model, ids, lambda block, x: None)[0, 128:].mean()
    assert abs(float(found) - stored("evict 64")["everything"]["Ruth"]) < 0.01


def test_a_counter_of_flops_sees_attention_by_engine():
    """All of the formula, the visible tiles of flash attention, nothing of a fused kernel."""
    from torch.utils.flop_counter import FlopCounterMode

    layer, tokens = Attention(64, 4, causal=True), torch.zeros(1, 600, 64)
    projections, products, found = 4 * 2 * 600 * 64**2, 4 * 600**2 * 64, []
    for name in ("reference", "blocked", "sdpa"):
        with engine(name), FlopCounterMode(display=False) as counter, torch.no_grad():
            layer(tokens)
        found.append((counter.get_total_flops() - projections) / products)
    assert found == pytest.approx([1, 0.6, 0], abs=0.05)
