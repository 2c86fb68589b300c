"""The files that tokenizers travel in: Hugging Face's tokenizer.json and GPT-2's pair of files.

Both write bytes as printable characters, one a byte, so that a token is text and holds no space.
"""

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmlib.tokenization.patterns import DIGITS_FIRST_PATTERN, GPT2_PATTERN


def _byte_symbols() -> tuple[str, ...]:
    """Byte -> character: printable Latin-1 stands for itself, the others for U+0100 and on."""
    symbols = {b: chr(b) for b in range(256) if chr(b).isprintable() and chr(b) != " "}
    others = [b for b in range(256) if b not in symbols]
    return tuple((symbols | {b: chr(256 + i) for i, b in enumerate(others)})[b] for b in range(256))


BYTE_SYMBOLS = _byte_symbols()
BYTE_OF_SYMBOL = {symbol: byte for byte, symbol in enumerate(BYTE_SYMBOLS)}
# GPT-2 numbers its bytes in the order of their characters: "!" is 0, the space 220.
GPT2_BYTE_ORDER = sorted(range(256), key=BYTE_SYMBOLS.__getitem__)


def to_symbols(tokens: Iterable[bytes]) -> list[str]:
    """Tokens as the files write them: b" the" -> "Ġthe"."""
    return ["".join(map(BYTE_SYMBOLS.__getitem__, token)) for token in tokens]


def from_symbols(texts: Iterable[str]) -> list[bytes]:
    """The inverse of `to_symbols`. Raises: ValueError for a character that stands for no byte."""
    tokens = []
    for text in texts:
        try:
            tokens.append(bytes(map(BYTE_OF_SYMBOL.__getitem__, text)))
        except KeyError as missing:
            raise ValueError(f"{missing} in the token {text!r} stands for no byte") from None
    return tokens


