"""Tests of llmlib.training: the schedule, the loop against torch, divergence, batches of text."""

import copy
import itertools
import math

import pytest
import torch
from torch import nn

from llmlib.tokenization import BPETokenizer
from llmlib.training import (
    Corpus,
    History,
    evaluate,
    learning_rate,
    next_token_loss,
    train,
)

mse = nn.functional.mse_loss
TEXT = "the quick brown fox jumps over the lazy dog, and the dog sleeps on.\n" * 20


def linear(seed=0):
    torch.manual_seed(seed)
    return nn.Linear(3, 2)


def regression(n=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for _ in itertools.count() if n is None else range(n):
        x = torch.randn(8, 3, generator=generator)
        yield x, torch.stack([x.sum(-1), x[:, 0] - x[:, 2]], dim=-1)


# --- the schedule -------------------------------------------------------------------------------


def rates(schedule, warmup_steps, steps=10):
    settings = {"lr": 2.0, "steps": steps, "warmup_steps": warmup_steps, "schedule": schedule}
    return [learning_rate(step, **settings) for step in range(steps)]


def test_warmup_is_linear_and_reaches_lr_at_its_last_step():
    assert rates("constant", 4) == [0.5, 1.0, 1.5, 2.0, *[2.0] * 6]


def test_no_warmup_is_constant():
    assert rates("constant", 0) == [2.0] * 10


def test_cosine_falls_from_lr_through_half_towards_zero():
    after = rates("cosine", 2)[2:]
    assert after[0] == 2.0
    assert after[4] == pytest.approx(1.0)
    assert after == sorted(after, reverse=True)
    assert 0 < after[-1] < 0.1


def test_warmup_may_fill_the_whole_run():
    assert rates("cosine", 10)[-1] == 2.0


# --- the loop -----------------------------------------------------------------------------------


def test_one_run_equals_torch_adamw_step_by_step():
    ours, theirs = linear(), linear()
    history = train(ours, regression(), 6, lr=0.1, warmup_steps=3, weight_decay=0.1, loss=mse)
    optimizer = torch.optim.AdamW(theirs.parameters(), lr=0.1, weight_decay=0.1, foreach=False)
    losses, norms = [], []
    for step, (x, y) in zip(range(6), regression(), strict=False):
        optimizer.param_groups[0]["lr"] = 0.1 * min(1, (step + 1) / 3)
        optimizer.zero_grad()
        loss = mse(theirs(x), y)
        loss.backward()
        norms.append(math.sqrt(sum(p.grad.square().sum().item() for p in theirs.parameters())))
        losses.append(loss.item())
        optimizer.step()
    assert history.losses == pytest.approx(losses, rel=1e-5)
    assert history.gradient_norms == pytest.approx(norms, rel=1e-5)
    torch.testing.assert_close(ours.weight, theirs.weight)


def test_without_weight_decay_it_is_adam():
    ours, theirs = linear(), linear()
    train(ours, regression(), 5, lr=0.1, betas=(0.8, 0.9), loss=mse)
    optimizer = torch.optim.Adam(theirs.parameters(), lr=0.1, betas=(0.8, 0.9), foreach=False)
    for x, y in itertools.islice(regression(), 5):
        optimizer.zero_grad()
        mse(theirs(x), y).backward()
        optimizer.step()
    torch.testing.assert_close(ours.weight, theirs.weight)


def test_training_learns_and_repeats_exactly():
    histories = [train(linear(), regression(), 150, lr=0.1, loss=mse) for _ in range(2)]
    assert histories[0] == histories[1]
    assert histories[0].final_loss(5) < 1e-2 < histories[0].losses[0]
    assert histories[0].diverged_at is None
    assert len(histories[0].losses) == len(histories[0].learning_rates) == 150


def test_clipping_scales_the_gradient_and_records_the_norm_before_it():
    seen = []

    def keep(_step, model):
        squares = [p.grad.square().sum() for p in model.parameters()]
        seen.append(torch.stack(squares).sum().sqrt().item())

    history = train(linear(), regression(), 3, lr=0.1, clip_norm=0.01, loss=mse, on_step=keep)
    assert min(history.gradient_norms) > 0.1
    assert seen == pytest.approx([0.01] * 3, rel=1e-3)


def test_on_step_is_called_after_each_update():
    start, seen = linear().weight.detach().clone(), []
    model = linear()
    train(
        model,
        regression(),
        3,
        loss=mse,
        on_step=lambda step, m: seen.append((step, torch.equal(m.weight, start))),
    )
    assert seen == [(0, False), (1, False), (2, False)]


def test_frozen_parameters_stay():
    model = linear()
    model.bias.requires_grad_(False)
    before = model.bias.clone()
    train(model, regression(), 3, lr=0.1, loss=mse)
    assert torch.equal(model.bias, before)


def test_draws_no_more_batches_than_steps():
    batches = regression(5)
    train(linear(), batches, 3, loss=mse)
    assert len(list(batches)) == 2


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_divergence_stops_the_run_and_leaves_the_weights_finite(poison):
    def batches():
        for step, (x, y) in enumerate(regression()):
            yield x, y + poison if step == 2 else y

    model = linear()
    history = train(model, batches(), 10, loss=mse)
    assert history.diverged_at == 2
    assert len(history.losses) == len(history.gradient_norms) == 3
    assert history.final_loss() == math.inf
    assert torch.isfinite(model.weight).all()


def test_infinite_gradient_of_a_finite_loss_is_divergence():
    model = linear()
    x = torch.zeros(4, 3)
    history = train(model, [(x, x[:, :2])], 1, loss=lambda out, _: (out - out).sqrt().sum())
    assert history.losses == [0.0]
    assert history.diverged_at == 0


def test_final_loss_is_the_mean_of_the_last():
    history = History(losses=[9.0, 1.0, 2.0, 3.0])
    assert history.final_loss(3) == 2.0
    assert history.final_loss(100) == 3.75


def test_next_token_loss_of_uniform_logits_is_log_of_the_vocabulary():
    logits, targets = torch.zeros(2, 5, 7), torch.arange(10).view(2, 5) % 7
    assert next_token_loss(logits, targets).item() == pytest.approx(math.log(7))


def test_evaluate_is_the_mean_loss_in_evaluation_mode_and_restores_the_mode():
    model = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.5))
    expected = [mse(model[0](x), y).item() for x, y in regression(4)]
    assert evaluate(model, regression(), 4, loss=mse) == pytest.approx(sum(expected) / 4)
    assert model.training
    assert all(p.grad is None for p in model.parameters())


