"""Time and peak memory of each sparse attention by length, and how fast both grow.

    python benchmarks/sparse_attention.py [--lengths 2048 4096 8192 16384] [--repeat 5]

One row a method: milliseconds and MB at each length, then the slope of each in a log-log plot, from
the first length to the last. Slope 1 is linear growth, slope 2 quadratic. Memory is counted from
the tensors that are alive; time is CPU time, the least of the repeats. The full matrix stops at
4,096.
"""

import argparse
import math
import time
from collections.abc import Callable

import torch
from torch import Tensor

from llmlib.attention import reference_attention
from llmlib.sparse_attention import (
    bigbird_attention,
    linear_attention,
    longformer_attention,
    peak_bytes,
    sink_attention,
    sliding_window_attention,
)

MOST_FOR_FULL = 4096
METHODS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "window 256": lambda q, k, v: sliding_window_attention(q, k, v, window=256, causal=True),
    "window 128, dilation 4": lambda q, k, v: sliding_window_attention(
        q, k, v, window=128, dilation=4
    ),
    "Longformer": lambda q, k, v: longformer_attention(q, k, v, window=129, global_tokens=range(4)),
    "BigBird": lambda q, k, v: bigbird_attention(
        q, k, v, window=2, n_global=1, n_random=3, block_size=64
    ),
    "sinks and window": lambda q, k, v: sink_attention(q, k, v, window=256, n_sinks=4),
    "linear": lambda q, k, v: linear_attention(q, k, v),
    "linear, causal": lambda q, k, v: linear_attention(q, k, v, causal=True),
    "full matrix": lambda q, k, v: reference_attention(q, k, v, causal=True),
}


def seconds(run: Callable[[], object], repeat: int) -> float:
    """The least CPU time of some runs, after one that warms up; other programs do not count."""
    times = []
    for _ in range(repeat + 1):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return min(times[1:])


def slope(lengths: list[int], values: list[float]) -> float:
    """Growth from the first length to the last, as a power of the length."""
    return math.log(values[-1] / values[0]) / math.log(lengths[-1] / lengths[0])


@torch.no_grad()
def main() -> None:
    """Prints one line for each method."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lengths", type=int, nargs="+", default=[2048, 4096, 8192, 16384])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"4 heads of width 64, float32, {options.threads} thread(s); CPU ms and MB by length")
    header = "".join(f"{n:>17,}" for n in options.lengths)
    print(f"{'':<24}{header}{'slope: time':>14}{'memory':>8}")
    for name, method in METHODS.items():
        lengths = [n for n in options.lengths if name != "full matrix" or n <= MOST_FOR_FULL]
        times, peaks = [], []
        for n in lengths:
            q, k, v = (torch.randn(1, 4, n, 64) for _ in range(3))
            run = lambda q=q, k=k, v=v: method(q, k, v)  # noqa: B023, E731
            times.append(seconds(run, options.repeat))
            peaks.append(peak_bytes(run))
        cells = [f"{1e3 * t:>8.1f} {m / 1e6:>8.1f}" for t, m in zip(times, peaks, strict=True)]
        cells += [f"{'':>17}"] * (len(options.lengths) - len(lengths))
        growth = f"{slope(lengths, times):>14.2f}{slope(lengths, peaks):>8.2f}"
        print(f"{name:<24}{''.join(cells)}{growth if len(lengths) > 1 else ''}")


if __name__ == "__main__":
    main()
