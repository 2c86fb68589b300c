"""Mends an environment that was moved or copied with its folder: moved.py OLD_FOLDER VENV

Its packages work where they are; what holds the old path are the programs in bin/, by their first
line, and the scripts that activate it. Nothing is downloaded.
"""

import re
import sys
import venv
from pathlib import Path

# What pip writes where the path has a blank or is long: a shell that starts the Python.
WRAPPED = re.compile(rb"\A#!/bin/sh\n'''exec' [^\n]*\n' '''\n")
PLAIN = re.compile(rb"\A#![^\n]*\n")
LONGEST = 120


def head(python: str) -> bytes:
    """The first line, or lines, of a program that this Python runs."""
    if " " in python or len(python) > LONGEST:
        return f"#!/bin/sh\n'''exec' \"{python}\" \"$0\" \"$@\"\n' '''\n".encode()
    return f"#!{python}\n".encode()


def mended(program: bytes, old: str, python: str) -> bytes:
    """`program` with another Python in its head, where that names a file below `old`."""
    found = WRAPPED.match(program) or PLAIN.match(program)
    if found is None or f"{old}/".encode() not in found[0]:
        return program
    return head(python) + program[found.end() :]


def main() -> None:
    old, environment = sys.argv[1], Path(sys.argv[2]).absolute()
    for file in sorted((environment / "bin").iterdir()):
        if file.is_symlink() or not file.is_file():
            continue
        before = file.read_bytes()
        after = mended(before, f"{old}/{environment.name}", str(environment / "bin" / "python"))
        if after != before:
            file.write_bytes(after)
            print(f"mended {file.name}")
    builder = venv.EnvBuilder(symlinks=True)
    builder.setup_scripts(builder.ensure_directories(str(environment)))  # the activating scripts


if __name__ == "__main__":
    main()