# --- a text -------------------------------------------------------------------------------------


def test_without_a_tokenizer_each_character_is_an_id_in_sorted_order():
    text = TEXT + "é€😀"
    data, alphabet = Corpus(text), sorted(set(text))
    assert data.vocab_size == len(alphabet)
    ids = [*data.train.tolist(), *data.held_out.tolist()]
    assert ids == [alphabet.index(character) for character in text]
    assert data.tokenizer.decode(data.tokenizer.encode("fox €😀\n")) == "fox €😀\n"


def test_a_tokenizer_of_ones_own_makes_the_ids():
    words = BPETokenizer.train(TEXT, vocab_size=40)
    data = Corpus(TEXT, tokenizer=words)
    assert data.vocab_size == 40
    assert [*data.train.tolist(), *data.held_out.tolist()] == words.encode(TEXT)
    assert len(words.encode(TEXT)) < len(TEXT)


def test_split_keeps_the_end_of_the_text():
    data = Corpus(TEXT, held_out=0.25)
    assert data.tokenizer.decode(data.train) + data.tokenizer.decode(data.held_out) == TEXT
    assert len(data.held_out) == round(len(TEXT) * 0.25)


@pytest.mark.parametrize("part", ["train", "held_out"])
def test_batches_are_windows_of_their_part_and_targets_come_next(part):
    data = Corpus(TEXT)
    source = data.tokenizer.decode(getattr(data, part))
    inputs, targets = next(data.batches(16, 12, seed=1, part=part))
    assert inputs.shape == targets.shape == (16, 12)
    assert inputs.dtype == torch.long
    assert torch.equal(inputs[:, 1:], targets[:, :-1])
    for row, last in zip(inputs, targets[:, -1:], strict=True):
        assert data.tokenizer.decode(row) + data.tokenizer.decode(last) in source


