"""What a reader's machine must have, what the installer says where it has not, and the pins."""

import ast
import importlib.metadata
import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
CHECK = runpy.run_path(str(ROOT / "tools" / "check_python.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
README = (ROOT / "README.md").read_text(encoding="utf-8")
# The name that is imported, where it is not that of the package.
NAMED_OTHERWISE = {"IPython": "ipython", "fontTools": "fonttools", "yaml": "pyyaml"}


def pins(*files: str) -> dict[str, Requirement]:
    """The packages pinned in these files that this system installs."""
    lines = [line for name in files for line in (ROOT / name).read_text("utf-8").splitlines()]
    texts = [re.split(r" --hash| #|^#", line)[0].strip() for line in lines]
    wanted = [Requirement(text) for text in texts if text]
    here = [one for one in wanted if one.marker is None or one.marker.evaluate()]
    return {canonicalize_name(one.name): one for one in here}


PACKAGES = pins("requirements.txt")
PINS = {**PACKAGES, **pins("requirements-weights.txt")}

# --- pins -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PINS)
def test_every_pin_is_installed_and_takes_every_python_that_the_readme_names(name: str) -> None:
    found = importlib.metadata.distribution(name)
    assert found.version in PINS[name].specifier
    takes = SpecifierSet(found.metadata["Requires-Python"] or "")
    least, newest = (CHECK["dotted"](CHECK[end]) for end in ("LEAST", "NEWEST"))
    for version in (f"{least}.0", f"{least}.2", f"{newest}.0"):
        assert version in takes, f"{name} {found.version} needs Python {takes}"


def test_what_an_installed_package_needs_is_pinned() -> None:
    missing = []
    for name in PACKAGES:  # the weights are installed alone: their code is never imported
        for text in importlib.metadata.requires(name) or []:
            need = Requirement(text)
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                pin = PACKAGES.get(canonicalize_name(need.name), Requirement("none==0"))
                version = next(iter(pin.specifier)).version
                if pin.name == "none" or not need.specifier.contains(version, prereleases=True):
                    missing.append(f"{name} needs {need}")
    assert missing == []


def test_one_least_python_everywhere() -> None:
    least, newest = (CHECK["dotted"](CHECK[end]) for end in ("LEAST", "NEWEST"))
    assert PROJECT["requires-python"] == f">={least}"
    assert f"Python {least} to {newest}" in README
    script = (ROOT / "tools" / "install.sh").read_text(encoding="utf-8")
    tried = re.search(r"for PYTHON in ([^;]*);", script)
    assert tried is not None
    versions = [f"python3.{minor}" for minor in range(CHECK["LEAST"][1], CHECK["NEWEST"][1] + 1)]
    assert tried[1].split() == [*versions, "python3"]


# --- what llmlib declares -------------------------------------------------------------------


def imported(path: Path) -> set[str]:
    """The packages, other than Python's own, that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module))
    tops = {name.split(".")[0] for name in found}
    return {NAMED_OTHERWISE.get(top, top) for top in tops - sys.stdlib_module_names - {"llmlib"}}


def declared(*extras: str) -> set[str]:
    """What pyproject.toml asks for, with these extras."""
    lists = [PROJECT["dependencies"], *(PROJECT["optional-dependencies"][name] for name in extras)]
    return {canonicalize_name(Requirement(text).name) for needs in lists for text in needs}


MODULES = sorted((ROOT / "llmlib").rglob("*.py"))
IS_BOOK = {path: "book" in path.relative_to(ROOT).parts for path in MODULES}
STARTED = {"ipykernel"}  # not imported: Jupyter starts it as the kernel


def test_every_import_is_declared_and_everything_declared_is_imported() -> None:
    library = set[str]().union(*(imported(path) for path in MODULES if not IS_BOOK[path]))
    book = set[str]().union(*(imported(path) for path in MODULES if IS_BOOK[path]))
    assert {"torch", "safetensors"} <= library  # the walk sees something
    assert library == declared("triton")
    assert book - declared() == declared("book") - declared() - STARTED
    assert "triton" not in declared()


@pytest.mark.parametrize("module", ["launch", "triton_kernels", "triton_backward", "triton_decode"])
def test_without_triton_its_kernels_say_how_to_get_it(module: str) -> None:
    program = (
        "import sys; sys.modules['triton'] = None; import torch; "
        "from llmlib.flash_attention import flash_attention; "
        "q = torch.ones(1, 1, 2, 4); print(flash_attention(q, q, q).shape); "
        f"import llmlib.flash_attention.{module}"
    )
    done = subprocess.run([sys.executable, "-c", program], text=True, capture_output=True, cwd=ROOT)
    assert "torch.Size([1, 1, 2, 4])" in done.stdout, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ModuleNotFoundError: the Triton kernels need Triton"), last
    assert f"pip install {PINS['triton'].name}{PINS['triton'].specifier}" in last


# --- the system and the Python --------------------------------------------------------------

DEBIAN = {
    "version": (3, 11, 2),
    "implementation": "CPython",
    "bits": 64,
    "free_threaded": False,
    "system": "Linux",
    "machine": "x86_64",
    "glibc": "2.36",
    "macos": "",
}
MAC = {**DEBIAN, "system": "Darwin", "machine": "arm64", "glibc": "", "macos": "14.0"}


@pytest.mark.parametrize(
    "known",
    [
        DEBIAN,
        {**DEBIAN, "version": (3, 14, 2)},
        {**DEBIAN, "machine": "aarch64", "glibc": "2.28"},
        MAC,
        {**MAC, "macos": "26.1"},
    ],
)
def test_what_the_readme_names_is_taken(known: dict) -> None:
    assert CHECK["why_not"](known) == ""


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ({**DEBIAN, "version": (3, 10, 13)}, "it is Python 3.10.13; the book needs 3.11 to 3.14"),
        ({**DEBIAN, "version": (3, 15, 0)}, "it is Python 3.15.0; the book needs 3.11 to 3.14"),
        ({**DEBIAN, "version": (2, 7, 18)}, "it is Python 2.7.18"),
        ({**DEBIAN, "glibc": ""}, "another C library (Alpine: musl)"),
        ({**DEBIAN, "glibc": "2.27"}, "needs glibc 2.28 or newer, this is 2.27"),
        ({**DEBIAN, "machine": "riscv64"}, "no build for Linux on riscv64"),
        ({**DEBIAN, "machine": "i686", "bits": 32}, "no build for Linux on i686"),
        ({**DEBIAN, "bits": 32}, "a 32-bit Python"),
        ({**DEBIAN, "implementation": "PyPy"}, "it is PyPy"),
        ({**DEBIAN, "free_threaded": True}, "free-threaded"),
        ({**MAC, "machine": "x86_64"}, "no build for Macs with an Intel processor"),
        ({**MAC, "macos": "13.7"}, "needs macOS 14 or newer, this is 13.7"),
        ({**DEBIAN, "system": "Windows", "machine": "AMD64", "glibc": ""}, "inside WSL"),
        ({**DEBIAN, "system": "FreeBSD"}, "not on FreeBSD"),
    ],
)
def test_what_cannot_work_is_told_in_one_line(known: dict, said: str) -> None:
    reason = CHECK["why_not"](known)
    assert said in reason
    assert "\n" not in reason


def test_this_python_is_taken_and_every_old_one_can_read_the_check() -> None:
    assert CHECK["why_not"](CHECK["facts"]()) == ""
    ast.parse((ROOT / "tools" / "check_python.py").read_text("utf-8"), feature_version=(3, 4))
