"""Triton, or a word on how to get it: its package exists only for Linux on x86-64 and Arm."""

from llmlib.flash_attention.engines import HOW_TO_GET_TRITON

try:
    import triton
    import triton.language as tl
    from triton.runtime.errors import OutOfResources
    from triton.testing import do_bench
except ModuleNotFoundError as error:
    if error.name != "triton":
        raise
    raise ModuleNotFoundError(
        f"the Triton kernels need Triton, which is not installed ({HOW_TO_GET_TRITON}); "
        "flash_attention(..., engine='blocked') runs without it",
        name="triton",
    ) from error

__all__ = ["OutOfResources", "do_bench", "tl", "triton"]
