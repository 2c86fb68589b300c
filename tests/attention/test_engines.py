"""The engine of a model, and the one that `with engine(...)` asks for around it."""

import asyncio
import threading
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from llmlib.attention import Attention, LatentAttention, engine, engine_asked
from llmlib.decoder import Decoder, DecoderConfig, generate
from llmlib.sparse_attention import (
    LongformerAttention,
    bigbird_attention,
    sink_attention,
    sliding_window_attention,
)

X = torch.randn(2, 12, 32, generator=torch.Generator().manual_seed(0))


class Operations(TorchDispatchMode):
    """The names of all operations that run."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def engines_that_ran(run: Any) -> set[str]:
    """Told by what only one does: the formula an exp, the blocked engine a softmax."""
    with Operations() as seen, torch.no_grad():
        run()
    marks = {"sdpa": "scaled_dot_product", "blocked": "softmax.", "reference": "aten.exp."}
    return {name for name, mark in marks.items() if any(mark in x for x in seen.names)}


def by_head(heads: int = 4) -> Tensor:
    return X.unflatten(-1, (heads, -1)).transpose(1, 2)


def decoder(**changes: Any) -> Decoder:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"n_layers": 2, "n_heads": 4, "context": 64, **changes}
    return Decoder(DecoderConfig(50, 32, **sizes))


def latent() -> LatentAttention:
    return LatentAttention(32, 4, 16, 4, 8, 8, causal=True)


CALLS: dict[str, Any] = {
    "attention": lambda: Attention(32, 4, causal=True)(X),
    "sdpa": lambda: Attention(32, 4, engine="sdpa")(X),
    "cross": lambda: Attention(32, 4)(X, context=X),
    "window": lambda: Attention(32, 4, 2, window=3, causal=True)(X),
    "decoder": lambda: decoder()(torch.zeros(1, 9).long()),
    "sliding window": lambda: sliding_window_attention(*[by_head()] * 3, window=3),
    "bigbird": lambda: bigbird_attention(
        *[by_head()] * 3, window=1, n_global=1, n_random=1, block_size=4
    ),
    "sinks": lambda: sink_attention(*[by_head()] * 3, window=3, n_sinks=1),
    "longformer": lambda: LongformerAttention(32, 4, 3)(X, [0]),
}


SPARSE = ("sliding window", "bigbird", "sinks", "longformer")


@pytest.mark.parametrize("name", CALLS)
def test_every_call_inside_runs_on_the_engine_that_is_asked_for(name: str) -> None:
    call = CALLS[name]
    for asked in ("reference", "sdpa"):
        with engine(asked):
            assert engines_that_ran(call) == {asked}
    assert engines_that_ran(call) == {"sdpa" if name in ("sdpa", *SPARSE) else "blocked"}


def test_counting_plainly_sees_every_product() -> None:
    def count() -> int:
        with FlopCounterMode(display=False) as counter:
            layer(X)
        return int(counter.get_total_flops())

    layer = Attention(32, 4, causal=True)
    with engine("reference"):
        assert count() == 2 * 2 * 12 * (4 * 32 * 32) + 4 * 2 * 12 * 12 * 32


@pytest.mark.parametrize("name", CALLS)
def test_each_engine_gives_the_same(name: str) -> None:
    found = {}
    for asked in ("reference", "sdpa", "blocked", "auto"):
        torch.manual_seed(0)
        with engine(asked):
            found[asked] = CALLS[name]()
        torch.testing.assert_close(found[asked], found["reference"])


def test_the_innermost_holds_and_an_error_ends_it() -> None:
    assert engine_asked() is None
    with engine("reference"):
        with engine("sdpa"):
            assert engine_asked() == "sdpa"
        assert engine_asked() == "reference"
        with pytest.raises(KeyError), engine("blocked"):
            raise KeyError
        assert engine_asked() == "reference"
    assert engine_asked() is None


def test_each_thread_asks_for_itself() -> None:
    seen: dict[str, Any] = {}
    inside, done = threading.Event(), threading.Event()

    def other() -> None:
        with engine("sdpa"):
            inside.set()
            done.wait(10)
            seen["other"] = engine_asked()

    thread = threading.Thread(target=other)
    thread.start()
    inside.wait(10)
    seen["here"] = engine_asked()
    with engine("reference"):
        done.set()
        thread.join(10)
        seen["inside"] = engine_asked()
    assert seen == {"here": None, "other": "sdpa", "inside": "reference"}


def test_each_task_of_asyncio_asks_for_itself() -> None:
    async def ask(name: Any) -> Any:
        with engine(name):
            await asyncio.sleep(0)
            return engine_asked()

    async def both() -> list[Any]:
        return list(await asyncio.gather(ask("sdpa"), ask("reference")))

    assert asyncio.run(both()) == ["sdpa", "reference"]


def test_it_decorates_a_function_too() -> None:
    assert engine("reference")(engine_asked)() == "reference"


def test_generation_honors_it() -> None:
    """The fast step for one token computes attention by itself, so it has to step aside."""
    model, prompt = decoder().double(), [3, 1, 4, 1, 5]
    assert engines_that_ran(lambda: list(generate(model, prompt, 6))) == {"blocked"}
    with engine("reference"):
        found = engines_that_ran(lambda: list(generate(model, prompt, 6)))
        assert list(generate(model, prompt, 6)) == list(generate(model, prompt, 6, use_cache=False))
    assert found == {"reference"}


@pytest.mark.unchecked
def test_a_compiled_program_honors_it() -> None:
    """PyTorch's compiler cannot read a context variable; parts of the program are made anew."""
    ran: set[str] = set()

    def backend(graph: torch.fx.GraphModule, _: Any) -> Any:
        names = {str(node.target) for node in graph.graph.nodes}

        def run(*inputs: Any) -> Any:
            ran.update(names)
            return graph(*inputs)

        return run

    torch._dynamo.reset()
    module = Attention(32, 4, causal=True)
    program, expected = torch.compile(module, backend=backend), module(X)
    for asked in (None, "reference", None, "sdpa", "reference", None):
        ran.clear()
        with engine(asked) if asked else nullcontext():
            torch.testing.assert_close(program(X), expected)
        assert any("scaled_dot_product" in name for name in ran) == (asked != "reference")
    whole = torch.compile(module, backend=backend, fullgraph=True)
    torch.testing.assert_close(whole(X), expected)


@pytest.mark.bad_input
@pytest.mark.parametrize("name", ["flash", "", None])
def test_an_unknown_engine(name: Any) -> None:
    with (
        pytest.raises(ValueError, match=f"attention engine is {name!r}, expected one of auto"),
        engine(name),
    ):
        pass
    assert engine_asked() is None
