"""What the chapters on a block's parts measure in small decoders, and their ablations.

`toy_decoder` is the book's decoder, described as plainly as it can be: learned positions, a head of
its own, Xavier initialization. What no description says, because no model has it, is put in here:
other norms (`with_norms`), and no residual path (`without_residual`).
`benchmarks/normalization_runs.py` trains many of them and stores the losses in normalization.tsv,
which `stored` reads.
"""

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmlib.blocks import Block
from llmlib.book.labs.tables import read_rows, write_rows
from llmlib.decoder import Decoder, DecoderConfig
from llmlib.kv_cache import LayerCache, Reader
from llmlib.positions import Positions
from llmlib.training import Corpus, next_token_loss, train

FILE = Path(__file__).with_suffix(".tsv")
Hidden = Float[Tensor, "batch seq dim"]
TokenIds = Int[Tensor, "batch seq"]


# --- what no description says -------------------------------------------------------------------


class CenterOnly(nn.Module):
    """LayerNorm without the division: x - mean(x). For ablations; it has no parameters."""

    def __init__(self, dim: int) -> None:
        super().__init__()

    def forward(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        return x - x.mean(dim=-1, keepdim=True)


class NoNorm(nn.Identity):
    """The norm that does nothing. For ablations."""


class DynamicTanh(nn.Module):
    """tanh(alpha * x) with gain and shift: bounds each feature by itself, without any statistic.

    Source: zhu2025dyt
    """

    def __init__(self, dim: int, alpha: float = 0.5) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.tensor(alpha))
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        return torch.tanh(self.alpha * x) * self.weight + self.bias


# Every kind of norm that the stored runs compare; torch's fused twins of ours, for speed.
NORMS: dict[str, Callable[[int], nn.Module]] = {
    "LayerNorm": nn.LayerNorm,
    "RMSNorm": nn.RMSNorm,
    "center": CenterOnly,
    "none": NoNorm,
    "none, small start": NoNorm,
    "LayerNorm, small start": nn.LayerNorm,
    "tanh": DynamicTanh,
}


def with_norms(model: Decoder, norm: Callable[[int], nn.Module]) -> Decoder:
    """The model itself, with each of its norms replaced by norm(dim)."""
    dtype = model.embedding.weight.dtype
    for block in model.blocks:
        if not isinstance(block, Block):
            raise TypeError(f"a block is a {type(block).__name__}, expected a Block")
        for place in block.norms:
            block.norms[place] = norm(model.dim).to(dtype)
    if model.norm is not None:
        model.norm = norm(model.dim).to(dtype)  # type: ignore[assignment]
    return model


class Composed(nn.Module):
    """A block's two parts one after the other, f(mix(x)): no residual path, no norm.

    It serves where the mixer needs nothing beside x: no rotation, no bias.
    """

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.mixer, self.feed_forward = block.mixer, block.feed_forward

    def forward(self, x: Hidden, at: Positions, cache: LayerCache | None = None) -> Hidden:
        return self.feed_forward(self.mixer(x, cache=cache))  # type: ignore[misc]

    def reader(self) -> Reader:
        """What a cache has to know: nothing but that every key is seen."""
        return Reader()


def without_residual(model: Decoder) -> Decoder:
    """The model itself without residual paths, and so without any norm."""
    model.blocks = nn.ModuleList(map(Composed, model.blocks))  # type: ignore[arg-type]
    model.norm = NoNorm()  # type: ignore[assignment]
    return model


# --- the model ----------------------------------------------------------------------------------


def toy_decoder(
    vocab_size: int,
    dim: int,
    n_heads: int,
    n_layers: int,
    *,
    seq: int = 64,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    **description: Any,
) -> Decoder:
    """A decoder with LayerNorm, a ReLU block of 4 * dim, and learned positions, or as described.

    Weights are Xavier normal, biases 0, and the embeddings sum to unit variance, so the stream
    enters the first layer with standard deviation 1.

    Args:
        vocab_size, dim, n_heads, n_layers: sizes.
        seq: longest sequence, the number of learned positions.
        seed: decides every weight.
        dtype: of the weights. In float64 they are drawn alike on every CPU, but not as in float32.
        description: further arguments of `DecoderConfig`.

    Raises: as DecoderConfig.
    """
    usual = {"norm": "layer", "activation": "relu", "gated": False, "ffn_bias": True}
    usual |= {"position": "learned", "tied": False}
    config = DecoderConfig(
        vocab_size, dim, n_layers, n_heads, context=seq, **{**usual, **description}
    )
    model = Decoder(config, engine="sdpa").to(dtype)
    _initialize(model, seed)
    return model


