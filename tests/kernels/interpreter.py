"""Makes Triton 3.7.1's CPU interpreter right for bfloat16; call `repair` before a kernel runs.

Unrepaired, `tl.dot` multiplies the raw bit patterns of bfloat16 operands, and float32 is cut off
instead of rounded to the nearest bfloat16 (ties to even), which is what the chip does.
TRITON_INTERPRET=1 must be set before Triton is imported, so this belongs in a process of its own.
"""

from typing import Any

import numpy as np
import triton.language as tl
from triton.runtime import interpreter

NAN = np.uint16(0x7FC0)


def widen(bits: np.ndarray) -> np.ndarray:
    """bfloat16 bit patterns as float32: the upper half of its bits."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def narrow(x: np.ndarray) -> np.ndarray:
    """float32 as bfloat16 bit patterns, rounded to nearest, ties to even; NaN stays NaN."""
    bits = np.ascontiguousarray(x, dtype=np.float32).view(np.uint32)
    rounded = ((bits.astype(np.uint64) + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return np.where(np.isnan(x), NAN, rounded)


def repair() -> None:
    """Replaces three methods of the interpreter's builder; a second call changes nothing."""
    builder = interpreter.InterpreterBuilder
    if getattr(builder, "repaired", False):
        return
    cast, between_floats = builder.cast_impl, builder.create_fp_to_fp

    def values(tensor: Any) -> np.ndarray:
        return widen(tensor.data) if tensor.dtype.scalar == tl.bfloat16 else tensor.data

    def create_dot(self: Any, a: Any, b: Any, total: Any, precision: Any, imprecise: Any) -> Any:
        product = np.matmul(values(a), values(b), dtype=total.data.dtype)
        return interpreter.TensorHandle(product + total.data, total.dtype.scalar)

    def cast_impl(self: Any, source: Any, kind: Any) -> Any:
        pair = (source.dtype.scalar, kind.scalar)
        if pair == (tl.float32, tl.bfloat16):
            return interpreter.TensorHandle(narrow(source.data), tl.bfloat16)
        if pair == (tl.bfloat16, tl.float32):
            return interpreter.TensorHandle(widen(source.data), tl.float32)
        return cast(self, source, kind)

    def create_fp_to_fp(self: Any, source: Any, kind: Any, rounding: Any) -> Any:
        if {source.dtype.scalar, kind.scalar} == {tl.bfloat16, tl.float32}:
            return cast_impl(self, source, kind)
        return between_floats(self, source, kind, rounding)

    builder.create_dot, builder.cast_impl = create_dot, cast_impl
    builder.create_fp_to_fp, builder.repaired = create_fp_to_fp, True


def patch_once() -> None:
    """Makes the interpreter patch the language once and not again at each call of a helper.

    It wraps every builtin anew whenever one kernel function calls another, which takes most of its
    time. The patch is then left in place: this process runs nothing but the interpreter.
    """
    rename = interpreter._patch_lang  # of the names `tl` and `tl.core` that a function can see
    patched: set[frozenset[int]] = set()

    def first_time(function: Any) -> Any:
        seen = frozenset(id(x) for x in function.__globals__.values() if x in (tl, tl.core))
        if seen not in patched:
            patched.add(seen)
            rename(function)
        return interpreter._LangPatchScope()  # nothing to restore

    interpreter._patch_lang = first_time
