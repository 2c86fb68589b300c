"""What the real model would say after each of its blocks, for prompts that a reader may pick.

The head that makes the last block's stream into words is laid on the stream after every block.
Source: nostalgebraist2020logitlens.
"""

from collections.abc import Callable
from typing import Any

import torch

from llmlib.book.real_model import start_of
from llmlib.decoder import Decoder
from llmlib.tokenization import AnyTokenizer

# No two first guesses of these lie so near to each other that another CPU would swap them.
PROMPTS = [
    "The capital of France is",
    "I like the film The Shawshank",
    "Monday, Tuesday, Wednesday,",
    "To be, or not to",
    "The cat sat on the",
    "Two plus two equals",
    "The largest planet in the solar system is",
    "In the beginning God created the heaven and the",
    "Once upon a time, there was a little",
    "She opened the door and saw a",
    'print("Hello,',
    "My name is",
]
_SHOWN = 3


Guesses = dict[str, list[Any]]
"""For each prompt the best tokens and their shares before the first block and after each."""


def all_guesses(model: Decoder, tokenizer: AnyTokenizer) -> Guesses:
    """What the model would say after each of its blocks, for every prompt."""
    return {text: _after_each_block(model, tokenizer, text) for text in PROMPTS}


def arrivals(found: Guesses) -> list[int]:
    """For each prompt the block after which its last guess is the best, and stays the best."""
    blocks = []
    for best in found.values():
        first = [int(after.indices[0]) for after in best]
        differs = [block for block, token in enumerate(first) if token != first[-1]]
        blocks.append(max(differs, default=-1) + 1)  # 0: it never changes
    return blocks


def rungs(found: Guesses, tokenizer: AnyTokenizer) -> Callable[[str, int], dict[str, Any]]:
    """A function of a prompt and a number of blocks: words, shares and a sentence about them."""
    n_layers = len(next(iter(found.values()))) - 1

    def frame(prompt: str, block: int) -> dict[str, Any]:
        best = found[prompt][block]
        words = [tokenizer.decode([int(token)]) for token in best.indices]
        shares = [round(float(share), 2) for share in best.values]
        where = f"After block {block} of {n_layers}" if block else "Before the first block"
        first, *others = (
            f"“{word}” {share:.2f}" for word, share in zip(words, shares, strict=True)
        )
        note = f"{where} the best guess is {first}; then {', '.join(others)}."
        return {"words": words, "shares": shares, "note": note}

    return frame


def _after_each_block(model: Decoder, tokenizer: AnyTokenizer, text: str) -> list[Any]:
    ids = torch.tensor([start_of(tokenizer) + tokenizer.encode(text)])
    with torch.inference_mode():
        streams = [stream[:, -1:] for stream in model.hidden_states(ids)]
        return [model.head(stream)[0, 0].softmax(-1).topk(_SHOWN) for stream in streams]
