"""How a text is cut into pieces before any merge: merges never cross the border of a piece.

Most steps split; some also put a mark in front of a piece, or for a space.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain, pairwise
from typing import Literal, get_args

import regex

from llmlib.tokenization.byte_symbols import ByteSymbols
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
# Words, and runs of other signs; a letter is what Rust's package of patterns takes for one.
LETTER = r"\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{200c}\x{200d}"
WORDS_PATTERN = rf"[{LETTER}]+|[^\s{LETTER}]+"
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

    def __call__(self, pieces: list[str], at_start: bool) -> list[str]:
        """The pieces of pieces, none of them empty."""
        compiled = compile_pattern(self.pattern)
        if len(pieces) == 1:
            return _cut(self, compiled, pieces[0])
        return list(chain.from_iterable(_cut(self, compiled, piece) for piece in pieces))


@dataclass(frozen=True)
class PrefixSpace:
    """Puts a space before each piece that has none: a word is the same wherever it stands."""

    def __call__(self, pieces: list[str], at_start: bool) -> list[str]:
        """The pieces, each with a space in front."""
        return [piece if piece.startswith(" ") else " " + piece for piece in pieces]


@dataclass(frozen=True)
class Metaspace:
    """Writes a mark for each space, and cuts before it: SentencePiece's way with spaces.

    Args:
        mark: one character.
        prepend: before which pieces it is put if they do not begin with it: "always", "first" (the
            one at the start of the text) or "never".
        split: whether to cut.
    """

    mark: str = "▁"
    prepend: Literal["always", "first", "never"] = "always"
    split: bool = True

    def __post_init__(self) -> None:
        if len(self.mark) != 1 or self.prepend not in ("always", "first", "never"):
            raise ValueError(
                f"mark is {self.mark!r} and prepend {self.prepend!r}, expected one character, and "
                "always, first or never"
            )

    def __call__(self, pieces: list[str], at_start: bool) -> list[str]:
        """The pieces of pieces."""
        found: list[str] = []
        for i, piece in enumerate(pieces):
            piece = piece.replace(" ", self.mark)
            wanted = self.prepend == "always" or (self.prepend == "first" and at_start and i == 0)
            if wanted and not piece.startswith(self.mark):
                piece = self.mark + piece
            if self.split:
                head, *words = piece.split(self.mark)
                found += [head] * bool(head) + [self.mark + word for word in words]
            else:
                found.append(piece)
        return found


# White space is left out, and each sign of punctuation is a piece: BERT's way.
SPACES = Split(r"\s", "removed")
BERT_STEPS = (SPACES, Split(PUNCTUATION_PATTERN))
Step = Split | PrefixSpace | Metaspace | ByteSymbols
Pattern = str | tuple[Step, ...]


class Splitter:
    """Cuts a text into pieces: the matches of a pattern and what lies between, or several steps.

    Args:
        pattern: a regular expression in Oniguruma's dialect, or steps, each of which cuts the
            pieces of the step before. Without any step a text is one piece.

    Raises: ValueError for a pattern that is none, or that `oniguruma` does not read.
    """

    def __init__(self, pattern: str | Sequence[Step]) -> None:
        self.steps = (Split(pattern),) if isinstance(pattern, str) else tuple(pattern)
        for step in self.steps:
            if isinstance(step, Split):
                compile_pattern(step.pattern)
        # These match every text, and `re`, which is faster, understands their ASCII form.
        known = pattern in (GPT2_PATTERN, DIGITS_FIRST_PATTERN, WORD_PATTERN)
        self.ascii_twin = _ascii_twin(str(pattern)) if known else None

    def __call__(self, text: str, at_start: bool = True) -> list[str]:
        """The pieces of a text, none of them empty.

        Args:
            text: a text, or what lies between two added tokens.
            at_start: whether no added token stands before it.
        """
        if self.ascii_twin is None:
            pieces = [text] if text else []
            for step in self.steps:
                pieces = step(pieces, at_start)
            return pieces
        if text.isascii():
            return self.ascii_twin.findall(text)
        others = compile_pattern(str(self.steps[0].pattern))  # type: ignore[union-attr]
        pieces = []
        for begin, end in pairwise([0, *(cut.end() for cut in CUT.finditer(text)), len(text)]):
            part = text[begin:end]
            pieces += (self.ascii_twin if part.isascii() else others).findall(part)
        return pieces


@cache
def compile_pattern(pattern: str) -> "regex.Pattern[str]":
    """A pattern in Oniguruma's dialect, for the package regex.

    Raises: ValueError for one that is none, or that is not read here.
    """
    try:
        return regex.compile(translate(pattern))
    except (regex.error, RecursionError, OverflowError) as error:
        raise ValueError(f"the pattern {pattern!r} is no regular expression: {error}") from None


def _cut(step: Split, compiled: "regex.Pattern[str]", text: str) -> list[str]:
    """The pieces of a text, none of them empty."""
    if step.behavior == "isolated":
        pieces: list[str] = compiled.findall(text)
        if not pieces:
            return [text]
        if all(pieces) and sum(map(len, pieces)) == len(text):
            return pieces
    spans: Iterable[Span] = matches_and_gaps(compiled, text)
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


def matches_and_gaps(compiled: "regex.Pattern[str]", text: str) -> Iterator[Span]:
    """Matches and what lies between, from begin to end of the text.

    A match of nothing counts, unless it stands where the last match ended.
    """
    if not text:  # nothing matches in nothing
        return
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
