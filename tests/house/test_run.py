"""How `make test` counts, what it runs side by side, and that nothing is left running."""

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from tests.conftest import pytest_collection_modifyitems
from tests.run import report
from tests.schedule import ROOT, Job, Result, Stage, ordered, run_all
from tests.stages import STAGES

GOOD = "def test_one(): pass\ndef test_two(): pass\n"
MIXED = """
import pytest

def test_right(): pass
def test_wrong(): assert 1 == 2
@pytest.fixture
def broken(): raise RuntimeError("no")
def test_that_cannot_start(broken): pass
@pytest.mark.skip
def test_left_out(): pass
"""


@pytest.fixture
def outcome(tmp_path: Path) -> Callable[..., Result]:
    """Runs a file of tests as a stage does, away from the book's own settings."""

    def of(text: str | None, *arguments: str, workers: int = 1) -> Result:
        (tmp_path / "pytest.ini").write_text("[pytest]\n")
        if text is not None:
            (tmp_path / "test_it.py").write_text(text)
        job = Job("it", cores=workers, reports=tmp_path / "reports")
        where = ["-c", str(tmp_path / "pytest.ini"), f"--rootdir={tmp_path}", str(tmp_path)]
        plain = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_PLUGINS": "xdist.plugin"}
        return job.pytest(*where, *arguments, workers=workers, **plain)

    return of


def test_what_passes_is_counted(outcome: Callable[..., Result]) -> None:
    found = outcome(GOOD)
    assert (found.passed, found.failed, found.skipped) == (2, 0, [])


@pytest.mark.parametrize("workers", [1, 2])
def test_failures_errors_and_skips_are_told_apart(
    outcome: Callable[..., Result], workers: int
) -> None:
    found = outcome(MIXED, workers=workers)
    assert (found.passed, found.failed) == (1, 2)
    assert {name.split("::")[1] for name in found.failures} == {
        "test_wrong",
        "test_that_cannot_start",
    }
    assert [name.split("::")[1] for name in found.skipped] == ["test_left_out"]


@pytest.mark.parametrize(
    ("text", "arguments", "said"),
    [
        (None, [], "no test ran"),
        (GOOD, ["-k", "nothing"], "no test ran"),
        ("import nothing_of_this_name\n" + GOOD, [], "test_it"),  # does not even load
        ("import pytest\n@pytest.mark.skip\ndef test_one(): pass\n", [], "no test ran"),
        ("import os\ndef test_one(): pass\ndef test_two(): os._exit(3)\n", [], "no test ran"),
        (GOOD, ["--no-such-option"], "no test ran"),
        (GOOD + "import atexit, os\natexit.register(os._exit, 3)\n", [], "exit status 3"),
    ],
)
def test_no_test_and_a_bad_end_are_failures(
    outcome: Callable[..., Result], text: str | None, arguments: list[str], said: str
) -> None:
    found = outcome(text, *arguments)
    assert found.failed == 1
    assert said in found.failures[0]
    assert found.passed == 0 or said == "exit status 3"


def test_an_old_report_is_not_counted_again(outcome: Callable[..., Result]) -> None:
    assert outcome(GOOD).passed == 2
    assert outcome(GOOD, "--no-such-option").passed == 0


def test_report_ends_with_the_count_and_names_what_failed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bad = Result(failed=1, failures=["a::b"], skipped=["c::d"], passed=3)
    assert report({"one": Result(passed=2), "two": bad}) == 1
    text = capsys.readouterr().out
    assert text.splitlines()[-1] == "5 passed, 1 failed"
    assert "  two: a::b" in text
    assert "  two: c::d" in text
    assert report({"one": Result(passed=2)}) == 0
    assert report({"one": Result()}) == 1, "nothing passed: nothing was tested"


def test_another_order_keeps_the_tests_of_a_file_together() -> None:
    def ordered_by(seed: int | None) -> list[tuple[str, int]]:
        items: list[Any] = [
            SimpleNamespace(path=path, number=n) for path in "abcd" for n in range(9)
        ]
        config: Any = SimpleNamespace(getoption=lambda name: {"--shuffle": seed}[name])
        pytest_collection_modifyitems(config, items)
        return [(item.path, item.number) for item in items]

    plain, first = ordered_by(None), ordered_by(1)
    assert plain == sorted(plain)
    assert first != plain
    assert sorted(first) == plain
    assert first == ordered_by(1)
    assert first != ordered_by(2)
    assert len([path for path, _ in itertools.groupby(first, key=lambda one: one[0])]) == 4


# --- side by side -----------------------------------------------------------------------------


def recorded(events: list[str], name: str, needs: tuple[str, ...] = (), **options: int) -> Stage:
    """A stage that notes when it starts and ends, and how many cores it has."""

    def work(job: Job) -> Result:
        """Notes."""
        events.append(f"{name} starts on {job.cores}")
        time.sleep(0.2)
        events.append(f"{name} ends")
        return Result(passed=1)

    return Stage(work, needs, **options)


