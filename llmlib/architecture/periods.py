"""From a list of layers, as a file gives it, to the runs that a person would write."""

from collections.abc import Sequence

from llmlib.architecture.model import Block, Run, Stack


def runs_of(blocks: Sequence[Block]) -> tuple[Run, ...]:
    """The runs of a list of layers: at each place the repetition that covers most, then the rest.

    Loaders and cards both end in it, so that equal models have equal descriptions.
    """
    found: list[Run] = []
    start = 0
    while start < len(blocks):
        period, times = _longest(blocks, start)
        parts = blocks[start : start + period]
        found.append(Run(times, (parts[0],) if period == 1 else _inner(parts)))
        start += period * times
    return tuple(_once_together(found))


def _longest(blocks: Sequence[Block], start: int) -> tuple[int, int]:
    """Period and times of the repetition from here that covers most; the shortest of such."""
    best = (1, 1)
    for period in range(1, (len(blocks) - start) // 2 + 1):
        times, pattern = 1, blocks[start : start + period]
        while blocks[start + times * period : start + (times + 1) * period] == pattern:
            times += 1
        if times > 1 and times * period > best[0] * best[1]:
            best = (period, times)
    return best


def _inner(parts: Sequence[Block]) -> tuple[Block | Run, ...]:
    """What a run repeats, its own repetitions as runs; a block that stands once as itself."""
    runs = runs_of(parts)
    if len(runs) == 1 and runs[0].times == 1:
        return runs[0].parts
    return tuple(run.parts[0] if run.times == 1 and len(run.parts) == 1 else run for run in runs)


def _once_together(runs: list[Run]) -> list[Run]:
    """Blocks that stand once, one after the other, as one run."""
    made: list[Run] = []
    for run in runs:
        if made and run.times == 1 and made[-1].times == 1:
            made[-1] = Run(1, made[-1].parts + run.parts)
        else:
            made.append(run)
    return made


def ribbon(stack: Stack) -> str:
    """A stack in a line, a letter for each kind of block: "10 × (5 A, B), 2 A"."""
    letters: dict[Block, str] = {}

    def said(part: Block | Run) -> str:
        if isinstance(part, Block):
            return letters.setdefault(part, chr(ord("A") + len(letters)))
        inside = ", ".join(map(said, part.parts))
        if part.times == 1:
            return inside
        if len(part.parts) == 1 and isinstance(part.parts[0], Block):
            return f"{part.times} {inside}"
        return f"{part.times} × ({inside})"

    return ", ".join(map(said, stack.runs))
