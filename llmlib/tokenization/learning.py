"""Learning a vocabulary: which pairs of symbols to join, and in which order.

First the textbook, which counts every pair anew at each step; then the same result in one pass of
counting, followed by small corrections. Both work on words with counts, never on running text, and
do not care whether the symbols are characters or bytes.
"""

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Any, Generic, Literal, TypeVar

Symbol = TypeVar("Symbol", str, bytes)
Item = TypeVar("Item")
Pair = tuple[int, int]
Words = Mapping[str, int] | Mapping[tuple[Symbol, ...], int]
Ties = Literal["smallest", "first"]


# --- the textbook ----------------------------------------------------------------------------


def count_pairs(words: Words[Symbol]) -> Counter[tuple[Symbol, Symbol]]:
    """How often two symbols stand side by side in words that occur so many times.

    Occurrences may overlap: `dddd` counts (d, d) three times. Pairs come in the order in which a
    reader meets them.
    """
    pairs: Counter[tuple[Symbol, Symbol]] = Counter()
    for symbols, count in words.items():
        for pair in pairwise(symbols):
            pairs[pair] += count  # type: ignore[index]
    return pairs


def merge_pair(symbols: Sequence[Item], pair: tuple[Item, Item], merged: Item) -> list[Item]:
    """The symbols with `merged` in place of every `pair`, from left to right without overlap."""
    result, i = [], 0
    while i < len(symbols):
        if symbols[i] == pair[0] and i + 1 < len(symbols) and symbols[i + 1] == pair[1]:
            result.append(merged)
            i += 2
        else:
            result.append(symbols[i])
            i += 1
    return result


@dataclass(frozen=True)
class MergeStep(Generic[Symbol]):
    """One step of the textbook: what was counted, what was joined, how the words look after it."""

    pair: tuple[Symbol, Symbol]
    counts: Counter[tuple[Symbol, Symbol]]  # before the step
    words: dict[tuple[Symbol, ...], int]  # after the step


def merge_steps(
    words: Words[Symbol], *, alphabet: Sequence[Symbol] | None = None, ties: Ties = "smallest"
) -> Iterator[MergeStep[Symbol]]:
    """Byte-pair encoding as in the textbook: count all pairs, join the most frequent, repeat.

    Ends when no word has two symbols left. A tie goes to

    - "smallest": the pair whose symbols are older. Symbols are numbered: the alphabet first, then
      each merge as it is made; the smaller left number wins, then the smaller right number.
    - "first": the pair that stands first in the words as they are now. This is minbpe's rule.

    Args:
        words: how often each word occurs; a word is a text or a tuple of symbols.
        alphabet: the symbols to start from, in the order of their numbers; sorted by default.
        ties: the rule for pairs of equal count.

    Source: sennrich2016bpe
    """
    number = {symbol: i for i, symbol in enumerate(_alphabet(words, alphabet, ties))}
    corpus: dict[tuple[Symbol, ...], int]
    corpus = {tuple(word): n for word, n in words.items()}  # type: ignore[arg-type]
    while counts := count_pairs(corpus):
        if ties == "first":
            pair = max(counts, key=counts.__getitem__)  # the first of the largest
        else:
            pair = min(counts, key=lambda p: (-counts[p], number[p[0]], number[p[1]]))
        merged = pair[0] + pair[1]
        number[merged] = len(number)
        corpus = {tuple(merge_pair(word, pair, merged)): n for word, n in corpus.items()}
        yield MergeStep(pair, counts, corpus)


def reference_learn_merges(
    words: Words[Symbol],
    n_merges: int,
    *,
    alphabet: Sequence[Symbol] | None = None,
    ties: Ties = "smallest",
) -> list[tuple[Symbol, Symbol]]:
    """The first `n_merges` merges of the textbook; fewer if the words run out of pairs."""
    return [
        step.pair for step in islice(merge_steps(words, alphabet=alphabet, ties=ties), n_merges)
    ]


# --- the same merges without counting twice ---------------------------------------------------


