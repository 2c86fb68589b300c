"""JSON that has to be one object: config.json, an index of shards, a header."""

import json
import os
from pathlib import Path
from typing import Any


def existing_file(path: Path, what: str) -> Path:
    """The path, if a file is there.

    Raises:
        FileNotFoundError: nothing is there; the text says what was expected.
        ValueError: a folder is there.
    """
    if path.is_dir():
        raise ValueError(f"{path} is a folder, expected a file: {what}")
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: expected {what}")
    return path


def read_object(text: bytes, where: str | os.PathLike[str]) -> dict[str, Any]:
    """The keys and values of a JSON object.

    Args:
        text: the JSON, in UTF-8.
        where: what the errors name.

    Raises:
        ValueError: no JSON, no object, or a key that stands twice.
    """
    try:
        found = json.loads(text.decode("utf-8"), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{where} holds JSON of type {type(found).__name__}, expected an object")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} stands twice, expected once")
    return found
