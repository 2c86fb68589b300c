"""Published configurations of named models, each with its parameter count and its source.

A card holds what a model's paper and released configuration say, in the book's names, so that a
chapter's table computes its numbers instead of copying them. What a card does not do: build the
model or count its parameters by a formula.
"""

import difflib
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ModelConfig:
    """The sizes and choices that fix a transformer's shape."""

    dim: int  # d, width of the residual stream
    n_layers: int  # L, blocks; in an encoder-decoder: of each of the two stacks
    n_heads: int  # H, query heads
    n_kv_heads: int  # G, key/value heads; H when every query head has its own
    head_dim: int  # d_head; n_heads * head_dim need not be dim
    ffn_dim: int  # d_ff, hidden width of the feed-forward block
    vocab_size: int  # V, rows of the embedding, padding rows included
    context: int  # positions the released model is configured or trained for
    norm: Literal["layer", "rms"]
    norm_position: Literal["pre", "post"]
    activation: str  # a name in llmlib.activations.ACTIVATIONS
    gated: bool  # three feed-forward matrices instead of two
    bias: bool  # whether the projections have biases
    position: Literal["learned", "relative_bias", "rope"]
    tied: bool  # the output head shares the embedding matrix
    norm_eps: float = 1e-5
    family: Literal["decoder", "encoder", "encoder-decoder"] = "decoder"
    qkv_bias: bool = False  # a bias on Q, K and V alone (bias is False then)
    window: int | None = None  # sliding-window attention: keys a query sees, itself included
    rope_base: float | None = None

    @property
    def ffn_ratio(self) -> float:
        """d_ff / d."""
        return self.ffn_dim / self.dim

    @property
    def ffn_parameters(self) -> int:
        """Weights and biases of one feed-forward block."""
        matrices = 3 if self.gated else 2
        biases = self.bias * ((matrices - 1) * self.ffn_dim + self.dim)
        return matrices * self.dim * self.ffn_dim + biases


@dataclass(frozen=True)
class ModelCard:
    """A named model: its configuration, its size and where both come from."""

    name: str
    year: int
    config: ModelConfig
    published_parameters: int  # numbers in the release, a shared tensor once; rounded if not exact
    quoted: str  # the size as the source prints it, rounded
    source: str  # key in references.bib
    exact: bool = True  # False: the weights are not public, the count is the source's rounded one
    note: str = ""


_GPT = ModelConfig(
    dim=768,
    n_layers=12,
    n_heads=12,
    n_kv_heads=12,
    head_dim=64,
    ffn_dim=3072,
    vocab_size=50257,
    context=1024,
    norm="layer",
    norm_position="pre",
    activation="gelu_tanh",
    gated=False,
    bias=True,
    position="learned",
    tied=True,
)
_LLAMA = ModelConfig(
    dim=4096,
    n_layers=32,
    n_heads=32,
    n_kv_heads=32,
    head_dim=128,
    ffn_dim=11008,
    vocab_size=32000,
    context=2048,
    norm="rms",
    norm_position="pre",
    activation="swish",
    gated=True,
    bias=False,
    position="rope",
    tied=False,
    norm_eps=1e-6,
    rope_base=10_000.0,
)


def _like(base: ModelConfig, **changes: object) -> ModelConfig:
    return ModelConfig(**{**vars(base), **changes})


_CARDS = [
    ModelCard(
        name="GPT-1",
        year=2018,
        config=_like(_GPT, vocab_size=40478, context=512, norm_position="post"),
        published_parameters=116_534_784,
        quoted="117M",
        source="radford2018gpt",
        note="The paper prints no total; 117M is the GPT-2 paper's, for the equivalent size.",
    ),
    ModelCard(
        name="BERT-base",
        year=2018,
        config=_like(
            _GPT,
            vocab_size=30522,
            context=512,
            norm_position="post",
            activation="gelu",
            norm_eps=1e-12,
            family="encoder",
        ),
        published_parameters=109_482_240,
        quoted="110M",
        source="devlin2019bert",
        note="The encoder with its pooler, without the pre-training heads; two segment embeddings.",
    ),
    ModelCard(
        name="GPT-2",
        year=2019,
        config=_GPT,
        published_parameters=124_439_808,
        quoted="117M",
        source="radford2019gpt2",
        note="The smallest of four. The paper's 117M was corrected to 124M by a later release.",
    ),
    ModelCard(
        name="T5-small",
        year=2019,
        config=ModelConfig(
            dim=512,
            n_layers=6,
            n_heads=8,
            n_kv_heads=8,
            head_dim=64,
            ffn_dim=2048,
            vocab_size=32128,
            context=512,
            norm="rms",
            norm_position="pre",
            activation="relu",
            gated=False,
            bias=False,
            position="relative_bias",
            tied=True,
            norm_eps=1e-6,
            family="encoder-decoder",
        ),
        published_parameters=60_506_624,
        quoted="60M",
        source="raffel2020t5",
        note="Six layers in each stack. The paper calls RMSNorm a simplified layer normalization.",
    ),
    ModelCard(
        name="GPT-3 175B",
        year=2020,
        config=_like(
            _GPT,
            dim=12288,
            n_layers=96,
            n_heads=96,
            n_kv_heads=96,
            head_dim=128,
            ffn_dim=49152,
            context=2048,
        ),
        published_parameters=175_000_000_000,
        quoted="175.0B",
        source="brown2020gpt3",
        exact=False,
        note=(
            "Weights are not public: 175.0B is the paper's rounded figure; activation, vocabulary "
            "and tied head are GPT-2's, which the paper says it follows."
        ),
    ),
    ModelCard(
        name="LLaMA-7B",
        year=2023,
        config=_LLAMA,
        published_parameters=6_738_415_616,
        quoted="6.7B",
        source="touvron2023llama",
    ),
    ModelCard(
        name="Mistral-7B-v0.1",
        year=2023,
        config=_like(_LLAMA, n_kv_heads=8, ffn_dim=14336, context=8192, norm_eps=1e-5, window=4096),
        published_parameters=7_241_732_096,
        quoted="7B",
        source="jiang2023mistral",
        note="Context as in the paper's Table 1; the released config allows 32,768 positions.",
    ),
    ModelCard(
        name="Qwen2-7B",
        year=2024,
        config=_like(
            _LLAMA,
            dim=3584,
            n_layers=28,
            n_heads=28,
            n_kv_heads=4,
            ffn_dim=18944,
            vocab_size=152064,
            context=131072,
            qkv_bias=True,
            rope_base=1_000_000.0,
        ),
        published_parameters=7_615_616_512,
        quoted="7B",
        source="yang2024qwen2",
        note="Biases on Q, K and V alone. Positions of the released config.",
    ),
]

CARDS: dict[str, ModelCard] = {one.name: one for one in _CARDS}


def card(name: str) -> ModelCard:
    """The card of a model by its name in CARDS; upper and lower case do not matter.

    Raises: ValueError for an unknown name, with the nearest known ones.
    """
    lower = {known.lower(): known for known in CARDS}
    if name.lower() in lower:
        return CARDS[lower[name.lower()]]
    near = difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.4)
    names = [lower[one] for one in near] or list(CARDS)
    raise ValueError(f"no model card for {name!r}; near names: {', '.join(names)}")
