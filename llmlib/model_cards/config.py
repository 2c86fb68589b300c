"""What a card holds: the sizes and choices that fix a transformer's shape, and its source.

The names are those of `llmlib.decoder.DecoderConfig`; encoders, encoder-decoders and mixtures of
experts have fields of their own. Nothing is checked here: a card may also hold letters, see
`llmlib.accounting`.
"""

from dataclasses import dataclass
from typing import Any, Literal

Size = Any  # an integer, or a sympy letter for one; Any, so that sympy need not be imported
Switch = Any  # True or False, or a letter that stands for 1 or 0


@dataclass(frozen=True)
class Experts:
    """A mixture of experts in the place of a feed-forward block: a router sends tokens to few.

    Source: jiang2024mixtral, deepseek2024v2
    """

    n_experts: Size  # that the router chooses from
    n_active: Size  # that a token passes through
    ffn_dim: Size  # hidden width of one expert
    n_shared: Size = 0  # that every token passes through, beside the chosen ones
    n_dense_layers: Size = 0  # first layers that have one block of the configuration's ffn_dim


@dataclass(frozen=True)
class ModelConfig:
    """The sizes and choices that fix a transformer's shape."""

    dim: Size  # d, width of the residual stream
    n_layers: Size  # L, blocks; in an encoder-decoder: of each of the two stacks
    n_heads: Size  # H, query heads
    n_kv_heads: Size  # G, key/value heads; H when every query head has its own
    head_dim: Size  # d_head; n_heads * head_dim need not be dim
    ffn_dim: Size  # d_ff, hidden width of the feed-forward block
    vocab_size: Size  # V, rows of the embedding, padding rows included
    context: Size  # positions the released model is configured or trained for
    norm: Literal["layer", "rms"]
    norm_position: Literal["pre", "post"]
    activation: str  # a name in llmlib.activations.ACTIVATIONS
    gated: Switch  # three feed-forward matrices instead of two
    bias: Switch  # whether the projections have biases, where the next three do not say
    position: Literal["learned", "relative_bias", "rope", "alibi", "sinusoidal", "none"]
    tied: Switch  # the output head shares the embedding matrix
    norm_eps: float = 1e-5
    family: Literal["decoder", "encoder", "encoder-decoder"] = "decoder"
    qkv_bias: Switch = None  # of queries, keys and values (Qwen2: these alone); None: as bias
    out_bias: Switch = None  # of attention's output projection; None: as bias
    ffn_bias: Switch = None  # of the feed-forward block; None: as bias
    norm_bias: Switch = None  # of the norms; None: LayerNorm has one, RMSNorm has none
    norms_per_block: Size = 2  # 1 in a parallel block: attention and feed-forward read the same
    qk_norm: Switch = False  # RMSNorm over each head's query and key (Qwen3)
    embedding_norm: Switch = False  # a norm behind the embedding (BERT, BART, BLOOM)
    embedding_scaled: Switch = False  # embeddings times √d before the first block (Gemma)
    position_rows: Size = None  # rows of a learned position table; None: context
    relative_buckets: Size = 32  # of T5's bias; one table of buckets by heads in each stack
    segments: Size = 0  # rows of the table of segment embeddings (BERT: 2)
    pooler: Switch = False  # a d by d layer with bias over the first position (BERT)
    window: Size = None  # sliding-window attention: keys a query sees, itself included
    rope_base: float | None = None
    latent: Any = None  # the LatentSizes of multi-head latent attention (DeepSeek-V2)
    experts: Experts | None = None  # None: one feed-forward block a layer

    def __post_init__(self) -> None:
        """Fill in what follows from other fields."""
        defaults = {
            "qkv_bias": self.bias,
            "out_bias": self.bias,
            "ffn_bias": self.bias,
            "norm_bias": self.norm == "layer",
            "position_rows": self.context,
        }
        for name, value in defaults.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)  # how a frozen dataclass is filled

    @property
    def ffn_ratio(self) -> float:
        """d_ff / d."""
        return self.ffn_dim / self.dim


@dataclass(frozen=True)
class ModelCard:
    """A named model: its configuration, its size and where both come from."""

    name: str
    year: int  # of the first publication, paper or weights
    config: ModelConfig
    published_parameters: int  # numbers in the release, a shared tensor once; rounded if not exact
    quoted: str  # the size as the source prints it, rounded
    source: str  # key in references.bib
    exact: bool = True  # False: the weights are not public, the count is the source's rounded one
    training_tokens: float | None = None  # seen in training, repeated ones too; None: not published
    note: str = ""
    difference: str = ""  # why the count is more than 1% off the quoted size; "" where it is not
    quoted_active: str = ""  # of a mixture of experts: the printed size of what a token passes

    @property
    def quoted_number(self) -> float:
        """The quoted size as a number: "6.7B" is 6.7e9."""
        return size_as_number(self.quoted)


def size_as_number(printed: str) -> float:
    """A printed size as a number: "6.7B" is 6.7e9, "1542M" 1.542e9.

    Raises: ValueError for what does not end with M or B.
    """
    units = {"M": 1e6, "B": 1e9}
    if printed[-1:] not in units:
        raise ValueError(f"the size is {printed!r}, expected a number and M or B, as in 6.7B")
    return float(printed[:-1]) * units[printed[-1]]


def like(base: ModelConfig, **changes: Any) -> ModelConfig:
    """A configuration with other values in some fields.

    What follows from a changed field follows it again unless it is given: three biases from
    `bias`, the norms' from `norm`, the rows of the position table from `context`.
    """
    leaders = {
        **dict.fromkeys(("qkv_bias", "out_bias", "ffn_bias"), "bias"),
        "norm_bias": "norm",
        "position_rows": "context",
    }
    again = {name: None for name, leader in leaders.items() if leader in changes}
    fields: dict[str, Any] = {**vars(base), **again, **changes}
    return ModelConfig(**fields)
