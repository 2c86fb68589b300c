"""SentencePiece's BPE, as GGUF files of Llama and Gemma have it: merges by score.

There is no list of merges. Two neighbours may be joined if together they are a token, and the pair
whose token has the highest score is joined first. Tokens learned earlier have higher scores, so
that this is byte-pair encoding, with one difference: it does not matter from which two parts a
token was learned.
"""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, Unpack

from llmlib.formats.gguf import GGUFFile
from llmlib.tokenization.base import Options, Tokenizer, describe, read_options
from llmlib.tokenization.byte_fallback import byte_ids
from llmlib.tokenization.character import MARK, WORDS
from llmlib.tokenization.decoders import Decoding, join_tokens
from llmlib.tokenization.files import naming
from llmlib.tokenization.gguf_vocabulary import read_gguf_metadata
from llmlib.tokenization.tokenizer_config import Beside
from llmlib.tokenization.tokenizer_file import Scored, TokenizerFile


def reference_merge_by_score(text: str, scores: Mapping[str, float]) -> list[str]:
    """Joins the neighbours whose token has the highest score, the first of equals, to the end.

    Args:
        text: what is cut, first into characters.
        scores: token -> score.

    Source: kudo2018sentencepiece
    """
    parts = list(text)
    while present := [scores[a + b] for a, b in pairwise(parts) if a + b in scores]:
        best = max(present)
        i = next(i for i, (a, b) in enumerate(pairwise(parts)) if scores.get(a + b) == best)
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    return parts


def merge_by_score(text: str, scores: Mapping[str, float]) -> list[str]:
    """The parts of `reference_merge_by_score`, found with a heap over a linked list."""
    parts, end = [*text, ""], len(text)
    before, after = list(range(-1, end)), list(range(1, end + 2))
    heap: list[tuple[float, int, str]] = []

    def offer(i: int) -> None:
        """A pair that could be joined, with its place and what it would make."""
        joined = parts[i] + parts[after[i]]
        if after[i] < end and joined in scores:
            heapq.heappush(heap, (-scores[joined], i, joined))

    for i in range(end - 1):
        offer(i)
    while heap:
        _, i, joined = heapq.heappop(heap)
        if not parts[i] or after[i] >= end or parts[i] + parts[after[i]] != joined:
            continue  # out of date: one of the two was joined to another since
        parts[i], parts[after[i]], after[i] = joined, "", after[after[i]]
        before[after[i]] = i
        if before[i] >= 0:
            offer(before[i])
        offer(i)
    return [part for part in parts if part]


class SentencePieceTokenizer(Tokenizer[str]):
    """A vocabulary with scores. Arguments as in `Tokenizer`, and

    Args:
        scores: of all tokens.
        decoding: from tokens to text, in steps (`decoders`).

    A character without a token is written as tokens of its bytes, <0xE2>; where these lack,
    `encode` raises ValueError.

    Raises: ValueError for another number of scores than of tokens.

    Source: kudo2018sentencepiece
    """

    def __init__(
        self,
        tokens: Sequence[str],
        scores: Sequence[float],
        *,
        decoding: Decoding = (),
        **options: Unpack[Options],
    ) -> None:
        super().__init__(tokens, pattern=(), **options)
        if len(scores) != len(tokens):
            raise ValueError(f"{len(scores)} scores for {len(tokens)} tokens")
        self.scores, self.decoding = list(scores), decoding
        self._scores = {token: scores[i] for token, i in self._ids.items()}
        self._words_apart = all(MARK not in token.lstrip(MARK) for token in self._scores)

    def _encode_plain(self, text: str, at_start: bool) -> list[int]:
        """The ids of a text, word by word if no token has the mark of a space within it."""
        words = WORDS.findall(text) if self._words_apart else [text]
        return list(chain.from_iterable(map(self._cache.__getitem__, words)))

    def _encode_piece(self, piece: str) -> list[int]:
        ids: list[int] = []
        for part in merge_by_score(piece, self._scores):
            known = self._ids.get(part)
            ids += self._bytes_of(part) if known is None else [known]
        return ids

    def _bytes_of(self, character: str) -> list[int]:
        found = byte_ids(character, self._ids)
        if not found:
            raise ValueError(
                f"the character {character!r} (U+{ord(character):04X}) has no token, and not all "
                "of its bytes have one"
            )
        return found

    def _join(self, tokens: Iterable[str], errors: str) -> str:
        return join_tokens(tokens, self.decoding, errors)

    @classmethod
    def from_gguf(cls, path: str | Path) -> "SentencePieceTokenizer":
        """The tokenizer in the metadata of a GGUF file, such as Llama 2's.

        Raises: ValueError naming the file, if it is damaged or its tokenizer is of another kind.
        """
        return cls.from_gguf_metadata(GGUFFile(path).settings, path)

    @classmethod
    def from_gguf_metadata(
        cls, metadata: Mapping[str, Any], path: str | Path = "GGUF metadata"
    ) -> "SentencePieceTokenizer":
        """The same from metadata that was read already; path is named in errors."""
        with naming(path):
            return cls.from_parts(*read_gguf_metadata(metadata))

    @classmethod
    def from_parts(cls, file: TokenizerFile, beside: Beside) -> "SentencePieceTokenizer":
        """The tokenizer of a file. Raises: ValueError for a file of another kind."""
        model = file.model
        if not isinstance(model, Scored):
            kind = type(model).__name__
            raise ValueError(f"not merges by score but {kind}; open_tokenizer reads every kind")
        options = read_options(file, beside)
        return cls(file.tokens, model.scores, decoding=file.decoding, **options)

    def _to_file(self) -> TokenizerFile:
        return describe(self, Scored(self.scores), self.decoding)
