"""What it costs a masked model to write, counted, and what it costs to write many words at once.

A decoder with a cache passes each new token through its blocks once. A masked model that appends a
token reads all of them again, since every state may change; or it fills many holes in one pass,
each without knowing what the others say.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from llmlib.book.labs.families.masked import (
    FIRST,
    MASK,
    RARE,
    Masked,
    Windows,
    king_james,
)
from llmlib.decoder import Decoder, generate


@dataclass
class Passes:
    """How often a first block was called, and how many tokens went through it."""

    passes: int = 0
    tokens: int = 0


@contextmanager
def counted(block: nn.Module) -> Iterator[Passes]:
    """Counts the calls of a block inside."""
    found = Passes()

    def note(_: nn.Module, given: tuple[Any, ...]) -> None:
        found.passes += 1
        found.tokens += given[0].shape[0] * given[0].shape[1]

    hook = block.register_forward_pre_hook(note)
    try:
        yield found
    finally:
        hook.remove()


def by_decoder(model: Decoder, prompt: list[int], n: int) -> tuple[list[int], Passes]:
    """n words after a prompt, with a cache."""
    with counted(model.blocks[0]) as passes:
        return list(generate(model, prompt, n)), passes


@torch.no_grad()
def by_masked(model: Masked, prompt: list[int], n: int) -> tuple[list[int], Passes]:
    """n words after a prompt, the likeliest in a mask at the end each time."""
    said: list[int] = []
    with counted(model.model.blocks[0]) as passes:
        for _ in range(n):
            scores = model(torch.tensor([[*prompt, *said, MASK]]))
            scores[:, :FIRST] = -torch.inf
            said.append(int(scores.argmax()))
    return said, passes


@torch.no_grad()
def filled(model: Masked, read: Windows, first: int, last: int, at_once: int) -> Windows:
    """The windows with the words from `first` up to `last` written anew, so many in a pass.

    Later passes read what earlier ones wrote.
    """
    ids = read.clone()
    ids[:, first:last] = MASK
    for start in range(first, last, at_once):
        some = torch.arange(start, min(start + at_once, last))
        scores = model.hidden(ids)[:, some] @ model.model.embedding.weight.T
        scores[..., :FIRST] = -torch.inf
        ids[:, some] = scores.argmax(-1)
    return ids


def pairs_met(ids: Windows, first: int, last: int) -> float:
    """Of the neighbours inside a written span, the share that the training text has as neighbours.

    Pairs with a rare word are left out.
    """
    n, text = king_james().vocab_size, king_james().train
    met = torch.zeros(n * n, dtype=torch.bool)
    met[text[:-1] * n + text[1:]] = True
    left, right = ids[:, first : last - 1], ids[:, first + 1 : last]
    counts = (left != RARE) & (right != RARE)
    return met[(left * n + right)[counts]].double().mean().item()
