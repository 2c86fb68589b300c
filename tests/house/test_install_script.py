"""tools/install.sh with a Python that only acts as one: what it says, and what it leaves standing.

It runs with the programs that it needs and no other: there is no compiler among them.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NEEDED = [
    "sh",
    "awk",
    "cat",
    "chmod",
    "dirname",
    "grep",
    "head",
    "mkdir",
    "mv",
    "rm",
    "tail",
    "tee",
    "tr",
    "uname",
    "wc",
]
ACTOR = """#!/bin/sh
# Acts as a Python: `venv` copies it, `pip install` prints what $PIP_SAYS holds.
case "$*" in
tools/check_python.py) [ -z "${WHY_NOT:-}" ] || { echo "$WHY_NOT"; exit 1; } ;;
--version) echo "Python NAME" ;;
*"print(sys.version)"*) echo "NAME" ;;
"-m venv "*) mkdir -p "$3/bin" && cat "$0" >"$3/bin/python" && chmod +x "$3/bin/python" ;;
*"pip install"*) [ -z "${PIP_SAYS:-}" ] || { printf '%s\\n' "$PIP_SAYS"; exit 1; } ;;
esac
"""


@pytest.fixture
def book(tmp_path: Path) -> Path:
    """A folder with the installer, two actors, and nothing else."""
    folder = tmp_path / "a book"
    (folder / "tools").mkdir(parents=True)
    for name in ("install.sh", "check_python.py", "moved.py"):
        shutil.copy(ROOT / "tools" / name, folder / "tools")
    for name in ("requirements.txt", "requirements-weights.txt"):
        (folder / name).write_text("torch==1\n")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in NEEDED:
        programs.joinpath(name).symlink_to(str(shutil.which(name)))
    for name in ("first", "second"):
        actor(tmp_path / name, name)
    return folder


def actor(path: Path, name: str) -> None:
    path.write_text(ACTOR.replace("NAME", name))
    path.chmod(0o755)


def install(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    programs = {"PATH": str(folder.parent / "bin"), "PYTHON": str(folder.parent / "first")}
    return subprocess.run(
        ["sh", "tools/install.sh", *arguments],
        cwd=folder,
        env={**programs, **variables},
        text=True,
        capture_output=True,
        check=False,
    )


def installed(folder: Path) -> Path:
    """An environment that stands, with a file by which to know it again."""
    done = install(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    mark = folder / ".venv" / "mark"
    mark.touch()
    return mark


def test_it_installs_without_a_compiler_and_is_ready_then(book: Path) -> None:
    assert install(book, "--is-ready").returncode != 0
    installed(book)
    assert install(book, "--is-ready").returncode == 0
    assert (book / ".venv" / ".complete").read_text().strip() == str(book.resolve())


def test_a_folder_reached_through_a_link_is_the_same_folder(book: Path) -> None:
    installed(book)
    link = book.parent / "link"
    link.symlink_to(book)
    done = subprocess.run(
        ["sh", "tools/install.sh", "--is-ready"],
        cwd=link,
        env={"PATH": str(book.parent / "bin"), "PWD": str(link)},
        check=False,
    )
    assert done.returncode == 0


NETWORK = "check the network"
SAID = [
    ("WARNING: Retrying (Retry(total=4)) after connection broken\n"
     "ERROR: No matching distribution found for torch==1", NETWORK),
    ("ERROR: HTTPSConnectionPool: Max retries exceeded", NETWORK),
    ("pip._vendor.urllib3.exceptions.ReadTimeoutError: Read timed out.", NETWORK),
    ("Could not fetch URL: There was a problem confirming the ssl certificate: SSLError(1)\n"
     "ERROR: No matching distribution found for torch==1", "PIP_CERT"),
    ("ERROR: No matching distribution found for torch==1", "PIP_NO_INDEX"),
    ("ERROR: Ignored the following versions that require a different python version: 1\n"
     "ERROR: No matching distribution found for torch==1", "set PYTHON to another"),
    ("ERROR: Package 'x' requires a different Python: 3.11.2 not in '>=3.11.5'", "set PYTHON"),
    ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES", "sha256 differs"),
    ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
     "is full"),
    ("ERROR: Could not install packages due to an OSError: [Errno 13] Permission denied: '/x'",
     "belongs to somebody else"),
    ("The user requested (constraint) torch==2\nERROR: ResolutionImpossible", "a constraint"),
    ("ERROR: something new", "no more than that"),
]  # fmt: skip


@pytest.mark.parametrize(("pip", "advice"), SAID)
def test_only_a_fault_of_the_network_is_called_one(book: Path, pip: str, advice: str) -> None:
    done = install(book, PIP_SAYS=pip)
    assert done.returncode == 1
    line = done.stderr.strip().splitlines()[-1]
    assert advice in line
    assert (NETWORK in line) == (advice == NETWORK)
    last = [text for text in pip.splitlines() if text.startswith("ERROR")]
    assert not last or last[-1] in line, "pip's own reason is told"


def test_a_python_that_will_not_do_is_told_before_anything_is_made(book: Path) -> None:
    done = install(book, WHY_NOT="it is Python 3.10.1; the book needs 3.11 to 3.14")
    assert done.returncode == 1
    assert "will not do: it is Python 3.10.1; the book needs 3.11 to 3.14." in done.stderr
    assert not (book / ".venv").exists()
    done = install(book, PYTHON="no-such-python")
    assert "PYTHON=no-such-python is not a program" in done.stderr


def test_a_folder_that_cannot_be_written_is_told(book: Path) -> None:
    (book / "_build").write_text("in the way")  # a superuser may write into any folder
    done = install(book)
    assert done.returncode == 1
    assert done.stderr.strip().startswith("error: cannot write into")
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_moved_folder_keeps_its_environment(book: Path) -> None:
    installed(book)
    moved = book.rename(book.parent / "moved")
    assert install(moved, "--is-ready").returncode != 0
    done = install(moved)
    assert done.returncode == 0, done.stderr
    assert "was moved here with its folder: mending it" in done.stdout
    assert (moved / ".venv" / "mark").exists()
    assert install(moved, "--is-ready").returncode == 0


def test_another_python_is_told_and_the_old_environment_is_back_when_it_fails(book: Path) -> None:
    mark = installed(book)
    second = str(book.parent / "second")
    assert install(book, "--is-ready", PYTHON="").returncode == 0
    assert install(book, "--is-ready", PYTHON=second).returncode != 0
    done = install(book, PYTHON=second, PIP_SAYS="ERROR: Max retries exceeded")
    assert done.returncode == 1
    assert "made with Python first, not with" in done.stdout
    assert "is back" in done.stderr
    assert mark.exists()
    assert install(book, "--is-ready").returncode == 0
    assert install(book, PYTHON=second).returncode == 0
    assert not mark.exists()
    assert not (book / ".venv.previous").exists()
    assert install(book, "--is-ready", PYTHON=second).returncode == 0


def test_an_installation_that_was_killed_gives_the_old_environment_back(book: Path) -> None:
    installed(book)
    (book / ".venv").rename(book / ".venv.previous")
    (book / ".venv").mkdir()
    assert install(book).returncode == 0
    assert (book / ".venv" / "mark").exists()
    assert not (book / ".venv.previous").exists()


def test_a_python_that_an_upgrade_took_away_is_noticed(book: Path) -> None:
    mark = installed(book)
    python = book / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to(book.parent / "python3.10-is-gone")
    assert install(book, "--is-ready").returncode != 0
    done = install(book)
    assert done.returncode == 0, done.stderr
    assert "is gone or was replaced: making it anew" in done.stdout
    assert not mark.exists()


@pytest.mark.parametrize("name", ["moved", "moved to a long name " + 40 * "long"])
def test_programs_of_a_moved_environment_start(tmp_path: Path, name: str) -> None:
    """A real environment this time."""
    before, after = tmp_path / "before", tmp_path / name
    before.mkdir()
    command = [sys.executable, "-m", "venv", "--without-pip", str(before / ".venv")]
    subprocess.run(command, check=True)
    program = before / ".venv" / "bin" / "hello"
    program.write_text(f"#!{before}/.venv/bin/python\nimport sys; print(sys.prefix)\n")
    program.chmod(0o755)
    other = before / ".venv" / "bin" / "other"
    other.write_bytes(b"#!/bin/sh\n\xff\n")
    before.rename(after)
    environment = after / ".venv"
    mend = [str(ROOT / "tools" / "moved.py"), str(before), ".venv"]
    for _ in range(2):  # safe to run again
        subprocess.run([str(environment / "bin" / "python"), *mend], cwd=after, check=True)
    hello = [str(environment / "bin" / "hello")]
    shown = subprocess.run(hello, text=True, capture_output=True, check=True).stdout
    assert Path(shown.strip()) == environment
    assert (environment / "bin" / "other").read_bytes() == b"#!/bin/sh\n\xff\n"
    activate = (environment / "bin" / "activate").read_text()
    assert str(environment) in activate
    assert str(before) + os.sep not in activate
