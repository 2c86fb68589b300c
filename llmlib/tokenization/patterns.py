"""How a text is cut into pieces before any merge: merges never cross the border of a piece."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, pairwise
from typing import Literal, get_args

import regex

from llmlib.tokenization.oniguruma import translate

Span = tuple[int, int, bool]  # begin, end, whether the pattern matched
Behavior = Literal["isolated", "removed", "contiguous", "merged_with_previous", "merged_with_next"]

# A contraction; letters, digits or other signs, each with at most one space before; white space,
# whose last character is left to the word that follows.
GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
# SmolLM2 first cuts out every digit, then uses GPT-2's pattern on what lies between. Here in one:
# a digit stands alone, and white space leaves nothing to a digit that follows.
DIGITS_FIRST_PATTERN = (
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?![^\s\p{N}])|\s+"
)
# Contractions in either case; any one sign may lead a word; a line break ends a piece.
QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Llama 3's and, but for its groups of up to three digits, Qwen2's.
LLAMA3_PATTERN = QWEN2_PATTERN.replace(r"\p{N}|", r"\p{N}{1,3}|")
# One sign of punctuation, or one of ASCII's that is neither letter nor digit.
PUNCTUATION_PATTERN = r"[\p{P}$+<=>^`|~]"
WORD_PATTERN = r" ?\S+|\s"  # a word with the space before it, or one white space
# A line break with no white space beside it is a piece of its own in GPT-2's pattern, the one with
# digits, and the one with words: a text may be taken apart behind it.
CUT = re.compile(r"\n(?<=\S\n)(?=\S)")


@dataclass(frozen=True)
class Split:
    """One step of cutting: where the pattern matches, and what becomes of the matches.

    Args:
        pattern: regular expression in Oniguruma's dialect, as `oniguruma` reads it.
        behavior: a match is a piece ("isolated"), left out ("removed"), joined to the piece before
            or behind it ("merged_with_previous", "merged_with_next"), or to matches beside it
            ("contiguous").
        invert: take what lies between matches for the matches.
    """

    pattern: str
    behavior: Behavior = "isolated"
    invert: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.pattern, str):
            raise TypeError(f"the pattern is {self.pattern!r}, expected a text")
        if self.behavior not in get_args(Behavior):
            expected = ", ".join(get_args(Behavior))
            raise ValueError(f"behavior is {self.behavior!r}, expected one of {expected}")


Pattern = str | tuple[Split, ...]


class Splitter:
    """Cuts a text into pieces: the matches of a pattern and what lies between, or several steps.

    Args:
        pattern: a regular expression in Oniguruma's dialect, or steps, each of which cuts the
            pieces of the step before.

    Raises: ValueError for a pattern that is none, or that `oniguruma` does not read.
    """

    def __init__(self, pattern: str | Sequence[Split]) -> None:
        self.steps = (Split(pattern),) if isinstance(pattern, str) else tuple(pattern)
        self.compiled = [_compile(step.pattern) for step in self.steps]
        # These match every text, and `re`, which is faster, understands their ASCII form.
        known = pattern in (GPT2_PATTERN, DIGITS_FIRST_PATTERN, WORD_PATTERN)
        self.ascii_twin = _ascii_twin(str(pattern)) if known else None

    def __call__(self, text: str) -> list[str]:
        if self.ascii_twin is None:
            pieces = [text] if text else []
            for step, compiled in zip(self.steps, self.compiled, strict=True):
                cut = partial(_cut, step, compiled)
                pieces = (
                    cut(pieces[0])
                    if len(pieces) == 1
                    else list(chain.from_iterable(map(cut, pieces)))
                )
            return pieces
        if text.isascii():
            return self.ascii_twin.findall(text)
        pieces = []
        for begin, end in pairwise([0, *(cut.end() for cut in CUT.finditer(text)), len(text)]):
            part = text[begin:end]
            pieces += (self.ascii_twin if part.isascii() else self.compiled[0]).findall(part)
        return pieces


def _compile(pattern: str) -> "regex.Pattern[str]":
    try:
        return regex.compile(translate(pattern))
    except (regex.error, RecursionError, OverflowError) as error:
        raise ValueError(f"the pattern {pattern!r} is no regular expression: {error}") from None


def _cut(step: Split, compiled: "regex.Pattern[str]", text: str) -> list[str]:
    """The pieces of a text, none of them empty."""
    if step.behavior == "isolated":
        pieces: list[str] = compiled.findall(text)
        if all(pieces) and sum(map(len, pieces)) == len(text):
            return pieces
    spans: Iterable[Span] = _spans(compiled, text)
    if step.invert:
        spans = [(begin, end, not matched) for begin, end, matched in spans]
    if step.behavior == "removed":
        spans = [span for span in spans if not span[2]]
    elif step.behavior == "merged_with_next":
        backwards = [(-end, -begin, matched) for begin, end, matched in reversed(list(spans))]
        spans = [(-end, -begin, matched) for begin, end, matched in _joined(step, backwards)][::-1]
    elif step.behavior != "isolated":
        spans = _joined(step, spans)
    return [text[begin:end] for begin, end, _ in spans if begin < end]


def _spans(compiled: "regex.Pattern[str]", text: str) -> Iterator[Span]:
    """Matches and what lies between, from begin to end of the text.

    A match of nothing counts, unless it stands where the last match ended.
    """
    at = behind = 0
    last = -1
    while at <= len(text) and (found := compiled.search(text, at)):
        begin, end = found.span()
        if begin == end == last:
            at += 1
            continue
        if behind < begin:
            yield behind, begin, False
        yield begin, end, True
        at = behind = last = end
    if behind < len(text):
        yield behind, len(text), False


def _joined(step: Split, spans: Iterable[Span]) -> list[Span]:
    """Spans joined to the one before: alike ones if contiguous, otherwise a match to a gap."""
    joined: list[Span] = []
    before = False
    for begin, end, matched in spans:
        alike = matched == before if step.behavior == "contiguous" else matched and not before
        if alike and joined:
            joined[-1] = (joined[-1][0], end, matched)
        else:
            joined.append((begin, end, matched))
        before = matched
    return joined


def _ascii_twin(pattern: str) -> re.Pattern[str]:
    """The same pattern for ASCII text, for the standard library's `re`: half the time."""

    def within_brackets(found: re.Match[str]) -> str:
        return found[0].replace(r"\p{L}", "A-Za-z").replace(r"\p{N}", "0-9")

    pattern = re.sub(r"\[[^\]]*\]", within_brackets, pattern)
    pattern = pattern.replace(r"\p{L}", "[A-Za-z]").replace(r"\p{N}", "[0-9]")
    return re.compile(pattern, re.ASCII)  # or \s would match U+001C to U+001F, which regex does not
