"""Learning WordPiece: which two parts of words to join next, by a score of what joining brings.

What is known of the original. Its first description (Schuster and Nakajima, 2012) starts from
characters and adds, again and again, the unit of two present ones that makes the training text
most likely under a language model; Google's translator (Wu and others, 2016) says the same in a
sentence, and BERT's paper that its vocabulary of 30,000 is such a one. The program was never
published: BERT's code came without it, since it was bound to Google's own libraries. Which language
model BERT's vocabulary was learned with, from what text and when it stopped, is not known.

Source: schuster2012voice, wu2016gnmt, devlin2019bert, google2018bertcode

So there are three scores of a pair here, and none of them is Google's to the letter. With c its
count, a and b those of its parts and n that of all symbols:

- "ratio", c / (a b): how much oftener the parts meet than chance would have them. This is what
  courses teach as WordPiece, a guess by Hugging Face from the literature. It puts parts first that
  occur nowhere else, however rare: two that meet once, and never otherwise, have the highest score
  there is, 1. `min_count` keeps it from them.
- "gain", c log(c n / (a b)): by how much joining raises the logarithm of the text's likelihood, if
  symbols are independent and all others keep their probabilities. It is nearest to the description.
- "count", c: byte-pair encoding. It is what the package tokenizers does under WordPiece's name.

First the textbook, which counts anew at each step; then the same without counting twice.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from llmlib.tokenization.learning import Pair, merge_pair

PREFIX = "##"
Score = Literal["ratio", "gain", "count"]
Numbers = NDArray[np.int64]
DIGITS = 9  # behind the point of a gain: CPUs differ in the last bits of a logarithm


def pair_scores(
    score: Score, pair: Numbers, first: Numbers, second: Numbers, total: int
) -> NDArray[np.float64]:
    """The score of each pair.

    Args:
        score: which one, see the head of this module.
        pair: how often each pair occurs, 1 or more.
        first, second: how often its first and its second symbol occur.
        total: how many symbols there are in all.

    Source: huggingface2022wordpiece for "ratio", schuster2012voice for "gain", sennrich2016bpe
    """
    if score == "count":
        return pair.astype(np.float64)
    if score == "ratio":
        return pair / (first * second)
    return np.round(pair * np.log(pair * total / (first * second)), DIGITS)


def spell_word(word: str, prefix: str = PREFIX) -> tuple[str, ...]:
    """The smallest parts of a word: its first character, and the others behind the prefix."""
    return (word[0], *(prefix + character for character in word[1:]))


def join_parts(left: str, right: str, prefix: str = PREFIX) -> str:
    """Two parts of a word as one: un + ##able is unable, ##a + ##ble is ##able."""
    return left + right.removeprefix(prefix)


def word_alphabet(words: Mapping[str, int], prefix: str = PREFIX) -> list[str]:
    """The smallest parts of words, sorted: those that begin a word, then those that continue one.

    Raises: ValueError for an empty prefix, a word that is empty or begins with it, or a count
        under 1.
    """
    if not prefix:
        raise ValueError(f"prefix is {prefix!r}, expected a text that marks later parts of words")
    for word, count in words.items():
        if not word or word.startswith(prefix):
            raise ValueError(f"the word {word!r}, expected one that does not begin with {prefix!r}")
        if count < 1:
            raise ValueError(f"the word {word!r} occurs {count} times, expected 1 or more")
    begin = {word[0] for word in words}
    behind = {character for word in words for character in word[1:]}
    return [*sorted(begin), *(prefix + character for character in sorted(behind))]


# --- the textbook -----------------------------------------------------------------------------


@dataclass(frozen=True)
class PieceStep:
    """One step of the textbook: the scores, the pair that was joined, the words after it."""

    pair: tuple[str, str]
    piece: str  # the pair as one
    scores: dict[tuple[str, str], float]  # before the step
    words: dict[tuple[str, ...], int]  # after the step


