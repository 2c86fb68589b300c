"""The chapter on activations: blocks of equal size, trained; and single units of SmolLM2.

`benchmarks/activation_runs.py` trains the small decoders of `BLOCKS` and stores their losses in
activations.tsv, which `stored` reads.
"""

import copy
import csv
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from llmlib.activations import matched_ffn_dim
from llmlib.book.labs.normalization import toy_decoder
from llmlib.book.labs.tables import read_rows, write_rows
from llmlib.book.real_model import start_of
from llmlib.decoder import Decoder
from llmlib.tokenization import AnyTokenizer

FILE = Path(__file__).with_suffix(".tsv")
TEXTS = Path(__file__).with_name("unit_texts.tsv")
DIM = 48
_MATCHED = {"gated": True, "ffn_dim": matched_ffn_dim(4 * DIM)}
BLOCKS: dict[str, dict[str, Any]] = {
    "no bend": {"activation": "identity"},
    "ReLU": {"activation": "relu"},
    "ReLU²": {"activation": "relu_squared"},
    "GELU": {"activation": "gelu"},
    "Swish": {"activation": "swish"},
    "GLU": {"activation": "sigmoid", **_MATCHED},
    "SwiGLU": {"activation": "swish", **_MATCHED},
    "SwiGLU, 4d wide": {"activation": "swish", "gated": True, "ffn_dim": 4 * DIM},
}


class Run(NamedTuple):
    """One small decoder, trained and tested."""

    block: str  # a key of BLOCKS
    n_layers: int
    rate: float
    seed: int
    loss: float  # nats a character on held-out text


def block_decoder(block: str, vocab_size: int, n_layers: int, seed: int) -> Decoder:
    """A decoder of width 48 with four heads; only the feed-forward block differs."""
    return toy_decoder(
        vocab_size, DIM, 4, n_layers, seq=32, seed=seed, ffn_bias=False, **BLOCKS[block]
    )


def save(runs: Iterable[Run], path: Path = FILE) -> None:
    """Write the runs as a table."""
    write_rows(path, Run, runs, loss=".4f")


def stored(path: Path = FILE) -> list[Run]:
    """The runs of the table."""
    return read_rows(path, Run)


# --- units of a real model ----------------------------------------------------------------------


def unit_texts() -> list[str]:
    """48 sentences, six on each of eight subjects, written for this book."""
    with TEXTS.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [row["text"] for row in rows]


@torch.no_grad()
def read_units(
    model: Decoder, start: Sequence[int], token_ids: Sequence[int]
) -> tuple[Float[Tensor, "layers seq units"], Float[Tensor, "layers seq units"]]:
    """What each unit gives (what `down` reads), and its gate before Swish, without the start token.

    The start token is put in front, and left out of the result: what it does is another story.
    """
    n = len(start)
    given: list[Tensor] = []
    gates: list[Tensor] = []
    hooks = []
    for block in model.blocks:
        part: Any = block.feed_forward
        hooks.append(part.down.register_forward_pre_hook(lambda _, x: given.append(x[0][0, n:])))
        hooks.append(part.gate.register_forward_hook(lambda _, __, y: gates.append(y[0, n:])))
    try:
        model(torch.tensor([[*start, *token_ids]]))
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack(given), torch.stack(gates)


class Units:
    """Every unit of a model over many texts: how high it rises, where, and how rarely.

    selectivity is the mean of a unit's highest values in the `count` texts in which it rises
    highest, over its root mean square in all texts: a unit that answers alike to all has about 1.
    """

    def __init__(
        self, model: Decoder, tokenizer: AnyTokenizer, texts: Sequence[str], count: int = 6
    ) -> None:
        self.tokenizer, self.ids = tokenizer, [tokenizer.encode(text) for text in texts]
        self.count = count
        start = start_of(tokenizer)
        read = [read_units(model, start, ids) for ids in self.ids]
        self.given = [given for given, _ in read]
        self.gates = torch.cat([gates for _, gates in read], dim=1)
        self._rank()

    def _rank(self) -> None:
        """From what the units give: how high they rise, where, and how rarely."""
        peaks = torch.stack([one.abs().amax(1) for one in self.given])  # (texts, layers, units)
        self.scale = torch.cat(self.given, dim=1).square().mean(1).sqrt()
        self.largest = peaks.amax(0)
        high, self.top = peaks.topk(self.count, dim=0)
        self.selectivity = high.mean(0) / self.scale

    def changed(
        self, change: Callable[[Float[Tensor, "tokens units"]], Float[Tensor, "tokens units"]]
    ) -> "Units":
        """The same texts, as if each layer's units gave what `change` makes of them."""
        other, lengths = copy.copy(self), [len(ids) for ids in self.ids]
        layers = [change(layer) for layer in torch.cat(self.given, dim=1)]
        other.given = list(torch.stack(layers).split(lengths, dim=1))
        other._rank()
        return other

    def best(self, k: int) -> list[tuple[int, int]]:
        """The k most selective units of each layer, as (layer, unit)."""
        rows = self.selectivity.topk(k, dim=1).indices.tolist()
        return [(layer, unit) for layer, row in enumerate(rows) for unit in row]

    def words(self, layer: int, unit: int) -> list[str]:
        """The token at which the unit rises highest, in each of its texts, highest first."""
        found = []
        for text in self.top[:, layer, unit].tolist():
            place = int(self.given[text][layer, :, unit].abs().argmax())
            found.append(self.tokenizer.decode([self.ids[text][place]]))
        return found

    def sign(self, layer: int, unit: int) -> float:
        """1 or -1: with which sign the unit gives its largest value."""
        all_values = torch.cat([one[layer, :, unit] for one in self.given])
        return float(all_values[all_values.abs().argmax()].sign())


def alike(words: Sequence[str]) -> int:
    """How many of the words are the most frequent one, whatever their case and spaces."""
    return max(Counter(word.strip().lower() for word in words).values())


@torch.no_grad()
def raised(model: Decoder, layer: int, unit: int, sign: float, count: int = 4) -> list[int]:
    """The token ids whose logits a unit's row of W2 raises most, read through the head alone."""
    part: Any = model.blocks[layer].feed_forward
    row = sign * part.down.weight[:, unit]
    return (model.embedding.weight @ row).topk(count).indices.tolist()
