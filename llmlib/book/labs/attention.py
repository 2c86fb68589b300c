"""The attention chapter's experiments: one small decoder with every way to share heads.

`small_decoder` builds it, `VARIANTS` names the ways; `benchmarks/attention_heads.py` trains all of
them and stores the losses in attention.tsv, which `stored` reads. `TwoPatterns` is the task that
needs two looks at once.
"""

import csv
import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

import llmlib.architecture as arch
from llmlib.attention import Attention
from llmlib.decoder import Decoder, DecoderConfig
from llmlib.training import Batch

FILE = Path(__file__).with_suffix(".tsv")
HEADS = 8
LATENT = arch.Latent(HEADS, kv_rank=24, rope_dim=8, plain_dim=8, value_dim=8)
VARIANTS: dict[str, dict[str, Any]] = {
    "MHA": {"n_kv_heads": 8},
    "GQA, G = 4": {"n_kv_heads": 4},
    "GQA, G = 2": {"n_kv_heads": 2},
    "MQA": {"n_kv_heads": 1},
    "MLA": {"latent": LATENT},
    "MLA, latent of 56": {"latent": dataclasses.replace(LATENT, kv_rank=56)},
    "MLA, heads of 16": {"latent": dataclasses.replace(LATENT, plain_dim=16, value_dim=16)},
}


def small_decoder(variant: str, vocab_size: int, seed: int, **changes: Any) -> Decoder:
    """Two blocks of width 64 with eight heads; only the keys and values differ by variant."""
    torch.manual_seed(seed)
    sizes = {"dim": 64, "n_layers": 2, "n_heads": HEADS, "ffn_dim": 160, "context": 4096}
    config = DecoderConfig(vocab_size, **{**sizes, **VARIANTS[variant], **changes})
    return Decoder(config)


# --- what the longer runs gave ----------------------------------------------------------------


class Run(NamedTuple):
    """One model, trained and tested."""

    variant: str  # a key of VARIANTS, or "MHA pooled to G" and "..., trained on"
    seed: int
    loss: float  # nats a character on the held-out text


def save(runs: Iterable[Run], path: Path = FILE) -> None:
    """Write the runs as a table."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(Run._fields)
        writer.writerows([run.variant, run.seed, f"{run.loss:.4f}"] for run in runs)


def stored(path: Path = FILE) -> dict[str, list[float]]:
    """The losses of every variant, by seed."""
    found: dict[str, list[float]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            found.setdefault(row["variant"], []).append(float(row["loss"]))
    return found


# --- the task that needs two looks ------------------------------------------------------------


class TwoPatterns:
    """Two questions at each position: which token stands two places back, and which one first?

    Args:
        values: how many different tokens there are.
        seq: length of a text.
    """

    def __init__(self, values: int = 64, seq: int = 12) -> None:
        self.values, self.seq = values, seq

    def batches(self, batch: int, seed: int) -> Iterator[Batch]:
        """Endless pairs (tokens, answers), (batch, seq) and (batch, seq, 2)."""
        generator = torch.Generator().manual_seed(seed)
        while True:
            tokens = torch.randint(self.values, (batch, self.seq), generator=generator)
            yield tokens, self.answers(tokens)

    def answers(self, tokens: Int[Tensor, "batch seq"]) -> Int[Tensor, "batch seq 2"]:
        """Both answers; -100, which the loss leaves out, where nothing stands two places back."""
        both = torch.stack([tokens.roll(2, dims=1), tokens[:, :1].expand_as(tokens)], dim=-1)
        return torch.cat([torch.full_like(both[:, :2], -100), both[:, 2:]], dim=1)


class OneLook(nn.Module):
    """One attention layer, read by one matrix: what it brings has to hold both answers apart.

    Args:
        n_heads: heads; the number of weights is the same for any.
        task: fixes vocabulary and length.
        dim: width.
        seed: decides every weight.
    """

    def __init__(self, n_heads: int, task: TwoPatterns, dim: int = 32, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.tokens = nn.Embedding(task.values, dim)
        self.positions = nn.Embedding(task.seq, dim)
        self.attention = Attention(dim, n_heads, causal=True)
        self.read = nn.Linear(dim, 2 * task.values)

    def embed(self, token_ids: Int[Tensor, "batch seq"]) -> Float[Tensor, "batch seq dim"]:
        """What attention reads."""
        return self.tokens(token_ids) + self.positions.weight

    def forward(self, token_ids: Int[Tensor, "batch seq"]) -> Float[Tensor, "batch seq 2 values"]:
        """The scores of both answers."""
        return self.read(self.attention(self.embed(token_ids))).unflatten(-1, (2, -1))

    def maps(self, token_ids: Int[Tensor, "batch seq"]) -> Float[Tensor, "batch heads seq seq"]:
        """Where each head looks."""
        return self.attention.weights(self.embed(token_ids))


@torch.no_grad()
def both_right(model: OneLook, task: TwoPatterns, seed: int = 999, batch: int = 500) -> float:
    """Share of positions at which both answers are right, on texts of a seed of their own."""
    tokens, answers = next(task.batches(batch, seed))
    right = (model(tokens).argmax(-1) == answers).all(-1)
    return right[:, 2:].double().mean().item()
