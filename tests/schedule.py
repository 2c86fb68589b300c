"""Stages side by side: each has its share of the cores, a log of its own, and an end.

A stage is a function of a `Job`, through which it starts its commands; `run_all` runs two stages
at a time, each on half of the cores. What a command says goes into the stage's log, which is
printed whole if anything in it failed.
"""

import os
import re
import signal
import subprocess
import sys
import threading
import time
import traceback
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import psutil

ROOT = Path(__file__).resolve().parent.parent
REPORTS = ROOT / "_build" / "tests"
NO_TESTS_COLLECTED = 5
LANES = 2  # stages at a time: while one waits for a browser or a kernel, the other works
EVERY = 30  # seconds between two lines of progress
GRACE = 10  # seconds that an interrupted command has to clean up
PERCENT = re.compile(rb"\[ *(\d+)%\]")


def usable_cores() -> int:
    """The cores that this process may use, which a container may have made fewer."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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

    def add(self, other: "Result") -> None:
        """Takes over what another run of the same stage found."""
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        self.failures += other.failures


class Job:
    """One stage at work: its cores, its log and the processes that it started."""

    def __init__(
        self,
        name: str,
        cores: int = 1,
        reports: Path = REPORTS,
        live: bool = False,
        grace: float = GRACE,
    ) -> None:
        self.name, self.cores, self.reports, self.live = name, cores, reports, live
        self.grace = grace
        self.log = reports / f"{name}.log"
        self.stopped = False
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        reports.mkdir(parents=True, exist_ok=True)
        self.log.write_bytes(b"")

    def run(self, *command: str, **environment: str) -> int:
        """Runs a command from the book's folder and returns its exit status.

        It has a thread for each of the stage's cores, unless the environment says otherwise.
        """
        threads = {"OMP_NUM_THREADS": str(self.cores), "JUPYTER_PREFER_ENV_PATH": "1"}
        with self._lock:
            if self.stopped:
                return 1
            process = subprocess.Popen(
                command, cwd=ROOT, env={**os.environ, **threads, **environment},
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
            self._running.add(process)
        reader = threading.Thread(target=self._read, args=(process.stdout,), daemon=True)
        reader.start()
        status = process.wait()
        reader.join(self.grace)  # what the command left behind may hold its output open
        self._running.discard(process)
        return status

    def _read(self, output: IO[bytes]) -> None:
        for line in output:
            self.write(line)

    def write(self, line: bytes) -> None:
        """Appends a line to the log, and shows it at once where one stage runs alone."""
        with self.log.open("ab") as log:
            log.write(line)
        if self.live:
            sys.stdout.write(line.decode(errors="replace"))
            sys.stdout.flush()

    def python(self, *arguments: str, **environment: str) -> int:
        """Runs a Python module with the interpreter that runs this."""
        return self.run(sys.executable, "-m", *arguments, **environment)

    def pytest(
        self, *arguments: str, workers: int = 1, part: str = "", **environment: str
    ) -> Result:
        """Runs pytest and counts from its XML report; no test at all is a failure.

        Args:
            arguments: what to test.
            workers: processes, which share the cores of the stage.
            part: tells the reports apart where a stage runs pytest more than once.
            environment: further variables.
        """
        name = f"{self.name}-{part}" if part else self.name
        report = self.reports / f"{name}.xml"
        report.unlink(missing_ok=True)
        spread = [] if workers == 1 else ["-n", str(workers)]
        threads = {"OMP_NUM_THREADS": str(max(1, self.cores // workers))}
        command = ["pytest", "-q", f"--junitxml={report}", *spread, *arguments]
        return counted(report, self.python(*command, **{**threads, **environment}), name)

    def progress(self) -> str:
        """The last share of its tests that pytest has printed."""
        found = PERCENT.findall(self.log.read_bytes())
        return f"{self.name} {found[-1].decode()}%" if found else self.name

    def stop(self) -> None:
        """Ends whatever the stage has started: politely first, so that fixtures clean up."""
        with self._lock:
            self.stopped = True
        started: list[psutil.Process] = []
        for process in list(self._running):
            with suppress(psutil.NoSuchProcess):
                leader = psutil.Process(process.pid)
                started += [leader, *leader.children(recursive=True)]
                leader.send_signal(signal.SIGINT)
        left = psutil.wait_procs(started, timeout=self.grace)[1]
        for one in left:
            with suppress(psutil.NoSuchProcess):
                one.kill()


def counted(report: Path, status: int, name: str) -> Result:
    """The outcome of each test in an XML report of pytest."""
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


@dataclass(frozen=True)
class Stage:
    """A part of the tests.

    Args:
        work: runs it; its docstring says in a line what it tests.
        needs: the stages that have to end before it starts, if they run at all.
        cores: how many it can use at most; None: all that it is given.
    """

    work: Callable[[Job], Result]
    needs: tuple[str, ...] = ()
    cores: int | None = None


def run_all(
    stages: Mapping[str, Stage], cores: int | None = None, reports: Path = REPORTS
) -> dict[str, Result]:
    """Runs the stages, in this order where nothing else holds, and returns what each found.

    Two at a time have half of the cores each; one that is alone has them all.
    """
    return _Schedule(stages, cores or usable_cores(), reports).run()


class _Schedule:
    """Which stages wait, and which run."""

    def __init__(self, stages: Mapping[str, Stage], cores: int, reports: Path) -> None:
        self.stages, self.reports = stages, reports
        self.cores, self.lanes = cores, min(LANES, cores)
        self.waiting = list(stages)
        self.running: dict[Future[Result], Job] = {}
        self.results: dict[str, Result] = {}
        self.begun = time.perf_counter()

    def run(self) -> dict[str, Result]:
        """Until all have ended; an interrupt ends them all."""
        with ThreadPoolExecutor(max(1, len(self.stages))) as pool:
            try:
                while self.waiting or self.running:
                    self._start(pool)
                    done = wait(self.running, EVERY, FIRST_COMPLETED).done
                    for future in done:
                        self._end(future)
                    jobs = self.running.values()
                    if not done and not any(job.live for job in jobs):
                        self._say(", ".join(job.progress() for job in jobs))
            except BaseException:
                self.waiting.clear()
                for job in self.running.values():
                    job.stop()
                raise
        return {name: self.results[name] for name in self.stages}

    def _start(self, pool: ThreadPoolExecutor) -> None:
        """Starts what may start: what it needs has ended, and a lane is free."""
        for name in list(self.waiting):
            stage = self.stages[name]
            ended = all(other in self.results for other in stage.needs if other in self.stages)
            if not ended or len(self.running) == self.lanes:
                continue
            self.waiting.remove(name)
            alone = not self.waiting and not self.running
            cores = self.cores if alone else -(-self.cores // self.lanes)
            cores = min(cores, stage.cores or cores)
            job = Job(name, cores, self.reports, live=len(self.stages) == 1)
            self._say(f"{name} starts: {(stage.work.__doc__ or '').strip().splitlines()[0]}")
            self.running[pool.submit(_timed, stage, job)] = job

    def _end(self, future: "Future[Result]") -> None:
        """Says what the stage found."""
        job = self.running.pop(future)
        self.results[job.name] = result = future.result()
        if result.failed and not job.live:
            print(f"\n--- {job.log}\n{job.log.read_text(errors='replace')}--- end of {job.name}")
        counts = f"{result.passed} passed, {result.failed} failed"
        self._say(f"{job.name} ends: {counts} in {result.seconds:.0f} s")

    def _say(self, text: str) -> None:
        minutes, seconds = divmod(int(time.perf_counter() - self.begun), 60)
        print(f"[{minutes:>2}:{seconds:02}] {text}", flush=True)


def _timed(stage: Stage, job: Job) -> Result:
    """A stage that breaks has failed; the others go on."""
    start = time.perf_counter()
    try:
        result = stage.work(job)
    except Exception:
        job.write(traceback.format_exc().encode())
        result = Result(failed=1, failures=[f"{job.name} broke off"])
    result.seconds = time.perf_counter() - start
    return result


def ordered(names: Sequence[str], stages: Mapping[str, Stage]) -> dict[str, Stage]:
    """The chosen stages in the order in which all are declared."""
    return {name: stage for name, stage in stages.items() if name in names}
