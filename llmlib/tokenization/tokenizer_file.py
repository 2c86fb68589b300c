"""What a tokenizer's file says, whatever it is written in: the same for reading and writing."""

from dataclasses import dataclass

from llmlib.tokenization.added import AddedToken
from llmlib.tokenization.decoders import Decoding
from llmlib.tokenization.normalizers import Normalizer
from llmlib.tokenization.patterns import Pattern

Around = tuple[tuple[int, ...], tuple[int, ...]]  # ids before and behind a text


@dataclass(frozen=True)
class BPE:
    """Merges by rank.

    Args:
        merges: pairs of tokens.
        ignore_merges: a piece that is a token is that token.
        byte_fallback: a character without a token is written as tokens of its bytes.
        unknown: the token of other characters without one.
        fuse_unknown: side by side, they are one such token.
    """

    merges: list[tuple[str, str]]
    ignore_merges: bool = False
    byte_fallback: bool = False
    unknown: str | None = None
    fuse_unknown: bool = False


@dataclass(frozen=True)
class Scored:
    """Merges by the score of the token that they make: SentencePiece's BPE."""

    scores: list[float]


@dataclass(frozen=True)
class Unigram:
    """The likeliest tokens, each with the logarithm of its probability.

    Args:
        scores: of the first tokens; those behind them are added tokens.
        unknown: id of the token of characters that no token has.
        byte_fallback: those are written as tokens of their bytes.
    """

    scores: list[float]
    unknown: int | None = None
    byte_fallback: bool = False


@dataclass(frozen=True)
class WordPiece:
    """The longest token first, from the left.

    Args:
        unknown: the token of words that cannot be written.
        prefix: what tokens begin with that continue a word.
        longest: a word of more characters is unknown.
    """

    unknown: str
    prefix: str = "##"
    longest: int = 100


Model = BPE | Scored | Unigram | WordPiece


@dataclass(frozen=True)
class TokenizerFile:
    """Id -> token, the model, and what is done before and behind it, all as text.

    Args:
        byte_level: tokens are spelled in the symbols of bytes.
        unused: ids that fill up the vocabulary: no text has them.
    """

    tokens: list[str]
    model: Model
    added: tuple[AddedToken, ...]
    pattern: Pattern
    byte_level: bool
    normalization: Normalizer | None = None
    decoding: Decoding = ()
    around: Around = ((), ())
    unused: frozenset[int] = frozenset()
