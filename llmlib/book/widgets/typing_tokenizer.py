"""A text box and the tokens of what is typed, in two vocabularies that the page carries.

The page holds the merges and the pattern; `typing_tokenizer.js` is byte-level BPE over them, and
tests/browser/test_typing_tokenizer.py holds it equal to `ByteLevelBPETokenizer` on thousands of
texts. Not here: special tokens, which no typed text can make, and normalization.
"""

import base64
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from llmlib.book.widgets.base import StaticWidget, source
from llmlib.tokenization import ByteLevelBPETokenizer

LARGEST = 1 << 16
"""Ids are written in two bytes."""


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer as a page shows it.

    Args:
        name: what a reader chooses it by.
        tokenizer: byte-level BPE, whose merges make the last ids, in order.
        about: a sentence on what it was learned from and how much of it this is.
    """

    name: str
    tokenizer: ByteLevelBPETokenizer
    about: str


def first_merges(tokenizer: ByteLevelBPETokenizer, n: int) -> ByteLevelBPETokenizer:
    """The tokenizer without all merges after the first n: the ids of what is left stay as they are.

    Raises: ValueError for fewer merges than n, or merges whose tokens are not the ids after the
        alphabet, in order.
    """
    if not 0 <= n <= len(tokenizer.merges):
        raise ValueError(f"n is {n}, expected 0 to {len(tokenizer.merges)}")
    merges = tokenizer.merges[:n]
    tokens = tokenizer.tokens[: _first_id(tokenizer) + n]
    return ByteLevelBPETokenizer(tokens, merges, pattern=tokenizer.pattern)


def _first_id(tokenizer: ByteLevelBPETokenizer) -> int:
    """The id of the first merge's token, where those of the others follow it."""
    made = [left + right for left, right in tokenizer.merges]
    first = tokenizer.tokens.index(made[0]) if made else tokenizer.vocab_size
    if list(tokenizer.tokens[first : first + len(made)]) != made:
        raise ValueError("the merges' tokens are not numbered in the order of the merges")
    return first


def for_javascript(pattern: str) -> str:
    r"""A pattern of pieces as JavaScript's flag u reads it: there \s is another set of characters.

    Raises: TypeError for steps, which are no single expression.
    """
    if not isinstance(pattern, str):
        raise TypeError(f"the pattern is {pattern!r}, expected a regular expression")
    return pattern.replace(r"\s", r"\p{White_Space}").replace(r"\S", r"\P{White_Space}")


def packed(vocabulary: Vocabulary) -> dict[str, object]:
    """What the page has to know of a vocabulary; merges as pairs of ids, two bytes each.

    Raises: ValueError for a vocabulary of more ids than two bytes hold, or with a normalization.
    """
    tokenizer = vocabulary.tokenizer
    if tokenizer.vocab_size > LARGEST or tokenizer.normalization or tokenizer.ignore_merges:
        raise ValueError(
            f"{vocabulary.name}: expected at most {LARGEST:,} tokens, no normalization, and merges "
            "that count"
        )
    first = _first_id(tokenizer)
    ids = {token: i for i, token in reversed(list(enumerate(tokenizer.tokens)))}
    made = set(range(first, first + len(tokenizer.merges)))
    ids |= {tokenizer.tokens[i]: i for i in made}
    pairs = [ids[token] for pair in tokenizer.merges for token in pair]
    return {
        "name": vocabulary.name,
        "about": vocabulary.about,
        "pattern": for_javascript(tokenizer.pattern),  # type: ignore[arg-type]
        "bytes": [ids.get(bytes([byte]), -1) for byte in range(256)],
        "first": first,
        "merges": base64.b64encode(struct.pack(f"<{len(pairs)}H", *pairs)).decode(),
    }


class TypingTokenizer(StaticWidget):
    """A text field; below it the tokens and ids of what is typed, in two of several vocabularies.

    Args:
        vocabularies: what a reader may choose; the first two are shown.
        examples: texts to start from, by name; the first one stands in the field.
        alt: the picture in a sentence.

    Raises: ValueError for fewer than two vocabularies, or no example.
    """

    kind = "typing_tokenizer"
    _esm = source(kind)

    def __init__(
        self, *, vocabularies: Sequence[Vocabulary], examples: dict[str, str], alt: str
    ) -> None:
        super().__init__()
        if len(vocabularies) < 2 or not examples or not alt.strip():
            raise ValueError("expected two vocabularies, an example and an alt text")
        self.spec = {
            "vocabularies": [packed(vocabulary) for vocabulary in vocabularies],
            "examples": [list(pair) for pair in examples.items()],
        }
        self.alt = alt
