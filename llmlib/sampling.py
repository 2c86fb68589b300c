"""Choosing the next token from the logits: greedy, or a draw from a distribution that is cut first.

Every function works on the last axis, so a batch is chosen for row by row. Not here: beam search,
penalties for repetition.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from llmlib.sizes import check_integer


def greedy(logits: Float[Tensor, "*batch vocab"]) -> Int[Tensor, "*batch"]:
    """The most probable token of each row; the most probable sequence may be another one.

    Raises:
        ValueError: logits with NaN, which no order holds for.
    """
    _check(logits)
    return logits.argmax(dim=-1)


class Sampler:
    """Draw the next token: temperature first, then the cuts by top-k, top-p and min-p, in order.

    p = softmax(logits / temperature); each cut renormalizes what it keeps:
    top_k keeps the k most probable tokens; top_p the fewest whose probabilities reach p together;
    min_p those at least min_p times as probable as the most probable one.

    Args:
        temperature: below 1 sharpens, above 1 flattens; 0 is greedy.
        top_k: tokens to keep, at least 1; more than the vocabulary keeps all. None: no cut.
        top_p: probability to keep, in (0, 1]; 1 keeps all. None: no cut.
        min_p: least probability relative to the largest, in [0, 1]. None: no cut.
        seed: a new sampler with the same seed repeats the draws of the last, on any machine; each
            call goes on where the one before ended. None draws from torch's own generator.

    Raises:
        TypeError: a temperature, top_p or min_p that is no number, a seed that is no integer.
        ValueError: a setting outside its range, a top_k that is no integer from 1.

    Source: fan2018hierarchical (top-k), holtzman2019curious (top-p), nguyen2024minp
    """

    def __init__(
        self,
        temperature: float | int = 1.0,
        top_k: int | None = None,
        top_p: float | int | None = None,
        min_p: float | int | None = None,
        seed: int | None = None,
    ) -> None:
        _check_number("temperature", temperature)
        _check_range("temperature", temperature, 0 <= temperature < math.inf, "0 or more, finite")
        if top_k is not None:
            integer = isinstance(top_k, int) and not isinstance(top_k, bool)
            _check_range("top_k", top_k, integer and top_k >= 1, "an integer from 1")
        if top_p is not None:
            _check_number("top_p", top_p)
            _check_range("top_p", top_p, 0 < top_p <= 1, "above 0 and at most 1")
        if min_p is not None:
            _check_number("min_p", min_p)
            _check_range("min_p", min_p, 0 <= min_p <= 1, "between 0 and 1")
        if seed is not None:
            check_integer("seed", seed)
            _check_range("seed", seed, -(2**63) <= seed < 2**64, "an integer of 64 bits")
        self.temperature, self.top_k, self.top_p, self.min_p = temperature, top_k, top_p, min_p
        self.generator = None if seed is None else torch.Generator().manual_seed(seed)

    def __call__(self, logits: Float[Tensor, "*batch vocab"]) -> Int[Tensor, "*batch"]:
        """One token id a row."""
        if self.temperature == 0:
            return greedy(logits)
        p = self.probabilities(logits)
        rows = p.reshape(-1, p.shape[-1])
        # Drawn on the CPU, so that a seed means the same on every machine.
        drawn = torch.multinomial(rows.cpu(), 1, generator=self.generator)
        return drawn.reshape(p.shape[:-1]).to(p.device)

    def probabilities(self, logits: Float[Tensor, "*batch vocab"]) -> Float[Tensor, "*batch vocab"]:
        """The distribution that is drawn from, in float32: 0 where a token was cut."""
        _check(logits)
        if self.temperature == 0:
            one = torch.nn.functional.one_hot(logits.argmax(-1), logits.shape[-1])
            return one.float()
        p = _cooled(logits, self.temperature).softmax(-1)
        if self.top_k is not None:
            p = _kept(p, _top_k(p, self.top_k))
        if self.top_p is not None and self.top_p < 1:  # 1 may be out of reach of a rounded sum
            p = _kept(p, _top_p(p, self.top_p))
        if self.min_p is not None:
            p = _kept(p, p >= self.min_p * p.amax(-1, keepdim=True))
        return p


def _cooled(logits: Tensor, temperature: float) -> Tensor:
    """What each logit lies below the largest of its row, over the temperature, in float32.

    Softmax does not see the difference; but nothing above 0 is left that a small temperature, or a
    narrower type, could make infinite.
    """
    wide = logits.float() if logits.element_size() < 4 else logits
    limits = torch.finfo(wide.dtype)  # outside of them it would be 0 or infinity
    below = wide - wide.amax(-1, keepdim=True)
    return (below / min(max(temperature, limits.tiny), limits.max)).float()


def _top_k(p: Tensor, k: int) -> Tensor:
    """True for the k most probable tokens, and no more of them where probabilities are equal."""
    best = p.topk(min(k, p.shape[-1]), dim=-1).indices
    return torch.zeros_like(p, dtype=torch.bool).scatter(-1, best, True)


def _top_p(p: Tensor, top_p: float) -> Tensor:
    """True for the shortest row of most probable tokens that holds at least top_p together."""
    ordered, order = p.sort(dim=-1, descending=True, stable=True)
    before = ordered.cumsum(-1) - ordered  # what the more probable tokens hold: the first has 0
    return torch.zeros_like(p, dtype=torch.bool).scatter(-1, order, before < top_p)


def _kept(p: Tensor, keep: Tensor) -> Tensor:
    p = p * keep
    return p / p.sum(-1, keepdim=True)


def _check(logits: Tensor) -> None:
    if not isinstance(logits, Tensor) or not logits.is_floating_point():
        kind = logits.dtype if isinstance(logits, Tensor) else type(logits).__name__
        raise TypeError(f"logits is {kind}, expected a floating-point tensor")
    if logits.ndim == 0 or logits.shape[-1] == 0:
        raise ValueError(f"logits has shape {tuple(logits.shape)}, expected (..., vocab)")
    top = logits.amax(-1)  # NaN wins every maximum
    if bool(top.isnan().any()) or bool((top == -math.inf).any()):
        raise ValueError("logits hold NaN, or a row of -inf alone: no token can be chosen")
    if bool((top == math.inf).any()):
        raise ValueError("logits hold inf: no distribution follows from it")


def _check_number(name: str, value: float | int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} is {value!r}, expected a number")


def _check_range(name: str, value: float | int, fits: bool, expected: str) -> None:
    if not fits:
        raise ValueError(f"{name} is {value!r}, expected {expected}")
