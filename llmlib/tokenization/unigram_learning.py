"""Learning a unigram model: which tokens there are, and how likely each is.

Where byte-pair encoding starts from characters and adds, this starts from far too many tokens and
takes away. Nobody knows how the training text is cut into tokens; so all ways to cut a word count,
each as much as it is likely (the E step), the counts give new probabilities (the M step), and after
a few rounds of both those tokens go that are missed least. Words with counts are what is learned
from, never running text.

Not here, and in SentencePiece's program: the suffix array that finds substrings across a whole
corpus, and its correction of small counts (a digamma in the M step).
"""

import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

from llmlib.tokenization.viterbi import likeliest

LONGEST = 16  # characters of a token
SEEDS = 10  # tokens to start from, for each that stays
KEPT = 0.75  # of the tokens, in one round of taking away
ROUNDS = 2  # of E and M between two times of taking away
LEAST = 0.5  # a token is counted so often at least: no character gets the probability 0
DIGITS = 9  # of a loss and a score: CPUs differ in the last bits of a logarithm

Scores = dict[str, float]


def frequent_substrings(words: Mapping[str, int], n: int, longest: int = LONGEST) -> dict[str, int]:
    """How often each character occurs in words, and the `n` longer parts that write most of them.

    A part writes its length times its count; of equals, the one that comes first in Unicode.

    Args:
        words: how often each word occurs.
        n: how many parts of two characters or more; those that occur once are none.
        longest: characters of a part.
    """
    characters: Counter[str] = Counter()
    parts: Counter[str] = Counter()
    for word, count in words.items():
        for begin, character in enumerate(word):
            characters[character] += count
            for end in range(begin + 2, min(begin + longest, len(word)) + 1):
                parts[word[begin:end]] += count
    often = (part for part, count in parts.items() if count > 1)
    most = heapq.nsmallest(n, often, key=lambda part: (-len(part) * parts[part], part))
    return {**dict(sorted(characters.items())), **{part: parts[part] for part in most}}


def expected_counts(
    words: Mapping[str, int], scores: Mapping[str, float], longest: int = LONGEST
) -> tuple[dict[str, float], float]:
    """The E step: how often each token is used if all ways to write a word share in it.

    The probability of a word is the sum over all ways to cut it. Forward, the sum over the ways to
    write what lies before each place; backward, what lies behind. A token between two places then
    has its share: forward x its probability x backward / the whole.

    Args:
        words: how often each word occurs.
        scores: token -> logarithm of its probability.
        longest: characters of the longest token.

    Returns: token -> expected count, and the logarithm of the likelihood of all words, in nats.

    Raises: ValueError for a word that no tokens spell.

    Source: kudo2018subword
    """
    expected: defaultdict[str, float] = defaultdict(float)
    likelihood = 0.0
    for word, count in words.items():
        uses = list(_uses(word, scores, longest))
        forward = [0.0] + [-math.inf] * len(word)
        for begin, end, _, score in uses:
            a, b = forward[end], forward[begin] + score
            if b > -math.inf:  # log(exp(a) + exp(b)), and no number underflows
                forward[end] = max(a, b) + math.log1p(math.exp(-abs(a - b)))
        whole = forward[-1]
        if whole == -math.inf:
            raise ValueError(
                f"no tokens spell the word {word!r}, expected its characters as tokens"
            )
        likelihood += count * whole
        backward = [-math.inf] * len(word) + [0.0]
        for begin, end, token, score in reversed(uses):
            a, b = backward[begin], score + backward[end]
            if b > -math.inf:
                backward[begin] = max(a, b) + math.log1p(math.exp(-abs(a - b)))
            expected[token] += count * math.exp(forward[begin] + b - whole)
    return dict(expected), likelihood


def _uses(
    word: str, scores: Mapping[str, float], longest: int
) -> Iterator[tuple[int, int, str, float]]:
    """Every token in a word: begin, end, itself, its score; in the order of where they begin."""
    for begin in range(len(word)):
        for end in range(begin + 1, min(begin + longest, len(word)) + 1):
            token = word[begin:end]
            if (score := scores.get(token)) is not None:
                yield begin, end, token, score


def to_scores(counts: Mapping[str, int | float]) -> Scores:
    """The M step: the logarithm of each token's share of all counts."""
    least = {token: max(count, LEAST) for token, count in counts.items()}
    log_total = math.log(math.fsum(least.values()))
    return {token: math.log(count) - log_total for token, count in least.items()}


def losses(scores: Mapping[str, float], expected: Mapping[str, float]) -> dict[str, float]:
    """What each token of two characters or more is worth, in nats of the text's likelihood.

    Without it, each of its uses would be written with the likeliest other tokens: the loss is how
    often it is used, times what one use loses.
    """
    worth = {}
    for token, score in scores.items():
        if len(token) > 1:
            # of the tokens that can stand in it, only it is as long as itself
            others = likeliest(token, scores, len(token) - 1, rare=-math.inf)
            instead = math.fsum(scores[part] for part, _ in others)
            worth[token] = round(expected.get(token, 0.0) * (score - instead), DIGITS)
    return worth


def learn_unigram(
    words: Mapping[str, int], n_tokens: int, *, longest: int = LONGEST, seeds: int = SEEDS
) -> Scores:
    """The tokens of a unigram model, each with the logarithm of its probability.

    Args:
        words: how often each word occurs.
        n_tokens: how many tokens to have in the end; fewer if the words have no more parts that
            occur twice.
        longest: characters of a token.
        seeds: how many tokens to start from, for each of `n_tokens`.

    Returns: token -> score, the likeliest first. Every character of the words is among them.

    Raises: ValueError for a size that is not positive, a word that occurs less than once, or fewer
        tokens than the words have characters.

    Source: kudo2018subword
    """
    for name, value in (("longest", longest), ("seeds", seeds)):
        if value < 1:
            raise ValueError(f"{name} is {value}, expected 1 or more")
    for word, count in words.items():
        if count < 1:
            raise ValueError(f"the word {word!r} occurs {count} times, expected 1 or more")
    n_characters = len({character for word in words for character in word})
    if n_tokens < n_characters:
        raise ValueError(f"n_tokens is {n_tokens}, expected {n_characters} (characters) or more")
    if not words:
        return {}
    scores = to_scores(frequent_substrings(words, seeds * n_tokens, longest))
    while True:
        for _ in range(ROUNDS):
            expected, _ = expected_counts(words, scores, longest)
            scores = to_scores({token: expected.get(token, 0.0) for token in scores})
        if len(scores) <= n_tokens:
            rounded = ((token, round(score, DIGITS)) for token, score in scores.items())
            return dict(sorted(rounded, key=lambda pair: (-pair[1], pair[0])))
        n_kept = max(n_tokens, int(KEPT * len(scores))) - n_characters
        worth = losses(scores, expected)
        kept = set(heapq.nsmallest(n_kept, worth, key=lambda token: (-worth[token], token)))
        scores = {token: s for token, s in scores.items() if len(token) == 1 or token in kept}
