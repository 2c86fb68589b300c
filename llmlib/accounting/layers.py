"""Sums over the layers of a model, and what counts ask of a block."""

from collections.abc import Callable
from typing import assert_never

import llmlib.architecture as arch
from llmlib.accounting.breakdown import Count

Runs = tuple[arch.Block | arch.Run, ...]


def over_layers(
    runs: Runs, count: Callable[[arch.Block], dict[str, Count]], *, own: bool = False
) -> dict[str, Count]:
    """A count of one block, component by component, summed over all layers.

    Args:
        runs: of one stack, or of several.
        count: what a block counts.
        own: each set of weights once, however often it runs; else each run.
    """
    many: dict[str, dict[Count, Count]] = {}  # layers that count the same are added up first
    for block, times, sets in arch.kinds(runs):
        for name, x in count(block).items():
            equal = many.setdefault(name, {})
            equal[x] = equal.get(x, 0) + (sets if own else times)
    return {name: sum(n * x for x, n in equal.items()) for name, equal in many.items()}


def named(group: str, counts: dict[str, Count]) -> dict[str, Count]:
    """The counts under the name of their group: "attention.query"."""
    return {f"{group}.{name}": x for name, x in counts.items()}


def mixer_group(mixer: arch.Mixer) -> str:
    """What a breakdown calls the first half of a block."""
    match mixer:
        case arch.Attention() | arch.Latent():
            return "attention"
        case arch.GatedDelta():
            return "recurrent"
        case _:
            assert_never(mixer)


def window(mixer: arch.Mixer) -> Count | None:
    """Keys that a query sees, itself included; None where it sees all, or none but a state."""
    return mixer.window if isinstance(mixer, arch.Attention) else None


def all_runs(config: arch.ModelConfig) -> Runs:
    """The runs of both stacks, the encoder's first."""
    source = () if config.source is None else config.source.runs
    return source + config.stack.runs


def norms_of(block: arch.Block) -> tuple[int, int, int]:
    """How many norms over the stream the mixer, the cross-attention and the feed-forward have."""
    each = 2 if block.norms == "sandwich" else 1
    mixer = each - int(not block.mixer_norm)
    cross = each * int(block.cross is not None)
    alone = block.order == "parallel, one norm" or block.feed_forward is None
    return mixer, cross, 0 if alone else each