def test_batches_repeat_with_the_seed_only():
    data = Corpus(TEXT)
    first, again, other = (next(data.batches(4, 8, seed=s))[0] for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_successive_batches_differ():
    batches = Corpus(TEXT).batches(4, 8, seed=0)
    assert not torch.equal(next(batches)[0], next(batches)[0])


def test_windows_reach_both_ends_of_the_part():
    data = Corpus("abcdefghij", held_out=0.5)
    inputs, targets = next(data.batches(200, 2, seed=0))
    assert set(inputs[:, 0].tolist()) == {0, 1, 2}
    assert targets.max() == 4


def frozen_parts():
    """A model of which a norm stays in evaluation mode, and all of its modes."""
    model = nn.Sequential(nn.Embedding(5, 4), nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Linear(4, 5))
    model.train()
    model[1].eval()
    return model, [module.training for module in model.modules()]


def id_batches(n=None):
    generator = torch.Generator().manual_seed(0)
    for _ in itertools.count() if n is None else range(n):
        yield torch.randint(0, 5, (2, 2, 3), generator=generator).unbind()


def test_each_module_keeps_its_own_mode():
    model, modes = frozen_parts()
    before = model[1].running_mean.clone()
    expected = copy.deepcopy(model).eval()
    assert evaluate(model, id_batches(), 2) == pytest.approx(evaluate(expected, id_batches(), 2))
    assert [module.training for module in model.modules()] == modes
    train(model, id_batches(), 3)
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(model[1].running_mean, before)
    model.train()
    train(model, id_batches(), 1)
    assert not torch.equal(model[1].running_mean, before)


def test_modes_come_back_when_a_batch_a_model_or_the_loss_raises():
    def broken():
        yield from id_batches(1)
        raise OSError("disk")

    def no_loss(*_):
        raise OSError("disk")

    cases = [(broken(), next_token_loss), (id_batches(), no_loss)]
    for run in (evaluate, train):
        for batches, loss in cases:
            model, modes = frozen_parts()
            with pytest.raises(OSError, match="disk"):
                run(model, batches, 3, loss=loss)
            assert [module.training for module in model.modules()] == modes
            assert torch.is_grad_enabled()
            cases = [(broken(), next_token_loss), (id_batches(), no_loss)]


def test_training_has_gradients_whatever_the_caller_switched_off():
    free, inside = linear(), linear()
    train(free, regression(), 3, loss=mse)
    with torch.no_grad():
        train(inside, regression(), 3, loss=mse)
        assert not torch.is_grad_enabled()
    assert torch.equal(free.weight, inside.weight)
    with torch.inference_mode(), pytest.raises(ValueError, match="the loss has no gradient"):
        train(linear(), regression(), 1, loss=mse)


def test_training_and_evaluation_draw_from_no_generator_of_their_own():
    state = torch.get_rng_state()
    model = linear()
    torch.set_rng_state(state)
    train(model, regression(), 2, loss=mse)
    evaluate(model, regression(), 2, loss=mse)
    assert torch.equal(state, torch.get_rng_state())


def test_a_schedule_ends_at_zero_and_is_resumed_by_the_number_of_the_step():
    settings = {"lr": 2.0, "steps": 10, "warmup_steps": 2, "schedule": "cosine"}
    whole = [learning_rate(step, **settings) for step in range(14)]
    assert whole[10:] == [0.0] * 4  # not back up along the cosine
    assert [learning_rate(step, **settings) for step in range(5, 10)] == whole[5:10]


def test_targets_of_minus_100_are_left_out():
    logits = torch.randn(2, 4, 7, dtype=torch.float64)
    targets = torch.tensor([[1, -100, 2, 3], [-100, -100, 4, 0]])
    kept = targets != -100
    expected = next_token_loss(logits[kept], targets[kept])
    torch.testing.assert_close(next_token_loss(logits, targets), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_loss_of_16_bit_logits_has_the_digits_of_float32(dtype):
    logits = torch.randn(50, 7).to(dtype)
    targets = torch.arange(50) % 7
    found = next_token_loss(logits, targets)
    torch.testing.assert_close(found.double(), next_token_loss(logits.double(), targets))


# --- bad input ----------------------------------------------------------------------------------


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("shape", "targets", "error", "named"),
    [
        ((2, 3, 7), torch.zeros(3, 2).long(), ValueError, r"\(3, 2\), expected \(2, 3\)"),
        ((2, 3, 7), torch.zeros(6).long(), ValueError, r"\(6,\), expected \(2, 3\)"),
        ((2, 3, 7), torch.zeros(2, 3), TypeError, "targets is torch.float32, expected integers"),
        ((2, 3, 7), torch.zeros(2, 3).bool(), TypeError, "targets is torch.bool"),
        ((2, 3, 7), torch.zeros(2, 3, 7).long(), ValueError, "expected .2, 3."),
        ((2, 3, 7), torch.full((2, 3), 7), ValueError, "target 7 is outside 0 .. 6"),
        ((2, 3, 7), torch.full((2, 3), -1), ValueError, "target -1 is outside"),
        ((2, 3, 7), torch.full((2, 3), -100), ValueError, "all targets are -100"),
        ((0, 7), torch.zeros(0).long(), ValueError, "at least one"),
        ((2, 3, 7), [[1, 2, 3]] * 2, TypeError, "targets is a list"),
    ],
)
def test_targets_that_are_none(shape, targets, error, named):
    with pytest.raises(error, match=named):
        next_token_loss(torch.zeros(shape), targets)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("batch", "named"),
    [
        (torch.zeros(2, 3), "a batch is a Tensor, expected a pair"),
        ((1, 2, 3), "a batch is a tuple, expected a pair"),
        ({"x": 1}, "a batch is a dict"),
        (([1.0], [2.0]), "a batch holds a list, expected two tensors"),
    ],
)
def test_batches_that_are_no_pairs_of_tensors(batch, named):
    for run in (train, evaluate):
        with pytest.raises(TypeError, match=named):
            run(linear(), [batch] * 3, 2, loss=mse)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"steps": 2.0}, "steps must be an integer, got 2.0"),
        ({"steps": True}, "steps must be an integer, got True"),
        ({"warmup_steps": 1.0}, "warmup_steps must be an integer"),
        ({"lr": "1e-3"}, "lr: '1e-3', expected a number"),
        ({"lr": True}, "lr: True"),
        ({"weight_decay": None}, "weight_decay: None"),
        ({"clip_norm": True}, "clip_norm: True"),
        ({"betas": (0.9, "x")}, "betas: 'x'"),
    ],
)
def test_settings_of_another_kind(settings, named):
    steps = settings.pop("steps", 3)
    with pytest.raises(TypeError, match=named):
        train(linear(), regression(), steps, loss=mse, **settings)


