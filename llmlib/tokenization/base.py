"""What both tokenizers share: a vocabulary, merges, added tokens, and a cache of pieces."""

import unicodedata
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Generic, Literal, SupportsIndex, get_args

from llmlib.tokenization.added import AddedToken, AddedTokens
from llmlib.tokenization.ids import whole_ids
from llmlib.tokenization.learning import Symbol
from llmlib.tokenization.merging import Ranks, merge_by_rank
from llmlib.tokenization.patterns import Pattern, Splitter

CACHED_PIECES = 1 << 16
CACHED_LETTERS = 64  # longer pieces are rare, and would make the cache large
Normalization = Literal["NFC", "NFD", "NFKC", "NFKD"]
Around = tuple[tuple[int, ...], tuple[int, ...]]
ERRORS = ("replace", "ignore", "strict")


def refuse_lone_surrogates(text: str) -> None:
    """Raises ValueError if a text holds half of a surrogate pair, which UTF-8 cannot express."""
    if not isinstance(text, str):
        raise TypeError(f"text is a {type(text).__name__}, expected str")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        place = f"U+{ord(text[error.start]):04X} at position {error.start}"
        raise ValueError(f"lone surrogate {place} of the text: UTF-8 cannot express it") from None


class _PieceCache(dict[str, tuple[int, ...]]):
    """Piece -> ids, filled as pieces are met; full, it is emptied, so that it follows the text."""

    def __init__(self, encode_piece: Callable[[str], list[int]], size: int) -> None:
        super().__init__()
        self.encode_piece = encode_piece
        self.size = size

    def __missing__(self, piece: str) -> tuple[int, ...]:
        ids = tuple(self.encode_piece(piece))
        if len(piece) <= CACHED_LETTERS and self.size:
            if len(self) >= self.size:
                self.clear()
            self[piece] = ids
        return ids


class MergeTokenizer(ABC, Generic[Symbol]):
    """Splits text into pieces, spells each piece in base symbols, and joins them by merges.

    Args:
        tokens: id -> token, a str or bytes; special and other added tokens are among them.
        merges: pairs of tokens in order of rank.
        special_tokens: text -> id of tokens that stand for no text, such as the end of a document.
        added_tokens: the same, and other tokens that merges do not make, with their options.
        pattern: regular expression that matches the pieces, or steps (`patterns.Split`); merges
            never cross the borders of pieces.
        normalization: Unicode normalization of the text before anything else, such as "NFC".
        ignore_merges: a piece that is a token is that token, whatever merges would make of it.
        around: ids that the model wants before and behind a text; `encode` adds them if asked.
        cache_size: of how many pieces the ids are kept.

    Raises:
        ValueError: a token listed twice, a special token that is also an ordinary one, a merge
            of unknown tokens, a pattern that is not read here.
    """

    def __init__(
        self,
        tokens: Sequence[Symbol],
        merges: Sequence[tuple[Symbol, Symbol]],
        *,
        special_tokens: Mapping[str, int] | None = None,
        added_tokens: Sequence[AddedToken] = (),
        pattern: Pattern,
        normalization: Normalization | None = None,
        ignore_merges: bool = False,
        around: Around = ((), ()),
        cache_size: int = CACHED_PIECES,
    ) -> None:
        self.tokens: tuple[Symbol, ...] = tuple(tokens)
        self.merges: list[tuple[Symbol, Symbol]] = list(merges)
        special: list[AddedToken] = [
            AddedToken(name, i) for name, i in (special_tokens or {}).items()
        ]
        self.added_tokens: tuple[AddedToken, ...] = (*special, *added_tokens)
        self.special_tokens = {t.content: t.id for t in self.added_tokens if t.special}
        self.pattern, self.normalization = pattern, normalization
        self.ignore_merges, self.around = ignore_merges, around
        if normalization not in (None, *get_args(Normalization)):
            expected = ", ".join(get_args(Normalization))
            raise ValueError(f"normalization is {normalization!r}, expected {expected} or None")
        self._split = Splitter(pattern)
        self._added = AddedTokens(self.added_tokens, self._normalize)
        self._ids: dict[Symbol, int] = _number(self.tokens, self.added_tokens)
        self._ranks, self._products = _rank(self.merges, self._ids)
        self._cache = _PieceCache(self._encode_piece, cache_size)
        if outside := [i for ids in around for i in ids if not 0 <= i < len(self.tokens)]:
            raise ValueError(f"around a text stands id {outside[0]}, {self._expected()}")

    @abstractmethod
    def _spell(self, piece: str) -> list[int]:
        """The ids of a piece's base symbols; ValueError names a symbol that has none."""

    @abstractmethod
    def _as_token(self, piece: str) -> Symbol:
        """The whole piece as one token, which the vocabulary may lack."""

    @abstractmethod
    def _join(self, tokens: Iterable[Symbol], errors: str) -> str:
        """The text of tokens."""

    @property
    def vocab_size(self) -> int:
        """How many ids there are, special tokens included."""
        return len(self.tokens)

    @property
    def n_cached(self) -> int:
        """Of how many pieces the cache holds the ids now."""
        return len(self._cache)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(vocab_size={self.vocab_size}, merges={len(self.merges)}, "
            f"special_tokens={len(self.special_tokens)})"
        )

    def pieces(self, text: str) -> list[str]:
        """Splits text by the pattern; what it does not match are pieces too."""
        return self._split(text)

    def encode(
        self, text: str, allow_special: bool = False, *, add_special: bool = False
    ) -> list[int]:
        """The token ids of a text.

        Added tokens that are not special, such as <think>, are ordinary text that is always found
        whole.

        Args:
            text: any text of Unicode characters.
            allow_special: read the names of special tokens in the text as those tokens. Without
                it they are text like any other: what a user types cannot end the document.
            add_special: put the tokens around it that the model's file asks for, such as the one
                that begins a text.

        Raises:
            ValueError: a lone surrogate, or a character or byte without a token.
        """
        refuse_lone_surrogates(text)
        ids: list[int] = []
        for part in self._added.split(text, allow_special):  # once, if there is nothing to find
            ids += [part] if isinstance(part, int) else self._encode_plain(part)
        return [*self.around[0], *ids, *self.around[1]] if add_special else ids

    def _normalize(self, text: str) -> str:
        return unicodedata.normalize(self.normalization, text) if self.normalization else text

    def _encode_plain(self, text: str) -> list[int]:
        # As long as the cache knows the pieces, no Python runs once a piece.
        return list(chain.from_iterable(map(self._cache.__getitem__, self._split(text))))

    def _encode_piece(self, piece: str) -> list[int]:
        if self.ignore_merges and (whole := self._ids.get(self._as_token(piece))) is not None:
            return [whole]
        return merge_by_rank(self._spell(piece), self._ranks, self._products)

    def decode(self, ids: Iterable[SupportsIndex], errors: str = "replace") -> str:
        """The text of token ids.

        Args:
            ids: token ids; special tokens give their names.
            errors: what to do with bytes that are not UTF-8, such as a token that is part of a
                character: "replace" (U+FFFD), "ignore" or "strict" (UnicodeDecodeError).

        Raises:
            ValueError: an id outside the vocabulary, or another value of `errors`.
            TypeError: ids that are not whole numbers.
        """
        if errors not in ERRORS:
            raise ValueError(f"errors is {errors!r}, expected one of {', '.join(ERRORS)}")
        numbers = whole_ids(ids)
        if numbers and not (min(numbers) >= 0 and max(numbers) < self.vocab_size):
            wrong = next(i for i in numbers if not 0 <= i < self.vocab_size)
            raise ValueError(f"token id {wrong}, {self._expected()}")
        return self._join(map(self.tokens.__getitem__, numbers), errors)

    def _expected(self) -> str:
        return f"expected 0 to {self.vocab_size - 1}"


