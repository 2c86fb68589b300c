"""Runs every test of the book and counts them: python -m tests.run [stage ...].

Stages: lint, unit, bad_input, notebooks, other_cpus, book, browser. All of them run, also after a
failure; the last line is "N passed, N failed".
"""

import argparse
import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from pathlib import Path

from tests.other_cpus import todays

ROOT = Path(__file__).resolve().parent.parent
REPORTS = ROOT / "_build" / "tests"
STAMP = ROOT / "_build" / "book.stamp"
NO_TESTS_COLLECTED = 5


@dataclass
class Result:
    """What one stage found."""

    passed: int = 0
    failed: int = 0
    skipped: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def record(self, ok: bool, name: str) -> None:
        """Counts one check."""
        if ok:
            self.passed += 1
        else:
            self.failed += 1
            self.failures.append(name)


def run(*command: str, **environment: str) -> int:
    """Runs a command from the book's folder and returns its exit status."""
    variables = {**os.environ, "JUPYTER_PREFER_ENV_PATH": "1", **environment}
    return subprocess.run(command, cwd=ROOT, env=variables, check=False).returncode


def python(*arguments: str, **environment: str) -> int:
    """Runs a Python module with the interpreter that runs this."""
    return run(sys.executable, "-m", *arguments, **environment)


def pytest_stage(name: str, *arguments: str, **environment: str) -> Result:
    """Runs pytest and counts from its XML report; no test at all is a failure."""
    REPORTS.mkdir(parents=True, exist_ok=True)
    report = REPORTS / f"{name}.xml"
    report.unlink(missing_ok=True)
    status = python("pytest", "-q", f"--junitxml={report}", *arguments, **environment)
    result = Result()
    cases = ElementTree.parse(report).iter("testcase") if report.exists() else []
    for case in cases:
        label = f"{case.get('classname')}::{case.get('name')}"
        if case.find("skipped") is not None:
            result.skipped.append(label)
        else:
            result.record(case.find("failure") is None and case.find("error") is None, label)
    if status == NO_TESTS_COLLECTED or not (result.passed or result.failed):
        result.record(False, f"{name}: no test ran")
    elif status and not result.failed:
        result.record(False, f"{name}: pytest stopped with exit status {status}")
    return result


def lint() -> Result:
    """Style and types."""
    result = Result()
    checks = (["ruff", "check"], ["ruff", "format", "--check"], ["mypy"])
    for check in checks:
        print(f"$ {' '.join(check)}", flush=True)
        result.record(python(*check) == 0, " ".join(check))
    return result


def unit() -> Result:
    """Every test but the browser's, with shapes checked at run time."""
    hook = "--jaxtyping-packages=llmlib,beartype.beartype"
    return pytest_stage("unit", "-m", "not bad_input and not browser", hook)


def bad_input() -> Result:
    """Wrong input; without the shape checks, which would raise before our own."""
    return pytest_stage("bad_input", "-m", "bad_input")


def notebooks() -> Result:
    """Runs every notebook and compares with the outputs stored in it, cell by cell."""
    files = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "chapters").glob("*.ipynb"))
    if not files:
        return Result(failed=1, failures=["notebooks: there are none in chapters/"])
    jobs = max(1, min(len(files), os.cpu_count() or 1))
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    nbval = ["--nbval", "--nbval-current-env", "--nbval-cell-timeout=300"]
    spread = ["-n", str(jobs), "--dist", "loadfile"]  # a notebook's cells share a kernel
    settings = ROOT / "_build" / "ipython"  # not the reader's own, which may change outputs
    settings.mkdir(parents=True, exist_ok=True)
    return pytest_stage(
        "notebooks",
        *nbval,
        *spread,
        *files,
        OMP_NUM_THREADS=threads,
        PYTHONPATH=str(ROOT),
        IPYTHONDIR=str(settings),
    )


def other_cpus() -> Result:
    """Notebooks as other machines would run them: a third, or with LLMLIB_FULL all on each."""
    result = Result()
    for play in todays():
        jobs = str(max(1, min(len(play.chapters), os.cpu_count() or 1)))
        part = pytest_stage(
            f"other_cpus-{play.machine}", "-n", jobs, *play.arguments, **play.environment
        )
        result.passed += part.passed
        result.failed += part.failed
        result.skipped += part.skipped
        result.failures += [f"{play.machine}: {name}" for name in part.failures]
    return result


def book() -> Result:
    """Builds all pages from the stored outputs; a warning is an error."""
    result = Result()
    ok = python("llmlib.book.site", "--strict") == 0
    result.record(ok, "the book builds without a warning")
    if ok:
        STAMP.touch()  # `make book` has nothing left to do
    return result


def browser() -> Result:
    """The built pages in headless Chromium."""
    spread = ["-n", "2", "--dist", "loadgroup"]  # a page's tests share its browser
    return pytest_stage("browser", "-m", "browser", *spread, "tests/browser")


STAGES = {
    "lint": lint,
    "unit": unit,
    "bad_input": bad_input,
    "notebooks": notebooks,
    "other_cpus": other_cpus,
    "book": book,
    "browser": browser,
}


def report(results: dict[str, Result]) -> int:
    """Prints the table, what failed, what was skipped, and the count; returns the exit status."""
    print(f"\n{'stage':<12}{'passed':>8}{'failed':>8}{'skipped':>9}{'seconds':>9}")
    for name, result in results.items():
        counts = f"{result.passed:>8}{result.failed:>8}{len(result.skipped):>9}"
        print(f"{name:<12}{counts}{result.seconds:>9.1f}")
    for word in ("failures", "skipped"):
        names = [(stage, name) for stage, r in results.items() for name in getattr(r, word)]
        if names:
            print(f"\n{'failed' if word == 'failures' else word}:")
            print("\n".join(f"  {stage}: {name}" for stage, name in names))
    passed = sum(result.passed for result in results.values())
    failed = sum(result.failed for result in results.values())
    print(f"\n{passed} passed, {failed} failed", flush=True)
    return 1 if failed or not passed else 0


def main() -> int:
    """Reads the command line and runs the stages."""
    parser = argparse.ArgumentParser(description="Run the tests of the book.")
    parser.add_argument("stages", nargs="*", metavar="stage", help=", ".join(STAGES))
    chosen = parser.parse_args().stages or list(STAGES)
    if unknown := [name for name in chosen if name not in STAGES]:
        parser.error(f"no stage {unknown[0]!r}; there are {', '.join(STAGES)}")
    results = {}
    for name in chosen:
        print(f"\n=== {name}: {STAGES[name].__doc__}", flush=True)
        start = time.perf_counter()
        results[name] = STAGES[name]()
        results[name].seconds = time.perf_counter() - start
    return report(results)


if __name__ == "__main__":
    sys.exit(main())
