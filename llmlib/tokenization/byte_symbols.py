"""Bytes as printable characters, one a byte: a token of bytes is then text that holds no space."""

from collections.abc import Iterable
from dataclasses import dataclass


def _byte_symbols() -> tuple[str, ...]:
    """Byte -> character: printable Latin-1 stands for itself, the others for U+0100 and on."""
    symbols = {b: chr(b) for b in range(256) if chr(b).isprintable() and chr(b) != " "}
    others = [b for b in range(256) if b not in symbols]
    return tuple((symbols | {b: chr(256 + i) for i, b in enumerate(others)})[b] for b in range(256))


BYTE_SYMBOLS = _byte_symbols()
BYTE_OF_SYMBOL = {symbol: byte for byte, symbol in enumerate(BYTE_SYMBOLS)}
# GPT-2 numbers its bytes in the order of their characters: "!" is 0, the space 220.
GPT2_BYTE_ORDER = sorted(range(256), key=BYTE_SYMBOLS.__getitem__)


def to_symbols(tokens: Iterable[bytes]) -> list[str]:
    """Tokens as the files write them: b" the" -> "Ġthe"."""
    return ["".join(map(BYTE_SYMBOLS.__getitem__, token)) for token in tokens]


def from_symbols(texts: Iterable[str]) -> list[bytes]:
    """The inverse of `to_symbols`. Raises: ValueError for a character that stands for no byte."""
    tokens = []
    for text in texts:
        try:
            tokens.append(bytes(map(BYTE_OF_SYMBOL.__getitem__, text)))
        except KeyError as missing:
            raise ValueError(f"{missing} in the token {text!r} stands for no byte") from None
    return tokens


@dataclass(frozen=True)
class ByteSymbols:
    """A step of cutting: the pieces are written as symbols of bytes, and cut further as such."""

    def __call__(self, pieces: list[str], at_start: bool) -> list[str]:
        return to_symbols(piece.encode() for piece in pieces)
