"""Weights in 8 bits: a decoder's step reads half of bfloat16's bytes, and rounding is all it costs.

Each row of a matrix has its own scale, and the product is taken with the integers: the weights are
never turned back into a matrix of floats. Activations stay bfloat16. Not here: 4 bits, quantized
activations, training.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from llmlib.kv_cache import quantize


class Int8Linear(nn.Module):
    """A linear layer y = (x W8^T) * scale + bias with integer weights and one scale an output.

    in * out bytes of weights and 2 * out bytes of scales.

    Args:
        weight: (out, in); rounded, a number is off by at most 1/254 of its row's largest.
        bias: (out,) or None.

    Source: dettmers2022llmint8
    """

    weight: Tensor
    scale: Tensor
    bias: Tensor | None

    def __init__(self, weight: Float[Tensor, "out in"], bias: Tensor | None = None) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape  # as nn.Linear names them
        numbers, scale = quantize(weight.detach())
        self.register_buffer("weight", numbers)
        self.register_buffer("scale", scale.flatten().bfloat16())
        self.register_buffer("bias", None if bias is None else bias.detach().bfloat16())

    def forward(self, x: Float[Tensor, "*batch in"]) -> Float[Tensor, "*batch out"]:
        rows = x.reshape(-1, x.shape[-1])
        if x.device.type == "cpu" and x.dtype == torch.bfloat16:
            y = torch.ops.aten._weight_int8pack_mm(rows, self.weight, self.scale)
        else:
            y = F.linear(rows, self.weight.to(x.dtype)) * self.scale.to(x.dtype)
        y = y if self.bias is None else y + self.bias.to(y.dtype)
        return y.view(*x.shape[:-1], -1)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, int8"


def int8_weights(model: nn.Module) -> nn.Module:
    """The model itself with every linear layer in 8 bits, and all else in bfloat16.

    A head that shares the embedding gets rows of its own in 8 bits: the embedding's are looked up
    one at a time, the head's are all read for every token.
    """
    if getattr(model, "output", model) is None and isinstance(model.embedding, nn.Embedding):
        model.output = Int8Linear(model.embedding.weight)
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Linear):
                setattr(module, name, Int8Linear(child.weight, child.bias))
    return model.to(torch.bfloat16)
