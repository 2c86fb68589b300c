"""Times layer_norm and rms_norm, written out and fused by PyTorch, side by side in one run.

    python benchmarks/normalization.py [--rows 2048] [--repeat 20]

Prints ratios. Which is faster depends on the kernel more than on the formula: RMSNorm does fewer
operations, but where PyTorch fuses only LayerNorm, LayerNorm wins.
"""

import argparse

import torch
import torch.nn.functional as F
from _timing import median_seconds

from llmlib.normalization import layer_norm, rms_norm


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
        seconds = median_seconds(runs, options.repeat, warm_up=2)
        ratios = [seconds[name] / seconds["layer"] for name in ("rms", "fused layer", "fused rms")]
        print(f"{dim:>6} {ratios[0]:>10.2f} {ratios[1]:>12.2f} {ratios[2]:>10.2f}")


if __name__ == "__main__":
    main()