@pytest.mark.bad_input
def test_losses_that_are_no_number():
    for loss, named in (
        (lambda y, t: (y - t).square(), r"loss returned torch.Size\(\[8, 2\]\)"),
        (lambda *_: 1.0, "loss returned float"),
        (lambda y, t: mse(y.detach(), t), "the loss has no gradient"),
    ):
        with pytest.raises(ValueError, match=named):
            train(linear(), regression(), 2, loss=loss)


@pytest.mark.bad_input
def test_numbers_of_another_kind():
    model, data = linear(), Corpus(TEXT)
    for call in (
        lambda: evaluate(model, regression(), True, loss=mse),
        lambda: learning_rate(1.5, lr=1.0, steps=3, warmup_steps=0),
        lambda: History(losses=[1.0]).final_loss(True),
        lambda: data.batches(2.0, 3, seed=0),
        lambda: data.batches(2, 3, seed=None),
    ):
        with pytest.raises(TypeError, match="must be an integer"):
            call()
    with pytest.raises(ValueError, match="schedule 'linear'"):
        learning_rate(1, lr=1.0, steps=3, warmup_steps=0, schedule="linear")
    with pytest.raises(ValueError, match="no parameters"):
        evaluate(nn.ReLU(), regression(), 1, loss=mse)
    with pytest.raises(TypeError, match="text is a bytes"):
        Corpus(b"abc")


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"lr": 0.0}, "lr is 0.0"),
        ({"lr": math.nan}, "lr is nan"),
        ({"warmup_steps": 4}, "warmup_steps is 4, expected 0 to 3"),
        ({"warmup_steps": -1}, "warmup_steps is -1"),
        ({"schedule": "linear"}, "schedule is 'linear'"),
        ({"betas": (0.9, 1.0)}, r"betas are \(0.9, 1.0\)"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1"),
        ({"clip_norm": 0.0}, "clip_norm is 0.0"),
    ],
)
def test_impossible_settings_are_named(settings, message):
    steps = settings.pop("steps", 3)
    with pytest.raises(ValueError, match=message):
        train(linear(), regression(), steps, loss=mse, **settings)


