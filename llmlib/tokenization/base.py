"""What both tokenizers share: a vocabulary, merges, special tokens, and a cache of pieces."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Generic

import regex

from llmlib.tokenization.learning import Symbol
from llmlib.tokenization.merging import Ranks, merge_by_rank
from llmlib.tokenization.patterns import Splitter

CACHED_PIECES = 1 << 16
CACHED_LETTERS = 64  # longer pieces are rare, and would make the cache large


def refuse_lone_surrogates(text: str) -> None:
    """Raises ValueError if a text holds half of a surrogate pair, which UTF-8 cannot express."""
    if not isinstance(text, str):
        raise TypeError(f"text is a {type(text).__name__}, expected str")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        place = f"U+{ord(text[error.start]):04X} at position {error.start}"
        raise ValueError(f"lone surrogate {place} of the text: UTF-8 cannot express it") from None


class PieceCache(dict[str, tuple[int, ...]]):
    """Piece -> ids, filled as pieces are met; full, it is emptied, so that it follows the text.

    `most` says how many it holds.
    """

    def __init__(self, encode_piece: Callable[[str], list[int]], most: int = CACHED_PIECES) -> None:
        super().__init__()
        self.encode_piece, self.most = encode_piece, most

    def __missing__(self, piece: str) -> tuple[int, ...]:
        ids = tuple(self.encode_piece(piece))
        if len(piece) <= CACHED_LETTERS:
            if len(self) >= self.most:
                self.clear()
            self[piece] = ids
        return ids


class MergeTokenizer(ABC, Generic[Symbol]):
    """Splits text into pieces, spells each piece in base symbols, and joins them by merges.

    Args:
        tokens: id -> token, a str or bytes; special tokens are among them.
        merges: pairs of tokens in order of rank.
        special_tokens: text -> id of tokens that stand for no text, such as the end of a document.
        pattern: regular expression that matches the pieces; merges never cross their borders.

    Raises:
        ValueError: a token listed twice, a special token that is also an ordinary one, a merge
            of unknown tokens, a pattern with groups that capture.
    """

    def __init__(
        self,
        tokens: Sequence[Symbol],
        merges: Sequence[tuple[Symbol, Symbol]],
        *,
        special_tokens: Mapping[str, int] | None = None,
        pattern: str,
    ) -> None:
        self.tokens: tuple[Symbol, ...] = tuple(tokens)
        self.merges: list[tuple[Symbol, Symbol]] = list(merges)
        self.special_tokens = dict(special_tokens or {})
        self.pattern = pattern
        self._split = Splitter(pattern)
        self._special = _special_pattern(list(self.special_tokens))
        self._ids: dict[Symbol, int] = _number(self.tokens, self.special_tokens)
        self._ranks, self._products = _rank(self.merges, self._ids)
        self.cache = PieceCache(self._encode_piece)

    @abstractmethod
    def _spell(self, piece: str) -> list[int]:
        """The ids of a piece's base symbols; ValueError names a symbol that has none."""

    @abstractmethod
    def _join(self, tokens: Iterable[Symbol], errors: str) -> str:
        """The text of tokens."""

    @property
    def vocab_size(self) -> int:
        """How many ids there are, special tokens included."""
        return len(self.tokens)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(vocab_size={self.vocab_size}, merges={len(self.merges)}, "
            f"special_tokens={len(self.special_tokens)})"
        )

    def pieces(self, text: str) -> list[str]:
        """Splits text by the pattern.

        Raises: ValueError if the pattern leaves some of the text out.
        """
        return self._split(text)

    def encode(self, text: str, allow_special: bool = False) -> list[int]:
        """The token ids of a text.

        Args:
            text: any text of Unicode characters.
            allow_special: read the names of special tokens in the text as those tokens. Without
                it they are text like any other: what a user types cannot end the document.

        Raises:
            ValueError: a lone surrogate, a character or byte without a token, or text that the
                pattern leaves out.
        """
        refuse_lone_surrogates(text)
        if self._special is None or not allow_special:
            return self._encode_plain(text)
        ids: list[int] = []
        for i, part in enumerate(self._special.split(text)):  # plain, special, plain, …
            ids += [self.special_tokens[part]] if i % 2 else self._encode_plain(part)
        return ids

    def _encode_plain(self, text: str) -> list[int]:
        # As long as the cache knows the pieces, no Python runs once a piece.
        return list(chain.from_iterable(map(self.cache.__getitem__, self._split(text))))

    def _encode_piece(self, piece: str) -> list[int]:
        return merge_by_rank(self._spell(piece), self._ranks, self._products)

    def decode(self, ids: Iterable[int], errors: str = "replace") -> str:
        """The text of token ids.

        Args:
            ids: token ids; special tokens give their names.
            errors: what to do with bytes that are not UTF-8, such as a token that is part of a
                character: "replace" (U+FFFD), "ignore" or "strict" (UnicodeDecodeError).

        Raises: ValueError naming an id outside the vocabulary.
        """
        ids = list(ids)
        if ids and not (min(ids) >= 0 and max(ids) < self.vocab_size):
            wrong = next(i for i in ids if not 0 <= i < self.vocab_size)
            raise ValueError(f"token id {wrong}, expected 0 to {self.vocab_size - 1}")
        return self._join(map(self.tokens.__getitem__, ids), errors)


