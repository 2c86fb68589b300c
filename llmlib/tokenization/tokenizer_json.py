"""Hugging Face's tokenizer.json: every section is understood or refused by name."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmlib.tokenization.added import AddedToken
from llmlib.tokenization.files import by_id, expect, naming, only, read_json
from llmlib.tokenization.json_decoder import read_decoder, write_decoder
from llmlib.tokenization.json_model import read_model, write_model
from llmlib.tokenization.json_normalizer import read_normalizer, write_normalizer
from llmlib.tokenization.json_post_processor import read_around, write_around
from llmlib.tokenization.json_pre_tokenizer import read_pattern, write_pattern
from llmlib.tokenization.tokenizer_file import TokenizerFile

SECTIONS = (
    *("version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer"),
    *("post_processor", "decoder", "model"),
)
# How texts of a batch get one length; `encode` takes one text, and gives all its ids.
FOR_BATCHES = ("truncation", "padding")
ADDED_FLAGS = ("special", "lstrip", "rstrip", "single_word", "normalized")


def json_path(path: str | os.PathLike[str]) -> Path:
    """The file itself, or tokenizer.json in a folder."""
    path = Path(path)
    return path / "tokenizer.json" if path.is_dir() else path


def read_tokenizer_json(path: str | os.PathLike[str]) -> TokenizerFile:
    """Reads a tokenizer.json.

    Raises: ValueError naming the file, if something is missing or is not supported here.
    """
    path = json_path(path)
    content = read_json(path)
    with naming(path):
        return _parse(content)


def _parse(content: Mapping[str, Any]) -> TokenizerFile:
    only(content, SECTIONS, "the section")
    model, vocabulary = read_model(content.get("model"))
    added = _added(content.get("added_tokens") or [], vocabulary)
    for section in FOR_BATCHES:
        if content.get(section) is not None:
            expect(content[section], dict, section)
    pattern, byte_level = read_pattern(content.get("pre_tokenizer"))
    tokens = by_id(vocabulary | {token.content: token.id for token in added})
    ids = {token: i for i, token in enumerate(tokens)}
    return TokenizerFile(
        *(tokens, model, added, pattern, byte_level),
        normalization=read_normalizer(content.get("normalizer")),
        decoding=read_decoder(content.get("decoder"), byte_level),
        around=read_around(content.get("post_processor"), ids),
    )


def _added(entries: Any, vocabulary: Mapping[str, Any]) -> tuple[AddedToken, ...]:
    added = []
    for entry in expect(entries, list, "added_tokens"):
        only(expect(entry, dict, "an added token"), ("id", "content", *ADDED_FLAGS), "added token")
        content = expect(entry.get("content"), str, "content of an added token")
        what = f"of the added token {content!r}"
        i = expect(entry.get("id"), int, f"id {what}")
        if vocabulary.get(content, i) != i:
            raise ValueError(f"id {what} is {i}, but {vocabulary[content]} in the vocabulary")
        flags = {flag: expect(entry.get(flag), bool, f"{flag} {what}") for flag in ADDED_FLAGS}
        added.append(AddedToken(content, i, **flags))
    return tuple(added)


def tokenizer_json(file: TokenizerFile) -> str:
    """The text of a tokenizer.json that the package tokenizers reads.

    Raises: ValueError for two tokens that a file would write alike, or what it cannot say.
    """
    vocabulary = {text: i for i, text in enumerate(file.tokens)}
    if clash := next((t for i, t in enumerate(file.tokens) if vocabulary[t] != i), None):
        raise ValueError(f"in a file, {clash!r} would be a special token and an ordinary one")
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": t.id, "content": t.content, **{flag: getattr(t, flag) for flag in ADDED_FLAGS}}
            for t in sorted(file.added, key=lambda token: token.id)
        ],
        "normalizer": write_normalizer(file.normalization),
        "pre_tokenizer": write_pattern(file.pattern, file.byte_level),
        "post_processor": write_around(file.around, dict(enumerate(file.tokens))),
        "decoder": write_decoder(file.decoding, file.byte_level),
        "model": write_model(file.model, vocabulary),
    }
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"