@pytest.mark.bad_input
def test_too_few_batches_are_an_error():
    with pytest.raises(ValueError, match="batches ended after 2 of 5 steps"):
        train(linear(), regression(2), 5, loss=mse)
    with pytest.raises(ValueError, match="batches ended after 2 of 5"):
        evaluate(linear(), regression(2), 5, loss=mse)


@pytest.mark.bad_input
def test_model_without_parameters_is_an_error():
    with pytest.raises(ValueError, match="no trainable parameters"):
        train(nn.ReLU(), regression(), 1, loss=mse)


@pytest.mark.bad_input
def test_evaluate_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="n is 0"):
        evaluate(linear(), regression(), 0, loss=mse)


@pytest.mark.bad_input
@pytest.mark.parametrize(("history", "last"), [(History(), 1), (History(losses=[1.0]), 0)])
def test_final_loss_of_nothing_is_an_error(history, last):
    with pytest.raises(ValueError, match="expected 1 or more"):
        history.final_loss(last)


@pytest.mark.bad_input
@pytest.mark.parametrize("share", [0.0, 1.0, -0.5, math.nan])
def test_held_out_share_is_checked(share):
    with pytest.raises(ValueError, match="held_out is"):
        Corpus(TEXT, held_out=share)


@pytest.mark.bad_input
@pytest.mark.parametrize("text", ["", "a"])
def test_text_too_short_to_split(text):
    with pytest.raises(ValueError, match="expected at least 2"):
        Corpus(text)


@pytest.mark.bad_input
def test_text_of_one_token():
    words = BPETokenizer.train("the the the", vocab_size=7, ties="smallest")
    with pytest.raises(ValueError, match="1 tokens, expected at least 2"):
        Corpus("the", tokenizer=words)


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("batch", "seq", "part", "message"),
    [
        (0, 4, "train", "batch 0"),
        (4, 0, "train", "seq 0"),
        (4, 10_000, "train", "seq 10000"),
        (4, 4, "test", "part is 'test'"),
    ],
)
def test_batches_check_their_sizes_at_once(batch, seq, part, message):
    with pytest.raises(ValueError, match=message):
        Corpus(TEXT).batches(batch, seq, seed=0, part=part)