def _number(tokens: Sequence[Symbol], added: Sequence[AddedToken]) -> dict[Symbol, int]:
    """Token -> id of the tokens that merges work on; added ones only if no other is spelled so."""
    by_id: dict[int, AddedToken] = {}
    for token in added:
        if not 0 <= token.id < len(tokens):
            kind = "special" if token.special else "added"
            raise ValueError(f"{kind} token id {token.id}, expected 0 to {len(tokens) - 1}")
        if token.id in by_id:
            both = f"{by_id[token.id].content!r} and {token.content!r}"
            raise ValueError(f"{both} are both special tokens with id {token.id}")
        by_id[token.id] = token
    ids: dict[Symbol, int] = {}
    for i, symbol in enumerate(tokens):
        if i not in by_id and ids.setdefault(symbol, i) != i:
            raise ValueError(f"the token {symbol!r} is listed twice, as {ids[symbol]} and {i}")
    for i, token in by_id.items():
        if ids.setdefault(tokens[i], i) != i and token.special:
            raise ValueError(f"{tokens[i]!r} is a special token and one that the merges make")
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


def count_pieces(text: str, pattern: Pattern, special_tokens: Sequence[str] = ()) -> Counter[str]:
    """How often each piece occurs in a text; special tokens in it only separate."""
    refuse_lone_surrogates(text)
    if isinstance(special_tokens, str) or not all(isinstance(t, str) for t in special_tokens):
        raise TypeError(f"special_tokens is {special_tokens!r}, expected a list of texts")
    special = AddedTokens([AddedToken(t, i) for i, t in enumerate(special_tokens)], str)
    parts = (part for part in special.split(text, True) if isinstance(part, str))
    return Counter(chain.from_iterable(map(Splitter(pattern), parts)))


def n_merges_for(vocab_size: int, n_symbols: int, what: str) -> int:
    """How many merges fill a vocabulary that starts with `n_symbols` symbols."""
    if not isinstance(vocab_size, int) or isinstance(vocab_size, bool):
        raise TypeError(f"vocab_size is {vocab_size!r}, expected an integer")
    if vocab_size < n_symbols:
        raise ValueError(f"vocab_size is {vocab_size}, expected {n_symbols} ({what}) or more")
    return vocab_size - n_symbols