@contextlib.contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Errors about contents get the name of the file in front.

    A damaged file also shows as a missing key, or a number where a text should be.
    """
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: damaged or of another kind: {error!r}") from None


# --- tokenizer.json ---------------------------------------------------------------------------


@dataclass(frozen=True)
class TokenizerFile:
    """What a file says: id -> token, merges by rank, special tokens, pattern, all as text."""

    tokens: list[str]
    merges: list[tuple[str, str]]
    special_tokens: dict[str, int]
    pattern: str
    byte_level: bool


def json_path(path: str | os.PathLike[str]) -> Path:
    """The file itself, or tokenizer.json in a folder."""
    path = Path(path)
    return path / "tokenizer.json" if path.is_dir() else path


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """A JSON object from a file. Raises: ValueError naming a file that holds none."""
    with naming(path):
        try:
            found = json.loads(Path(path).read_text(encoding="utf-8"))
        except ValueError as error:  # includes text that is not UTF-8
            raise ValueError(f"wrong or truncated JSON: {error}") from None
        if not isinstance(found, dict):
            raise ValueError(f"a JSON {type(found).__name__}, expected an object")
        return found


def read_tokenizer_json(path: str | os.PathLike[str]) -> TokenizerFile:
    """Reads a tokenizer.json that holds a BPE model.

    Raises: ValueError naming the file, if something is missing or is not supported here.
    """
    path = json_path(path)
    content = read_json(path)
    with naming(path):
        return _parse(content)


def _parse(content: Mapping[str, Any]) -> TokenizerFile:
    model = content["model"]
    if model.get("type", "BPE") != "BPE":
        raise ValueError(f"model type {model['type']!r}, expected 'BPE'")
    if content.get("normalizer"):
        raise ValueError(f"normalizer {content['normalizer']}, expected none")
    for option in ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback"):
        if model.get(option):
            raise ValueError(f"model option {option} is {model[option]!r}, which is not read here")
    if model.get("ignore_merges"):
        raise ValueError("model option ignore_merges is true, which is not read here")
    pattern, byte_level = _pattern(content["pre_tokenizer"])
    vocabulary, special = dict(model["vocab"]), {}
    for token in content.get("added_tokens") or []:
        if not token["special"] or token["lstrip"] or token["rstrip"] or token["single_word"]:
            raise ValueError(f"added token {token}, expected a special one without options")
        special[token["content"]] = token["id"]
    merges = read_merges(model["merges"])
    return TokenizerFile(by_id(vocabulary | special), merges, special, pattern, byte_level)


def read_merges(merges: Iterable[str | Sequence[str]]) -> list[tuple[str, str]]:
    """Merges written as "left right" or as a list of two. Raises: ValueError for anything else."""
    pairs = []
    for merge in merges:
        parts = merge.split(" ") if isinstance(merge, str) else merge
        if len(parts) != 2 or not all(parts):
            raise ValueError(f"the merge {merge!r}, expected two tokens; truncated?")
        pairs.append((parts[0], parts[1]))
    return pairs


def by_id(vocabulary: Mapping[str, int]) -> list[str]:
    """Token -> id turned round. Raises: ValueError if the ids are not 0, 1, 2, …"""
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    for i, token in enumerate(tokens):
        if vocabulary[token] != i:
            raise ValueError(f"{token!r} has id {vocabulary[token]}, expected {i}: ids have gaps")
    return tokens


def _pattern(pre_tokenizer: Mapping[str, Any]) -> tuple[str, bool]:
    """The pattern of the pieces, and whether the pieces are bytes."""
    steps = pre_tokenizer.get("pretokenizers", [pre_tokenizer])
    last = steps[-1]
    byte_level = last["type"] == "ByteLevel"
    if byte_level and last["add_prefix_space"]:
        raise ValueError("add_prefix_space is true, expected false")
    gpt2 = byte_level and last.get("use_regex", True)
    match steps[:-1] if byte_level else steps:
        case [] if gpt2:
            return GPT2_PATTERN, True
        case [{"type": "Digits", "individual_digits": True}] if gpt2:
            return DIGITS_FIRST_PATTERN, True
        case [{"type": "Split", "pattern": {"Regex": str(pattern)}, "behavior": "Isolated"}] if (
            not gpt2
        ):
            return pattern, byte_level
    raise ValueError(f"pre_tokenizer {pre_tokenizer}, which is not read here")


def write_tokenizer_json(
    path: str | os.PathLike[str],
    vocabulary: Mapping[str, int],
    merges: Sequence[tuple[str, str]],
    special_tokens: Mapping[str, int],
    pattern: str,
    *,
    byte_level: bool,
) -> Path:
    """Writes a tokenizer.json that the package tokenizers reads; a folder gets one inside."""
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": i, "content": name, **plain, "special": True}
            for name, i in sorted(special_tokens.items(), key=lambda item: item[1])
        ],
        "normalizer": None,
        "pre_tokenizer": _pre_tokenizer(pattern, byte_level),
        "post_processor": None,
        "decoder": _byte_level(False) if byte_level else {"type": "Fuse"},
        "model": {"type": "BPE", "vocab": dict(vocabulary), "merges": [list(m) for m in merges]},
    }
    path = json_path(path)
    path.write_text(
        json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8", newline="\n"
    )
    return path


def _byte_level(use_regex: bool) -> dict[str, Any]:
    options = {"add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}
    return {"type": "ByteLevel", **options}


def _pre_tokenizer(pattern: str, byte_level: bool) -> dict[str, Any]:
    """The inverse of `_pattern`."""
    if byte_level and pattern == GPT2_PATTERN:
        return _byte_level(True)
    if byte_level and pattern == DIGITS_FIRST_PATTERN:
        steps = [{"type": "Digits", "individual_digits": True}, _byte_level(True)]
        return {"type": "Sequence", "pretokenizers": steps}
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated"}
    split["invert"] = False  # type: ignore[assignment]
    if not byte_level:
        return split
    return {"type": "Sequence", "pretokenizers": [split, _byte_level(False)]}


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
    with naming(vocab_bpe):
        lines = Path(vocab_bpe).read_text(encoding="utf-8").split("\n")
        if not lines[0].startswith("#version"):
            raise ValueError(f"begins with {lines[0][:40]!r}, expected {VERSION_LINE!r}")
        merges = read_merges(line for line in lines[1:] if line)
        # Without its last lines the file still looks well: only the other file knows.
        made = {left + right for left, right in merges} | set(BYTE_SYMBOLS) | set(special_tokens)
        if unmade := [token for token in tokens if token not in made]:
            raise ValueError(
                f"no merge makes {unmade[0]!r}, which {encoder_json} lists; truncated?"
            )
    special = {name: vocabulary[name] for name in special_tokens}
    return TokenizerFile(tokens, merges, special, GPT2_PATTERN, byte_level=True)


def write_gpt2_files(
    encoder_json: str | os.PathLike[str],
    vocab_bpe: str | os.PathLike[str],
    vocabulary: Mapping[str, int],
    merges: Sequence[tuple[str, str]],
) -> None:
    """Writes token -> id to one file and the merges to the other."""
    Path(encoder_json).write_text(json.dumps(dict(vocabulary)), encoding="utf-8", newline="\n")
    lines = [VERSION_LINE, *(f"{left} {right}" for left, right in merges)]
    Path(vocab_bpe).write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
