"""A small causal transformer for the experiments on its parts, and what the chapters measure in it.

Norm placement, norm and feed-forward block are arguments; the rest is as plain as it can be:
learned positions, an untied head, Xavier initialization. Attention is a later chapter's subject, so
it goes through torch's own kernel here; the book's one configurable decoder replaces this model.
"""

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmlib.activations import FeedForward
from llmlib.normalization import LayerNorm, PostNorm, PreNorm
from llmlib.training import next_token_loss

Placement = Literal["pre", "post", "none"]
ByDim = Callable[[int], nn.Module]  # builds a norm or a feed-forward block of a given width


class CenterOnly(nn.Module):
    """LayerNorm without the division: x - mean(x). For ablations; it has no parameters."""

    def __init__(self, dim: int) -> None:
        super().__init__()

    def forward(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        return x - x.mean(dim=-1, keepdim=True)


class NoNorm(nn.Identity):
    """The norm that does nothing. For ablations."""


class CausalSelfAttention(nn.Module):
    """Multi-head causal self-attention through torch's kernel, without biases.

    Raises: ValueError if n_heads does not divide dim.
    """

    def __init__(self, dim: int, n_heads: int) -> None:
        super().__init__()
        if n_heads < 1 or dim < 1 or dim % n_heads:
            raise ValueError(f"dim {dim}, n_heads {n_heads}: expected n_heads to divide dim")
        self.n_heads = n_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)

    def forward(self, x: Float[Tensor, "batch seq dim"]) -> Float[Tensor, "batch seq dim"]:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(mixed.transpose(1, 2).flatten(-2))


class Residual(nn.Module):
    """x + F(x), no norm at all."""

    def __init__(self, sublayer: nn.Module) -> None:
        super().__init__()
        self.sublayer = sublayer

    def forward(self, x: Tensor) -> Tensor:
        return x + self.sublayer(x)


