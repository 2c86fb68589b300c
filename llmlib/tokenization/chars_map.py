"""SentencePiece's table of characters, as it lies in the files of T5 and XLM-RoBERTa.

The table is a trie over bytes, as a "double array", and the texts that its leaves point to, each
ended by a zero byte. A node of the trie is 32 bits: whether it has a leaf, the byte that leads to
it, and how far away its children are.
"""

import struct
from dataclasses import dataclass, field

import regex

GRAPHEME = regex.compile(r"\X")
LONGEST = 6  # bytes; longer graphemes are looked up character by character


@dataclass(frozen=True)
class CharsMap:
    """Replaces what the table has.

    Args:
        table: its bytes: the length of the trie, the trie, and the texts.

    Raises: ValueError for bytes that are no such table.
    """

    table: bytes
    _trie: tuple[int, ...] = field(init=False, repr=False, compare=False)
    _texts: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        length = struct.unpack("<I", self.table[:4])[0] if len(self.table) >= 4 else 0
        if not length or length % 4 or 4 + length > len(self.table):
            raise ValueError(
                f"a table of characters of {len(self.table)} bytes says that its trie has "
                f"{length}, expected a multiple of 4 that fits"
            )
        trie = struct.unpack(f"<{length // 4}I", self.table[4 : 4 + length])
        object.__setattr__(self, "_trie", trie)
        object.__setattr__(self, "_texts", self.table[4 + length :])

    def __call__(self, text: str) -> str:
        return "".join(map(self._replaced, GRAPHEME.findall(text)))

    def _replaced(self, grapheme: str) -> str:
        """A short grapheme as a whole if the table has it, otherwise its characters."""
        if len(grapheme.encode()) < LONGEST and (found := self._look_up(grapheme)) is not None:
            return found
        parts = ((c, self._look_up(c)) for c in grapheme)
        return "".join(c if found is None else found for c, found in parts)

    def _look_up(self, text: str) -> str | None:
        """The text of the first leaf on the way: SentencePiece's program has it so."""
        trie = self._trie
        place = _offset(trie[0])
        for byte in text.encode():
            place ^= byte
            if not byte or place >= len(trie) or trie[place] & 0x800000FF != byte:
                return None
            node = trie[place]
            place ^= _offset(node)
            if node >> 8 & 1:
                begin = trie[place] & 0x7FFFFFFF
                return self._texts[begin:].partition(b"\0")[0].decode("utf-8", "replace")
        return None


def _offset(node: int) -> int:
    return (node >> 10) << ((node & 1 << 9) >> 6)
