"""The attention chapter's experiments: one small decoder with every way to share heads.

`small_decoder` builds it, `VARIANTS` names the ways and `EQUAL_SIZE` the controls that have as many
weights; `benchmarks/attention_heads.py` trains all of them and stores the losses in attention.tsv,
which `stored` reads. `TwoPatterns` is the task that asks for two looks at once;
`benchmarks/attention_looks.py` trains its models for short and for long, and stores what they reach
in attention_looks.tsv, which `stored_looks` reads.
"""

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

import llmlib.architecture as arch
from llmlib.attention import Attention
from llmlib.book.labs.tables import read_rows, write_rows
from llmlib.decoder import Decoder, DecoderConfig
from llmlib.training import Batch

FILE = Path(__file__).with_suffix(".tsv")
LOOKS_FILE = Path(__file__).with_name("attention_looks.tsv")
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
# Fewer key/value heads are fewer weights too. Here the feed-forward blocks make up for them.
EQUAL_SIZE: dict[str, dict[str, Any]] = {
    "MHA, as small as MQA": {"n_kv_heads": 8, "ffn_dim": 123},
    "MQA, as large as MHA": {"n_kv_heads": 1, "ffn_dim": 197},
}


def small_decoder(variant: str, vocab_size: int, seed: int, **changes: Any) -> Decoder:
    """Two blocks of width 64 with eight heads.

    Those of VARIANTS differ in their keys and values alone, those of EQUAL_SIZE in ffn_dim too.
    """
    torch.manual_seed(seed)
    sizes = {"dim": 64, "n_layers": 2, "n_heads": HEADS, "ffn_dim": 160, "context": 4096}
    chosen = {**VARIANTS, **EQUAL_SIZE}[variant]
    config = DecoderConfig(vocab_size, **{**sizes, **chosen, **changes})
    return Decoder(config)


# --- what the longer runs gave ----------------------------------------------------------------


class Run(NamedTuple):
    """One model, trained and tested."""

    variant: str  # of VARIANTS or EQUAL_SIZE, or "MHA pooled to G" and "..., trained on"
    seed: int
    loss: float  # nats a character on the held-out text


def save(runs: Iterable[Run], path: Path = FILE) -> None:
    """Write the runs as a table."""
    write_rows(path, Run, runs, loss=".4f")


def stored(path: Path = FILE) -> dict[str, list[float]]:
    """The losses of every variant, by seed."""
    found: dict[str, list[float]] = {}
    for run in read_rows(path, Run):
        found.setdefault(run.variant, []).append(run.loss)
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


class Look(NamedTuple):
    """One model of the task, trained for so long, and where its heads look."""

    heads: int
    steps: int
    seed: int
    right: float  # share of positions with both answers right
    two_back: float  # mean weight on the token two places back, of the head that gives it most
    first: float  # on the first token, likewise


@torch.no_grad()
def looks(
    model: OneLook, task: TwoPatterns, seed: int = 7, batch: int = 200
) -> tuple[float, float]:
    """The largest mean weights, over heads, on the token two places back and on the first one.

    Queries whose two answers are one token, and those without a token two places back, are left
    out.
    """
    maps = model.maps(next(task.batches(batch, seed))[0]).mean(0)
    two_back = maps.diagonal(-2, dim1=-2, dim2=-1)[:, 1:].mean(-1)
    return two_back.max().item(), maps[:, 3:, 0].mean(-1).max().item()


def save_looks(found: Iterable[Look], path: Path = LOOKS_FILE) -> None:
    """Write the models of the task as a table."""
    write_rows(path, Look, found, **dict.fromkeys(Look._fields[3:], ".3f"))


def stored_looks(path: Path = LOOKS_FILE) -> list[Look]:
    """The models that the benchmark stored."""
    return read_rows(path, Look)
