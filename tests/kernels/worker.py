"""Runs cases of the Triton kernels in the interpreter: python -m tests.kernels.worker < jobs.

Each line of input is a job, {"name", "mutant" or null}; each line of output a result, {"name",
"mutant", "problem" or null, "worst"}. Every job is forked from this process, which has imported
Triton but no kernel: an interpreter that crashes takes only its own job along, and a mutant is
whatever source the fork loads.
"""

import os

os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is imported

import importlib.util
import json
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

import torch
import triton.language
import triton.testing  # noqa: F401

from llmlib import flash_attention
from tests.kernels.cases import GRID, Case
from tests.kernels.interpreter import patch_once, repair
from tests.kernels.reference import (
    FORWARD,
    GRADIENT,
    inside_nan,
    ratio,
    scale_of,
    watched,
    with_gradient,
)  # fmt: skip

AT_ONCE = 2
QUANTITIES = {"out": FORWARD, "lse": FORWARD, "dq": GRADIENT, "dk": GRADIENT, "dv": GRADIENT}


class Inputs:
    """Tensors of a case, seeded: q, k, v, dO inside NaN, dlse, slopes, offsets of packed texts."""

    def __init__(self, case: Case) -> None:
        generator = torch.Generator().manual_seed(case.seed)
        kind = getattr(torch, case.dtype)
        (heads, kv_heads), (d, dv) = case.heads, case.widths
        batch = 2 if case.packed is None and case.lengths[0] * case.lengths[1] < 2000 else 1
        n_q, n_k = case.lengths
        if case.packed is not None:
            n_q, n_k = (sum(lengths) for lengths in zip(*case.packed, strict=True))
        shapes = (heads, n_q, d), (kv_heads, n_k, d), (kv_heads, n_k, dv), (heads, n_q, dv)
        draw = lambda *shape: torch.randn(batch, *shape, generator=generator)  # noqa: E731
        self.q, self.k, self.v, self.d_out = (
            inside_nan(draw(*shape).to(kind), case.layout) for shape in shapes
        )
        self.d_lse = draw(heads, n_q)
        self.slopes = None
        texts = batch if case.packed is None else len(case.packed)
        if case.alibi:
            self.slopes = torch.rand(texts, heads, generator=generator) / 4 + 0.01
        self.case, self.texts = case, texts

    @property
    def options(self) -> Any:
        """As launch.py takes them."""
        from llmlib.flash_attention.launch import Options

        return Options(self.case.causal, self.case.window, scale_of(self.case), self.case.softcap)

    @property
    def packed(self) -> Any:
        """Offsets, or None."""
        from llmlib.flash_attention.launch import Packed

        if self.case.packed is None:
            return None
        per_side = list(zip(*self.case.packed, strict=True))
        offsets = [torch.tensor([0, *n]).cumsum(0).int() for n in per_side]
        return Packed(*offsets, *map(max, per_side))

    def problem(self) -> Any:
        """The call."""
        from llmlib.flash_attention.launch import Problem

        one = self.case.packed is not None
        tensors = [x[0] if one else x for x in (self.q, self.k, self.v)]
        return Problem(*tensors, self.slopes, self.options, self.packed)


def kernels(inputs: Inputs) -> list[torch.Tensor]:
    """Output, log-sum-exp and gradients by the kernels, with the tiles of the case."""
    from llmlib.flash_attention import launch
    from llmlib.flash_attention.tiles import Tiles

    problem, tiles = inputs.problem(), Tiles(*inputs.case.tiles)
    one = inputs.case.packed is not None
    d_out, d_lse = (x[0] if one else x for x in (inputs.d_out, inputs.d_lse))
    with watched():
        out, lse = launch.forward(problem, tiles)
        given = launch.for_backward(out, lse, d_out, d_lse)
        found = [out, lse, launch.query_gradient(problem, given, tiles)]
        found += launch.key_gradients(problem, given, tiles)
    return [x[None] for x in found] if one else found


def split(inputs: Inputs) -> list[torch.Tensor]:
    """Output and log-sum-exp by the decoding kernel; nothing where there are too many queries."""
    from llmlib.flash_attention import launch
    from llmlib.flash_attention.tiles import Tiles, block

    case = inputs.case
    rows = case.lengths[0] * case.heads[0] // case.heads[1]
    if case.packed is not None or rows > 64:
        return []
    with watched():
        return list(launch.decode(inputs.problem(), Tiles(block(rows), 32), case.splits))


