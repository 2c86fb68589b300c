"""The real model that the chapters take apart: SmolLM2, or one of the reader's own in its place.

`make lab MODEL=path` sets the variable LLMLIB_MODEL; chapters ask `real_model` for the model, and
claims that state SmolLM2's own numbers step aside while another one stands there (`claim`'s
`about`).
"""

import os
import re
import string
from pathlib import Path

import torch

from llmlib.decoder import Decoder
from llmlib.pretrained import open_model, smollm2
from llmlib.tokenization import AnyTokenizer

VARIABLE = "LLMLIB_MODEL"
SMOLLM2 = "SmolLM2-135M-Instruct"
SEPARATORS = ("<|endoftext|>", "<|end_of_text|>", "</s>")
"""Tokens between the texts that a model was trained on, where it asks for none at the start."""

LETTERS = string.ascii_letters + string.digits + string.punctuation + " \n"
"""What the chapters' texts are written in, but for a few letters."""


def real_model(
    dtype: torch.dtype | str = torch.float32,
) -> tuple[Decoder, AnyTokenizer]:
    """The model and its tokenizer: SmolLM2's, or the reader's.

    Raises:
        FileNotFoundError, ValueError: as `smollm2` and `readers_model`.
    """
    path = readers_path()
    return smollm2(dtype) if path is None else readers_model(path, dtype)


def readers_model(
    path: Path, dtype: torch.dtype | str = torch.float32
) -> tuple[Decoder, AnyTokenizer]:
    """A reader's model, a decoder, whose tokenizer can write the chapters' texts.

    Raises:
        FileNotFoundError, ValueError: as `open_model`; a model that is no decoder; a tokenizer
            without a token for some letter.
    """
    model, tokenizer = open_model(path, dtype)
    if not isinstance(model, Decoder):
        raise ValueError(f"{path} holds a {type(model).__name__}, expected a decoder: the chapters "
                         "let the model continue texts")  # fmt: skip
    missing = [letter for letter in LETTERS if not _writes(tokenizer, letter)]
    if missing:
        raise ValueError(
            f"{path.name}'s tokenizer has no token for {' '.join(map(repr, missing[:6]))}"
            f"{' …' if len(missing) > 6 else ''} ({len(missing)} of {len(LETTERS)} letters), so it "
            "cannot read the chapters' texts: take a model whose tokenizer knows every byte"
        )
    return model, tokenizer


def _writes(tokenizer: AnyTokenizer, letter: str) -> bool:
    try:
        tokenizer.encode(letter)
    except ValueError:
        return False
    return True


def readers_path() -> Path | None:
    """Where the reader's model lies; None where the book's stands in its place."""
    given = os.environ.get(VARIABLE, "").strip()
    return Path(given).expanduser().absolute() if given else None


def model_name() -> str:
    """The name of the model that the chapters show."""
    path = readers_path()
    return SMOLLM2 if path is None else path.name


def named(text: str) -> str:
    """A text of the book with the reader's model's name where it says SmolLM2's."""
    if readers_path() is None:
        return text
    return re.sub("SmolLM2(-135M)?(-Instruct)?", lambda _: model_name(), text)


def start_of(tokenizer: AnyTokenizer) -> list[int]:
    """The token that stands before a model's texts, as a list of one id, or of none.

    It is the one that the model's files ask for; where they ask for none, as SmolLM2's, the one
    that separated texts in training. Without it the first word of a prompt takes its place.
    """
    asked = tokenizer.encode("", add_special=True)
    if asked:
        return asked[:1]
    known = tokenizer.special_tokens
    return next(([known[name]] for name in SEPARATORS if name in known), [])
