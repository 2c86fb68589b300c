"""Compiles the Triton kernels for three chips without a GPU and reads what they need.

    python -m tests.kernels.ahead_of_time --store     writes the chapter's kernels.tsv anew
    python -m tests.kernels.ahead_of_time             reads rows on stdin, prints what it finds now

Registers and spilled bytes come from the compiled code itself (cuobjdump), tensor-core
instructions from its listing (nvdisasm), shared memory from Triton; the tools ship with Triton.
Kernels are compiled for a causal mask, strides that 16 divides and any lengths; those "with all
options" also for a window, a cap, ALiBi and packed texts. It must not run under TRITON_INTERPRET.
"""

import argparse
import csv
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from llmlib.flash_attention.tiles import FLOAT32, TABLE, Tiles, candidates, guarded

ROOT = Path(__file__).resolve().parents[2]
STORED = ROOT / "llmlib" / "book" / "labs" / "flash_kernel" / "kernels.tsv"
WIDTHS = (64, 128, 256)
SHARED_MEMORY = {"sm_80": 163, "sm_90": 227, "sm_100": 227}  # KiB that one block may take
SMALLEST_SHARED_MEMORY = 99  # KiB, of GeForce cards
TENSOR_CORE = re.compile(r"\b(HMMA|HGMMA|UTCHMMA)\b")
# Rows or parts of a program, at their most; as launch.py starts them, with 3 stages by default.
SMALL = {"delta": Tiles(64, 1, 4, 3), "merge": Tiles(128, 1, 8, 3)}
OPTIONS = ("slopes_ptr", "cu_q_ptr", "cu_k_ptr", "softcap", "window")
WIDE = ["lse_ptr", "d_lse_ptr", "delta_ptr", "part_ptr", "part_lse_ptr", "slopes_ptr"]
TYPES = {
    **dict.fromkeys(WIDE, "*fp32"),
    **dict.fromkeys(["noted_ptr", "cu_q_ptr", "cu_k_ptr"], "*i32"),
    **dict.fromkeys(["scale", "softcap"], "fp32"),
}
KINDS = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}
WORKERS = 2


@dataclass
class Row:
    """A line of the table: what was asked for, and what came out."""

    chip: str
    kernel: str
    head_dim: int
    dtype: str
    tile: str
    warps: int
    stages: int
    registers: int = 0
    spills: int = 0
    shared_memory: int = 0
    tensor_core_instructions: int = 0
    reason: str = ""

    @property
    def asked(self) -> tuple[Any, ...]:
        """What identifies a row."""
        return astuple(self)[:7]


def shipped() -> list[Row]:
    """A row for each configuration that the launcher may choose, and for its guarded run."""
    rows = []
    for major, minor in TABLE:
        for kernel in ("forward", "dq", "dk_dv", "decode"):
            for width in WIDTHS:
                chip = f"sm_{major}{minor}"
                for tiles in candidates(kernel, (major, minor), width, torch.bfloat16):
                    rows.append(row(chip, kernel, width, "bfloat16", tiles))
                    if kernel != "decode" and (again := guarded(kernel, tiles)) is not None:
                        rows.append(row(chip, f"{kernel} guarded", width, "bfloat16", again))
                first = candidates(kernel, (major, minor), width, torch.float16)[0]
                if width == WIDTHS[0]:
                    rows.append(row(chip, kernel, width, "float16", first))
                    rows.append(row(chip, f"{kernel} with all options", width, "bfloat16", first))
        for kernel, tiles in SMALL.items():
            rows.append(row(f"sm_{major}{minor}", kernel, WIDTHS[-1], "bfloat16", tiles))
    for kernel, by_width in FLOAT32.items():
        rows += [row("sm_80", kernel, width, "float32", by_width[width][0]) for width in WIDTHS]
    return list({one.asked: one for one in rows}.values())


def row(chip: str, kernel: str, width: int, dtype: str, tiles: Tiles) -> Row:
    """What to compile."""
    tile = f"{tiles.queries}x{tiles.keys}"
    return Row(chip, kernel, width, dtype, tile, tiles.warps, tiles.stages)


