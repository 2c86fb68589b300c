"""The text that a decoder looks across at, read once for any number of tokens that are written."""

from jaxtyping import Bool, Float
from torch import Tensor, nn

from llmlib.attention import Attention, KeysValues


class Source:
    """The text that a decoder looks across at: the encoder's last stream of it.

    Each layer makes keys and values of it when it first asks, and finds them at every later token.

    Args:
        hidden: (batch, seq_k, dim).
        mask: (batch, seq_k), True for tokens and False for padding; None: there is none.
    """

    def __init__(
        self,
        hidden: Float[Tensor, "batch seq_k dim"],
        mask: Bool[Tensor, "batch seq_k"] | None = None,
    ) -> None:
        self.hidden, self.padding = hidden, mask
        self.mask = None if mask is None else mask[:, None, None, :]
        self._made: dict[nn.Module, KeysValues] = {}

    def keys_values(self, attention: Attention) -> KeysValues:
        """Those of one layer's cross-attention."""
        if attention not in self._made:
            self._made[attention] = attention.keys_values(self.hidden)
        return self._made[attention]

    @property
    def n_bytes(self) -> int:
        """What the layers keep of it."""
        return sum(x.nbytes for pair in self._made.values() for x in pair)
