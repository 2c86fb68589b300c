"""The type to compute in: half types are too coarse for sums, exponentials and angles."""

from torch import Tensor


def widened(x: Tensor) -> Tensor:
    """x in float32 where its type is narrower, else x itself."""
    return x.float() if x.element_size() < 4 else x
