"""Slips of code that loads and serves encoders and encoder-decoders, each made on purpose.

MiniLM makes vectors of thirty sentences in seven wrong ways; a small random T5, drawn as T5's code
draws its start, is run with its scores scaled, and with its logits unscaled.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

import llmlib.architecture as arch
from llmlib.encoder import Encoder, mean_pooled, padded
from llmlib.encoder_decoder import EncoderDecoder
from llmlib.model_cards.encoder_decoders import t5
from llmlib.positions import Positions
from llmlib.tokenization import AnyTokenizer

LENGTH = 32
"""Tokens to which every sentence is padded, as beside one long text in a batch."""
Vectors = Float[Tensor, "texts dim"]


@torch.no_grad()
def sentence_vectors(
    model: Encoder, tokenizer: AnyTokenizer, texts: list[str]
) -> dict[str, Vectors]:
    """Vectors of length 1 of the texts, made rightly ("right") and wrongly, by name."""
    ids, mask = padded([tokenizer.encode(text, add_special=True) for text in texts])
    more = LENGTH - ids.shape[1]
    ids, mask = (nn.functional.pad(x, (0, more)) for x in (ids, mask))
    everywhere, hidden = torch.ones_like(mask), model(ids, mask)
    found = {
        "right": mean_pooled(hidden, mask),
        "mean over padding": hidden.mean(1),
        "no mask at all": model(ids).mean(1),
        "no mask, mean over the tokens": mean_pooled(model(ids), mask),
        "token type 1": mean_pooled(model(ids, mask, everywhere), mask),
        "positions from row 2": mean_pooled(_from_row(model, 2)(ids, mask), mask),
        "left padding, positions counted from it": _padded_left(model, ids, mask),
        "first token in place of the mean": hidden[:, 0],
    }
    return {name: nn.functional.normalize(x, dim=-1) for name, x in found.items()}


def _from_row(model: Encoder, row: int) -> Encoder:
    """The same weights, position 0 at another row of its table."""
    rows = model.config.stack.positions
    assert isinstance(rows, arch.Learned)
    moved = Encoder(arch.changed(model.config, arch.Learned, first=row))
    moved.load_state_dict(model.state_dict())
    return moved.eval()


def _padded_left(model: Encoder, ids: Tensor, mask: Tensor) -> Vectors:
    """Padding moved to the left; its tokens are hidden, and count in the positions."""
    places = (torch.arange(LENGTH) + mask.sum(1, keepdim=True)) % LENGTH
    ids, mask = ids.gather(1, places), mask.gather(1, places)
    x = model.embed(ids, Positions(torch.arange(LENGTH)))
    return mean_pooled(model.run(x, Positions(torch.arange(LENGTH), mask.bool())), mask)


def likeness(found: dict[str, Vectors]) -> dict[str, float]:
    """For each wrong way, the mean cosine to the right vectors."""
    right = found["right"]
    return {name: (x * right).sum(-1).mean().item() for name, x in found.items() if name != "right"}


# --- T5 -------------------------------------------------------------------------------------


def small_t5(scale: float | None = 1.0) -> EncoderDecoder:
    """A random T5 of two blocks a stack and width 256, drawn as its code draws: rows of variance 1.

    Args:
        scale: of the scores; None: 1 / sqrt(head_dim), as everywhere else.
    """
    config = arch.changed(t5(256, 2, 4), arch.Attention, scale=scale)
    config = arch.changed(config, arch.ModelConfig, vocab_size=2000, output_scale=256**-0.5)
    model = EncoderDecoder(config).double().eval()
    draw = torch.Generator().manual_seed(0)
    for name, weight in model.named_parameters():
        if weight.ndim < 2:
            continue
        spread = weight.shape[-1] ** -0.5  # of a matrix, by the width that it reads
        if name.endswith("query.weight"):
            spread = (256 * 64) ** -0.5
        if "embedding" in name:
            spread = 1.0
        with torch.no_grad():
            weight.copy_(spread * torch.randn(weight.shape, generator=draw, dtype=torch.float64))
    return model


@torch.no_grad()
def t5_slips() -> dict[str, float]:
    """What the two slips do to a pass over random ids."""
    draw = torch.Generator().manual_seed(1)
    read, begun = (torch.randint(2000, (4, n), generator=draw) for n in (32, 8))
    right, scaled = small_t5()(read, begun), small_t5(None)(read, begun)
    unscaled = right * 256**0.5
    first = [x.softmax(-1).amax(-1).mean().item() for x in (right, unscaled)]
    moved = (scaled - right).norm() / right.norm()
    return {
        "scores scaled: relative change of the logits": moved.item(),
        "same first guess": (unscaled.argmax(-1) == right.argmax(-1)).double().mean().item(),
        "probability of it": first[0],
        "unscaled": first[1],
    }