def _initialize(model: Decoder, seed: int) -> None:
    """Draw every weight from one generator, so that the global seed does not matter."""
    generator = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        if name in ("embedding.weight", "positions.weight"):
            nn.init.normal_(weight, std=0.5**0.5, generator=generator)
        elif name.endswith(("query.weight", "key.weight", "value.weight")):
            # They count as one matrix (fan-out 3 dim), as in torch's MultiheadAttention.
            nn.init.normal_(weight, std=(2 / (4 * model.dim)) ** 0.5, generator=generator)
        elif weight.ndim == 2:
            nn.init.xavier_normal_(weight, generator=generator)


# --- measurements -------------------------------------------------------------------------------


def ffn_output_matrices(model: Decoder) -> list[nn.Parameter]:
    """The last matrix of each layer's feed-forward block (`down`), first layer first."""
    return [
        parameter
        for name, parameter in model.blocks.named_parameters()
        if name.endswith(".down.weight")
    ]


def random_tokens(vocab_size: int, batch: int, seq: int, seed: int) -> TokenIds:
    """Token ids drawn uniformly: data without any structure to learn."""
    return torch.randint(vocab_size, (batch, seq), generator=torch.Generator().manual_seed(seed))


def gradient_by_layer(model: Decoder, token_ids: TokenIds) -> list[float]:
    """Gradient norm of each layer's FFN output matrix under the next-token loss, first layer first.

    The model predicts token_ids[:, 1:] from token_ids[:, :-1]. Its .grad fields stay untouched.
    """
    loss = next_token_loss(model(token_ids[:, :-1]), token_ids[:, 1:])
    gradients = torch.autograd.grad(loss, ffn_output_matrices(model))
    return [gradient.norm().item() for gradient in gradients]


@torch.no_grad()
def stream_std_by_layer(model: Decoder, token_ids: TokenIds) -> list[float]:
    """Standard deviation of the residual stream, at the embedding and after each layer."""
    return [state.std().item() for state in model.hidden_states(token_ids)]


@torch.no_grad()
def token_cosine_by_layer(model: Decoder, token_ids: TokenIds) -> list[float]:
    """Mean cosine between the states of two different positions of a sequence, layer by layer.

    1 means that every position holds the same direction: the tokens cannot be told apart.
    """
    return [token_cosine(state) for state in model.hidden_states(token_ids)]


def token_cosine(state: Hidden) -> float:
    """Mean cosine between two different positions of a sequence."""
    pairs = state.shape[-2] * (state.shape[-2] - 1)
    unit = nn.functional.normalize(state, dim=-1, eps=1e-30)
    gram = unit @ unit.transpose(-1, -2)
    off_diagonal = gram.sum(dim=(-1, -2)) - gram.diagonal(dim1=-2, dim2=-1).sum(-1)
    return (off_diagonal / pairs).mean().item()


# --- what the longer runs gave ------------------------------------------------------------------


class Run(NamedTuple):
    """One small decoder, trained."""

    placement: str
    norm: str  # a key of NORMS
    n_layers: int
    warmup: int  # steps
    rate: float
    seed: int
    loss: float  # nats a character, mean of the last 30 of 200 steps


def small_start(model: Decoder) -> Decoder:
    """The model itself, with what each part adds made smaller by sqrt(2 * layers), as in GPT-2.

    Source: radford2019gpt2
    """
    with torch.no_grad():
        for name, weight in model.blocks.named_parameters():
            if name.endswith(("mixer.output.weight", "down.weight")):
                weight.div_(math.sqrt(2 * len(model.blocks)))
    return model


def trained_loss(
    model: Decoder, norm: str, data: Corpus, rate: float, warmup: int, seed: int, steps: int = 200
) -> float:
    """Loss over the last 30 steps of a model that gets this kind of norm and is trained."""
    with_norms(model, NORMS[norm])
    if norm.endswith("small start"):
        small_start(model)
    batches = data.batches(8, 16, seed=seed)
    return train(model, batches, steps, lr=rate, warmup_steps=warmup).final_loss(30)


def save(runs: Iterable[Run], path: Path = FILE) -> None:
    """Write the runs as a table."""
    write_rows(path, Run, runs, loss=".3f")


def stored(path: Path = FILE) -> list[Run]:
    """The runs of the table."""
    return read_rows(path, Run)
