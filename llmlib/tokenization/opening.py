"""The tokenizer of a model's folder or GGUF file, whatever its kind."""

import os
from collections.abc import Mapping
from typing import Any

from llmlib.tokenization.base import Tokenizer
from llmlib.tokenization.byte_level import ByteLevelBPETokenizer
from llmlib.tokenization.character import BPETokenizer
from llmlib.tokenization.files import naming
from llmlib.tokenization.gguf_vocabulary import read_gguf_metadata
from llmlib.tokenization.sentencepiece import SentencePieceTokenizer
from llmlib.tokenization.tokenizer_config import read_beside
from llmlib.tokenization.tokenizer_file import BPE, Scored, TokenizerFile, Unigram, WordPiece
from llmlib.tokenization.tokenizer_json import json_path, read_tokenizer_json
from llmlib.tokenization.unigram import UnigramTokenizer
from llmlib.tokenization.wordpiece import WordPieceTokenizer

AnyTokenizer = Tokenizer[Any]


def open_tokenizer(path: str | os.PathLike[str]) -> AnyTokenizer:
    """The tokenizer of a tokenizer.json, or of the one in a folder, and what lies beside it.

    Returns: a ByteLevelBPETokenizer, BPETokenizer, UnigramTokenizer or WordPieceTokenizer.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or asks for what is not read here; the text names the file.
    """
    path = json_path(path)
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
