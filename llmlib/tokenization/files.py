"""What the files of tokenizers have in common: values that are checked, ids, errors with a name."""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from llmlib.formats.json_files import existing_file, read_object
from llmlib.tokenization.added import AddedToken
from llmlib.tokenization.byte_symbols import BYTE_SYMBOLS
from llmlib.tokenization.patterns import GPT2_PATTERN
from llmlib.tokenization.tokenizer_file import BPE, TokenizerFile


@contextlib.contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Errors about contents get the name of the file in front."""
    try:
        yield
    except RecursionError:
        raise ValueError(f"{path}: nested too deeply") from None
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from None


# --- values -----------------------------------------------------------------------------------


def short(value: object) -> str:
    """A value as an error shows it: a damaged file may hold a long one."""
    text = repr(value)
    return text if len(text) <= 120 else text[:100] + "…"


def expect(value: Any, kind: type, what: str) -> Any:
    """The value, if it is of a kind. Raises: ValueError; a number is no bool, a bool no number."""
    if type(value) is not kind:
        names = {dict: "an object", list: "a list", str: "a text", int: "a whole number"}
        raise ValueError(f"{what} is {short(value)}, expected {names.get(kind, 'true or false')}")
    if kind is str and any("\ud800" <= character <= "\udfff" for character in str(value)):
        raise ValueError(f"{what} is {short(value)}, which UTF-8 cannot express: half a surrogate")
    return value


def only(found: Mapping[str, Any], known: Iterable[str], what: str) -> None:
    """Raises: ValueError for a key that nobody reads: it could change the ids."""
    if unknown := [key for key in found if key not in set(known)]:
        value = short(found[unknown[0]])
        raise ValueError(f"{what} {unknown[0]!r} is {value}, which is not read here")


def read_either(section: Any, what: str) -> tuple[str, bool]:
    """What is looked for: a text, or a regular expression, and whether it is one.

    Raises: ValueError for anything else, and for nothing.
    """
    pattern = expect(section, dict, what)
    only(pattern, ("Regex", "String"), what)
    if len(pattern) != 1:
        raise ValueError(f"{what} is {short(pattern)}, expected Regex or String")
    ((form, text),) = pattern.items()
    if not expect(text, str, f"{what}, {form},"):
        raise ValueError(f"{what}, {form}, is empty, expected a text")
    return text, form == "Regex"


def read_text(path: str | os.PathLike[str]) -> str:
    """A text file. Raises: FileNotFoundError, ValueError naming a file that is not UTF-8."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there, or is no file")
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: no UTF-8 text: {error.reason} at byte {error.start}") from None


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """A JSON object from a file. Raises: ValueError naming a file that holds none."""
    return read_object(existing_file(Path(path), "a JSON object").read_bytes(), path)


def read_merges(merges: Any, what: str = "merges") -> list[tuple[str, str]]:
    """Merges written as "left right" or as a list of two. Raises: ValueError for anything else."""
    pairs = []
    for merge in expect(merges, list, what):
        parts = merge.split(" ") if isinstance(merge, str) else merge
        if (
            not isinstance(parts, (list, tuple))
            or len(parts) != 2
            or not all(isinstance(part, str) and part for part in parts)
        ):
            raise ValueError(f"the merge {short(merge)}, expected two tokens; truncated?")
        pairs.append((parts[0], parts[1]))
    return pairs


def by_id(vocabulary: Mapping[str, Any]) -> list[str]:
    """Token -> id turned round. Raises: ValueError if the ids are not 0, 1, 2, …"""
    for token, i in vocabulary.items():
        if type(i) is not int or i < 0:
            raise ValueError(
                f"the token {token!r} has id {short(i)}, expected a whole number from 0"
            )
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    for i, token in enumerate(tokens):
        if vocabulary[token] < i:
            raise ValueError(f"{tokens[i - 1]!r} and {token!r} both have id {vocabulary[token]}")
        if vocabulary[token] > i:
            raise ValueError(f"{token!r} has id {vocabulary[token]}, expected {i}: ids have gaps")
    return tokens


def write_texts(texts: Mapping[Path, str]) -> None:
    """Writes files, each whole or not at all: none takes its place before all are written."""
    waiting: list[tuple[str, Path]] = []
    try:
        for path, text in texts.items():
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            waiting.append((name, path))
            with open(handle, "w", encoding="utf-8", newline="\n") as file:
                file.write(text)
            mode = path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask()
            os.chmod(name, mode)
        while waiting:
            os.replace(*waiting[-1])
            waiting.pop()
    finally:
        for name, _ in waiting:
            Path(name).unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


# --- GPT-2's pair of files --------------------------------------------------------------------

VERSION_LINE = "#version: 0.2"


def read_gpt2_files(
    encoder_json: str | os.PathLike[str],
    vocab_bpe: str | os.PathLike[str],
    special_tokens: Sequence[str],
) -> TokenizerFile:
    """Reads token -> id from one file and the merges from the other, one a line.

    Raises: ValueError naming the file that is wrong, truncated, or does not fit the other.
    """
    vocabulary = read_json(encoder_json)
    with naming(encoder_json):
        tokens = by_id(vocabulary)
        if missing := [name for name in special_tokens if name not in vocabulary]:
            raise ValueError(f"no special token {missing[0]!r}")
    text = read_text(vocab_bpe)
    with naming(vocab_bpe):
        lines = text.split("\n")
        if not lines[0].startswith("#version"):
            raise ValueError(f"begins with {lines[0][:40]!r}, expected {VERSION_LINE!r}")
        merges = read_merges([line for line in lines[1:] if line])
        # Without its last lines the file still looks well: only the other file knows.
        made = {left + right for left, right in merges} | set(BYTE_SYMBOLS) | set(special_tokens)
        if unmade := [token for token in tokens if token not in made]:
            raise ValueError(
                f"no merge makes {unmade[0]!r}, which {encoder_json} lists; truncated?"
            )
    added = tuple(AddedToken(name, vocabulary[name]) for name in special_tokens)
    return TokenizerFile(tokens, BPE(merges), added, GPT2_PATTERN, byte_level=True)


def write_gpt2_files(
    encoder_json: str | os.PathLike[str],
    vocab_bpe: str | os.PathLike[str],
    vocabulary: Mapping[str, int],
    merges: Sequence[tuple[str, str]],
) -> None:
    """Writes token -> id to one file and the merges to the other."""
    lines = [VERSION_LINE, *(f"{left} {right}" for left, right in merges)]
    write_texts(
        {
            Path(encoder_json): json.dumps(dict(vocabulary)),
            Path(vocab_bpe): "\n".join(lines) + "\n",
        }
    )
