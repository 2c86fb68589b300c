"""The stages of `make test`, in the order in which they start while cores are free.

The long ones come early, so that the short ones fill what is left at the end. A stage is declared
by its function, what has to end before it, and how many cores it can use.
"""

from tests.other_cpus import todays
from tests.schedule import ROOT, Job, Result, Stage

STAMP = ROOT / "_build" / "book.stamp"
SHAPES = "--jaxtyping-packages=llmlib,beartype.beartype"
BY_FILE = ("--dist", "loadfile")  # the tests of a file share fixtures; a notebook's cells a kernel
APART = (
    "bad_input",
    "unchecked",
    "browser",
    "lab",
)  # marks of tests that a stage of their own runs


def lint(job: Job) -> Result:
    """Style and types."""
    result = Result()
    checks = (["ruff", "check"], ["ruff", "format", "--check"], ["mypy"])
    for check in checks:
        job.write(f"$ {' '.join(check)}\n".encode())
        result.record(job.python(*check) == 0, " ".join(check))
    return result


def book(job: Job) -> Result:
    """Builds all pages from the stored outputs; a warning is an error."""
    result = Result()
    ok = job.python("llmlib.book.site", "--strict") == 0
    result.record(ok, "the book builds without a warning")
    if ok:
        STAMP.touch()  # `make book` has nothing left to do
    return result


def browser(job: Job) -> Result:
    """The built pages in headless Chromium."""
    # A page's tests share its browser, and one waits for its pages about as long as it works.
    workers = max(2, job.cores)
    spread = ["--dist", "loadgroup"]
    return job.pytest("-m", "browser", *spread, "tests/browser", workers=workers)


def unit(job: Job) -> Result:
    """Every test that needs no browser, with shapes checked at run time."""
    marks = " and ".join(f"not {mark}" for mark in APART)
    # The longest stage: with two workers it does not end alone on one core.
    workers = max(2, job.cores)
    return job.pytest("-m", marks, SHAPES, "--durations=20", *BY_FILE, workers=workers)


def notebooks(job: Job) -> Result:
    """Runs every notebook and compares with the outputs stored in it, cell by cell."""
    files = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "chapters").glob("*.ipynb"))
    if not files:
        return Result(failed=1, failures=["notebooks: there are none in chapters/"])
    settings = ROOT / "_build" / "ipython"  # not the reader's own, which may change outputs
    settings.mkdir(parents=True, exist_ok=True)
    nbval = ["--nbval", "--nbval-current-env", "--nbval-cell-timeout=300"]
    return job.pytest(
        *nbval, *BY_FILE, *files, workers=min(len(files), job.cores),
        PYTHONPATH=str(ROOT), IPYTHONDIR=str(settings),
    )  # fmt: skip


def other_cpus(job: Job) -> Result:
    """Notebooks as other machines would run them: a third, or with LLMLIB_FULL all on each."""
    result = Result()
    for play in todays():
        workers = min(len(play.chapters), job.cores)
        result.add(
            job.pytest(*play.arguments, workers=workers, part=play.machine, **play.environment)
        )
    return result


def lab(job: Job) -> Result:
    """The notebooks in JupyterLab, in headless Chromium."""
    return job.pytest("-m", "lab", "tests/lab")


def bad_input(job: Job) -> Result:
    """Wrong input and compiled programs; without the shape checks, which would come first."""
    return job.pytest("-m", "bad_input or unchecked")


STAGES = {
    "lint": Stage(lint, cores=1),
    "book": Stage(book, cores=1),
    "browser": Stage(browser, needs=("book",)),
    "unit": Stage(unit),
    "notebooks": Stage(notebooks),
    "other_cpus": Stage(other_cpus),
    "lab": Stage(lab, cores=1),
    "bad_input": Stage(bad_input, cores=1),
}
