"""Training runs in processes of their own: by how much their resident memory grows at most.

Run as a script by `tests/accounting/test_memory.py`: the cases come as JSON on stdin, the growth of
each in bytes is printed on a line. Every case is forked from this process, which has imported
PyTorch but used none of it. Pieces of 64 KiB and more are given back to the system as soon as they
are freed (the environment says so to the allocator), so that what is resident is what is alive.
"""

import gc
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from llmlib.decoder import Decoder, DecoderConfig
from llmlib.training import train

ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}


def resident(field: str) -> int:
    """VmRSS, the resident memory, or VmHWM, its largest value so far, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def checkpoint_blocks(model: Decoder) -> None:
    """Each block keeps its input only and is computed again."""
    for block in model.blocks:
        forward = block.forward

        def again(*given: Any, forward: Any = forward) -> torch.Tensor:
            return checkpoint(forward, *given, use_reentrant=False)

        block.forward = again


def run(config: dict[str, Any], engine: Any, batch: int, seq: int, checkpointing: bool) -> None:
    """Two steps of the library's trainer: a tiny one, so that the optimizer has its state."""
    torch.manual_seed(0)
    model = Decoder(DecoderConfig(**config), engine=engine)
    if checkpointing:
        checkpoint_blocks(model)
    sizes = ((1, 2), (batch, seq))
    batches = [torch.randint(0, config["vocab_size"], (2, *size)).unbind() for size in sizes]
    train(model, batches, len(batches))


def measure(case: dict[str, Any]) -> None:
    """Train a tiny model, so that what is loaded on demand is loaded, then the one asked for."""
    torch.set_num_threads(1)
    tiny = {"dim": 32, "n_layers": 1, "n_heads": 2, "n_kv_heads": 2, "ffn_dim": 64}
    small = {**case["config"], **tiny, "vocab_size": 64}
    run(small, case["engine"], 2, 16, case["checkpointing"])
    gc.collect()
    before = resident("VmRSS")
    run(**case)
    print(resident("VmHWM") - before, flush=True)


def main() -> None:
    """One fork a case, one after the other; a child's largest value begins at what it inherits."""
    for case in json.load(sys.stdin):
        process = os.fork()
        if process == 0:
            measure(case)
            os._exit(0)
        if os.waitpid(process, 0)[1] != 0:
            sys.exit(f"{case} did not end well")


if __name__ == "__main__":
    main()
