"""What compiled generation needs and the book does not: a C++ compiler and Python's headers."""

import os
import shutil
import subprocess
import sys
import sysconfig


def why_no_compiler() -> str | None:
    """Why PyTorch cannot compile here, and what to install; None if it can."""
    names = ("clang++",) if sys.platform == "darwin" else ("g++",)
    found = next(filter(None, map(shutil.which, (os.environ.get("CXX", ""), *names))), None)
    if found is None:
        return (
            "no C++ compiler, which this test alone needs "
            "(Debian, Ubuntu: apt-get install g++; macOS: xcode-select --install)"
        )
    headers = sysconfig.get_paths()["include"]
    command = [found, "-x", "c++", "-fsyntax-only", f"-I{headers}", "-"]
    done = subprocess.run(command, input="#include <Python.h>\n", text=True, capture_output=True)
    if done.returncode == 0:
        return None
    return (
        f"{found} finds no Python.h in {headers}, which this test alone needs "
        f"(Debian, Ubuntu: apt-get install python3-dev): {done.stderr.strip()[:300]}"
    )
