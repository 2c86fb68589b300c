"""The Triton kernels compiled for A100, H100 and B200, on a machine without a GPU.

Registers, spills, shared memory and tensor-core instructions of every configuration that is shipped
stand in llmlib/book/labs/flash_kernel/kernels.tsv, which the chapter shows. Here the kernels are
compiled anew and must come out the same. After a change of a kernel:

    python -m tests.kernels.verified

While the fingerprint of sources, table and Triton that stands beside it is theirs, nothing is
compiled again (tests/kernels/verified.py). When it is not, the first choices are; with
LLMLIB_FULL=1 every row is.
"""

import csv
import io
import os
import platform
import subprocess
import sys
from dataclasses import astuple

import pytest
import torch

from llmlib.flash_attention.tiles import TABLE, candidates, guarded
from tests.conftest import ROOT
from tests.folding import for_each
from tests.kernels.ahead_of_time import (
    SHARED_MEMORY,
    SMALL,
    SMALLEST_SHARED_MEMORY,
    WIDTHS,
    Row,
    load,
    row,
    shipped,
    write,
)
from tests.kernels.verified import holds

HAS_TRITON = platform.system() == "Linux" and platform.machine() == "x86_64"
FULL = os.environ.get("LLMLIB_FULL") == "1"
LONGEST = 1800  # seconds


def first_choices() -> set[tuple[object, ...]]:
    """What a short call runs at each width; at one also guarded, and with all options."""
    rows = []
    for capability in TABLE:
        chip = "sm_{}{}".format(*capability)
        for kernel in ("forward", "dq", "dk_dv", "decode"):
            for width in WIDTHS:
                tiles = candidates(kernel, capability, width, torch.bfloat16)[0]
                rows.append(row(chip, kernel, width, "bfloat16", tiles))
                if width == WIDTHS[0]:
                    rows.append(row(chip, f"{kernel} with all options", width, "bfloat16", tiles))
                if kernel != "decode" and width == WIDTHS[0]:
                    again = guarded(kernel, tiles)
                    rows.append(row(chip, f"{kernel} guarded", width, "bfloat16", again))
        rows += [row(chip, name, WIDTHS[-1], "bfloat16", tiles) for name, tiles in SMALL.items()]
    return {one.asked for one in rows}


@pytest.mark.skipif(not HAS_TRITON, reason="Triton is published for Linux on x86_64 only")
def test_kernels_compile_to_what_is_stored() -> None:
    """All did, for the sources, the table and the Triton whose fingerprint is stored."""
    if FULL or not holds("compiled"):
        compile_and_compare()


def compile_and_compare() -> None:
    """Nothing but the stored table may come out."""
    chosen = [one for one in load() if FULL or one.asked in first_choices()]
    assert len(chosen) >= (90 if FULL else 40)
    text = io.StringIO()
    write(chosen, text)
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    found = subprocess.run(
        [sys.executable, "-m", "tests.kernels.ahead_of_time"], input=text.getvalue(), cwd=ROOT,
        env={**environment, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        timeout=LONGEST, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr[-2000:]
    now = list(csv.reader(io.StringIO(found.stdout), delimiter="\t"))[1:]
    stored = [[str(value) for value in astuple(one)] for one in chosen]
    changed = [f"{a}\n   now {b[7:11]}" for a, b in zip(stored, now, strict=True) if a != b]
    assert not changed, "\n".join(changed)


def test_every_shipped_configuration_is_in_the_table() -> None:
    assert [one.asked for one in load()] == [one.asked for one in shipped()]


@for_each("one", load(), ids=lambda one: "-".join(map(str, one.asked)))
def test_a_row_of_the_table(one: Row) -> None:
    """Fits the chip, spills nothing or says why, uses the tensor cores unless in float32."""
    assert 0 < one.registers <= 255
    assert 0 < one.shared_memory <= SHARED_MEMORY[one.chip] * 1024
    assert (one.spills > 0) == bool(one.reason)
    multiplies = one.dtype != "float32" and one.kernel not in SMALL
    assert (one.tensor_core_instructions > 0) == multiplies


def test_the_last_choice_fits_into_the_smallest_chip() -> None:
    """GeForce cards of the same generations have 99 KiB."""
    rows = {one.asked: one for one in load()}
    for major, minor in TABLE:
        for kernel in ("forward", "dq", "dk_dv", "decode"):
            for width in WIDTHS:
                tiles = candidates(kernel, (major, minor), width, torch.bfloat16)[-1]
                last = rows[row(f"sm_{major}{minor}", kernel, width, "bfloat16", tiles).asked]
                assert last.shared_memory <= SMALLEST_SHARED_MEMORY * 1024, last
