"""The tokenizer of a model's folder or GGUF file, whatever its kind."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmlib.tokenization.base import Tokenizer
from llmlib.tokenization.byte_level import ByteLevelBPETokenizer
from llmlib.tokenization.character import BPETokenizer
from llmlib.tokenization.files import expect, naming, read_json, short
from llmlib.tokenization.gguf_vocabulary import read_gguf_metadata
from llmlib.tokenization.normalizers import Bert
from llmlib.tokenization.sentencepiece import SentencePieceTokenizer
from llmlib.tokenization.tokenizer_config import CONFIG_FILE, read_beside, token_text
from llmlib.tokenization.tokenizer_file import BPE, Scored, TokenizerFile, Unigram, WordPiece
from llmlib.tokenization.tokenizer_json import json_path, read_tokenizer_json
from llmlib.tokenization.unigram import UnigramTokenizer
from llmlib.tokenization.wordpiece import ROLES, WordPieceTokenizer, vocab_file

AnyTokenizer = Tokenizer[Any]
# Whose vocab.txt is read alike; other programs, such as MPNet's and ESM's, read theirs otherwise.
BERTS = (
    *("BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer", "MobileBertTokenizer"),
    *("ConvBertTokenizer", "SqueezeBertTokenizer", "LxmertTokenizer", "LayoutLMTokenizer"),
)
BERT_IDLE = {"do_basic_tokenize": (None, True), "never_split": (None, [])}


def open_tokenizer(path: str | os.PathLike[str]) -> AnyTokenizer:
    """The tokenizer of a tokenizer.json, or of a folder, and what lies beside it.

    A folder of before 2020 may have BERT's vocab.txt, or GPT-2's vocab.json and merges.txt, for it.

    Returns: a ByteLevelBPETokenizer, BPETokenizer, UnigramTokenizer or WordPieceTokenizer.

    Raises:
        FileNotFoundError: there are no such files.
        ValueError: one is damaged, or asks for what is not read here; the text names the file.
    """
    folder, path = Path(path), json_path(path)
    if folder.is_dir() and not path.exists():
        return _open_older(folder)
    file = read_tokenizer_json(path)
    beside = read_beside(path.parent, file)
    with naming(path):
        return _kind(file).from_parts(file, beside)


def gguf_tokenizer(
    metadata: Mapping[str, Any], path: str | os.PathLike[str] = "GGUF metadata"
) -> AnyTokenizer:
    """The tokenizer in the settings of a GGUF file.

    Args:
        metadata: the settings, such as `GGUFFile(path).settings`.
        path: what errors name.

    Returns: a ByteLevelBPETokenizer ("gpt2") or a SentencePieceTokenizer ("llama").

    Raises: ValueError naming the key that is missing, damaged, or not read here.
    """
    with naming(path):
        file, beside = read_gguf_metadata(metadata)
        return _kind(file).from_parts(file, beside)


def _open_older(folder: Path) -> AnyTokenizer:
    """The tokenizer of a folder without a tokenizer.json."""
    words, vocabulary, merges = (folder / n for n in ("vocab.txt", "vocab.json", "merges.txt"))
    if words.is_file():
        return _open_bert(words)
    if vocabulary.is_file() and merges.is_file():
        return ByteLevelBPETokenizer.from_gpt2_files(vocabulary, merges)
    other = folder / "tokenizer.model"
    hint = (
        f"; {other.name} is not read: save the model with tokenizer.json" if other.exists() else ""
    )
    raise FileNotFoundError(f"{folder / 'tokenizer.json'} is not there{hint}")


def _open_bert(vocabulary: Path) -> WordPieceTokenizer:
    """The tokenizer of a vocab.txt, with what lies beside it.

    Raises: ValueError for a key or a file that changes ids and is not read here.
    """
    folder = vocabulary.parent
    config, more = folder / CONFIG_FILE, folder / "added_tokens.json"
    content = read_json(config) if config.is_file() else {}
    with naming(config):
        kind = content.get("tokenizer_class") or BERTS[0]
        if str(kind).removesuffix("Fast") not in BERTS:
            raise ValueError(f"tokenizer_class is {short(kind)}, expected {', '.join(BERTS)}")
        for key, idle in BERT_IDLE.items():
            if content.get(key) not in idle:
                raise ValueError(f"{key} is {short(content[key])}, which is not read here")
        normalizer = _bert(content)
    if more.is_file() and (added := read_json(more)):
        raise ValueError(f"{more} adds {short(list(added))} to {vocabulary.name}: not read here")
    roles = _roles(folder / "special_tokens_map.json") | _roles(config)
    with naming(vocabulary):
        file = vocab_file(vocabulary, normalizer, ROLES | roles)
        return WordPieceTokenizer.from_parts(file, read_beside(folder, file))


def _bert(content: Mapping[str, Any]) -> Bert:
    """The normalizer that a tokenizer_config.json asks for."""
    options = {"do_lower_case": True, "strip_accents": None, "tokenize_chinese_chars": True}
    for key in options:
        if content.get(key) is not None:
            options[key] = expect(content[key], bool, key)
    lowercase, accents, chinese = options.values()
    return Bert(lowercase=bool(lowercase), accents=accents, chinese=bool(chinese))


def _roles(path: Path) -> dict[str, str]:
    """The special tokens that a file names, which may be written with their options."""
    content = read_json(path) if path.is_file() else {}
    with naming(path):
        return {r: token_text(content[r], r) for r in ROLES if content.get(r) is not None}


def _kind(file: TokenizerFile) -> type[AnyTokenizer]:
    match file.model:
        case BPE():
            return ByteLevelBPETokenizer if file.byte_level else BPETokenizer
        case Unigram():
            return UnigramTokenizer
        case WordPiece():
            return WordPieceTokenizer
        case Scored():
            return SentencePieceTokenizer