class ToyTransformer(nn.Module):
    """Token ids to logits through n_layers of attention and feed-forward.

    Weights are Xavier normal, biases 0, and the embeddings sum to unit variance, so the stream
    enters the first layer with standard deviation 1. A pre-norm model ends in a final norm.

    Args:
        vocab_size, dim, n_heads, n_layers: sizes.
        seq: longest sequence, the number of learned positions.
        placement: "pre", "post", or "none" (residual blocks without norms).
        norm: builds a norm from dim: LayerNorm, RMSNorm, CenterOnly, NoNorm.
        ffn: builds a feed-forward block from dim; None is FeedForward(dim, 4 * dim) with ReLU.
        residual: False drops the skip path, and the norms with it; only with placement "none".
        seed: decides every weight.
        dtype: of the weights. In float64 they are drawn alike on every CPU, but not as in float32.

    Raises: ValueError for impossible sizes, an unknown placement, or residual=False beside norms.
    Source: xiong2020layernorm for the two placements.
    """

    def __init__(
        self,
        vocab_size: int,
        dim: int,
        n_heads: int,
        n_layers: int,
        *,
        seq: int = 64,
        placement: Placement = "pre",
        norm: ByDim = LayerNorm,
        ffn: ByDim | None = None,
        residual: bool = True,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        if min(vocab_size, n_layers, seq) < 1:
            raise ValueError(
                f"vocab_size {vocab_size}, n_layers {n_layers}, seq {seq}: expected at least 1 each"
            )
        if placement not in ("pre", "post", "none"):
            raise ValueError(f"placement is {placement!r}, expected 'pre', 'post' or 'none'")
        if not residual and placement != "none":
            raise ValueError(f"residual=False needs placement 'none', got {placement!r}")
        self.seq = seq
        self.tokens = nn.Embedding(vocab_size, dim)
        self.positions = nn.Embedding(seq, dim)
        wrap = _wrapper(placement, norm, dim, residual)
        make_ffn = ffn or (lambda width: FeedForward(width, 4 * width))
        self.layers = nn.ModuleList(
            nn.Sequential(wrap(CausalSelfAttention(dim, n_heads)), wrap(make_ffn(dim)))
            for _ in range(n_layers)
        )
        self.final_norm = norm(dim) if placement == "pre" else nn.Identity()
        self.head = nn.Linear(dim, vocab_size, bias=False)
        _initialize(self.to(dtype), seed)

    def stream(self, token_ids: Int[Tensor, "batch seq"]) -> list[Float[Tensor, "batch seq dim"]]:
        """The residual stream: the embeddings, then the output of each layer (n_layers + 1).

        Raises: ValueError for a sequence longer than the model's positions.
        """
        length = token_ids.shape[-1]
        if length > self.seq:
            raise ValueError(f"the sequence has {length} tokens, expected at most {self.seq}")
        positions = torch.arange(length, device=token_ids.device)
        states = [self.tokens(token_ids) + self.positions(positions)]
        for layer in self.layers:
            states.append(layer(states[-1]))
        return states

    def forward(self, token_ids: Int[Tensor, "batch seq"]) -> Float[Tensor, "batch seq vocab"]:
        return self.head(self.final_norm(self.stream(token_ids)[-1]))


def ffn_output_matrices(model: ToyTransformer) -> list[nn.Parameter]:
    """The last matrix of each layer's feed-forward block (`down`), first layer first."""
    return [
        parameter
        for name, parameter in model.layers.named_parameters()
        if name.endswith(".down.weight")
    ]


def random_tokens(vocab_size: int, batch: int, seq: int, seed: int) -> Int[Tensor, "batch seq"]:
    """Token ids drawn uniformly: data without any structure to learn."""
    return torch.randint(vocab_size, (batch, seq), generator=torch.Generator().manual_seed(seed))


def gradient_by_layer(model: ToyTransformer, token_ids: Int[Tensor, "batch seq"]) -> list[float]:
    """Gradient norm of each layer's FFN output matrix under the next-token loss, first layer first.

    The model predicts token_ids[:, 1:] from token_ids[:, :-1]. Its .grad fields stay untouched.
    """
    loss = next_token_loss(model(token_ids[:, :-1]), token_ids[:, 1:])
    gradients = torch.autograd.grad(loss, ffn_output_matrices(model))
    return [gradient.norm().item() for gradient in gradients]


@torch.no_grad()
def stream_std_by_layer(model: ToyTransformer, token_ids: Int[Tensor, "batch seq"]) -> list[float]:
    """Standard deviation of the residual stream, at the embedding and after each layer."""
    return [state.std().item() for state in model.stream(token_ids)]


@torch.no_grad()
def token_cosine_by_layer(
    model: ToyTransformer, token_ids: Int[Tensor, "batch seq"]
) -> list[float]:
    """Mean cosine between the states of two different positions of a sequence, layer by layer.

    1 means that every position holds the same direction: the tokens cannot be told apart.
    """
    return [token_cosine(state) for state in model.stream(token_ids)]


def token_cosine(state: Float[Tensor, "batch seq dim"]) -> float:
    """Mean cosine between two different positions of a sequence."""
    pairs = state.shape[-2] * (state.shape[-2] - 1)
    unit = nn.functional.normalize(state, dim=-1, eps=1e-30)
    gram = unit @ unit.transpose(-1, -2)
    off_diagonal = gram.sum(dim=(-1, -2)) - gram.diagonal(dim1=-2, dim2=-1).sum(-1)
    return (off_diagonal / pairs).mean().item()


def _wrapper(
    placement: Placement, norm: ByDim, dim: int, residual: bool
) -> Callable[[nn.Module], nn.Module]:
    """How a sub-layer is put into the stream."""
    if placement == "pre":
        return lambda sublayer: PreNorm(sublayer, norm(dim))
    if placement == "post":
        return lambda sublayer: PostNorm(sublayer, norm(dim))
    return Residual if residual else (lambda sublayer: sublayer)


def _initialize(model: ToyTransformer, seed: int) -> None:
    """Draw every weight from one generator, so that the global seed does not matter."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            # q, k, v count as one matrix (fan-out 3 dim), as in torch's MultiheadAttention.
            nn.init.xavier_normal_(module.weight, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.5**0.5, generator=generator)
