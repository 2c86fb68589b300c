"""Times layer_norm and rms_norm, written out and fused by PyTorch, side by side in one run.

    python benchmarks/normalization.py [--rows 2048] [--repeat 20]

Prints ratios. Which is faster depends on the kernel more than on the formula: RMSNorm does fewer
operations, but where PyTorch fuses only LayerNorm, LayerNorm wins.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

from llmlib.normalization import layer_norm, rms_norm


def median_seconds(runs: dict[str, Callable[[], object]], repeat: int) -> dict[str, float]:
    """The median time of each run; the runs take turns, so that a busy machine hits all alike."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for step in range(repeat + 2):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if step >= 2:  # the first two rounds warm up
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    """Prints one line for each width."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=2048)
    parser.add_argument("--repeat", type=int, default=20)
    options = parser.parse_args()
    print(
        f"{options.rows} rows, float32, {torch.get_num_threads()} threads; time / layer_norm here"
    )
    print(f"{'d':>6} {'rms_norm':>10} {'fused layer':>12} {'fused rms':>10}")
    for dim in (1024, 4096, 12288):
        x, w, b = torch.randn(options.rows, dim), torch.ones(dim), torch.zeros(dim)
        runs = {
            "layer": lambda x=x, w=w, b=b: layer_norm(x, w, b),
            "rms": lambda x=x, w=w: rms_norm(x, w),
            "fused layer": lambda x=x, w=w, b=b, d=dim: F.layer_norm(x, (d,), w, b),
            "fused rms": lambda x=x, w=w, d=dim: F.rms_norm(x, (d,), w),
        }
        seconds = median_seconds(runs, options.repeat)
        ratios = [seconds[name] / seconds["layer"] for name in ("rms", "fused layer", "fused rms")]
        print(f"{dim:>6} {ratios[0]:>10.2f} {ratios[1]:>12.2f} {ratios[2]:>10.2f}")


if __name__ == "__main__":
    main()
