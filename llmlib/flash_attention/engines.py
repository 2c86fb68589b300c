"""Which engine a call can run on. Needs neither Triton nor a GPU."""

from importlib.util import find_spec
from typing import Literal, get_args

import torch
from torch import Tensor

WIDEST, LEAST_CAPABILITY = 256, (8, 0)
KINDS = (torch.float32, torch.float16, torch.bfloat16)
HOW_TO_GET_TRITON = "pip install triton==3.7.1, on Linux"
Engine = Literal["auto", "blocked", "triton"]


def choose_engine(engine: str, q: Tensor, value_dim: int) -> Literal["blocked", "triton"]:
    """The engine that runs: "auto" prefers Triton, and takes the blocked one where that cannot.

    Raises:
        ValueError: an unknown engine, or Triton where it cannot run.
    """
    if engine not in get_args(Engine):
        expected = ", ".join(get_args(Engine))
        raise ValueError(f"engine is {engine!r}, expected one of {expected}")
    reason = None if engine == "blocked" else why_no_triton(q, value_dim)
    if engine == "triton" and reason is not None:
        raise ValueError(f"engine 'triton' cannot run: {reason}")
    return "blocked" if engine == "blocked" or reason is not None else "triton"


def why_no_triton(q: Tensor, value_dim: int | None = None) -> str | None:
    """Why the Triton kernels cannot take these queries; None if they can.

    Args:
        q: queries, (..., head_dim).
        value_dim: the width of the values where it is not that of the queries.
    """
    widest = max(q.shape[-1], value_dim or 0)
    if q.dtype not in KINDS:
        return f"the Triton kernels compute in float32, float16 or bfloat16, and q is {q.dtype}"
    if widest > WIDEST:
        return f"the Triton kernels take heads up to {WIDEST} wide, and here they are {widest} wide"
    if not q.is_cuda:
        return f"the Triton kernels run on NVIDIA GPUs, and q lies on {q.device.type!r}"
    if find_spec("triton") is None:
        return f"Triton is not installed ({HOW_TO_GET_TRITON})"
    if (capability := torch.cuda.get_device_capability(q.device)) < LEAST_CAPABILITY:
        found = ".".join(map(str, capability))
        return (
            f"the Triton kernels need compute capability 8.0 (A100) or newer, this GPU has {found}"
        )
    return None