def exact_results(inputs: Inputs, kind: torch.dtype = torch.float64) -> list[torch.Tensor]:
    """The same five by the formula, in some type."""
    tensors = [inputs.q, inputs.k, inputs.v]
    about = (inputs.slopes, inputs.case, inputs.d_out, inputs.d_lse)
    return with_gradient(tensors, *about, kind)


def check_inputs(inputs: Inputs) -> dict[str, float]:
    """For each result the error as a share of what the rule allows."""
    exact, naive = exact_results(inputs), exact_results(inputs, inputs.q.dtype)
    found = kernels(inputs)
    shares = {
        name: ratio(*three, times)
        for (name, times), *three in zip(QUANTITIES.items(), found, exact, naive, strict=True)
    }
    for name, *three in zip(("out", "lse"), split(inputs), exact, naive, strict=False):
        shares[f"split {name}"] = ratio(*three, FORWARD)
    return shares


def check_case(case: Case) -> tuple[str | None, float]:
    """What breaks the rule, and the largest share of what the rule allows."""
    shares = check_inputs(Inputs(case))
    bad = {name: round(share, 2) for name, share in shares.items() if not share <= 1}
    return f"error over what is allowed: {bad}" if bad else None, max(shares.values())


def load_mutant(name: str) -> None:
    """Puts one changed module in the place of the real one."""
    from tests.kernels.mutants import MUTANTS

    mutant = MUTANTS[name]
    package = Path(flash_attention.__file__).parent
    source = (package / f"{mutant.module}.py").read_text(encoding="utf-8")
    assert source.count(mutant.old) == 1, f"{mutant.old!r} occurs {source.count(mutant.old)} times"
    path = Path(tempfile.mkdtemp()) / f"{mutant.module}.py"
    path.write_text(source.replace(mutant.old, mutant.new), encoding="utf-8")
    full = f"llmlib.flash_attention.{mutant.module}"
    spec = importlib.util.spec_from_file_location(full, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[full] = module
    spec.loader.exec_module(module)


def small_set(tries: str) -> tuple[str | None, float]:
    """The first thing that is wrong in the cases for mutants; those named so come first."""
    from tests.kernels.mutants import SMALL

    label = lambda check: check.__name__ if callable(check) else check.name  # noqa: E731
    worst = 0.0
    for check in sorted(SMALL, key=lambda check: not label(check).startswith(tries)):
        problem, share = check() if callable(check) else check_case(check)
        worst = max(worst, share)
        if problem:
            return f"{label(check)}: {problem}", worst
    return None, worst


def run(job: dict[str, Any]) -> dict[str, Any]:
    """One job, in a process of its own; a mutant runs the small set."""
    from tests.kernels.mutants import MUTANTS
    from tests.kernels.named import NAMED

    torch.set_num_threads(1)
    torch.manual_seed(0)
    try:
        if job["name"] in GRID:
            problem, worst = check_case(GRID[job["name"]])
        elif job["name"] in NAMED:
            problem, worst = NAMED[job["name"]](), 0.0
        else:
            if job["name"] != "unchanged":
                load_mutant(job["name"])
            problem, worst = small_set(MUTANTS[job["name"]].tries if job["name"] in MUTANTS else "")
    except Exception as wrong:
        last = traceback.format_exc(limit=-4)
        problem, worst = f"{type(wrong).__name__}: {wrong}\n{last}", 0.0
    return {"name": job["name"], "problem": problem, "worst": worst}


def fork(job: dict[str, Any]) -> tuple[int, int]:
    """Starts a job; its process and the pipe that its result comes through."""
    reader, writer = os.pipe()
    sys.stdout.flush()
    process = os.fork()
    if process == 0:
        os.close(reader)
        with os.fdopen(writer, "w") as pipe:
            pipe.write(json.dumps(run(job)))
        os._exit(0)
    os.close(writer)
    return process, reader


def main() -> None:
    """Reads jobs, keeps a few running, prints each result as soon as it is there."""
    repair()
    patch_once()
    jobs = [json.loads(line) for line in sys.stdin]
    running: dict[int, tuple[int, dict[str, Any]]] = {}
    while jobs or running:
        while jobs and len(running) < AT_ONCE:
            job = jobs.pop(0)
            process, reader = fork(job)
            running[process] = (reader, job)
        process, status = os.wait()
        reader, job = running.pop(process)
        with os.fdopen(reader) as pipe:
            text = pipe.read()
        crash = {"name": job["name"], "problem": f"crashed, wait status {status}", "worst": 0.0}
        print(text or json.dumps(crash), flush=True)


if __name__ == "__main__":
    main()
