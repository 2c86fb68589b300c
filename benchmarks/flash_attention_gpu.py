"""TFLOP/s of the Triton kernels on a GPU, beside PyTorch's own: SDPA (flash, cuDNN), FlexAttention.

    python benchmarks/flash_attention_gpu.py [--lengths 512 1024 ... 16384] [--widths 64 128 256]

The usual grid: 16k tokens a batch, 2,048 features, causal or not. FLOPs are 4 B S^2 H D, half of
that when causal, 2.5 times as many in the backward pass. Each result is compared with SDPA in
float32 before any speed is printed. Without an NVIDIA GPU it says so and ends.
"""

import argparse
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from llmlib.flash_attention.engines import why_no_triton

TOKENS, FEATURES = 16_384, 2_048
BACKWARD = 2.5  # times the work of the forward pass
WORST = {torch.bfloat16: 2e-2, torch.float16: 4e-3}  # over the largest value
Attention = Callable[[Tensor, Tensor, Tensor], Tensor]


def triton_kernels(causal: bool) -> Attention:
    """Ours."""
    from llmlib.flash_attention.launch import Options, triton_attention

    def run(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        options = Options(causal, None, 1 / math.sqrt(q.shape[-1]), None)
        return triton_attention(q, k, v, None, options)[0]

    return run


def sdpa(backend: SDPBackend, causal: bool) -> Attention:
    """PyTorch's fused attention on one backend."""

    def run(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        with sdpa_kernel(backend):
            return F.scaled_dot_product_attention(q, k, v, is_causal=causal)

    return run


def flex(causal: bool, length: int) -> Attention:
    """PyTorch's compiled FlexAttention with a block mask."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    compiled = torch.compile(flex_attention, dynamic=False)
    mask = None
    if causal:
        mask = create_block_mask(lambda b, h, i, j: i >= j, None, None, length, length)
    return lambda q, k, v: compiled(q, k, v, block_mask=mask)


def competitors(causal: bool, length: int) -> dict[str, Attention]:
    """All that are timed; ours first."""
    return {
        "triton": triton_kernels(causal),
        "sdpa flash": sdpa(SDPBackend.FLASH_ATTENTION, causal),
        "sdpa cudnn": sdpa(SDPBackend.CUDNN_ATTENTION, causal),
        "flex": flex(causal, length),
    }


def error(x: Tensor, exact: Tensor) -> float:
    """The largest error over the largest value."""
    return ((x.float() - exact.float()).abs().max() / exact.float().abs().max()).item()


def check(run: Attention, inputs: list[Tensor], d_out: Tensor, causal: bool) -> float:
    """The worst error of output and gradients, against SDPA in float32, on two heads of a text."""
    found, expected = [], []
    for attention, kind, results in (
        (run, inputs[0].dtype, found),
        (sdpa(SDPBackend.MATH, causal), torch.float32, expected),
    ):
        leaves = [x[:1, :2].detach().to(kind).requires_grad_() for x in inputs]
        out = attention(*leaves)
        results += [out, *torch.autograd.grad(out, leaves, d_out[:1, :2].to(kind))]
    return max(error(x, y) for x, y in zip(found, expected, strict=True))


def flops(shape: tuple[int, int, int, int], causal: bool) -> float:
    """Of the forward pass."""
    batch, heads, length, width = shape
    return 4 * batch * length**2 * heads * width / (2 if causal else 1)


@contextmanager
def unavailable_is_no_failure(cells: list[str], n: int) -> Iterator[None]:
    """A competitor may not exist for a chip or a width: its cells then say so."""
    try:
        yield
    except (RuntimeError, NotImplementedError, ImportError) as reason:
        print(f"    not available: {str(reason).splitlines()[0][:90]}", file=sys.stderr)
        cells += ["-"] * n


def speeds(run: Attention, inputs: list[Tensor], d_out: Tensor, work: float) -> tuple[float, float]:
    """TFLOP/s of the forward pass, and of the backward pass."""
    from triton.testing import do_bench

    leaves = [x.requires_grad_() for x in inputs]
    with torch.no_grad():
        forward = do_bench(lambda: run(*leaves))
    out = run(*leaves)
    backward = do_bench(lambda: torch.autograd.grad(out, leaves, d_out, retain_graph=True))
    return work / forward / 1e9, BACKWARD * work / backward / 1e9


def one_length(length: int, width: int, causal: bool, kind: torch.dtype) -> None:
    """A line of the table."""
    batch, heads = max(1, TOKENS // length), FEATURES // width
    shape = (batch, heads, length, width)
    inputs = [torch.randn(shape, device="cuda", dtype=kind) for _ in range(3)]
    d_out = torch.randn(shape, device="cuda", dtype=kind)
    cells: list[str] = []
    for name, run in competitors(causal, length).items():
        found: list[str] = []
        if name == "triton":  # ours must run and be right, or there is nothing to time
            worst = check(run, inputs, d_out, causal)
            if not worst <= WORST[kind]:
                raise SystemExit(f"wrong result at {shape}, causal {causal}: error {worst:.2e}")
            found = [f"{x:.0f}" for x in speeds(run, inputs, d_out, flops(shape, causal))]
        else:
            with unavailable_is_no_failure(found, 2):
                check(run, inputs, d_out, causal)
                found = [f"{x:.0f}" for x in speeds(run, inputs, d_out, flops(shape, causal))]
        cells += found
    row = f"{length:>7,}{width:>6}{'yes' if causal else 'no':>8}"
    print(row + "".join(f"{cell:>9}" for cell in cells), flush=True)


def main() -> None:
    """Prints one line for each length, width and mask."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    lengths = [512, 1024, 2048, 4096, 8192, 16384]
    parser.add_argument("--lengths", type=int, nargs="+", default=lengths)
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--dtype", choices=["bfloat16", "float16"], default="bfloat16")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("flash_attention_gpu: no NVIDIA GPU here, nothing to measure")
        return
    kind = getattr(torch, options.dtype)
    if (reason := why_no_triton(torch.empty(1, 1, 1, 64, device="cuda", dtype=kind))) is not None:
        print(f"flash_attention_gpu: {reason}; nothing to measure")
        return
    torch.manual_seed(0)
    print(f"{torch.cuda.get_device_name()}, {options.dtype}; TFLOP/s forward and backward")
    names = [f"{name:>18}" for name in ("triton", "sdpa flash", "sdpa cudnn", "flex")]
    print(f"{'length':>7}{'width':>6}{'causal':>8}" + "".join(names))
    for width in options.widths:
        for causal in (False, True):
            for length in options.lengths:
                one_length(length, width, causal, kind)


if __name__ == "__main__":
    main()
