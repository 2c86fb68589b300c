"""Runs notebooks as other machines would, and compares with the outputs stored in them.

    python -m tests.other_cpus                              # what `make test` runs today
    python -m tests.other_cpus --seed 3                     # what it runs on another day
    python -m tests.other_cpus --full                       # every notebook on every machine
    python -m tests.other_cpus no_avx normalization flops   # one machine, these chapters

A machine is played by environment variables: each library that computes asks its own which
instructions it may use. CONTRIBUTING.md says which of them take effect.

One run takes a third of the notebooks, each on one machine. Both rotate with the day, so that
every notebook meets every machine within `3 * len(machines())` days.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PART = 3
"""A run takes one in so many notebooks."""

MACHINES = {
    "no_avx": {
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
        "MKL_CBWR": "COMPATIBLE",
        "OPENBLAS_CORETYPE": "Nehalem",
        "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR",
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-FMA4,-AVX512F",
        "OMP_NUM_THREADS": "1",
        "PYTHONHASHSEED": "1",
    },
    "avx2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "MKL_CBWR": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
        "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
        "OMP_NUM_THREADS": "2",
        "PYTHONHASHSEED": "2",
    },
    "avx512": {
        "ATEN_CPU_CAPABILITY": "avx512",
        "ONEDNN_MAX_CPU_ISA": "AVX512_CORE",
        "MKL_ENABLE_INSTRUCTIONS": "AVX512",
        "MKL_CBWR": "AVX512",
        "OPENBLAS_CORETYPE": "SkylakeX",
        "OMP_NUM_THREADS": "1",
        "PYTHONHASHSEED": "3",
    },
    "one_thread": {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "4"},
    "three_threads": {"OMP_NUM_THREADS": "3", "PYTHONHASHSEED": "5"},
}
"""What each machine's environment says; what it leaves out is this machine's own."""

NEEDS = {"avx2": "avx2", "avx512": "avx512f"}
"""The flag of the processor without which a machine cannot be played."""


@dataclass(frozen=True)
class Play:
    """Notebooks to run on one machine: pytest's arguments and the environment it runs in."""

    machine: str
    chapters: tuple[str, ...]

    @property
    def arguments(self) -> list[str]:
        files = [f"chapters/{name}.ipynb" for name in self.chapters]
        # The cells of a notebook share a kernel, hence a process.
        nbval = ["--nbval", "--nbval-current-env", "--nbval-cell-timeout=600"]
        return [*nbval, "--dist", "loadfile", *files]

    @property
    def environment(self) -> dict[str, str]:
        settings = ROOT / "_build" / "ipython"  # not the reader's own, which may change outputs
        settings.mkdir(parents=True, exist_ok=True)
        ours = {"PYTHONPATH": str(ROOT), "IPYTHONDIR": str(settings)}
        return {"JUPYTER_PREFER_ENV_PATH": "1", **ours, **MACHINES[self.machine]}


def machines() -> list[str]:
    """The machines that this one can play."""
    try:
        flags = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    except OSError:  # no Linux: instructions are not switched off there, threads are
        return [name for name in MACHINES if "ATEN_CPU_CAPABILITY" not in MACHINES[name]]
    return [name for name in MACHINES if NEEDS.get(name, "") in {"", *flags}]


def chapters() -> list[str]:
    """The names of all notebooks."""
    return sorted(path.stem for path in (ROOT / "chapters").glob("*.ipynb"))


def day() -> int:
    """What the choice hangs on: LLMLIB_DAY, or the days since 1970."""
    return int(os.environ.get("LLMLIB_DAY") or time.time() // 86_400)


def plan(seed: int, names: Sequence[str], players: Sequence[str], full: bool) -> list[Play]:
    """Who plays what: everything, or a third of the notebooks with a machine for each.

    After `PART * len(players)` consecutive seeds each notebook has met each machine once.
    """
    if full:
        return [Play(machine, tuple(names)) for machine in players]
    chosen: dict[str, list[str]] = {}
    for place, name in enumerate(names):
        if (place + seed) % PART == 0:
            machine = players[(place // PART + (place + seed) // PART) % len(players)]
            chosen.setdefault(machine, []).append(name)
    return [Play(machine, tuple(found)) for machine, found in chosen.items()]


def todays(seed: int | None = None, full: bool | None = None) -> list[Play]:
    """What this run of the tests plays; says so, and how to play it again."""
    seed = day() if seed is None else seed
    full = os.environ.get("LLMLIB_FULL") == "1" if full is None else full
    plays = plan(seed, chapters(), machines(), full)
    again = "LLMLIB_FULL=1" if full else f"LLMLIB_DAY={seed}"
    print(f"other_cpus: again with {again} make test STAGES=other_cpus", flush=True)
    for play in plays:
        print(f"  {play.machine}: {', '.join(play.chapters)}", flush=True)
    return plays


def main() -> int:
    """Reads the command line and runs pytest once for each machine."""
    parser = argparse.ArgumentParser(description="Run notebooks as other machines would.")
    parser.add_argument("machine", nargs="?", choices=machines(), help="one of them; else a plan")
    parser.add_argument("chapters", nargs="*", help="all when none is named")
    parser.add_argument("--seed", type=int, help="which third, and on which machines; else the day")
    parser.add_argument("--full", action="store_true", help="every notebook on every machine")
    options = parser.parse_args()
    plays = (
        [Play(options.machine, tuple(options.chapters or chapters()))]
        if options.machine
        else todays(options.seed, options.full or None)
    )
    worst = 0
    for play in plays:
        start = time.perf_counter()
        jobs = str(min(len(play.chapters), os.cpu_count() or 1))
        command = [sys.executable, "-m", "pytest", "-q", "-n", jobs, *play.arguments]
        environment = {**os.environ, **play.environment}
        status = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
        print(f"{play.machine}: {time.perf_counter() - start:.0f} s, exit status {status}")
        worst = max(worst, status)
    return worst


if __name__ == "__main__":
    sys.exit(main())
