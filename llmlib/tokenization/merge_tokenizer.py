"""A tokenizer that spells each piece in base symbols, and joins these by merges."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Unpack

from llmlib.tokenization.base import Options, Tokenizer
from llmlib.tokenization.learning import Symbol
from llmlib.tokenization.merging import Ranks, merge_by_rank
from llmlib.tokenization.patterns import Pattern


class MergeTokenizer(Tokenizer[Symbol]):
    """Byte-pair encoding. Arguments as in `Tokenizer`, and

    Args:
        merges: pairs of tokens in order of rank.
        ignore_merges: a piece that is a token is that token, whatever merges would make of it.

    Raises:
        ValueError: a merge of unknown tokens, two that are the same.
    """

    def __init__(
        self,
        tokens: Sequence[Symbol],
        merges: Sequence[tuple[Symbol, Symbol]],
        *,
        pattern: Pattern,
        ignore_merges: bool = False,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(tokens, pattern=pattern, **options)  # type: ignore[arg-type]
        self.merges: list[tuple[Symbol, Symbol]] = list(merges)
        self.ignore_merges = ignore_merges
        self._ranks, self._products = _rank(self.merges, self._ids)

    @abstractmethod
    def _spell(self, piece: str) -> list[int]:
        """The ids of a piece's base symbols; ValueError names a symbol that has none."""

    @abstractmethod
    def _as_token(self, piece: str) -> Symbol:
        """The whole piece as one token, which the vocabulary may lack."""

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(vocab_size={self.vocab_size}, merges={len(self.merges)}, "
            f"special_tokens={len(self.special_tokens)})"
        )

    def _encode_piece(self, piece: str) -> list[int]:
        if self.ignore_merges and (whole := self._ids.get(self._as_token(piece))) is not None:
            return [whole]
        return merge_by_rank(self._spell(piece), self._ranks, self._products)


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
