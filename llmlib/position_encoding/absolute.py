"""A vector for each position, added to the embedding: sinusoidal (a formula) or learned (a table).

Both name the position itself; that a score should depend on a distance is left for the projections
of queries and keys to learn.
"""

import torch
from jaxtyping import Float, Integer, Real
from torch import Tensor, nn

from llmlib.checks import check_integers
from llmlib.position_encoding.frequencies import rope_frequencies
from llmlib.sizes import check_even, check_sizes


def sinusoidal(
    positions: Real[Tensor, "*batch"], dim: int, base: float | int = 10000.0
) -> Float[Tensor, "*batch dim"]:
    """Sinusoids of geometric wavelengths, 2 pi to base * 2 pi: a vector a position.

    PE[p, 2i] = sin(p / base^(2i/dim)),  PE[p, 2i+1] = cos(p / base^(2i/dim))

    Args:
        positions: any shape, counted from 0.
        dim: length of a vector, even.
        base: sets the longest wavelength.

    Raises:
        TypeError, ValueError: dim is not a positive even integer, or base is not above 0.

    Source: vaswani2017attention
    """
    check_even("dim", dim, "a sine and a cosine share a frequency")
    frequencies = rope_frequencies(dim, base).to(positions.device)
    phases = positions.double()[..., None] * frequencies
    return torch.stack([phases.sin(), phases.cos()], dim=-1).flatten(-2).float()


class LearnedPositions(nn.Module):
    """One trained vector a position: context * dim parameters, and nothing beyond the context.

    Args:
        context: number of positions, from 0 to context - 1.
        dim: width of the residual stream.

    Raises:
        TypeError, ValueError: sizes that are not positive integers.

    Source: radford2018gpt
    """

    def __init__(self, context: int, dim: int) -> None:
        super().__init__()
        check_sizes(context=context, dim=dim)
        self.context, self.dim = context, dim
        self.weight = nn.Parameter(torch.empty(context, dim))
        if not self.weight.is_meta:
            nn.init.normal_(self.weight, std=0.02)

    def forward(self, positions: Integer[Tensor, "*batch"]) -> Float[Tensor, "*batch dim"]:
        """The vectors of these positions.

        Raises:
            TypeError: positions that are no integers.
            ValueError: a position that was never trained.
        """
        positions = check_integers("positions", positions)
        try:
            return nn.functional.embedding(positions, self.weight)
        except IndexError:
            low, high = int(positions.min()), int(positions.max())
            raise ValueError(
                f"positions run from {low} to {high}, expected 0 to {self.context - 1}: learned "
                "positions end with the context"
            ) from None
