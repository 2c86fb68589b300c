"""The small trainer that the book's experiments share, and batches of a text to train on.

One loop: AdamW, a linear warm-up, a constant or cosine schedule, optional clipping, and a history
of what happened. A run that reaches NaN or infinity ends there and says so: some experiments are
about exactly that. Not here: mixed precision, several devices, checkpoints on disk.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmlib.checks import readable
from llmlib.precision import widened
from llmlib.sizes import check_integer
from llmlib.tokenization import BPETokenizer

Batch = tuple[Tensor, Tensor]  # inputs, targets
Loss = Callable[[Tensor, Tensor], Tensor]
IGNORED = -100  # what PyTorch leaves out of a mean
_IDS = (torch.int64, torch.int32, torch.int16, torch.uint8, torch.int8)
SCHEDULES = ("constant", "cosine")


def next_token_loss(
    logits: Float[Tensor, "*batch vocab"], targets: Int[Tensor, "*batch"]
) -> Float[Tensor, ""]:
    """Mean cross-entropy in nats: -log of the probability given to the token that came next.

    Targets of -100 are left out of the mean. 16-bit logits are widened: a loss has more digits.

    Raises:
        TypeError, ValueError: targets that are no ids, one for each row of logits, or all -100.
    """
    _check_targets(logits, targets)
    rows = widened(logits).reshape(-1, logits.shape[-1])
    return nn.functional.cross_entropy(rows, targets.flatten().long())


def _check_targets(logits: Tensor, targets: Tensor) -> None:
    for name, x in {"logits": logits, "targets": targets}.items():
        if not isinstance(x, Tensor):
            raise TypeError(f"{name} is a {type(x).__name__}, expected a tensor")
    if not logits.is_floating_point():
        raise TypeError(f"logits is {logits.dtype}, expected a floating-point tensor")
    if targets.dtype not in _IDS:
        raise TypeError(f"targets is {targets.dtype}, expected integers")
    if logits.ndim < 1 or logits.shape[:-1] != targets.shape or not targets.numel():
        raise ValueError(
            f"targets have shape {tuple(targets.shape)}, expected {tuple(logits.shape[:-1])}, one "
            f"for each row of logits {tuple(logits.shape)}, and at least one"
        )
    if not readable(targets):
        return
    kept = targets[targets != IGNORED]
    if not kept.numel():
        raise ValueError(f"all targets are {IGNORED}, which leaves none to predict")
    low, high = map(int, kept.aminmax())
    if low < 0 or high >= logits.shape[-1]:
        wrong = low if low < 0 else high
        raise ValueError(f"target {wrong} is outside 0 .. {logits.shape[-1] - 1}")


@dataclass
class History:
    """What `train` recorded: one entry a step, in order.

    losses are before the step's update; learning_rates are those of the update; gradient_norms are
    Euclidean, over all parameters, before clipping. diverged_at is the step (from 0) whose loss or
    gradient was not finite, or None.
    """

    losses: list[float] = field(default_factory=list)
    learning_rates: list[float] = field(default_factory=list)
    gradient_norms: list[float] = field(default_factory=list)
    diverged_at: int | None = None

    def record(self, loss: float, learning_rate: float, gradient_norm: float) -> bool:
        """Append one step; return whether it was finite, and note the divergence if it was not."""
        self.losses.append(loss)
        self.learning_rates.append(learning_rate)
        self.gradient_norms.append(gradient_norm)
        finite = math.isfinite(loss) and math.isfinite(gradient_norm)
        if not finite:
            self.diverged_at = len(self.losses) - 1
        return finite

    def final_loss(self, last: int = 20) -> float:
        """Mean of the last losses; infinity for a run that diverged, which loses every comparison.

        Raises: TypeError, ValueError if last is not positive, or there are no losses.
        """
        check_integer("last", last)
        if last < 1 or not self.losses:
            raise ValueError(f"last is {last} over {len(self.losses)} losses, expected 1 or more")
        if self.diverged_at is not None:
            return math.inf
        tail = self.losses[-last:]
        return math.fsum(tail) / len(tail)


def learning_rate(
    step: int, *, lr: float, steps: int, warmup_steps: int, schedule: str = "constant"
) -> float:
    """The learning rate at a step (from 0): linear warm-up to lr, then constant or half a cosine.

    Warm-up: lr * (step + 1) / warmup_steps, so the first step already moves. Cosine: from lr at the
    end of the warm-up towards 0, which it reaches at `steps` and keeps. A run that is resumed asks
    for the steps that it has left by their numbers in the whole run.

    Raises: TypeError, ValueError for a step below 0 or an unknown schedule.
    Source: vaswani2017attention for the warm-up, loshchilov2017sgdr for the cosine.
    """
    check_integer("step", step)
    if step < 0 or schedule not in SCHEDULES:
        expected = " or ".join(map(repr, SCHEDULES))
        raise ValueError(f"step {step}, schedule {schedule!r}: expected 0 or more, and {expected}")
    if step < warmup_steps:
        return lr * (step + 1) / warmup_steps
    if schedule == "constant":
        return lr
    done = min(1.0, (step - warmup_steps) / max(1, steps - warmup_steps))
    return lr * 0.5 * (1 + math.cos(math.pi * done))


def train(
    model: nn.Module,
    batches: Iterable[Batch],
    steps: int,
    *,
    lr: float = 1e-3,
    warmup_steps: int = 0,
    schedule: Literal["constant", "cosine"] = "constant",
    betas: tuple[float, float] = (0.9, 0.999),
    weight_decay: float = 0.0,
    clip_norm: float | None = None,
    loss: Loss = next_token_loss,
    on_step: Callable[[int, nn.Module], object] | None = None,
) -> History:
    """Train a model in place with AdamW and return what happened at each step.

    Deterministic: the model's weights and the batches decide everything, and torch's generator
    where a module draws from it. With weight_decay=0 AdamW is Adam. Only `steps` batches are drawn,
    so an endless iterator is welcome.

    Each module is trained in the mode in which it is: a part in evaluation mode (a frozen norm with
    running statistics) stays in it. A model that was loaded for use is in evaluation mode as a
    whole: call `model.train()` first where that matters. The gradients of the last step stay.

    Args:
        batches: pairs (inputs, targets), moved to the model's device.
        steps: number of updates.
        lr, warmup_steps, schedule: as in `learning_rate`.
        clip_norm: gradients with a larger norm are scaled down to it; None leaves them alone.
        loss: (model output, targets) to a scalar.
        on_step: called as on_step(step, model) after each update.

    Raises:
        TypeError, ValueError: an impossible setting, a model without parameters, batches that are
            no pairs of tensors, a loss that is no single number, or too few batches (the weights
            then have moved). Divergence is no error: see History.diverged_at.

    Source: loshchilov2019adamw; pascanu2013difficulty for clipping.
    """
    _check_settings(steps, lr, warmup_steps, schedule, betas, weight_decay, clip_norm)
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError("the model has no trainable parameters")
    # One kernel for all parameters: small models spend more time on launching than on arithmetic.
    optimizer = torch.optim.AdamW(parameters, betas=betas, weight_decay=weight_decay, fused=True)
    history = History()
    for step, batch in enumerate(itertools.islice(batches, steps)):
        rate = learning_rate(step, lr=lr, steps=steps, warmup_steps=warmup_steps, schedule=schedule)
        value, norm = _backward(model, parameters, batch, loss)
        if not history.record(value.item(), rate, norm.item()):
            return history  # an update would only spread the NaN over the weights
        if clip_norm is not None:
            nn.utils.clip_grads_with_norm_(parameters, clip_norm, norm)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        if on_step is not None:
            on_step(step, model)
    if len(history.losses) < steps:
        raise ValueError(f"batches ended after {len(history.losses)} of {steps} steps")
    return history


def _backward(
    model: nn.Module, parameters: list[nn.Parameter], batch: Batch, loss: Loss
) -> tuple[Tensor, Tensor]:
    """Fill the gradients of one batch; return its loss and their total norm."""
    for parameter in parameters:
        parameter.grad = None
    inputs, targets = _checked_batch(batch, parameters[0].device)
    with torch.enable_grad():  # whatever the caller does around it: this is training
        value = loss(model(inputs), targets)
    if not isinstance(value, Tensor) or value.numel() != 1:
        found = getattr(value, "shape", type(value).__name__)
        raise ValueError(f"loss returned {found}, expected a tensor with one number")
    if not value.requires_grad:
        raise ValueError(
            "the loss has no gradient: it was computed under torch.inference_mode, or does not "
            "depend on the parameters"
        )
    value.backward()
    norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    return value.detach(), norm


def _checked_batch(batch: Batch, device: torch.device) -> Batch:
    """Inputs and targets on the device."""
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        found = f"{type(batch).__name__}"
        raise TypeError(f"a batch is a {found}, expected a pair of tensors (inputs, targets)")
    for part in batch:
        if not isinstance(part, Tensor):
            raise TypeError(f"a batch holds a {type(part).__name__}, expected two tensors")
    return batch[0].to(device), batch[1].to(device)


@torch.no_grad()
def evaluate(
    model: nn.Module, batches: Iterable[Batch], n: int, loss: Loss = next_token_loss
) -> float:
    """Mean loss over n batches in evaluation mode, without touching the weights.

    Every module is in the mode in which it was when it ends, and when a batch or the loss raises.

    Raises: TypeError, ValueError if n is not positive, the model has no parameters, batches are no
        pairs of tensors or end before.
    """
    check_integer("n", n)
    if n < 1:
        raise ValueError(f"n is {n}, expected at least 1")
    parameter = next(model.parameters(), None)
    if parameter is None:
        raise ValueError("the model has no parameters")
    modes = [(module, module.training) for module in model.modules()]
    values = []
    try:
        model.eval()
        for batch in itertools.islice(batches, n):
            inputs, targets = _checked_batch(batch, parameter.device)
            values.append(loss(model(inputs), targets).item())
    finally:
        for module, training in modes:
            module.training = training
    if len(values) < n:
        raise ValueError(f"batches ended after {len(values)} of {n}")
    return math.fsum(values) / n


@runtime_checkable
class Tokenizer(Protocol):
    """What a corpus asks of a tokenizer."""

    @property
    def vocab_size(self) -> int: ...

    def encode(self, text: str) -> list[int]: ...


class Corpus:
    """A text as token ids, its last part held out, and endless random batches of it.

    The held-out part is the end of the text, so no training batch has seen any of it.

    Args:
        text: the whole text.
        held_out: share of the ids, between 0 and 1, kept for evaluation.
        tokenizer: what makes the ids; None: one that has learned the text's characters and no
            merge, so that each character is an id, in sorted order.

    Raises: TypeError, ValueError for a share outside (0, 1), or a text too short to split.
    """

    def __init__(
        self, text: str, held_out: float = 0.1, tokenizer: Tokenizer | None = None
    ) -> None:
        if not isinstance(text, str):
            raise TypeError(f"text is a {type(text).__name__}, expected a str")
        if not 0 < held_out < 1:
            raise ValueError(f"held_out is {held_out}, expected a share between 0 and 1")
        if len(text) < 2:
            raise ValueError(f"the text has {len(text)} characters, expected at least 2")
        if tokenizer is None:
            tokenizer = BPETokenizer.train(text, vocab_size=len(set(text)))
        self.tokenizer, self.vocab_size = tokenizer, tokenizer.vocab_size
        ids = torch.tensor(tokenizer.encode(text))
        if len(ids) < 2:
            raise ValueError(f"the text has {len(ids)} tokens, expected at least 2")
        cut = min(max(1, round(len(ids) * (1 - held_out))), len(ids) - 1)
        self.train, self.held_out = ids[:cut], ids[cut:]

    def batches(
        self, batch: int, seq: int, seed: int, part: Literal["train", "held_out"] = "train"
    ) -> Iterator[Batch]:
        """Endless pairs (inputs, targets), both (batch, seq): targets are the next tokens.

        Raises: TypeError, ValueError for sizes below 1 or a part shorter than seq + 1.
        """
        if part not in ("train", "held_out"):
            raise ValueError(f"part is {part!r}, expected 'train' or 'held_out'")
        ids = self.train if part == "train" else self.held_out
        for name, number in {"batch": batch, "seq": seq, "seed": seed}.items():
            check_integer(name, number)
        if batch < 1 or seq < 1 or len(ids) < seq + 1:
            raise ValueError(
                f"batch {batch}, seq {seq}: expected both positive and seq + 1 at most {len(ids)}, "
                f"the length of the {part} part"
            )
        return _windows(ids, batch, seq, torch.Generator().manual_seed(seed))


def _windows(
    ids: Int[Tensor, " length"], batch: int, seq: int, generator: torch.Generator
) -> Iterator[Batch]:
    steps = torch.arange(seq + 1)
    while True:
        starts = torch.randint(len(ids) - seq, (batch, 1), generator=generator)
        window = ids[starts + steps]
        yield window[:, :-1], window[:, 1:]


def _check_settings(
    steps: int,
    lr: float,
    warmup_steps: int,
    schedule: str,
    betas: tuple[float, float],
    weight_decay: float,
    clip_norm: float | None,
) -> None:
    for name, count in {"steps": steps, "warmup_steps": warmup_steps}.items():
        check_integer(name, count)
    numbers = {"lr": lr, "weight_decay": weight_decay, "clip_norm": clip_norm}
    if not isinstance(betas, tuple | list) or len(betas) != 2:
        raise ValueError(f"betas are {betas}, expected two numbers")
    for name, number in (*numbers.items(), ("betas", betas[0]), ("betas", betas[1])):
        wrong = isinstance(number, bool) or not isinstance(number, int | float)
        if wrong and not (name == "clip_norm" and number is None):
            raise TypeError(f"{name}: {number!r}, expected a number")
    if steps < 1:
        raise ValueError(f"steps is {steps}, expected at least 1")
    if not 0 < lr < math.inf:  # also false for NaN
        raise ValueError(f"lr is {lr}, expected a positive number")
    if not 0 <= warmup_steps <= steps:
        raise ValueError(f"warmup_steps is {warmup_steps}, expected 0 to {steps} (steps)")
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule is {schedule!r}, expected 'constant' or 'cosine'")
    if not all(0 <= beta < 1 for beta in betas):
        raise ValueError(f"betas are {betas}, expected two numbers from 0 up to, not including, 1")
    if not 0 <= weight_decay < math.inf:
        raise ValueError(f"weight_decay is {weight_decay}, expected 0 or more")
    if clip_norm is not None and not clip_norm > 0:
        raise ValueError(f"clip_norm is {clip_norm}, expected a positive number or None")