def source(asked: Row) -> Any:
    """A kernel with the types and constants that a launch would give it."""
    from triton.compiler import ASTSource

    from llmlib.flash_attention import triton_backward, triton_decode, triton_kernels

    name = asked.kernel.split()[0]
    kernel = {
        "forward": triton_kernels.forward_kernel, "dq": triton_backward.dq_kernel,
        "dk_dv": triton_backward.dk_dv_kernel, "decode": triton_decode.decode_kernel,
        "delta": triton_backward.delta_kernel, "merge": triton_decode.merge_kernel,
    }[name]  # fmt: skip
    queries, keys = map(int, asked.tile.split("x"))
    constants: dict[Any, Any] = {
        "D": asked.head_dim, "BLOCK_D": asked.head_dim, "DV": asked.head_dim,
        "BLOCK_DV": asked.head_dim, "BLOCK_Q": queries, "BLOCK_K": keys,
        "GUARD": "guarded" in asked.kernel, "CAUSAL": name != "decode",
        "SPLITS": queries,
    }  # fmt: skip
    if "with all options" not in asked.kernel:
        constants |= dict.fromkeys(OPTIONS)
    signature: dict[str, Any] = {}
    aligned: dict[tuple[int, ...], Any] = {}
    for index, argument in enumerate(kernel.arg_names):
        if argument in constants:
            signature[argument] = "constexpr"
        elif argument.endswith("_steps"):  # rows of lse lie side by side
            last = "constexpr" if argument == "lse_steps" else "i32"
            signature[argument] = ("i32", "i32", last)
            if last == "constexpr":
                constants[index, 2] = 1
            for part in range(2 if last == "constexpr" else 3):
                aligned[index, part] = [["tt.divisibility", 16]]
        elif argument.endswith("_ptr"):
            signature[argument] = TYPES.get(argument, f"*{KINDS[asked.dtype]}")
            aligned[(index,)] = [["tt.divisibility", 16]]
        else:
            signature[argument] = TYPES.get(argument, "i32")
    constants = {k: v for k, v in constants.items() if k in kernel.arg_names or type(k) is tuple}
    return ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=aligned)


def compiled(asked: Row) -> Row:
    """The row with what the compiled kernel needs."""
    import triton
    from triton.backends.compiler import GPUTarget

    target = GPUTarget("cuda", int(asked.chip.removeprefix("sm_")), 32)
    options = {"num_warps": asked.warps, "num_stages": asked.stages}
    kernel = triton.compile(source(asked), target=target, options=options)
    tools = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(kernel.asm["cubin"])
        file.flush()
        read = lambda *command: subprocess.run(  # noqa: E731
            [str(tools / command[0]), *command[1:], file.name],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        usage = dict(re.findall(r"(REG|STACK):(\d+)", read("cuobjdump", "-res-usage")))
        listing = read("nvdisasm", "-c")
    spilled = bool(re.search(r"\b(STL|LDL)[.\s]", listing))
    assert spilled == (int(usage["STACK"]) > 0), f"{asked}: stack {usage}, spills {spilled}"
    return Row(
        *asked.asked, int(usage["REG"]), int(usage["STACK"]), kernel.metadata.shared,
        len(TENSOR_CORE.findall(listing)), asked.reason,
    )  # fmt: skip


def all_compiled(rows: list[Row]) -> list[Row]:
    """The rows, some at a time, without what was compiled before."""
    assert os.environ.get("TRITON_INTERPRET") != "1", "the interpreter compiles nothing"
    with tempfile.TemporaryDirectory() as cache:
        os.environ["TRITON_CACHE_DIR"] = cache
        with multiprocessing.get_context("spawn").Pool(WORKERS) as pool:
            return pool.map(compiled, rows, chunksize=1)


def load() -> list[Row]:
    """The stored table."""
    with STORED.open(encoding="utf-8", newline="") as file:
        return read_rows(file)


def read_rows(file: Any) -> list[Row]:
    """The inverse of `write`."""
    lines = list(csv.DictReader(file, delimiter="\t"))
    kinds = {field.name: field.type for field in fields(Row)}
    convert = lambda name, text: int(text) if kinds[name] is int else text  # noqa: E731
    return [Row(**{name: convert(name, text) for name, text in line.items()}) for line in lines]


def write(rows: list[Row], file: Any) -> None:
    """A header and a line a row."""
    writer = csv.writer(file, delimiter="\t", lineterminator="\n")
    writer.writerow([field.name for field in fields(Row)])
    writer.writerows(astuple(row) for row in rows)


def main() -> None:
    """Stores the table, keeping the reasons that stand in it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", action="store_true", help=f"write {STORED.name} anew")
    rows = shipped()
    if parser.parse_args().store:
        reasons = {row.asked: row.reason for row in load()} if STORED.exists() else {}
        rows = all_compiled(rows)
        for one in rows:
            one.reason = reasons.get(one.asked, "") if one.spills else ""
        with STORED.open("w", encoding="utf-8", newline="") as file:
            write(rows, file)
    else:
        write(all_compiled(read_rows(sys.stdin)), sys.stdout)


if __name__ == "__main__":
    main()