def word_piece_steps(
    words: Mapping[str, int],
    *,
    score: Score = "ratio",
    min_count: int = 1,
    prefix: str = PREFIX,
) -> Iterator[PieceStep]:
    """Counts all pairs and symbols, joins the pair of the highest score, and so on.

    Ends when no pair occurs `min_count` times. A tie goes to the pair whose symbols are older: they
    are numbered, the alphabet first, then each piece as it is made; the smaller first number wins,
    then the smaller second number.

    Args:
        words: how often each word occurs.
        score: of a pair, see the head of this module.
        min_count: pairs that occur less often are left alone.
        prefix: what parts begin with that continue a word.

    Raises: ValueError as in `learn_word_pieces`.

    Source: huggingface2022wordpiece
    """
    _check(score, min_count)
    number = {symbol: i for i, symbol in enumerate(word_alphabet(words, prefix))}
    corpus = Counter({spell_word(word, prefix): count for word, count in words.items()})
    while True:
        symbols: Counter[str] = Counter()
        pairs: Counter[tuple[str, str]] = Counter()
        for word, count in corpus.items():
            for symbol in word:
                symbols[symbol] += count
            for pair in pairwise(word):
                pairs[pair] += count
        often = [pair for pair, count in pairs.items() if count >= min_count]
        if not often:
            return
        values = pair_scores(
            score,
            np.array([pairs[pair] for pair in often]),
            np.array([symbols[left] for left, _ in often]),
            np.array([symbols[right] for _, right in often]),
            symbols.total(),
        )
        scores = dict(zip(often, values.tolist(), strict=True))
        best = min(often, key=lambda p: (-scores[p], number[p[0]], number[p[1]]))
        piece = join_parts(*best, prefix)
        number.setdefault(piece, len(number))
        joined: Counter[tuple[str, ...]] = Counter()
        for word, count in corpus.items():
            joined[tuple(merge_pair(word, best, piece))] += count
        corpus = joined
        yield PieceStep(best, piece, scores, dict(corpus))


def reference_learn_word_pieces(
    words: Mapping[str, int],
    n_pieces: int,
    *,
    score: Score = "ratio",
    min_count: int = 1,
    prefix: str = PREFIX,
) -> list[tuple[str, str]]:
    """The merges of the textbook that make the first `n_pieces` new parts of words."""
    merges: list[tuple[str, str]] = []
    pieces = set(word_alphabet(words, prefix))
    full = len(pieces) + n_pieces
    steps = word_piece_steps(words, score=score, min_count=min_count, prefix=prefix)
    while len(pieces) < full and (step := next(steps, None)):
        merges.append(step.pair)
        pieces.add(step.piece)
    return merges


# --- the same merges without counting twice ---------------------------------------------------


def learn_word_pieces(
    words: Mapping[str, int],
    n_pieces: int,
    *,
    score: Score = "ratio",
    min_count: int = 1,
    prefix: str = PREFIX,
) -> list[tuple[str, str]]:
    """The merges of `reference_learn_word_pieces`, found without recounting.

    A merge changes counts only in words that hold the pair. But with the counts of its two symbols
    it changes the scores of all pairs that these are in, and upwards: a heap whose entries only get
    worse, as in `learn_merges`, would not do. So all scores are computed anew, as one array.

    Args:
        words, score, min_count, prefix: as in `word_piece_steps`.
        n_pieces: how many new parts of words to make; fewer if no pair is left.

    Returns: the pairs in the order in which they were joined.

    Raises: ValueError for a negative number of pieces, an unknown score, a `min_count` under 1, an
        empty prefix, a word that is empty or begins with it, or one that occurs less than once.

    Source: huggingface2022wordpiece
    """
    if n_pieces < 0:
        raise ValueError(f"n_pieces is {n_pieces}, expected 0 or more")
    _check(score, min_count)
    table = _PairTable(words, prefix)
    full = len(table.symbols) + n_pieces
    merges: list[tuple[str, str]] = []
    while len(table.symbols) < full and (pair := table.best(score, min_count)):
        merges.append((table.symbols[pair[0]], table.symbols[pair[1]]))
        table.merge(pair)
    return merges


