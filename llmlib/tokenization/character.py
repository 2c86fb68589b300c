"""BPE over characters, as it was introduced for translation: the alphabet is that of the text.

Models since Llama have it too, with SentencePiece's ways: a mark for each space, and bytes for
characters that have no token.
"""

import re
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Unpack

from llmlib.tokenization.base import Options, count_pieces, describe, n_merges_for, read_options
from llmlib.tokenization.byte_fallback import byte_ids
from llmlib.tokenization.decoders import Decoding, join_tokens
from llmlib.tokenization.learning import Ties, learn_merges
from llmlib.tokenization.merge_tokenizer import MergeTokenizer
from llmlib.tokenization.patterns import WORD_PATTERN, Pattern
from llmlib.tokenization.tokenizer_config import Beside
from llmlib.tokenization.tokenizer_file import BPE, TokenizerFile

MARK = "▁"  # SentencePiece's for a space
WORDS = re.compile(f"{MARK}*[^{MARK}]+|{MARK}+")


class BPETokenizer(MergeTokenizer[str]):
    """Byte-pair encoding whose smallest tokens are the characters of the training text.

    A word keeps the space before it, so that decoding is joining. A character that the training
    text lacked has no token: `encode` raises ValueError, unless there are tokens for its bytes, or
    one for all unknown ones. Arguments as in `MergeTokenizer`, and

    Args:
        byte_fallback: a character without a token is written as tokens of its bytes: <0xE2>.
        unknown: the token of other characters without one; it loses what they were.
        fuse_unknown: unknown characters side by side are one such token.
        decoding: from tokens to text, in steps (`decoders`); none: tokens are joined.

    Source: sennrich2016bpe
    """

    def __init__(
        self,
        tokens: Sequence[str],
        merges: Sequence[tuple[str, str]],
        *,
        pattern: Pattern,
        ignore_merges: bool = False,
        byte_fallback: bool = False,
        unknown: str | None = None,
        fuse_unknown: bool = False,
        decoding: Decoding = (),
        **options: Unpack[Options],
    ) -> None:
        super().__init__(tokens, merges, pattern=pattern, ignore_merges=ignore_merges, **options)
        if unknown is not None and unknown not in self._ids:
            raise ValueError(f"unknown is {unknown!r}, which is not in the vocabulary")
        self.byte_fallback, self.unknown, self.fuse_unknown = byte_fallback, unknown, fuse_unknown
        self.decoding = decoding
        self._words_apart = MARK in self._ids and not ignore_merges and _keeps_words_apart(merges)

    @classmethod
    def train(
        cls,
        text: str,
        vocab_size: int,
        pattern: Pattern = WORD_PATTERN,
        *,
        special_tokens: Sequence[str] = (),
        ties: Ties = "smallest",
    ) -> "BPETokenizer":
        """Learns a vocabulary: the characters of the text, sorted, then one token a merge.

        `merge_steps` shows each step. Training ends early, with fewer tokens than asked for, when
        every piece has become one token.

        Args:
            text: what to learn from.
            vocab_size: how many tokens to have in the end, special tokens included.
            pattern: regular expression of the pieces that merges stay within.
            special_tokens: names of tokens that get the last ids.
            ties: which of two equally frequent pairs is merged, see `merge_steps`.

        Raises: ValueError if vocab_size cannot hold the characters of the text.
        """
        words = count_pieces(text, pattern, special_tokens)
        alphabet = sorted({character for word in words for character in word})
        n_symbols = len(alphabet) + len(special_tokens)
        n_merges = n_merges_for(vocab_size, n_symbols, "characters and special tokens")
        merges = learn_merges(words, n_merges, alphabet=alphabet, ties=ties)
        tokens = [*alphabet, *(left + right for left, right in merges), *special_tokens]
        special = {
            name: len(tokens) - len(special_tokens) + i for i, name in enumerate(special_tokens)
        }
        return cls(tokens, merges, special_tokens=special, pattern=pattern)

    def _encode_plain(self, text: str, at_start: bool) -> list[int]:
        """As the others; but no merge crosses the beginning of a word, if that can be seen.

        So a text that is one piece is encoded, and kept in the cache, word by word.
        """
        if not self._words_apart:
            return super()._encode_plain(text, at_start)
        words = chain.from_iterable(map(WORDS.findall, self._split(text, at_start)))
        return list(chain.from_iterable(map(self._cache.__getitem__, words)))

    def _spell(self, piece: str) -> list[int]:
        try:
            return [self._ids[character] for character in piece]
        except KeyError:
            return self._spell_unknown(piece)

    def _spell_unknown(self, piece: str) -> list[int]:
        """A piece with characters that have no token.

        An unknown character is written only before the next that has a token, or at the end: where
        bytes follow it stands behind them, as in the package tokenizers.
        """
        ids: list[int] = []
        waiting: list[int] = []
        for character in piece:
            if (known := self._ids.get(character)) is not None:
                ids += [*waiting, known]
                waiting = []
            elif self.byte_fallback and (spelled := byte_ids(character, self._ids)):
                ids += spelled
            elif self.unknown is None:
                raise ValueError(
                    f"the character {character!r} (U+{ord(character):04X}) has no token: "
                    "the training text lacked it"
                )
            elif not (waiting and self.fuse_unknown):
                ids += waiting
                waiting = [self._ids[self.unknown]]
        return ids + waiting

    def _as_token(self, piece: str) -> str:
        return piece

    def _join(self, tokens: Iterable[str], errors: str) -> str:
        return join_tokens(tokens, self.decoding, errors)

    @classmethod
    def from_parts(cls, file: TokenizerFile, beside: Beside) -> "BPETokenizer":
        """The tokenizer of a file. Raises: ValueError for a file of another kind."""
        model = file.model
        if file.byte_level:
            raise ValueError("is byte-level: ByteLevelBPETokenizer.load reads it")
        if not isinstance(model, BPE):
            raise ValueError(f"not BPE but {type(model).__name__}; open_tokenizer reads every kind")
        return cls(
            file.tokens,
            model.merges,
            pattern=file.pattern,
            ignore_merges=model.ignore_merges,
            byte_fallback=model.byte_fallback,
            unknown=model.unknown,
            fuse_unknown=model.fuse_unknown,
            decoding=file.decoding,
            **read_options(file, beside),
        )

    def _to_file(self) -> TokenizerFile:
        flags = (self.ignore_merges, self.byte_fallback, self.unknown, self.fuse_unknown)
        return describe(self, BPE(self.merges, *flags), self.decoding)


def _keeps_words_apart(merges: Iterable[tuple[str, str]]) -> bool:
    """Whether no merge makes a token that has the mark of a space behind another character."""
    return all(MARK not in (left + right).lstrip(MARK) for left, right in merges)
