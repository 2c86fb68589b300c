"""Tokens that are looked for in the text itself, before it is cut into pieces."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import regex

WORD_AT_END, WORD_AT_BEGIN = regex.compile(r"\w\Z"), regex.compile(r"\A\w")
WHITE_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)  # Unicode's; str.strip would also take U+001C to U+001F
MARK = regex.compile(r"<[|｜][^<>|｜\s]+[|｜]>")  # how models write the marks of a conversation


@dataclass(frozen=True)
class AddedToken:
    """A token that merges do not make.

    Args:
        content: its text.
        id: its number.
        special: it stands for no text, such as the end of a document: it is found only where
            special tokens are allowed. Otherwise it is ordinary text that is always found whole.
        lstrip, rstrip: it takes the white space before it, or behind it, along.
        single_word: it is not found beside a letter or digit.
        normalized: it is looked for after the text was normalized, and after all others.
    """

    content: str
    id: int
    special: bool = True
    lstrip: bool = False
    rstrip: bool = False
    single_word: bool = False
    normalized: bool = False


class AddedTokens:
    """Finds added tokens in a text; of two that begin at one place, the longer.

    Raises: ValueError for an empty name, or one that is listed twice.
    """

    def __init__(self, tokens: Sequence[AddedToken], normalize: Callable[[str], str]) -> None:
        names = [token.content for token in tokens]
        if "" in names or len(set(names)) != len(names):
            raise ValueError(f"special tokens {names}, expected different names, none empty")
        self.normalize = normalize
        self._whole = _Finder({t.content: t for t in tokens if not t.normalized})
        self._normalized = _Finder({normalize(t.content): t for t in tokens if t.normalized})

    def split(self, text: str, allow_special: bool) -> Iterator[str | int]:
        """The text in order: ids of the added tokens found, and normalized text between them."""
        for part in self._whole.split(text, allow_special):
            if isinstance(part, int):
                yield part
            else:
                yield from self._normalized.split(self.normalize(part), allow_special)


class _Finder:
    def __init__(self, tokens: dict[str, AddedToken]) -> None:
        self.tokens = tokens
        self.always = any(not token.special for token in tokens.values())
        longest_first = sorted(tokens, key=len, reverse=True)
        self.pattern = regex.compile("|".join(map(regex.escape, longest_first)) or r"(?!)")

    def split(self, text: str, allow_special: bool) -> Iterator[str | int]:
        if not (self.always or (allow_special and self.tokens)):
            yield text
            return
        behind = 0
        for found in self.pattern.finditer(text):
            token, (begin, end) = self.tokens[found[0]], found.span()
            if token.special and not allow_special:
                continue
            if token.single_word and (
                WORD_AT_END.search(text[begin - 1 : begin])
                or WORD_AT_BEGIN.match(text[end : end + 1])
            ):
                continue
            if token.lstrip:
                begin = max(begin, behind)
                while begin > behind and text[begin - 1] in WHITE_SPACE:
                    begin -= 1
            if token.rstrip:
                end = max(end, behind)  # up to there, the token before has taken white space
                while end < len(text) and text[end] in WHITE_SPACE:
                    end += 1
            if begin >= end:  # white space that the token before has taken
                continue
            if behind < begin:
                yield text[behind:begin]
            yield token.id
            behind = end
        if behind < len(text):
            yield text[behind:]