def test_two_stages_run_at_a_time_and_what_is_needed_comes_first(tmp_path: Path) -> None:
    events: list[str] = []
    stages = {
        "page": recorded(events, "page", needs=("book",)),
        "book": recorded(events, "book", cores=1),
        "unit": recorded(events, "unit"),
    }
    found = run_all(stages, cores=4, reports=tmp_path)
    assert list(found) == list(stages)
    assert all(result.passed == 1 for result in found.values())
    assert events[:2] == ["book starts on 1", "unit starts on 2"]
    assert events.index("book ends") < next(i for i, e in enumerate(events) if "page starts" in e)


def test_one_core_runs_one_stage_and_one_stage_has_all_cores(tmp_path: Path) -> None:
    events: list[str] = []
    run_all({name: recorded(events, name) for name in "ab"}, cores=1, reports=tmp_path)
    assert events == ["a starts on 1", "a ends", "b starts on 1", "b ends"]
    events.clear()
    run_all({"a": recorded(events, "a", needs=("not chosen",))}, cores=5, reports=tmp_path)
    assert events == ["a starts on 5", "a ends"]


def test_a_stage_that_breaks_or_fails_stops_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def breaks(job: Job) -> Result:
        """Breaks."""
        raise RuntimeError("it broke")

    def speaks(job: Job) -> Result:
        """Says something and fails."""
        job.run(sys.executable, "-c", "print('what went wrong')")
        return Result(failed=1, failures=["speaks"])

    events: list[str] = []
    stages = {
        "breaks": Stage(breaks),
        "speaks": Stage(speaks),
        "after": recorded(events, "after", needs=("breaks",)),
    }
    found = run_all(stages, cores=2, reports=tmp_path)
    assert found["breaks"].failures == ["breaks broke off"]
    assert found["after"].passed == 1
    text = capsys.readouterr().out
    assert "it broke" in text
    assert "what went wrong" in text
    assert "what went wrong" in (tmp_path / "speaks.log").read_text()


def test_a_command_has_the_threads_of_its_stage(tmp_path: Path) -> None:
    code = "import os; print(os.environ['OMP_NUM_THREADS'])"
    job = Job("it", cores=3, reports=tmp_path)
    job.run(sys.executable, "-c", code)
    job.run(sys.executable, "-c", code, OMP_NUM_THREADS="7")
    assert job.log.read_text().split() == ["3", "7"]


def test_what_a_command_leaves_behind_does_not_hold_the_stage(tmp_path: Path) -> None:
    """A process that outlives its command and holds its output open, as a kernel might."""
    left = "import subprocess, sys; subprocess.Popen(['sleep', '600']); print('done')"
    job = Job("it", reports=tmp_path, grace=0.5)
    assert job.run(sys.executable, "-c", left) == 0
    assert "done" in job.log.read_text()


def test_stages_are_declared_whole() -> None:
    for name, stage in STAGES.items():
        assert stage.work.__doc__, name
        assert set(stage.needs) <= set(STAGES), name
    assert list(ordered(["unit", "lint"], STAGES)) == ["lint", "unit"]


ENDLESS = """
import subprocess, sys
from pathlib import Path
from tests.schedule import Job, Result, Stage, run_all

HARD = '''
import signal, subprocess, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
child = subprocess.Popen(["sleep", "600"], start_new_session=True)
print(child.pid, flush=True)
time.sleep(600)
'''

def waits(job):
    "Waits."
    job.grace = 1
    job.run(sys.executable, "-c", HARD)
    job.run(sys.executable, "-c", "print('a second command')")
    return Result(passed=1)

if __name__ == "__main__":
    try:
        run_all({"a": Stage(waits), "b": Stage(waits)}, cores=2, reports=Path(sys.argv[1]))
    except KeyboardInterrupt:
        sys.exit(130)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_an_interrupt_ends_all_that_was_started(tmp_path: Path) -> None:
    """Also a process that ignores the interrupt, and one that went into a session of its own."""
    runner = subprocess.Popen(
        [sys.executable, "-c", ENDLESS, str(tmp_path)], cwd=ROOT, start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL,
        # A shell starts what runs in its background deaf to SIGINT, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    logs = [tmp_path / "a.log", tmp_path / "b.log"]
    until = time.monotonic() + 120
    while not all(log.exists() and log.read_text().strip() for log in logs):
        assert time.monotonic() < until
        assert runner.poll() is None
        time.sleep(0.05)
    started = psutil.Process(runner.pid).children(recursive=True)
    assert {int(log.read_text()) for log in logs} <= {one.pid for one in started}
    runner.send_signal(signal.SIGINT)
    assert runner.wait(timeout=120) == 130
    assert psutil.wait_procs(started, timeout=30)[1] == []
    assert not any("second" in log.read_text() for log in logs)


def test_shapes_are_checked_if_they_are_asked_to_be(request: pytest.FixtureRequest) -> None:
    """In whatever process this runs: a worker of pytest-xdist must have the hook as well."""
    import jaxtyping
    import torch

    from llmlib.normalization import rms_norm

    asked = request.config.getoption("--jaxtyping-packages") is not None
    with pytest.raises((ValueError, jaxtyping.TypeCheckError)) as wrong:
        rms_norm(torch.ones(2, 3), torch.ones(4))
    assert isinstance(wrong.value, jaxtyping.TypeCheckError) == asked
