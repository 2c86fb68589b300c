"""What blocks and stacks are described with: norms, RoPE and its scalings, tables of positions."""

from collections.abc import Mapping
from typing import Any, Literal

from llmlib.architecture.said import Count, Described, Size, Switch, described, is_letter


@described
class Norm(Described):
    """A norm over features: RMSNorm, or LayerNorm with or without a shift."""

    kind: Literal["rms", "layer"] = "rms"
    eps: float = 1e-6  # added to the mean square or variance
    bias: Switch = False  # a learned shift, of LayerNorm alone
    gain: Literal["weight", "1 + weight"] = "weight"  # what multiplies: Gemma stores it minus 1

    def check(self) -> None:
        if self.eps < 0:
            raise ValueError(f"eps is {self.eps}, expected a finite number from 0")


RMS = Norm()
LAYER = Norm("layer", 1e-5, bias=True)


@described
class Scaling(Described):
    """How RoPE is slowed down to reach beyond the context that was trained.

    The numbers are those of `llmlib.position_encoding.rope_frequencies`; `more` holds what only
    some kinds have, by name, such as ("low_freq_factor", 1.0).
    """

    kind: Literal["linear", "ntk", "llama3", "yarn", "factors"]
    factor: float = 1.0
    original: int = 0  # positions of the training; 0: not said
    more: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "Scaling":
        """From a dictionary as Hugging Face's configurations have it."""
        rest = {name: x for name, x in settings.items() if x is not None}
        kind = rest.pop("rope_type", rest.pop("type", None))
        rest.pop("type", None)
        factor = rest.pop("factor", 1.0)
        original = rest.pop("original_max_position_embeddings", 0)
        more = {name: tuple(x) if isinstance(x, list) else x for name, x in rest.items()}
        return cls(kind, factor, original, tuple(sorted(more.items())))

    def settings(self) -> dict[str, Any]:
        """The dictionary that `rope_frequencies` takes."""
        found = {"rope_type": self.kind, "factor": self.factor, **dict(self.more)}
        if self.original:
            found["original_max_position_embeddings"] = self.original
        return found


@described
class Rope(Described):
    """Rotary positions. Layers whose `Rope` is equal share one table."""

    base: float = 10_000.0
    share: float = 1.0  # of a head's features that turn, from the first
    scaling: Scaling | None = None
    layout: Literal["half", "interleaved"] = "half"  # which features are a pair

    def check(self) -> None:
        if not self.base > 0:
            raise ValueError(f"base is {self.base}, expected a finite number above 0")
        if not 0 < self.share <= 1:
            raise ValueError(f"share is {self.share}, expected above 0, at most 1")

    def turned(self, head_dim: Size) -> Size:
        """How many of a head's features turn."""
        if is_letter(head_dim):
            return self.share * head_dim if self.share < 1 else head_dim
        return int(self.share * head_dim)


# --- what a stack has once --------------------------------------------------------------------


@described
class Learned(Described):
    """A table of vectors, one for each position, added to the embedding."""

    rows: Size
    first: Count = 0  # the row of position 0: RoBERTa and BART leave two unused before it


@described
class Sinusoidal(Described):
    """Sines and cosines added to the embedding; nothing is stored."""

    scale: float = 1.0  # that they are multiplied with


@described
class Buckets(Described):
    """T5's bias: a number for each head and bucket of distances, one table for all layers."""

    n_heads: Size
    n_buckets: Size = 32
    max_distance: Size = 128
