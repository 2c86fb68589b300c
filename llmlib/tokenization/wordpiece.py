"""WordPiece, BERT's tokens: of each word the longest token first, from the left."""

import os
from collections.abc import Container, Iterable, Sequence
from typing import Unpack

from llmlib.tokenization.base import Options, Tokenizer, describe, read_options
from llmlib.tokenization.decoders import Decoding, WordPieceOut, join_tokens
from llmlib.tokenization.files import naming, read_text
from llmlib.tokenization.normalizers import Bert
from llmlib.tokenization.patterns import BERT_STEPS, Pattern
from llmlib.tokenization.tokenizer_config import Beside
from llmlib.tokenization.tokenizer_file import TokenizerFile, WordPiece

PREFIX = "##"
PADDING, UNKNOWN, MASK, AROUND = "[PAD]", "[UNK]", "[MASK]", ("[CLS]", "[SEP]")
LONGEST = 100  # characters of a word
DECODING, UNCASED = (WordPieceOut(),), Bert()


def longest_first(word: str, vocabulary: Container[str], prefix: str = PREFIX) -> list[str] | None:
    """Cuts a word into tokens, each the longest that the vocabulary has for what is left.

    Args:
        word: what is cut.
        vocabulary: tokens; those that continue a word begin with `prefix`.
        prefix: the mark of a continuation.

    Returns: the tokens, or None if some part of the word has none.

    Source: wu2016gnmt
    """
    tokens: list[str] = []
    begin = 0
    while begin < len(word):
        mark = prefix if begin else ""
        ends = range(len(word), begin, -1)
        end = next((end for end in ends if mark + word[begin:end] in vocabulary), None)
        if end is None:
            return None
        tokens.append(mark + word[begin:end])
        begin = end
    return tokens


class WordPieceTokenizer(Tokenizer[str]):
    """BERT's tokenizer. Arguments as in `Tokenizer`, and

    Args:
        unknown: the token of a word that cannot be written.
        prefix: what a token begins with that continues a word.
        longest: words of more characters are unknown.
        decoding: from tokens to text, in steps (`decoders`).

    Raises: ValueError if `unknown` is not in the vocabulary.

    Source: devlin2019bert
    """

    def __init__(
        self,
        tokens: Sequence[str],
        *,
        unknown: str = UNKNOWN,
        prefix: str = PREFIX,
        longest: int = LONGEST,
        pattern: Pattern = BERT_STEPS,
        decoding: Decoding = DECODING,
        **options: Unpack[Options],
    ) -> None:
        options.setdefault("normalization", (UNCASED,))
        super().__init__(tokens, pattern=pattern, **options)
        if unknown not in self._ids:
            raise ValueError(f"unknown is {unknown!r}, which is not in the vocabulary")
        self.unknown, self.prefix, self.longest = unknown, prefix, longest
        self.decoding = decoding

    @classmethod
    def from_vocab(
        cls, path: str | os.PathLike[str], normalizer: Bert = UNCASED
    ) -> "WordPieceTokenizer":
        """Reads vocab.txt, one token a line, as BERT's first files have it.

        Args:
            path: the file.
            normalizer: what the file does not say: whether the model knows small letters alone,
                and no accents, as it does if nothing is given.

        Raises: ValueError naming the file, if a token is listed twice, or [UNK] is not.
        """
        lines = read_text(path).split("\n")
        tokens = [line.removesuffix("\r") for line in lines]
        tokens = tokens[:-1] if tokens[-1] == "" else tokens
        with naming(path):
            for token in (UNKNOWN, *AROUND):
                if token not in tokens:
                    raise ValueError(f"no token {token}, expected it in BERT's vocabulary")
            special = [t for t in (PADDING, UNKNOWN, *AROUND, MASK) if t in tokens]
            first, last = (tokens.index(token) for token in AROUND)
            return cls(
                tokens,
                special_tokens={token: tokens.index(token) for token in special},
                normalization=(normalizer,),
                around=((first,), (last,)),
            )

    def _encode_piece(self, piece: str) -> list[int]:
        short = len(piece) <= self.longest
        tokens = longest_first(piece, self._ids, self.prefix) if short else None
        return [self._ids[token] for token in ([self.unknown] if tokens is None else tokens)]

    def _join(self, tokens: Iterable[str], errors: str) -> str:
        return join_tokens(tokens, self.decoding, errors)

    @classmethod
    def from_parts(cls, file: TokenizerFile, beside: Beside) -> "WordPieceTokenizer":
        """The tokenizer of a file. Raises: ValueError for a file of another kind."""
        model = file.model
        if not isinstance(model, WordPiece) or file.byte_level:
            kind = type(model).__name__ + " of bytes" * file.byte_level
            raise ValueError(
                f"not WordPiece of characters but {kind}; open_tokenizer reads every kind"
            )
        return cls(
            file.tokens,
            unknown=model.unknown,
            prefix=model.prefix,
            longest=model.longest,
            pattern=file.pattern,
            decoding=file.decoding,
            **read_options(file, beside),
        )

    def _to_file(self) -> TokenizerFile:
        return describe(self, WordPiece(self.unknown, self.prefix, self.longest), self.decoding)
