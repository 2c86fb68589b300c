"""How a text is cut into pieces before any merge: merges never cross the border of a piece."""

import re
from itertools import pairwise

import regex

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
WORD_PATTERN = r" ?\S+|\s"  # a word with the space before it, or one white space
# A line break with no white space beside it is a piece of its own in GPT-2's pattern, the one with
# digits, and the one with words: a text may be taken apart behind it.
CUT = re.compile(r"\n(?<=\S\n)(?=\S)")


class Splitter:
    """Cuts a text into the pieces that a pattern matches.

    Raises: ValueError for a pattern that is none or has groups that capture; when called, for a
        text that the pattern does not match from end to end.
    """

    def __init__(self, pattern: str) -> None:
        try:
            self.compiled = regex.compile(pattern)
        except regex.error as error:
            raise ValueError(f"the pattern {pattern!r} is no regular expression: {error}") from None
        if self.compiled.groups:
            raise ValueError(f"the pattern {pattern!r} has groups that capture; write (?:…)")
        # These match every text, and `re`, which is faster, understands their ASCII form.
        known = pattern in (GPT2_PATTERN, DIGITS_FIRST_PATTERN, WORD_PATTERN)
        self.ascii_twin = _ascii_twin(pattern) if known else None

    def __call__(self, text: str) -> list[str]:
        pieces: list[str]
        if self.ascii_twin is None:
            pieces = self.compiled.findall(text)
            if sum(map(len, pieces)) != len(text):
                raise ValueError(f"the pattern {self.compiled.pattern!r} leaves out some text")
            return pieces
        if text.isascii():
            return self.ascii_twin.findall(text)
        pieces = []
        for begin, end in pairwise([0, *(cut.end() for cut in CUT.finditer(text)), len(text)]):
            part = text[begin:end]
            pieces += (self.ascii_twin if part.isascii() else self.compiled).findall(part)
        return pieces


def _ascii_twin(pattern: str) -> re.Pattern[str]:
    """The same pattern for ASCII text, for the standard library's `re`: half the time."""

    def within_brackets(found: re.Match[str]) -> str:
        return found[0].replace(r"\p{L}", "A-Za-z").replace(r"\p{N}", "0-9")

    pattern = re.sub(r"\[[^\]]*\]", within_brackets, pattern)
    pattern = pattern.replace(r"\p{L}", "[A-Za-z]").replace(r"\p{N}", "[0-9]")
    return re.compile(pattern, re.ASCII)  # or \s would match U+001C to U+001F, which regex does not
