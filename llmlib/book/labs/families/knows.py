"""What each position of a model can know: found by changing one token and looking what moves.

The three models are tiny and random: whom a position hears is the mask's doing, not the weights'.
"""

from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

import llmlib.architecture as arch
from llmlib.decoder import Decoder
from llmlib.encoder import Encoder
from llmlib.encoder_decoder import EncoderDecoder

WORDS = ("the", "cat", "sat", "on", "the", "mat", "and", "slept")
SPAN = 2  # words that T5's objective hides together here
SHOWS = ("who hears whom", "what is learned in a pass")
_VOCAB = 32


def tiny(family: str) -> Decoder | Encoder | EncoderDecoder:
    """A random model of two blocks in float64: "decoder", "encoder" or "encoder-decoder"."""
    attention = arch.Attention(2, 2, 8)
    block = arch.Block(attention, arch.FeedForward(32, "relu", gated=False))
    across = arch.Block(attention, block.feed_forward, cross=attention)
    table = arch.Buckets(2)
    both = arch.Stack((arch.repeat(2, block),), causal=False, positions=table)
    kinds: dict[str, tuple[type, arch.Stack, arch.Stack | None]] = {
        "decoder": (Decoder, arch.Stack((arch.repeat(2, block),), positions=table), None),
        "encoder": (Encoder, both, None),
        "encoder-decoder": (
            EncoderDecoder, arch.Stack((arch.repeat(2, across),), positions=table), both,
        ),
    }  # fmt: skip
    made, stack, source = kinds[family]
    torch.manual_seed(0)
    model = made(arch.ModelConfig(16, _VOCAB, 64, stack, source, tied=True)).double()
    for parameter in model.parameters():
        if parameter.ndim == 2:  # large enough that no influence is lost in rounding
            torch.nn.init.normal_(parameter, std=0.3)
    return model


@torch.no_grad()
def knows(family: str, n: int, n_source: int = 0) -> Bool[Tensor, "seq seq"]:
    """Row i, column j: whether what comes out at position i moves when token j is changed.

    Args:
        family: as for `tiny`.
        n: positions, in an encoder-decoder of the source and, after it, of the target.
        n_source: how many of them are the source's.
    """
    model, ids = tiny(family), torch.arange(1, n + 1)
    before = _out(model, ids, n_source)
    rows = []
    for j in range(n):
        changed = ids.clone()
        changed[j] = 0
        rows.append((_out(model, changed, n_source) != before).any(-1))
    return torch.stack(rows, 1)


def _out(model: Any, ids: Int[Tensor, " seq"], n_source: int) -> Tensor:
    """What comes out at each position, (seq, width)."""
    if not isinstance(model, EncoderDecoder):
        out: Tensor = model(ids[None])[0]
        return out
    source = model.encode(ids[None, :n_source])
    logits = model(source, ids[None, n_source:])[0]
    return torch.cat([source.hidden[0], logits[:, :16]])


# --- the frames of the widget -----------------------------------------------------------------


def three_masks(word: int, show: str) -> dict[str, Any]:
    """One sentence through three models that are asked for the same word, counted from 1.

    Each panel has the tokens that are read, who knows whom, the position that is asked, what each
    position predicts, and which word a position asks for.
    """
    asked, n = word - 1, len(WORDS)
    first = asked - asked % SPAN
    span = WORDS[first : first + SPAN]
    source = [*WORDS[:first], "⟨X⟩", *WORDS[first + SPAN :]]
    target = ["⟨s⟩", "⟨X⟩", *span]
    kept = [k for k in range(n) if not first <= k < first + SPAN]
    at = len(source) + 1 + asked - first
    words = [*kept[:first], first, *kept[first:], first, *range(first, first + SPAN), first]
    learned = ["" for _ in source] + ["⟨X⟩", *span, "⟨Y⟩"]
    hidden = [*WORDS[:asked], "▢", *WORDS[asked + 1 :]]
    alone = ["" if k != asked else WORDS[k] for k in range(n)]
    panels = [
        _panel("decoder", ["⟨s⟩", *WORDS[:-1]], asked, WORDS, range(n), show),
        _panel("encoder", hidden, asked, alone, range(n), show),
        _panel("encoder-decoder", source + target, at, learned, words, show, len(source)),
    ]
    return {"panels": panels, "note": _note(asked, show, source, span)}


def _panel(
    family: str, read: Any, at: int, learned: Any, words: Any, show: str, n_source: int = 0
) -> dict[str, Any]:
    seen = knows(family, len(read), n_source)
    return {
        "title": family, "rows": list(read), "at": at, "split": n_source,
        "mask": ["".join("x" if one else "." for one in row) for row in seen.tolist()],
        "learned": list(learned) if show == SHOWS[1] else [],
        "words": [word + 1 for word in words],
    }  # fmt: skip


def _note(asked: int, show: str, source: list[str], span: tuple[str, ...]) -> str:
    if show == SHOWS[1]:
        return (
            f"Words that one pass over the {len(WORDS)} teaches to predict: decoder {len(WORDS)}, "
            f"each from those before it; encoder 1, from the {len(WORDS) - 1} others; "
            f"encoder-decoder {len(span)}, and the marks ⟨X⟩ and ⟨Y⟩."
        )
    before = " ".join(WORDS[:asked]) or "nothing"
    around = " ".join([*WORDS[:asked], "▢", *WORDS[asked + 1 :]])
    within = f", then “{span[0]}”" if asked % SPAN else ""
    return (
        f"Asked for “{WORDS[asked]}”, word {asked + 1}. The decoder has “{before}”. The encoder "
        f"has “{around}”. The encoder-decoder has “{' '.join(source)}”{within}."
    )
