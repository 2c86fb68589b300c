"""A unigram model, as T5 has it: of all ways to write a piece, the likeliest.

Tokens are taken to be independent, so that the logarithm of a way's probability is the sum of its
tokens' scores. The best way to each place in the text is found from the best ways to the places
before (Viterbi).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Unpack

from llmlib.tokenization.base import Options, Tokenizer, describe, read_options
from llmlib.tokenization.byte_fallback import byte_ids
from llmlib.tokenization.decoders import Decoding, join_tokens
from llmlib.tokenization.patterns import Pattern
from llmlib.tokenization.tokenizer_config import Beside
from llmlib.tokenization.tokenizer_file import TokenizerFile, Unigram

UNKNOWN_PENALTY = 10.0  # how much less likely than the rarest token an unknown character is


def likeliest(
    text: str, scores: Mapping[str, float], longest: int, unknown: str | None = None
) -> list[tuple[str, bool]]:
    """The tokens with the highest sum of scores that spell a text, and whether each is known.

    A character that is no token is unknown; unknown parts side by side are one. Of two ways that
    are equally likely, the one whose last token begins earlier.

    Args:
        text: what is spelled.
        scores: token -> logarithm of its probability.
        longest: characters of the longest token.
        unknown: the token of unknown characters, which in a text is unknown itself.

    Source: kudo2018subword
    """
    rare = min(scores.values(), default=0.0) - UNKNOWN_PENALTY
    best = [0.0] + [-math.inf] * len(text)
    begins = [-1] * (len(text) + 1)  # where the last token begins on the best way to a place
    for begin in range(len(text)):
        for end in range(begin + 1, min(begin + longest, len(text)) + 1):
            score = scores.get(text[begin:end])
            if score is None:
                if end > begin + 1:
                    continue
                score = rare
            if begins[end] < 0 or best[begin] + score > best[end]:
                best[end], begins[end] = best[begin] + score, begin
    tokens: list[tuple[str, bool]] = []
    end = len(text)
    while end > 0:
        begin = begins[end]
        token = text[begin:end]
        known = token in scores and token != unknown
        if not known and tokens and not tokens[-1][1]:
            token += tokens.pop()[0]
        tokens.append((token, known))
        end = begin
    return tokens[::-1]


class UnigramTokenizer(Tokenizer[str]):
    """SentencePiece's unigram model. Arguments as in `Tokenizer`, and

    Args:
        scores: of the first tokens, logarithms of probabilities; behind them are added tokens.
        unknown: id of the token of unknown characters; without it they raise ValueError.
        byte_fallback: unknown characters are written as tokens of their bytes: <0xE2>.
        decoding: from tokens to text, in steps (`decoders`).

    Raises: ValueError for more scores than tokens, or an id that none of them has.

    Source: kudo2018subword
    """

    def __init__(
        self,
        tokens: Sequence[str],
        scores: Sequence[float],
        *,
        pattern: Pattern,
        unknown: int | None = None,
        byte_fallback: bool = False,
        decoding: Decoding = (),
        **options: Unpack[Options],
    ) -> None:
        super().__init__(tokens, pattern=pattern, **options)
        if len(scores) > len(tokens):
            raise ValueError(f"{len(scores)} scores for {len(tokens)} tokens")
        if unknown is not None and not 0 <= unknown < len(scores):
            raise ValueError(f"unknown is id {unknown}, expected 0 to {len(scores) - 1}")
        self.scores = list(scores)
        self.unknown, self.byte_fallback, self.decoding = unknown, byte_fallback, decoding
        self._scores = dict(zip(self.tokens, self.scores, strict=False))
        self._longest = max(map(len, self._scores), default=1)

    def _encode_piece(self, piece: str) -> list[int]:
        unknown = None if self.unknown is None else self.tokens[self.unknown]
        ids: list[int] = []
        for token, _ in likeliest(piece, self._scores, self._longest, unknown):
            ids += [self._ids[token]] if token in self._scores else self._spell_unknown(token)
        return ids

    def _spell_unknown(self, text: str) -> list[int]:
        if self.byte_fallback and (found := byte_ids(text, self._ids)):
            return found
        if self.unknown is None:
            raise ValueError(f"{text!r} has no token, and there is none for the unknown")
        return [self.unknown]

    def _join(self, tokens: Iterable[str], errors: str) -> str:
        return join_tokens(tokens, self.decoding, errors)

    @classmethod
    def from_parts(cls, file: TokenizerFile, beside: Beside) -> "UnigramTokenizer":
        """The tokenizer of a file. Raises: ValueError for a file of another kind."""
        model = file.model
        if not isinstance(model, Unigram) or file.byte_level:
            kind = type(model).__name__ + " of bytes" * file.byte_level
            raise ValueError(
                f"not Unigram of characters but {kind}; open_tokenizer reads every kind"
            )
        return cls(
            file.tokens,
            model.scores,
            pattern=file.pattern,
            unknown=model.unknown,
            byte_fallback=model.byte_fallback,
            decoding=file.decoding,
            **read_options(file, beside),
        )

    def _to_file(self) -> TokenizerFile:
        model = Unigram(self.scores, self.unknown, self.byte_fallback)
        return describe(self, model, self.decoding)
