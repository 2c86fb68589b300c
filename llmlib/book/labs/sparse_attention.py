"""What a trained model loses when its queries see part of the text: which part, and why.

Four texts of the Bible, 256 tokens each, every layer of SmolLM2 under one mask; and the model begun
anew on the last tokens alone. `python -m llmlib.book.labs.sparse_attention` measures it and stores
the losses in sparse_attention.tsv, which `stored` reads: some minutes of one core.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool
from torch import Tensor, nn

from llmlib.book.labs.kv_cache import (
    BEGINNINGS,
    MEASURED_FROM,
    TOKENS,
    Run,
    losses,
    passage,
    save,
)
from llmlib.decoder import Decoder
from llmlib.positions import Positions
from llmlib.sparse_attention import sliding_window_mask
from llmlib.tokenization import AnyTokenizer

FILE = Path(__file__).with_suffix(".tsv")
VISIBLE: dict[str, tuple[list[int], int]] = {
    "everything": ([], TOKENS),
    "last 64": ([], 64),
    "0 and last 63": ([0], 63),
    "0-3 and last 60": ([0, 1, 2, 3], 60),
    "1 and last 63": ([1], 63),
    "1-4 and last 60": ([1, 2, 3, 4], 60),
    "8-11 and last 60": ([8, 9, 10, 11], 60),
    "20-23 and last 60": ([20, 21, 22, 23], 60),
    "40-43 and last 60": ([40, 41, 42, 43], 60),
}
"""What is visible: some tokens by their place, and so many of the newest."""
IN_FRONT = {"a line break": "\n", "the": " the", "Banana": "Banana", "nothing": ""}
"""What else may stand in the place of the start token."""
RESTARTED = range(MEASURED_FROM, TOKENS, 4)
VALUES: dict[str, tuple[int, float | None]] = {
    "as it is": (0, 1.0),
    "zero": (0, 0.0),
    "of median length": (0, None),
    "of token 8 zero": (8, 0.0),
}
"""Whose value is scaled, and by how much; None: to the median length of the others."""


def visible(name: str) -> Bool[Tensor, "seq seq"]:
    """The mask of one setting."""
    places, near = VISIBLE[name]
    mask = sliding_window_mask(TOKENS, near, causal=True)
    mask[:, places] = True
    return mask.tril()


@torch.no_grad()
def under(model: Decoder, ids: list[int], name: str) -> Tensor:
    """Nats at each position from MEASURED_FROM on, every layer under one mask."""
    mask = visible(name)
    return losses(model, torch.tensor([ids]), lambda block, x: mask)[0, MEASURED_FROM:]


@torch.no_grad()
def restarted(model: Decoder, ids: list[int], start: list[int], seen: int = 64) -> float:
    """Mean loss at RESTARTED, where the model reads `start` and the last tokens, and no more."""
    rows = [[*start, *ids[t + 1 - seen + len(start) : t + 1]] for t in RESTARTED]
    targets = torch.tensor([ids[t + 1] for t in RESTARTED])
    return float(F.cross_entropy(model(torch.tensor(rows), last_only=True)[:, 0], targets))


@torch.no_grad()
def revalued(model: Decoder, ids: list[int], setting: str, name: str) -> float:
    """Mean loss under a mask, where in every layer one token's value is scaled for all who read it.

    Keys, and so the weights of the layer, stay as they are. Token 0 itself reads its own value
    unscaled: it sees nothing else, so its stream is that of a run of its own.
    """
    (place, factor), mask, at = VALUES[setting], visible(name), Positions(torch.arange(1))

    def scaled(_: nn.Module, __: tuple[Tensor, ...], out: Tensor) -> Tensor:
        lengths = out.norm(dim=-1)
        by = lengths[:, 1:].median() / lengths[:, place] if factor is None else factor
        out = out.clone()
        out[:, place] *= by
        return out

    text = torch.tensor([ids])
    x = model.embed(text[:, :-1], Positions(torch.arange(TOKENS)))
    first = x[:, :1]
    for block in model.blocks:
        mixer: Any = block.mixer
        hook = mixer.value.register_forward_hook(scaled)
        x = block(x, Positions(torch.arange(TOKENS), mask=mask))
        hook.remove()
        first = block(first, at)
        x = torch.cat([first, x[:, 1:]], 1)
    logits = model.head(x)[0, MEASURED_FROM:]
    return float(F.cross_entropy(logits, text[0, MEASURED_FROM + 1 :]))


def runs(model: Decoder, tokenizer: AnyTokenizer) -> Iterator[Run]:
    """All settings on all texts."""
    at = torch.tensor(RESTARTED) - MEASURED_FROM
    for text in BEGINNINGS:
        ids = passage(tokenizer, text)
        for name in VISIBLE:
            found = under(model, ids, name)
            yield Run("visible", name, text, 0, float(found.mean()))
            if name in ("everything", "last 64", "0 and last 63"):
                yield Run("restart", name, text, 0, float(found[at].mean()))
        for name, start in (("the last 64 alone", []), ("start and the last 63 alone", ids[:1])):
            yield Run("restart", name, text, 0, restarted(model, ids, start))
        for setting in VALUES:
            for name in ("everything", "0 and last 63"):
                loss = revalued(model, ids, setting, name)
                yield Run(f"value {setting}", name, text, 0, loss)
        for front, word in IN_FRONT.items():
            begin = [*tokenizer.encode(word)[:1], *passage(tokenizer, text, TOKENS + 1)[1:]]
            for name in ("everything", "last 64", "0 and last 63"):
                found = under(model, begin[: TOKENS + 1], name)
                yield Run(front, name, text, 0, float(found.mean()))


if __name__ == "__main__":
    from llmlib.pretrained import smollm2

    save(runs(*smollm2()), FILE)
