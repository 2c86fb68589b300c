"""Longformer's self-attention: a window, and global tokens with projections of their own."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from llmlib.attention import Attention
from llmlib.sizes import check_sizes
from llmlib.sparse_attention.computation import longformer_attention
from llmlib.sparse_attention.patterns import check_positions


class LongformerAttention(nn.Module):
    """Self-attention in a window, with global tokens that read the text by other projections.

    A local query attends, by the local projections, to its window and to the global tokens. A
    global query attends to every token, by a second set of query, key and value projections: so
    each layer has 7 matrices, not 4. The first three start as copies of each other.

    Args:
        dim: width of the residual stream.
        n_heads: a divisor of dim.
        window: keys a query sees on one side, itself included. The released Longformer's
            `attention_window` w counts w / 2 on each side: it is window = w / 2 + 1 here.
        dilation: the step between keys of the window.
        causal: whether a query sees keys up to its own position only.
        bias: whether the projections have one.

    Raises:
        TypeError, ValueError: sizes that are not positive integers, or that do not divide.

    Source: beltagy2020longformer
    """

    def __init__(
        self,
        dim: int,
        n_heads: int,
        window: int,
        *,
        dilation: int = 1,
        causal: bool = False,
        bias: bool = True,
    ) -> None:
        super().__init__()
        check_sizes(window=window, dilation=dilation)
        self.local = Attention(dim, n_heads, qkv_bias=bias, out_bias=bias)
        self.window, self.dilation, self.causal = window, dilation, causal
        width = self.local.head_dim
        self.global_query, self.global_key, self.global_value = (
            nn.Linear(dim, n_heads * width, bias=bias) for _ in range(3)
        )
        pairs = [("query", self.global_query), ("key", self.global_key)]
        for name, copy in [*pairs, ("value", self.global_value)]:
            copy.load_state_dict(getattr(self.local, name).state_dict())

    def forward(
        self, x: Float[Tensor, "batch seq dim"], global_tokens: Sequence[int] = ()
    ) -> Float[Tensor, "batch seq dim"]:
        """Every position's weighted average of what it sees.

        Args:
            x: the residual stream, normalized.
            global_tokens: positions, the same in every text of the batch.
        """
        out = longformer_attention(
            *self.local.project(x),
            window=self.window,
            global_tokens=global_tokens,
            global_qkv=self._project_global(x, global_tokens) if len(global_tokens) else None,
            causal=self.causal,
            dilation=self.dilation,
        )
        return self.local.output(out.transpose(1, 2).flatten(2))

    def _project_global(self, x: Tensor, tokens: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
        chosen = check_positions(tokens, x.shape[1])
        q, k, v = (
            linear(rows).unflatten(-1, (self.local.n_heads, -1)).transpose(1, 2)
            for linear, rows in (
                (self.global_query, x[:, chosen]),
                (self.global_key, x),
                (self.global_value, x),
            )
        )
        return q, k, v

    def extra_repr(self) -> str:
        return f"window={self.window}, dilation={self.dilation}, causal={self.causal}"
