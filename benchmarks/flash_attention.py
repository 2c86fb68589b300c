"""Flash attention on the CPU against PyTorch's own kernel, in one run.

    python benchmarks/flash_attention.py [--threads 1 2] [--lengths 1024 ... 16384] [--repeat 5]

One text, 8 heads of width 64. Printed are ratios: our time over PyTorch's for causal attention,
forward and forward with backward, in both types; then how much faster than PyTorch with a mask a
window of 1,024 is, and causal ALiBi than PyTorch with a bias; then the formula's time over ours.
Last the memory beyond the output, counted by the system in a process of its own. The runs take
turns, so that a busy machine hits all alike; medians are compared. Ten milliseconds pass between
two runs: the threads of PyTorch's kernel spin for a while after it, and would slow down whoever
comes next; after a longer rest a virtual machine's cores have to wake up first.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable

import torch
import torch.nn.functional as F
from _timing import median_seconds
from torch import Tensor

from llmlib.attention import reference_attention, visible_keys
from llmlib.flash_attention import flash_attention
from llmlib.position_encoding import alibi_bias, alibi_slopes

HEADS, WIDTH, WINDOW = 8, 64, 1024
TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
LONGEST_BACKWARD = {"float32": 16384, "bfloat16": 4096}  # PyTorch's own takes minutes beyond

PEAK = """
import sys, threading, time
import torch
from llmlib.flash_attention import flash_attention
from llmlib.attention import reference_attention
name, n = sys.argv[1], int(sys.argv[2])
def peak(what):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(x.split()[1]) for x in lines if x.startswith(what)) / 1024
q, k, v = (torch.randn(1, 8, n, 64) for _ in range(3))
run = {"flash": flash_attention, "formula": reference_attention}[name]
with torch.no_grad():
    run(*(x[:, :, :1024] for x in (q, k, v)), causal=True)
    before = peak("VmRSS")
    open("/proc/self/clear_refs", "w").write("5")
    out = run(q, k, v, causal=True)
    print(peak("VmHWM") - before - out.nbytes / 2**20)
"""


def drawn(n: int, dtype: torch.dtype, learned: bool = False) -> list[Tensor]:
    """q, k and v of one text."""
    return [torch.randn(1, HEADS, n, WIDTH, dtype=dtype, requires_grad=learned) for _ in range(3)]


def ratio(runs: dict[str, Callable[[], object]], repeat: int) -> float:
    """The first run's time over the second's."""
    first, second = median_seconds(runs, repeat, pause=0.01).values()
    return first / second


def causal(n: int, dtype: torch.dtype, backward: bool, repeat: int) -> float:
    """Our time over PyTorch's."""
    q, k, v = drawn(n, dtype, backward)
    d_out = torch.randn_like(q)

    def timed(attention: Callable[..., Tensor], **options: bool) -> Callable[[], object]:
        def run() -> object:
            out = attention(q, k, v, **options)
            return torch.autograd.grad(out, (q, k, v), d_out) if backward else out

        return run

    ours = timed(flash_attention, causal=True)
    return ratio(
        {"ours": ours, "sdpa": timed(F.scaled_dot_product_attention, is_causal=True)}, repeat
    )


def window(n: int, dtype: torch.dtype, repeat: int) -> float:
    """PyTorch's time with a mask over ours with a window."""
    q, k, v = drawn(n, dtype)
    mask = visible_keys(n, n, causal=True, window=WINDOW)
    runs = {
        "sdpa": lambda: F.scaled_dot_product_attention(q, k, v, attn_mask=mask),
        "ours": lambda: flash_attention(q, k, v, causal=True, window=WINDOW),
    }
    return ratio(runs, repeat)


def alibi(n: int, dtype: torch.dtype, repeat: int) -> float:
    """PyTorch's time with a causal bias over ours with slopes."""
    q, k, v = drawn(n, dtype)
    bias = alibi_bias(HEADS, n, n).masked_fill(~visible_keys(n, n, causal=True), -torch.inf)
    bias, slopes = bias.to(dtype)[None], alibi_slopes(HEADS)
    runs = {
        "sdpa": lambda: F.scaled_dot_product_attention(q, k, v, attn_mask=bias),
        "ours": lambda: flash_attention(q, k, v, causal=True, alibi_slopes=slopes),
    }
    return ratio(runs, repeat)


def formula(n: int, repeat: int) -> float:
    """The formula's time over ours, float32."""
    q, k, v = drawn(n, torch.float32)
    runs = {
        "formula": lambda: reference_attention(q, k, v, causal=True),
        "ours": lambda: flash_attention(q, k, v, causal=True),
    }
    return ratio(runs, repeat)


def peak(name: str, n: int) -> str:
    """MB beyond the output, where the system tells."""
    run = [sys.executable, "-c", PEAK, name, str(n)]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    return f"{float(done.stdout):.0f} MB" if done.returncode == 0 else "not told"


def row(name: str, found: dict[int, float]) -> None:
    """One line of ratios by length."""
    print(
        f"{name:<44}" + "".join(f"{n:>8,} {value:5.2f}" for n, value in found.items()), flush=True
    )


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--lengths", type=int, nargs="+", default=[1024, 2048, 4096, 8192, 16384])
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    for threads in options.threads:
        torch.set_num_threads(threads)
        print(f"\n{threads} thread(s), median of {options.repeat}")
        for kind, dtype in TYPES.items():
            for backward in (False, True):
                lengths = [n for n in options.lengths
                           if not backward or n <= LONGEST_BACKWARD[kind]]  # fmt: skip
                what = "forward and backward" if backward else "forward"
                found = {n: causal(n, dtype, backward, options.repeat) for n in lengths}
                row(f"ours / PyTorch, causal, {kind}, {what}", found)
            with torch.no_grad():
                long = [n for n in options.lengths if n >= 4096]
                found = {n: window(n, dtype, min(options.repeat, 3)) for n in long}
                row(f"PyTorch / ours, window {WINDOW:,}, {kind}", found)
                row(f"PyTorch / ours, ALiBi, {kind}", {4096: alibi(4096, dtype, options.repeat)})
        with torch.no_grad():
            row("formula / ours, float32", {4096: formula(4096, min(options.repeat, 3))})
    for n in (4096, 16384):
        print(f"memory beyond the output at {n:,}: ours {peak('flash', n)}", end="")
        print(f", the formula {peak('formula', n)}" if n == 4096 else "")


if __name__ == "__main__":
    main()
