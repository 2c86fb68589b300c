"""The real model that the chapters take apart: SmolLM2, or one of the reader's own in its place.

`make lab MODEL=path` sets the variable LLMLIB_MODEL; chapters ask `real_model` for the model, and
claims that state SmolLM2's own numbers step aside while another one stands there (`claim`'s
`about`).
"""

import os
import re
from pathlib import Path

import torch

from llmlib.decoder import Decoder
from llmlib.pretrained import open_model, smollm2
from llmlib.tokenization import AnyTokenizer

VARIABLE = "LLMLIB_MODEL"
SMOLLM2 = "SmolLM2-135M-Instruct"
SEPARATORS = ("<|endoftext|>", "<|end_of_text|>", "</s>")
"""Tokens between the texts that a model was trained on, where it asks for none at the start."""


def real_model(
    dtype: torch.dtype | str = torch.float32,
) -> tuple[Decoder, AnyTokenizer]:
    """The model and its tokenizer: SmolLM2's, or the reader's.

    Raises:
        FileNotFoundError, ValueError: as `smollm2` and `open_model`; a model that is no decoder.
    """
    path = readers_path()
    if path is None:
        return smollm2(dtype)
    model, tokenizer = open_model(path, dtype)
    if not isinstance(model, Decoder):
        raise ValueError(f"{path} holds a {type(model).__name__}, expected a decoder: the chapters "
                         "let the model continue texts")  # fmt: skip
    return model, tokenizer


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