def _special_pattern(names: Sequence[str]) -> "regex.Pattern[str] | None":
    """Matches the name of any special token; of two, where one begins with the other, the longer.

    Raises: ValueError for an empty name, or one that is listed twice.
    """
    if "" in names or len(set(names)) != len(names):
        raise ValueError(f"special tokens {list(names)}, expected different names, none empty")
    longest_first = sorted(names, key=len, reverse=True)
    return regex.compile(f"({'|'.join(map(regex.escape, longest_first))})") if names else None


def _number(tokens: Sequence[Symbol], special_tokens: Mapping[str, int]) -> dict[Symbol, int]:
    """Token -> id of the tokens that text can become."""
    special = set(special_tokens.values())
    if outside := [i for i in special if not 0 <= i < len(tokens)]:
        raise ValueError(f"special token id {outside[0]}, expected 0 to {len(tokens) - 1}")
    ids: dict[Symbol, int] = {}
    for i, token in enumerate(tokens):
        if i not in special and ids.setdefault(token, i) != i:
            raise ValueError(f"the token {token!r} is listed twice, as {ids[token]} and {i}")
    if clashes := [tokens[i] for i in special if tokens[i] in ids]:
        raise ValueError(f"{clashes[0]!r} is a special token and one that the merges make")
    return ids


def _rank(
    merges: Sequence[tuple[Symbol, Symbol]], ids: Mapping[Symbol, int]
) -> tuple[Ranks, list[int]]:
    """Pair of ids -> rank, and rank -> id of the joined token."""
    ranks: Ranks = {}
    products = []
    for rank, (left, right) in enumerate(merges):
        for token in (left, right, left + right):
            if token not in ids:
                raise ValueError(f"merge {rank} needs the token {token!r}, not in the vocabulary")
        pair = ids[left], ids[right]
        if pair in ranks:
            raise ValueError(f"merges {ranks[pair]} and {rank} are both {left!r} + {right!r}")
        ranks[pair] = rank
        products.append(ids[left + right])
    return ranks, products


def count_pieces(text: str, pattern: str, special_tokens: Sequence[str] = ()) -> Counter[str]:
    """How often each piece occurs in a text; special tokens in it only separate."""
    refuse_lone_surrogates(text)
    split, special = Splitter(pattern), _special_pattern(special_tokens)
    parts = special.split(text)[::2] if special else [text]
    return Counter(chain.from_iterable(map(split, parts)))


def n_merges_for(vocab_size: int, n_symbols: int, what: str) -> int:
    """How many merges fill a vocabulary that starts with `n_symbols` symbols."""
    if vocab_size < n_symbols:
        raise ValueError(f"vocab_size is {vocab_size}, expected {n_symbols} ({what}) or more")
    return vocab_size - n_symbols
