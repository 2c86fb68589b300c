"""Of all ways to spell a text in tokens, the likeliest: Viterbi's algorithm.

Tokens are taken to be independent, so that the logarithm of a way's probability is the sum of its
tokens' scores. The best way to each place in the text is found from the best ways to the places
before. First the algorithm alone; then with characters that no token has.
"""

import math
from collections.abc import Mapping

UNKNOWN_PENALTY = 10.0  # how much less likely than the rarest token an unknown character is


def reference_likeliest(text: str, scores: Mapping[str, float]) -> list[str] | None:
    """The tokens with the highest sum of scores that spell a text; None if no tokens spell it.

    Of two ways that are equally likely, the one whose last token begins earlier.

    Args:
        text: what is spelled.
        scores: token -> logarithm of its probability.

    Source: kudo2018subword
    """
    best = [0.0] + [-math.inf] * len(text)  # of the text up to each place
    begins = [0] * len(best)  # where the last token of that way begins
    for end in range(1, len(best)):
        for begin in range(end):
            score = best[begin] + scores.get(text[begin:end], -math.inf)
            if score > best[end]:
                best[end], begins[end] = score, begin
    tokens, end = [], len(text)
    while end and best[end] > -math.inf:
        tokens.append(text[begins[end] : end])
        end = begins[end]
    return None if end else tokens[::-1]


def rarest(scores: Mapping[str, float]) -> float:
    """The score of an unknown character: less than that of any token."""
    return min(scores.values(), default=0.0) - UNKNOWN_PENALTY


def likeliest(
    text: str,
    scores: Mapping[str, float],
    longest: int,
    unknown: str | None = None,
    rare: float | None = None,
) -> list[tuple[str, bool]]:
    """The tokens of `reference_likeliest`, and whether each is known: every text has a way.

    A character that is no token is unknown; unknown parts side by side are one.

    Args:
        text: what is spelled.
        scores: token -> logarithm of its probability.
        longest: characters of the longest token; longer ones are not looked for.
        unknown: the token of unknown characters, which in a text is unknown itself.
        rare: the score of an unknown character; looked up in all scores if it is not given.

    Source: kudo2018subword
    """
    rare = rarest(scores) if rare is None else rare
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
