"""From tokens to text, step by step, for vocabularies whose tokens are characters.

Each step takes the tokens and gives texts; in the end these are joined.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from llmlib.tokenization.byte_fallback import BYTE_TOKEN
from llmlib.tokenization.patterns import compile_pattern, matches_and_gaps

# How WordPiece's clean-up joins signs and English contractions to the word before.
TIDY = (
    *((" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't")),
    *((" 'm", "'m"), (" do not", " don't"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re")),
)


@dataclass(frozen=True)
class ReplaceIn:
    """In each token, one text in the place of another, which may be a pattern."""

    pattern: str
    content: str
    is_regex: bool = False

    def __call__(self, tokens: list[str], errors: str) -> list[str]:
        if not self.is_regex:
            return [token.replace(self.pattern, self.content) for token in tokens]
        compiled = compile_pattern(self.pattern)
        return [
            "".join(
                self.content if matched else token[begin:end]
                for begin, end, matched in matches_and_gaps(compiled, token)
            )
            for token in tokens
        ]


@dataclass(frozen=True)
class ByteFallback:
    """Runs of tokens such as <0xE2> are bytes of UTF-8.

    In a run that is no UTF-8, errors="replace" gives U+FFFD for every byte.
    """

    def __call__(self, tokens: list[str], errors: str) -> list[str]:
        texts: list[str] = []
        for is_bytes, run in groupby(tokens, lambda token: bool(BYTE_TOKEN.fullmatch(token))):
            if not is_bytes:
                texts += run
                continue
            data = bytes(int(token[3:5], 16) for token in run)
            try:
                texts.append(data.decode("utf-8"))
            except UnicodeDecodeError:
                if errors == "strict":
                    raise
                lost = "\ufffd" * len(data)
                texts.append(lost if errors == "replace" else data.decode("utf-8", errors))
        return texts


@dataclass(frozen=True)
class Fuse:
    """All tokens as one, so that what follows sees the whole text."""

    def __call__(self, tokens: list[str], errors: str) -> list[str]:
        return ["".join(tokens)]


@dataclass(frozen=True)
class StripEnds:
    """Takes a character away from the ends of each token, a limited number of times."""

    content: str
    start: int
    stop: int

    def __call__(self, tokens: list[str], errors: str) -> list[str]:
        return [self._strip(token) for token in tokens]

    def _strip(self, token: str) -> str:
        begin, end = 0, len(token)
        while begin < min(self.start, end) and token[begin] == self.content:
            begin += 1
        while end > max(begin, len(token) - self.stop) and token[end - 1] == self.content:
            end -= 1
        return token[begin:end]


@dataclass(frozen=True)
class MetaspaceOut:
    """Spaces for marks; none for those of the first token, if marks were put in front."""

    mark: str = "▁"
    prepend: Literal["always", "first", "never"] = "always"
    split: bool = True

    def __call__(self, tokens: list[str], errors: str) -> list[str]:
        drop = self.prepend != "never"
        return [
            token.replace(self.mark, "" if i == 0 and drop else " ")
            for i, token in enumerate(tokens)
        ]


@dataclass(frozen=True)
class WordPieceOut:
    """A space before each token that does not begin with the mark of a word's later part."""

    prefix: str = "##"
    cleanup: bool = True

    def __call__(self, tokens: list[str], errors: str) -> list[str]:
        texts = []
        for i, token in enumerate(tokens):
            if i and token.startswith(self.prefix):
                token = token[len(self.prefix) :]
            elif i:
                token = f" {token}"
            for found, tidy in TIDY if self.cleanup else ():
                token = token.replace(found, tidy)
            texts.append(token)
        return texts


@dataclass(frozen=True)
class SpaceBetween:
    """A space between all tokens, which is what a file without a decoder means."""

    def __call__(self, tokens: list[str], errors: str) -> list[str]:
        return [" ".join(tokens)]


Step = ReplaceIn | ByteFallback | Fuse | StripEnds | MetaspaceOut | WordPieceOut | SpaceBetween
Decoding = tuple[Step, ...]


def join_tokens(tokens: Iterable[str], decoding: Decoding, errors: str) -> str:
    """The text of tokens.

    Raises: UnicodeDecodeError for bytes that are no UTF-8, if errors is "strict".
    """
    texts = list(tokens)
    for step in decoding:
        texts = step(texts, errors)
    return "".join(texts)
