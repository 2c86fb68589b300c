"""For which sources the compiled table holds, and for which every planted bug was seen.

Both take minutes and depend on nothing but some files and the versions of a few packages. So the
fingerprint of those stands beside them, in verified.json: while it is that of the sources at hand,
what was found for it holds; when it is another, and under LLMLIB_FULL=1, the tests compile and
plant anew.

    python -m tests.kernels.verified      does so for what changed, and stores the new fingerprints
"""

import ast
import hashlib
import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STORED = Path("tests/kernels/verified.json")
TABLE = Path("llmlib/book/labs/flash_kernel/kernels.tsv")
# Where the imports begin, which packages count, and what else does.
COMPILED = ("tests.kernels.ahead_of_time", ["triton"], [TABLE])
PLANTED = ("tests.kernels.worker", ["triton", "torch", "numpy"], [])
KINDS = {"compiled": COMPILED, "planted": PLANTED}


def module_file(name: str, root: Path) -> Path | None:
    """The file of a module of ours, below the root."""
    path = Path(*name.split("."))
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if (root / file).exists():
            return file
    return None


def imported(start: str, root: Path = ROOT) -> list[Path]:
    """The files that a module imports, directly or through others, wherever in a file; and its own.

    The package of a module counts only where it is imported itself.
    """
    waiting, seen = [start], set()
    while waiting:
        file = module_file(waiting.pop(), root)
        if file is None or file in seen:
            continue
        seen.add(file)
        for node in ast.walk(ast.parse((root / file).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                waiting += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                inner = [f"{node.module}.{alias.name}" for alias in node.names]
                modules = [name for name in inner if module_file(name, root)]
                waiting += modules if len(modules) == len(inner) else [*modules, str(node.module)]
    return sorted(seen)


def version(package: str) -> str:
    """The installed version; none where a package is not published for this machine."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"


def fingerprint(kind: str, root: Path = ROOT) -> str:
    """A hash of all that the outcome depends on."""
    start, packages, others = KINDS[kind]
    found = hashlib.sha256()
    for package in packages:
        # A build's suffix, as in 2.13.0+cpu, names the machine it is for.
        found.update(f"{package} {version(package).partition('+')[0]}\n".encode())
    for file in [*imported(start, root), *others]:
        content = hashlib.sha256((root / file).read_bytes()).hexdigest()
        found.update(f"{file.as_posix()} {content}\n".encode())
    return found.hexdigest()


def holds(kind: str, root: Path = ROOT) -> bool:
    """Whether what is stored was found for the sources at hand."""
    stored = json.loads((root / STORED).read_text(encoding="utf-8"))
    return stored.get(kind) == fingerprint(kind, root)


def plant_all() -> None:
    """Runs every mutant; raises if one is not seen, or if the kernels as they are do not pass."""
    from tests.kernels.mutants import MUTANTS

    jobs = "".join(json.dumps({"name": name}) + "\n" for name in ["unchanged", *MUTANTS])
    done = subprocess.run(
        [sys.executable, "-m", "tests.kernels.worker"], input=jobs, cwd=ROOT, text=True,
        stdout=subprocess.PIPE, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    problems = {line["name"]: line["problem"] for line in map(json.loads, done.stdout.splitlines())}
    if (wrong := problems.pop("unchanged")) is not None:
        raise ValueError(f"the kernels as they are: {wrong}")
    unseen = [name for name in MUTANTS if problems[name] is None or "occurs" in problems[name]]
    if unseen:
        raise ValueError(f"planted bugs that no case sees: {unseen}")


def main() -> None:
    """Finds out what does not hold any more, and stores for which sources it then does."""
    stored = json.loads((ROOT / STORED).read_text(encoding="utf-8"))
    if not holds("compiled"):
        command = [sys.executable, "-m", "tests.kernels.ahead_of_time", "--store"]
        subprocess.run(command, cwd=ROOT, check=True)
        stored["compiled"] = fingerprint("compiled")
    if not holds("planted"):
        plant_all()
        stored["planted"] = fingerprint("planted")
    (ROOT / STORED).write_text(json.dumps(stored, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
