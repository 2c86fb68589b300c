"""Shapes of attention's tensors, as the signatures of several modules name them."""

from jaxtyping import Float
from torch import Tensor

Queries = Float[Tensor, "batch heads seq_q head_dim"]
Keys = Float[Tensor, "batch kv_heads seq_k head_dim"]
Values = Float[Tensor, "batch kv_heads seq_k value_dim"]
Output = Float[Tensor, "batch heads seq_q value_dim"]
LogSumExp = Float[Tensor, "batch heads seq_q"]
