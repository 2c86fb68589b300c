"""A unigram model, as T5 has it: of all ways to write a piece, the likeliest (`viterbi`)."""

from collections.abc import Iterable, Sequence
from typing import Unpack

from llmlib.tokenization.base import (
    Options,
    Tokenizer,
    count_pieces,
    describe,
    n_merges_for,
    read_options,
)
from llmlib.tokenization.byte_fallback import byte_ids
from llmlib.tokenization.decoders import Decoding, MetaspaceOut, join_tokens
from llmlib.tokenization.normalizers import Normalizer, make_normalizer
from llmlib.tokenization.patterns import Metaspace, Pattern, Split
from llmlib.tokenization.tokenizer_config import Beside
from llmlib.tokenization.tokenizer_file import TokenizerFile, Unigram
from llmlib.tokenization.unigram_learning import learn_unigram
from llmlib.tokenization.viterbi import likeliest, rarest

UNKNOWN = "<unk>"
# A line break alone, and words with the mark of the space before them: SentencePiece's way, but the
# mark is put in front of the text alone, so that what was encoded comes back to the letter.
UNIGRAM_STEPS = (Split(r"\n"), Metaspace(prepend="first"))
DECODING = (MetaspaceOut(prepend="first"),)


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
        self._rare = rarest(self._scores)

    @classmethod
    def train(
        cls,
        text: str,
        vocab_size: int,
        pattern: Pattern = UNIGRAM_STEPS,
        *,
        special_tokens: Sequence[str] = (),
        normalization: Normalizer | None = None,
        decoding: Decoding = DECODING,
    ) -> "UnigramTokenizer":
        """Learns a vocabulary: <unk>, then the tokens of `learn_unigram`, the likeliest first.

        Among them are all characters of the text. There are fewer tokens than asked for if the text
        has not so many parts that occur twice.

        Args:
            text: what to learn from.
            vocab_size: how many tokens to have in the end, <unk> and special tokens included.
            pattern: regular expression of the pieces that tokens stay within, or steps.
            special_tokens: names of tokens that get the last ids; in the text they separate pieces.
            normalization: what is done to a text first, here and when encoding.
            decoding: from tokens to text, in steps that fit the pattern.

        Raises: ValueError if vocab_size cannot hold the characters of the text, or the text has a
            lone surrogate.

        Source: kudo2018subword
        """
        normalize = make_normalizer(normalization)
        words = count_pieces(text, pattern, special_tokens, normalize)
        n_characters = len({character for word in words for character in word})
        apart = 1 + len(special_tokens)
        more = n_merges_for(vocab_size, n_characters + apart, "characters, <unk>, special tokens")
        scores = learn_unigram(words, n_characters + more)
        scores.pop(UNKNOWN, None)  # in a text it is no token
        tokens = [UNKNOWN, *scores, *special_tokens]
        special = {name: 1 + len(scores) + i for i, name in enumerate(special_tokens)}
        return cls(
            tokens,
            [0.0, *scores.values()],
            pattern=pattern,
            unknown=0,
            decoding=decoding,
            normalization=normalization,
            special_tokens={UNKNOWN: 0} | special,
        )

    def _encode_piece(self, piece: str) -> list[int]:
        unknown = None if self.unknown is None else self.tokens[self.unknown]
        ids: list[int] = []
        for token, _ in likeliest(piece, self._scores, self._longest, unknown, self._rare):
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
