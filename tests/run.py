"""Runs every test of the book and counts them: python -m tests.run [stage ...].

The stages are declared in tests/stages.py. All of them run, also after a failure, side by side as
far as there are cores (tests/schedule.py); what each says stands in _build/tests/<stage>.log. The
last line is "N passed, N failed".
"""

import argparse
import signal
import sys
import time
from typing import Any

from tests.schedule import Result, ordered, run_all
from tests.stages import STAGES

INTERRUPTED = 130  # the exit status of what Ctrl-C ends


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


def interrupt(*_: Any) -> None:
    """Whoever ends this process ends what it started, as Ctrl-C does."""
    raise KeyboardInterrupt


def main() -> int:
    """Reads the command line and runs the stages."""
    parser = argparse.ArgumentParser(description="Run the tests of the book.")
    parser.add_argument("stages", nargs="*", metavar="stage", help=", ".join(STAGES))
    chosen = parser.parse_args().stages or list(STAGES)
    if unknown := [name for name in chosen if name not in STAGES]:
        parser.error(f"no stage {unknown[0]!r}; there are {', '.join(STAGES)}")
    signal.signal(signal.SIGTERM, interrupt)
    start = time.perf_counter()
    try:
        results = run_all(ordered(chosen, STAGES))
    except KeyboardInterrupt:
        print("\ninterrupted: every stage was ended", flush=True)
        return INTERRUPTED
    minutes, seconds = divmod(round(time.perf_counter() - start), 60)
    print(f"\nall stages together took {minutes} min {seconds} s")
    return report(results)


if __name__ == "__main__":
    sys.exit(main())
