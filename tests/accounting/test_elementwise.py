"""Element-wise operations: counted kernel by kernel, number by number, and in letters."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import sympy
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import llmlib.architecture as arch
from llmlib.accounting import LETTERS, elementwise_operations, forward_flops, in_letters
from llmlib.accounting.elementwise import PER_ACTIVATION, PER_SCORE, PER_TURN
from llmlib.activations import activation_function
from llmlib.model_cards import card
from llmlib.model_cards.gpt import gpt
from llmlib.model_cards.llama import llama
from llmlib.normalization import layer_norm, rms_norm
from tests.accounting.numbers import numbers_of


class Kernels(TorchDispatchMode):
    """Counts an operation for each number that a kernel works on."""

    operations = 0

    def __torch_dispatch__(
        self, kernel: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.operations += max(x.numel() for x in args if isinstance(x, torch.Tensor))
        return kernel(*args, **(kwargs or {}))


def test_norms_are_counted_on_the_library() -> None:
    x = torch.randn(5, 1000, dtype=torch.float64)
    one, zero = torch.ones(1000).double(), torch.zeros(1000).double()
    for c, run in (
        (gpt(1000, 1, 1), lambda: layer_norm(x, one, zero)),
        (llama(1000, 1, 1, 100), lambda: rms_norm(x, one)),
    ):
        with Kernels() as found:
            run()
        # Two norms in the block and one after it; eps and the root are one for each token.
        assert found.operations == pytest.approx(
            elementwise_operations(c, 5, 1)["norms"] / 3, rel=0.01
        )


class Tally(float):
    """A number that counts the operations it takes part in."""

    made = 0

    def _count(self, value: float) -> "Tally":
        Tally.made += 1
        return Tally(value)

    def __add__(self, other: float) -> "Tally":
        return self._count(float(self) + float(other))

    def __mul__(self, other: float) -> "Tally":
        return self._count(float(self) * float(other))

    def __truediv__(self, other: float) -> "Tally":
        return self._count(float(self) / float(other))

    def __neg__(self) -> "Tally":
        return self._count(-float(self))

    def apply(self, function: Callable[[float], float]) -> "Tally":
        return self._count(function(float(self)))


def relu(x: Tally) -> Tally:
    return x.apply(lambda value: max(value, 0.0))


def swish(x: Tally) -> Tally:
    return x / ((-x).apply(math.exp) + 1)


def gelu(x: Tally) -> Tally:
    return x * ((x * math.sqrt(0.5)).apply(math.erf) + 1) * 0.5


def gelu_tanh(x: Tally) -> Tally:
    inner = x * (x * x * 0.044715 + 1)  # one product fewer than x + 0.044715 x³
    return x * ((inner * math.sqrt(2 / math.pi)).apply(math.tanh) + 1) * 0.5


def relu_squared(x: Tally) -> Tally:
    kept = relu(x)
    return kept * kept


WRITTEN_OUT = {
    "relu": relu,
    "relu_squared": relu_squared,
    "swish": swish,
    "silu": swish,
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
}


@pytest.mark.parametrize("name", PER_ACTIVATION)
def test_activations_are_counted_number_by_number(name: str) -> None:
    Tally.made = 0
    found = float(WRITTEN_OUT[name](Tally(0.7)))
    assert Tally.made == PER_ACTIVATION[name]
    x = torch.tensor(0.7, dtype=torch.float64)
    squared = name == "relu_squared"  # the square of one that the library has
    expected = activation_function("relu")(x) ** 2 if squared else activation_function(name)(x)
    assert found == pytest.approx(float(expected), abs=1e-12)


def test_softmax_and_rotation_number_by_number() -> None:
    scores = [Tally(0.1 * k) for k in range(200)]
    Tally.made = 0
    top = scores[0]
    for score in scores[1:]:
        top = top.apply(lambda value, score=score: max(value, float(score)))  # type: ignore[misc]
    powers = [(x + -float(top)).apply(math.exp) for x in scores]
    total = powers[0]
    for power in powers[1:]:
        total = total + power
    weights = [power / total for power in powers]
    assert sum(map(float, weights)) == pytest.approx(1)
    assert Tally.made == PER_SCORE * len(scores) - 2  # the first is no comparison and no sum
    Tally.made = 0
    a, b = Tally(0.3), Tally(0.4)
    _ = (a * 0.8 + -0.6 * b, a * 0.6 + b * 0.8)
    assert Tally.made + 1 == PER_TURN * 2  # -0.6 * b is the float's own product


# One token that sees ten keys: operations a number times numbers, the model written out.
BY_HAND = {
    "GPT-2": {
        "norms": 7 * 768 * (2 * 12 + 1), "positions": 768, "softmax": 12 * 12 * 5 * 10,
        "scale": 12 * 768, "activation": 12 * 3072 * 9, "biases": 12 * (3 * 768 + 768 + 3072 + 768),
        "residuals": 12 * 2 * 768,
    },
    "BLOOM-560M": {
        "norms": 7 * 1024 * (2 * 24 + 2), "softmax": 24 * 16 * 6 * 10, "scale": 24 * 1024,
        "activation": 24 * 4096 * 9, "biases": 24 * (4 * 1024 + 4096 + 1024),
        "residuals": 24 * 2 * 1024,
    },
    "Qwen2-0.5B": {
        "norms": 4 * 896 * (2 * 24 + 1), "positions": 24 * (14 + 2) * 64 * 3,
        "softmax": 24 * 14 * 5 * 10, "scale": 24 * 896, "activation": 24 * 4864 * 4,
        "gate": 24 * 4864, "biases": 24 * (896 + 2 * 128), "residuals": 24 * 2 * 896,
    },
    "Qwen3-0.6B": {
        "norms": 4 * 1024 * (2 * 28 + 1) + 28 * 4 * (16 + 8) * 128,
        "positions": 28 * (16 + 8) * 128 * 3, "softmax": 28 * 16 * 5 * 10, "scale": 28 * 16 * 128,
        "activation": 28 * 3072 * 4, "gate": 28 * 3072, "residuals": 28 * 2 * 1024,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", BY_HAND)
def test_a_step_by_hand(name: str) -> None:
    """One token after nine others."""
    assert dict(elementwise_operations(card(name).config, 1, 1, past=9)) == BY_HAND[name]


@pytest.mark.parametrize("name", ["GPT-1", "GPT-2", "BERT-base", "Mistral-7B-v0.1", "Qwen2-7B"])
@pytest.mark.parametrize("pairs", ["all", "visible"])
def test_letters_give_the_numbers(name: str, pairs: Any) -> None:
    c = card(name).config
    letters = in_letters(c, n_kv_heads=LETTERS["n_kv_heads"])
    b, s, p = (LETTERS[x] for x in ("batch", "seq", "past"))
    past = 0 if c.family == "encoder" else 8  # of which no cache holds anything
    formula = elementwise_operations(letters, b, s, past=p if past else 0, pairs=pairs)
    given = {LETTERS[x]: size for x, size in {"batch": 2, "seq": 33, "past": 8}.items()}
    heads = c.block.mixer.n_kv_heads  # type: ignore[union-attr]
    given |= numbers_of(c) | {LETTERS["n_kv_heads"]: heads}
    numbers = elementwise_operations(c, 2, 33, past=past, pairs=pairs)
    assert {kind: sympy.sympify(x).subs(given) for kind, x in formula.items()} == dict(numbers)


def test_they_are_few_beside_the_products() -> None:
    """Rows of the book: 0.047% for GPT-3 at 2,048 tokens, less than 1% for GPT-2."""
    for name, most in (("GPT-3 175B", 0.000475), ("GPT-2", 0.01), ("LLaMA-7B", 0.00105)):
        c = card(name).config
        share = elementwise_operations(c, 1, 2048).total / forward_flops(c, 1, 2048).total
        assert 0 < share < most


def test_hidden_pairs_need_no_softmax() -> None:
    c = card("GPT-2").config
    every, visible = (elementwise_operations(c, 1, 100, pairs=x) for x in ("all", "visible"))
    assert every["softmax"] * 101 == visible["softmax"] * 200
    assert every.total - every["softmax"] == visible.total - visible["softmax"]


def test_each_kind_of_layer_is_counted_as_it_is() -> None:
    """Three layers of four turn their queries and keys; a window sees fewer scores."""
    c = card("SmolLM3-3B").config
    assert elementwise_operations(c, 1, 1)["positions"] == 27 * (16 + 4) * 128 * PER_TURN
    windowed = arch.changed(card("Gemma-2-27B").config, arch.Attention, softcap=None)
    few = arch.changed(windowed, arch.Attention, window=5)
    assert elementwise_operations(few, 1, 8, pairs="visible")["softmax"] == (
        46 * 32 * PER_SCORE * (5 * (8 - 5) + 15)
    )


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("config", "options", "named"),
    [
        (card("T5-small").config, {}, "family is 'encoder-decoder'"),
        (card("DeepSeek-V2").config, {}, "mixer is Latent"),
        (card("Mixtral-8x7B-v0.1").config, {}, "feed_forward is Experts"),
        (card("gpt-oss-20b").config, {}, "sinks is True"),
        (card("Gemma-2-2B").config, {}, "softcap is 50.0"),
        (arch.changed(card("GPT-2").config, arch.FeedForward, activation="sigmoid"), {}, "sigmoid"),
        (card("GPT-2").config, {"batch": 0}, "batch"),
        (card("GPT-2").config, {"past": -1}, "past"),
        (card("GPT-2").config, {"pairs": "half"}, "'half'"),
    ],
)
def test_bad_input(config: arch.ModelConfig, options: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        elementwise_operations(config, **{"batch": 1, "seq": 8, **options})
