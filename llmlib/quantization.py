"""Weights in 8 bits: a decoder's step reads half of bfloat16's bytes, and rounding is all it costs.

Each row of a matrix has its own scale. For bfloat16 activations on a CPU, and rows of a multiple of
32 numbers, the product is taken with the integers, which are never turned back into a matrix of
floats; others are multiplied with the integers in float32. Not here: 4 bits, quantized activations,
training of the weights.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from llmlib.checks import readable
from llmlib.kv_cache import quantize
from llmlib.plain import why_not_plain
from llmlib.precision import widened

KERNEL_STEP = 32  # numbers of a row that PyTorch's kernel takes at once, or a multiple of them


class Int8Linear(nn.Module):
    """A linear layer y = (x W8^T) * scale + bias with integer weights and one scale an output.

    in * out bytes of weights and 2 * out bytes of scales.

    Args:
        weight: (out, in); rounded, a number is off by at most 1/253 of its row's largest.
        bias: (out,) or None.

    Raises:
        TypeError, ValueError: weights that are no matrix of finite numbers, a bias that is not its.

    Source: dettmers2022llmint8
    """

    weight: Tensor
    scale: Tensor
    bias: Tensor | None

    def __init__(self, weight: Float[Tensor, "out in"], bias: Tensor | None = None) -> None:
        super().__init__()
        _check_matrix(weight, bias)
        self.out_features, self.in_features = weight.shape  # as nn.Linear names them
        numbers, scale = _quantize_rows(weight.detach())
        self.register_buffer("weight", numbers)
        self.register_buffer("scale", scale)
        self.register_buffer("bias", None if bias is None else bias.detach().bfloat16())

    def forward(self, x: Float[Tensor, "*batch in"]) -> Float[Tensor, "*batch out"]:
        """Any floating-point type, which the result has too; sums are taken in float32 or wider.

        Raises:
            TypeError, ValueError: x of another kind or width.
        """
        if not x.is_floating_point():
            raise TypeError(f"x is {x.dtype}, expected a floating-point tensor")
        if not x.ndim or x.shape[-1] != self.in_features:
            raise ValueError(f"x has shape {tuple(x.shape)}, expected (..., {self.in_features})")
        rows = x.reshape(-1, self.in_features) if x.numel() else x.new_empty(0, self.in_features)
        if self._takes_integers(x):
            y = torch.ops.aten._weight_int8pack_mm(rows.contiguous(), self.weight, self.scale)
        else:
            wide = widened(rows)  # integers up to 127 times x: 16 bits would not hold their sum
            with torch.autocast(x.device.type, enabled=False):
                y = F.linear(wide, self.weight.to(wide.dtype)) * self.scale.to(wide.dtype)
            y = y.to(x.dtype)
        y = y if self.bias is None else y + self.bias.to(y.dtype)
        return y.view(*x.shape[:-1], self.out_features)

    def _takes_integers(self, x: Tensor) -> bool:
        """Whether PyTorch's kernel for integer weights can run.

        It has no gradient, and reads past the end of rows that are no multiple of its step.
        """
        if self.in_features % KERNEL_STEP:
            return False
        if self.scale.dtype != torch.bfloat16:  # a model that was moved to another type since
            return False
        plain = not (torch.is_grad_enabled() and x.requires_grad) and x.numel() > 0
        return plain and x.device.type == "cpu" and x.dtype == torch.bfloat16

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, int8"


def _check_matrix(weight: Tensor, bias: Tensor | None) -> None:
    for name, x in {"weight": weight, "bias": bias}.items():
        if x is not None and not (isinstance(x, Tensor) and x.is_floating_point()):
            kind = getattr(x, "dtype", type(x).__name__)
            raise TypeError(f"{name} is {kind}, expected a floating-point tensor")
    if weight.ndim != 2 or not weight.numel():
        raise ValueError(f"weight has shape {tuple(weight.shape)}, expected (out, in)")
    if bias is not None and bias.shape != weight.shape[:1]:
        expected = tuple(weight.shape[:1])
        raise ValueError(f"bias has shape {tuple(bias.shape)}, expected {expected}")
    if readable(weight) and not bool(weight.float().isfinite().all()):
        raise ValueError("weight holds NaN or infinity in float32, expected numbers to round")


def _quantize_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Integers and one bfloat16 scale a row, rounded to the scale as it is stored."""
    scale = quantize(weight)[1].bfloat16()
    numbers = torch.where(scale > 0, weight.float() / scale.float(), 0).round().clamp(-127, 127)
    return numbers.to(torch.int8), scale.flatten()


def int8_weights(model: nn.Module) -> nn.Module:
    """The model itself with every linear layer in 8 bits, and all else in bfloat16.

    A head that shares the embedding gets rows of its own in 8 bits: the embedding's are looked up
    one at a time, the head's are all read for every token.

    Raises:
        TypeError: a linear layer that is more than its weights, such as an adapter or one with a
            hook, which would be lost; or a model that is a single linear layer. Nothing is changed.
    """
    if isinstance(model, nn.Linear):
        raise TypeError("model is a single linear layer, expected one that holds them: Int8Linear")
    for name, module in model.named_modules():
        reason = why_not_plain(module, nn.Linear) if isinstance(module, nn.Linear) else None
        if reason is not None:
            raise TypeError(f"{name}: {reason}; merge it into the weights first")
    if getattr(model, "output", model) is None and isinstance(model.embedding, nn.Embedding):
        model.output = Int8Linear(model.embedding.weight)
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Linear):
                setattr(module, name, Int8Linear(child.weight, child.bias))
    return model.to(torch.bfloat16)
