"""What the chapter on the forward pass needs: a walk by hand, and a picture.

`block_as_written` and `model_as_written` are for a reader's own model: where it is built otherwise
than the formulas that the chapter writes out, a small random one stands in for it.
"""

from dataclasses import dataclass
from typing import Any

from IPython.display import HTML
from jaxtyping import Float
from torch import Tensor, nn

import llmlib.architecture as arch
from llmlib.decoder import Block, Decoder, DecoderConfig


def added(
    block: Block, name: str, x: Float[Tensor, "1 seq dim"], start: Tensor, seen: Any
) -> Float[Tensor, "1 seq dim"]:
    """What a sub-layer adds to the stream x; one that works beside another reads `start`."""
    norms, alone = dict(block.norms.items()), nn.Identity()
    before = norms.get(f"{name}_input", norms.get("mixer_input", alone))
    read = before(x if block.block.order == "in turn" else start)
    y = getattr(block, name)(read, **(seen._asdict() if name == "mixer" else {}))
    return block.block.residual_scale * norms.get(f"{name}_output", alone)(y)


def block_as_written(block: Block) -> Block:
    """The block, or a random one where it is built otherwise than by hand in the chapter."""
    a: Any = block.block.mixer
    f: Any = block.block.feed_forward
    heads = a.n_heads, getattr(a, "n_kv_heads", a.n_heads), a.head_dim
    mixer = arch.Attention(
        *heads,
        a.rope or arch.Rope(),
        getattr(a, "window", None),
        qkv_bias=a.qkv_bias,
        qk_norm=getattr(a, "qk_norm", None),
    )
    said = arch.Block(mixer, arch.FeedForward(f.ffn_dim), block.block.norm)
    return block if said == block.block else Block(block.dim, said).double()


def model_as_written(model: Decoder, block: Block) -> Decoder:
    """The model, or a small random one where it is built otherwise than on one page."""
    c = model.config
    a: Any = block.block.mixer
    f: Any = block.block.feed_forward
    said = DecoderConfig(
        c.vocab_size,
        c.dim,
        c.n_layers,
        a.n_heads,
        a.n_kv_heads,
        a.head_dim,
        f.ffn_dim,
        c.context,
        norm_eps=block.block.norm.eps,
        tied=c.tied,
        qkv_bias=a.qkv_bias,
        qk_norm=a.qk_norm is not None,
        rope_base=a.rope.base,
    )
    small = DecoderConfig(c.vocab_size, 32, 2, 4, context=c.context)
    return model if said == c else Decoder(small).double()


@dataclass(frozen=True)
class Box:
    """A box of the picture: its middle, its words, the chapter it leads to, its color."""

    x: int
    y: int
    text: str
    page: str
    color: int

    def svg(self) -> str:
        place = f'x="{self.x - 74}" y="{self.y - 18}" width="148" height="36" rx="6"'
        return (
            f'<rect {place} fill="none" stroke="var(--series-{self.color})" stroke-width="1.8"/>'
            f'<a href="{self.page}.html"><text x="{self.x}" y="{self.y + 5}" '
            f'text-anchor="middle" text-decoration="underline">{self.text}</text></a>'
        )


BOXES = (
    Box(270, 452, "norm", "normalization", 3),
    Box(470, 452, "attention", "attention", 2),
    Box(270, 292, "norm", "normalization", 3),
    Box(470, 292, "feed-forward", "activations", 1),
    Box(110, 586, "token ids", "tokenization", 6),
    Box(110, 524, "embedding", "parameters", 6),
    Box(470, 586, "positions", "position_encoding", 6),
    Box(110, 142, "final norm", "normalization", 3),
    Box(110, 76, "head", "parameters", 6),
    Box(470, 76, "choice", "decoding", 6),
)
LINES = (
    "M110 568V544M110 506V160M110 124V96M186 76H392M470 568V474",
    "M110 452H192M346 452H392M470 434V392H126",
    "M110 292H192M346 292H392M470 274V232H126",
)
ALT = (
    "From bottom to top: token ids pick rows of the embedding; the residual stream runs upwards "
    "through L blocks. In each block it is read through a norm by attention, which adds to it, "
    "then through a norm by the feed-forward network, which adds to it. Final norm, head, and "
    "outside of the network the choice of a token."
)


def block_picture() -> HTML:
    """A decoder's block between text and choice; each box is a link to its chapter."""
    arrows = "".join(
        f'<path d="M{piece}" marker-end="url(#forward-arrow)"/>'
        for line in LINES
        for piece in line[1:].split("M")
    )
    sums = "".join(
        f'<circle cx="110" cy="{y}" r="12" fill="var(--pst-color-background, Canvas)"/>'
        f'<path d="M104 {y}h12M110 {y - 6}v12"/>'
        for y in (392, 232)
    )
    return HTML(
        '<div class="lm-plot"><svg xmlns="http://www.w3.org/2000/svg" viewBox="20 44 560 574" '
        'role="group" aria-labelledby="forward-block" fill="currentColor" style="width: 460px; '
        'max-width: 100%; height: auto; font-size: 15px">'
        f'<title id="forward-block">{ALT}</title><defs><marker id="forward-arrow" '
        'viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0 10 5 0 10z"/></marker></defs>'
        f'<g fill="none" stroke="currentColor" stroke-width="1.5">{arrows}'
        '<rect x="40" y="186" width="530" height="300" rx="12" stroke-dasharray="6 5"/></g>'
        f'<g stroke="var(--series-1)" stroke-width="1.8">{sums}</g>'
        + "".join(box.svg() for box in BOXES)
        + '<g text-anchor="middle"><text x="420" y="380">tokens meet here only</text>'
        '<text x="420" y="220">each token alone</text>'
        '<text x="530" y="208">L blocks</text></g></svg></div>'
    )