def learn_merges(
    words: Words[Symbol],
    n_merges: int,
    *,
    alphabet: Sequence[Symbol] | None = None,
    ties: Ties = "smallest",
) -> list[tuple[Symbol, Symbol]]:
    """The merges of `reference_learn_merges`, found without recounting.

    Pairs are counted once. A merge then changes only the counts next to it, and only words that
    hold the pair are visited. The best pair is on top of a heap whose entries may be out of date:
    one that is goes back with its present key. That is enough, because a pair's key can only get
    worse: all its occurrences are made by the merge that makes its newer symbol.

    Args:
        words, alphabet, ties: as in `merge_steps`.
        n_merges: how many merges to learn; fewer come back if no word has two symbols left.

    Raises:
        ValueError: a negative number of merges, an unknown rule for ties, a word that occurs less
            than once, or a symbol that the alphabet lacks.

    Source: sennrich2016bpe
    """
    if n_merges < 0:
        raise ValueError(f"n_merges is {n_merges}, expected 0 or more")
    symbols = _alphabet(words, alphabet, ties)
    corpus = _Corpus(words, symbols)
    key = corpus.place_key if ties == "first" else corpus.number_key
    heap = [key(pair) for pair in corpus.counts]
    heapq.heapify(heap)
    merges: list[tuple[Symbol, Symbol]] = []
    while heap and len(merges) < n_merges:
        entry = heapq.heappop(heap)
        pair = entry[-1]
        if not corpus.counts[pair]:
            continue  # every occurrence went into other merges
        if (present := key(pair)) != entry:
            heapq.heappush(heap, present)
            continue
        left, right = symbols[pair[0]], symbols[pair[1]]
        merges.append((left, right))
        symbols.append(left + right)
        for new_pair in corpus.merge(pair):
            heapq.heappush(heap, key(new_pair))
    return merges


class _Corpus:
    """Words as lists of symbol numbers, the count of every pair, and the words that may hold it."""

    def __init__(self, words: Words[Symbol], symbols: Sequence[Symbol]) -> None:
        number = {symbol: i for i, symbol in enumerate(symbols)}
        self.words = [[number[symbol] for symbol in word] for word in words]  # type: ignore[index]
        self.word_counts = list(words.values())
        self.lengths = [1] * len(symbols)
        self.counts: defaultdict[Pair, int] = defaultdict(int)
        self.where: defaultdict[Pair, set[int]] = defaultdict(set)
        for i, (word, count) in enumerate(zip(self.words, self.word_counts, strict=True)):
            for pair in pairwise(word):
                self.counts[pair] += count
                self.where[pair].add(i)

    def number_key(self, pair: Pair) -> tuple[Any, ...]:
        """Orders the heap by count, then by the numbers of the symbols."""
        return -self.counts[pair], pair

    def place_key(self, pair: Pair) -> tuple[Any, ...]:
        """Orders the heap by count, then by word and offset of the first occurrence."""
        for i in sorted(self.where[pair]):
            # The offset counts letters, not symbols: earlier merges in the word do not move it.
            offset = 0
            for two in pairwise(self.words[i]):
                if two == pair:
                    return -self.counts[pair], i, offset, pair
                offset += self.lengths[two[0]]
        raise AssertionError(f"{pair} has a count and no place")

    def merge(self, pair: Pair) -> set[Pair]:
        """Joins the pair in all words, corrects the counts, returns the pairs that this made."""
        first, second = pair
        new = len(self.lengths)
        self.lengths.append(self.lengths[first] + self.lengths[second])
        counts, where, made = self.counts, self.where, set()
        for i in where.pop(pair):
            word, count, result, j = self.words[i], self.word_counts[i], [], 0
            last = len(word) - 1
            while j <= last:
                if word[j] != first or j == last or word[j + 1] != second:
                    result.append(word[j])
                    j += 1
                    continue
                if result:
                    counts[result[-1], first] -= count
                    made.add(before := (result[-1], new))
                    counts[before] += count
                    where[before].add(i)
                if j + 2 <= last:
                    counts[second, word[j + 2]] -= count
                    made.add(after := (new, word[j + 2]))
                    counts[after] += count
                    where[after].add(i)
                result.append(new)
                j += 2
            self.words[i] = result
        del counts[pair]
        # In a run such as x x x x the pair (new, x) is made, then joined again within the word.
        return {other for other in made if counts[other]}


def _alphabet(words: Words[Symbol], alphabet: Sequence[Symbol] | None, ties: Ties) -> list[Symbol]:
    """The symbols to start from, after the checks that both ways of learning share."""
    if ties not in ("smallest", "first"):
        raise ValueError(f"ties is {ties!r}, expected 'smallest' or 'first'")
    for word, count in words.items():
        if count < 1:
            raise ValueError(f"the word {word!r} occurs {count} times, expected 1 or more")
    used: set[Any] = {symbol for word in words for symbol in word}
    if alphabet is None:
        return sorted(used)
    if missing := used.difference(alphabet):
        raise ValueError(f"the alphabet lacks {min(missing)!r}, which the words use")
    return list(alphabet)
