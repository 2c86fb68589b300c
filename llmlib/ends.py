"""The two ends of a model: from ids to vectors, and from the last stream to scores for tokens.

Decoders, encoders and encoder-decoders have them in common; `llmlib.stack` is what lies between.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

import llmlib.architecture as arch
from llmlib.activations import activation_function
from llmlib.blocks import Hidden, make_norm


def check_description(config: object) -> None:
    """TypeError for what describes no model."""
    if not isinstance(config, arch.ModelConfig):
        raise TypeError(f"config is a {type(config).__name__}, expected a ModelConfig: "
                        "DecoderConfig(...) or a card's .config")  # fmt: skip


def make_embedding(config: arch.ModelConfig) -> nn.Embedding:
    """A table of vectors, to be filled by `initialize` or from a file.

    Not drawn here: on the meta device a draw would import PyTorch's compiler.
    """
    return nn.Embedding.from_pretrained(torch.empty(config.vocab_size, config.dim), freeze=False)


def make_output(config: arch.ModelConfig) -> nn.Linear | None:
    """The matrix of the head, where it is not the embedding's."""
    if config.tied or config.head == "none":
        return None
    return nn.Linear(config.dim, config.vocab_size, bias=False)


def embedded(
    config: arch.ModelConfig, embedding: nn.Module, token_ids: Int[Tensor, "batch seq"]
) -> Hidden:
    """The vectors of the ids, scaled where the description says so."""
    x, scale = embedding(token_ids), config.embedding_scale
    # Rounded to the type of the embedding before it multiplies, as Gemma does.
    return x if scale is None else x * torch.tensor(scale, dtype=x.dtype)


def token_scores(
    config: arch.ModelConfig,
    x: Hidden,
    output: nn.Module | None,
    table: Float[Tensor, "vocab dim"],
    bias: Float[Tensor, " vocab"] | None = None,
) -> Float[Tensor, "batch seq vocab"]:
    """Logits of a stream that is normalized: by the head's matrix, or by the embedding's table."""
    logits = nn.functional.linear(x, table) if output is None else output(x)
    logits = logits if bias is None else logits + bias
    if config.output_scale is not None:
        logits = logits * config.output_scale
    return logits if config.softcap is None else capped(logits, config.softcap)


def capped(x: Tensor, softcap: float) -> Tensor:
    """softcap * tanh(x / softcap): as x where it is small, never beyond the cap."""
    return softcap * torch.tanh(x / softcap)


class Transform(nn.Module):
    """What stands before the matrix of a head: norm(f(x W + b)), as wide as x.

    Args:
        dim: d, width of the residual stream.
        transform: the description.

    Source: devlin2019bert
    """

    def __init__(self, dim: int, transform: arch.Transform) -> None:
        super().__init__()
        self.dense = nn.Linear(dim, dim, bias=transform.bias)
        self.activation = activation_function(transform.activation)
        self.norm = make_norm(transform.norm, dim)

    def forward(self, x: Hidden) -> Hidden:
        return self.norm(self.activation(self.dense(x)))


def initialize(model: nn.Module, n_layers: int) -> None:
    """GPT-2's start: N(0, 0.02), and what adds to the stream shrinks with the depth."""
    deep = 0.02 / math.sqrt(2 * n_layers)
    for name, parameter in model.named_parameters():
        if parameter.is_meta:
            return  # to be filled with weights from a file
        if parameter.ndim == 2:
            ends = name.endswith(
                ("mixer.output.weight", "cross.output.weight", "feed_forward.down.weight")
            )
            nn.init.normal_(parameter, std=deep if ends else 0.02)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