class _PairTable:
    """Words as lists of symbol numbers, and the counts of symbols and pairs as arrays."""

    def __init__(self, words: Mapping[str, int], prefix: str) -> None:
        self.prefix = prefix
        self.symbols = word_alphabet(words, prefix)
        self.number = {symbol: i for i, symbol in enumerate(self.symbols)}
        self.words = [[self.number[s] for s in spell_word(word, prefix)] for word in words]
        self.word_counts = list(words.values())
        self.where: defaultdict[Pair, set[int]] = defaultdict(set)  # words that may hold a pair
        self.row: dict[Pair, int] = {}
        self.pairs = np.zeros((2, 1024), np.int64)  # the two symbols of each pair
        self.pair_counts = np.zeros(1024, np.int64)
        self.symbol_counts = np.zeros(len(self.symbols), np.int64)
        symbols: Counter[int] = Counter()
        pairs: Counter[Pair] = Counter()
        for i in range(len(self.words)):
            self._count(i, 1, symbols, pairs)
        self._correct(symbols, pairs)

    def _count(self, i: int, sign: int, symbols: Counter[int], pairs: Counter[Pair]) -> None:
        """Adds what a word holds to two counters, or takes it away."""
        word, times = self.words[i], sign * self.word_counts[i]
        for symbol in word:
            symbols[symbol] += times
        for pair in pairwise(word):
            pairs[pair] += times
            if sign > 0:
                self.where[pair].add(i)

    def _correct(self, symbols: Counter[int], pairs: Counter[Pair]) -> None:
        """Takes changes of counts over into the arrays, which grow by doubling."""
        new = len(self.symbols) - len(self.symbol_counts)
        self.symbol_counts = np.pad(self.symbol_counts, (0, new))
        for symbol, change in symbols.items():
            self.symbol_counts[symbol] += change
        for pair, change in pairs.items():
            row = self.row.setdefault(pair, len(self.row))
            if row == len(self.pair_counts):
                self.pairs = np.pad(self.pairs, ((0, 0), (0, row)))
                self.pair_counts = np.pad(self.pair_counts, (0, row))
            self.pairs[:, row] = pair
            self.pair_counts[row] += change

    def best(self, score: Score, min_count: int) -> Pair | None:
        """The pair of the highest score, and of those that are equal the oldest."""
        rows = np.flatnonzero(self.pair_counts >= min_count)
        if not rows.size:
            return None
        first, second = self.pairs[:, rows]
        counts, total = self.symbol_counts, int(self.symbol_counts.sum())
        scores = pair_scores(score, self.pair_counts[rows], counts[first], counts[second], total)
        highest = np.flatnonzero(scores == scores.max())
        return min(zip(first[highest].tolist(), second[highest].tolist(), strict=True))

    def merge(self, pair: Pair) -> None:
        """Joins a pair in all words, and corrects the counts."""
        piece = join_parts(self.symbols[pair[0]], self.symbols[pair[1]], self.prefix)
        number = self.number.setdefault(piece, len(self.symbols))
        if number == len(self.symbols):
            self.symbols.append(piece)
        symbols: Counter[int] = Counter()
        pairs: Counter[Pair] = Counter()
        for i in sorted(self.where.pop(pair)):
            self._count(i, -1, symbols, pairs)
            self.words[i] = merge_pair(self.words[i], pair, number)
            self._count(i, 1, symbols, pairs)
        self._correct(symbols, pairs)


def pieces_of(merges: Sequence[tuple[str, str]], prefix: str = PREFIX) -> list[str]:
    """The parts of words that merges make, each once, in the order in which they are made."""
    return list(dict.fromkeys(join_parts(left, right, prefix) for left, right in merges))


def _check(score: Score, min_count: int) -> None:
    if score not in get_args(Score):
        raise ValueError(f"score is {score!r}, expected one of {', '.join(get_args(Score))}")
    if min_count < 1:
        raise ValueError(f"min_count is {min_count}, expected 1 or more")
