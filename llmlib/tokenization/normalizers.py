"""What is done to a text before it is cut: one spelling for what looks alike, case, accents, marks.

A step is data that can be called. Those of BERT and of SentencePiece are as the package tokenizers
has them. The tables of Unicode are the standard library's: of characters that are newer than the
tables of another program, the two may think differently.
"""

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Literal, get_args

from llmlib.tokenization.added import WHITE_SPACE
from llmlib.tokenization.chars_map import CharsMap
from llmlib.tokenization.patterns import compile_pattern, matches_and_gaps

Normalization = Literal["NFC", "NFD", "NFKC", "NFKD"]
# Chinese characters, which BERT takes for words: blocks of Unicode, as its program has them.
CHINESE = (
    *((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x2A6DF)),
    *((0x2A700, 0x2B81F), (0x2B920, 0x2CEAF), (0x2F800, 0x2FA1F)),
)
# Characters that SentencePiece's rules leave out, or take for spaces.
NMT_REMOVED = (*range(0x01, 0x09), 0x0B, *range(0x0E, 0x20), 0x7F, 0x8F, 0x9F)
NMT_SPACES = (
    *(0x09, 0x0A, 0x0C, 0x0D, 0x1680, *range(0x200B, 0x2010), 0x2028, 0x2029, 0x2581),
    *(0xFEFF, 0xFFFD),
)
PLAIN_SPACES = dict.fromkeys(map(ord, WHITE_SPACE), " ")
NMT_TABLE = dict.fromkeys(NMT_REMOVED, "") | dict.fromkeys(NMT_SPACES, " ")


@dataclass(frozen=True)
class Unicode:
    """One of Unicode's own normal forms."""

    form: Normalization

    def __call__(self, text: str) -> str:
        return unicodedata.normalize(self.form, text)


@dataclass(frozen=True)
class Replace:
    """Puts one text where another stands.

    Args:
        pattern: what is looked for: a text, or a pattern in Oniguruma's dialect.
        content: what is put there, as it is.
        is_regex: whether `pattern` is one.
    """

    pattern: str
    content: str
    is_regex: bool = False

    def __post_init__(self) -> None:
        if self.is_regex:
            compile_pattern(self.pattern)

    def __call__(self, text: str) -> str:
        if not self.is_regex:
            return text.replace(self.pattern, self.content)
        spans = matches_and_gaps(compile_pattern(self.pattern), text)
        return "".join(self.content if matched else text[i:j] for i, j, matched in spans)


@dataclass(frozen=True)
class Prepend:
    """Puts a text before a text that is not empty."""

    text: str

    def __call__(self, text: str) -> str:
        return self.text + text if text else text


@dataclass(frozen=True)
class Lowercase:
    """Every character in lower case, each for itself: a sigma at the end of a word stays σ."""

    def __call__(self, text: str) -> str:
        return text.lower() if "Σ" not in text else "".join(map(str.lower, text))


@dataclass(frozen=True)
class Strip:
    """Takes white space away at the ends."""

    left: bool
    right: bool

    def __call__(self, text: str) -> str:
        text = text.lstrip(WHITE_SPACE) if self.left else text
        return text.rstrip(WHITE_SPACE) if self.right else text


@dataclass(frozen=True)
class StripAccents:
    """Takes combining marks away; those within a character stay, unless NFD came before."""

    def __call__(self, text: str) -> str:
        return _without(text, ("Mn", "Mc", "Me"))


@dataclass(frozen=True)
class Nmt:
    """Takes control characters away, and makes odd spaces plain ones, as SentencePiece does."""

    def __call__(self, text: str) -> str:
        return text.translate(NMT_TABLE)


@dataclass(frozen=True)
class Bert:
    """BERT's: no control characters, Chinese characters apart, no accents, lower case.

    Args:
        clean: take control characters away, and make all white space plain spaces.
        chinese: put spaces around each Chinese character.
        accents: take them away; None: if the text is put in lower case.
        lowercase: put the text in lower case.
    """

    clean: bool = True
    chinese: bool = True
    accents: bool | None = None
    lowercase: bool = True

    def __call__(self, text: str) -> str:
        if self.clean:
            if not text.isprintable() or "\ufffd" in text:
                text = "".join(map(_cleaned, text))
            text = text.translate(PLAIN_SPACES)
        if self.chinese and not text.isascii():
            text = "".join(f" {c} " if _is_chinese(c) else c for c in text)
        if self.lowercase if self.accents is None else self.accents:
            text = _without(unicodedata.normalize("NFD", text), ("Mn",))
        return Lowercase()(text) if self.lowercase else text


Step = Unicode | Replace | Prepend | Lowercase | Strip | StripAccents | Nmt | Bert | CharsMap
# The name of a normal form, or steps one after the other.
Normalizer = Normalization | tuple[Step, ...]


def make_normalizer(normalizer: Normalizer | None) -> Callable[[str], str]:
    """The function of some steps.

    Raises: ValueError for another name than Unicode's four.
    """
    if isinstance(normalizer, tuple):
        steps = normalizer
        return lambda text: reduce(lambda done, step: step(done), steps, text)
    if normalizer not in (None, *get_args(Normalization)):
        expected = ", ".join(get_args(Normalization))
        raise ValueError(f"normalization is {normalizer!r}, expected {expected} or None")
    return Unicode(normalizer) if normalizer else str


def _without(text: str, categories: tuple[str, ...]) -> str:
    if text.isascii():
        return text
    return "".join(c for c in text if unicodedata.category(c) not in categories)


def _cleaned(character: str) -> str:
    """BERT's idea of a character that counts: neither control nor format nor private use."""
    if character in WHITE_SPACE and character not in "\v\f\x85":
        return character
    gone = character == "\ufffd" or unicodedata.category(character) in ("Cc", "Cf", "Co")
    return "" if gone else character


def _is_chinese(character: str) -> bool:
    return any(first <= ord(character) <= last for first, last in CHINESE)
