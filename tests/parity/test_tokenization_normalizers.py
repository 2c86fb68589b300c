"""Normalizers and their table of characters against the package tokenizers, step by step."""

import itertools
import random
import struct
import unicodedata

import pytest
from tokenizers import normalizers as theirs

from llmlib.tokenization.chars_map import CharsMap
from llmlib.tokenization.normalizers import (
    Bert,
    Lowercase,
    Nmt,
    Strip,
    StripAccents,
    Unicode,
)

N = theirs
STEPS = {
    **{form: (Unicode(form), getattr(N, form)()) for form in ("NFC", "NFD", "NFKC", "NFKD")},
    "lower": (Lowercase(), N.Lowercase()),
    "strip": (Strip(True, True), N.Strip()),
    "accents": (StripAccents(), N.StripAccents()),
    "nmt": (Nmt(), N.Nmt()),
    **{
        f"bert {flags}": (
            Bert(*flags),
            N.BertNormalizer(
                clean_text=flags[0],
                handle_chinese_chars=flags[1],
                strip_accents=flags[2],
                lowercase=flags[3],
            ),
        )
        for flags in itertools.product((True, False), (True, False), (True, None), (True, False))
    },
}


def known_since_2002():
    """Characters whose kind has been the same in all tables of the last twenty years."""
    old = unicodedata.ucd_3_2_0
    for c in map(chr, range(0x110000)):
        kind = unicodedata.category(c)
        if kind not in ("Cn", "Cs", "Co") and old.category(c) == kind:
            yield c


CHARACTERS = list(known_since_2002())


@pytest.mark.parametrize("name", STEPS)
def test_every_character_between_two_letters(name):
    mine, reference = STEPS[name]
    assert len(CHARACTERS) > 90_000
    for i in range(0, len(CHARACTERS), 500):
        text = "".join(f"a{c}b" for c in CHARACTERS[i : i + 500])
        assert mine(text) == reference.normalize_str(text)


@pytest.mark.parametrize("name", STEPS)
def test_random_texts(name):
    mine, reference = STEPS[name]
    draw = random.Random(0)
    some = [*" \t\n\u3000\x00\ufffdéÀΣςσİ世ﬁ\u0301\u0323", *draw.choices(CHARACTERS, k=300)]
    for _ in range(300):
        text = "".join(draw.choices(some, k=draw.randint(0, 12)))
        assert mine(text) == reference.normalize_str(text)


# --- SentencePiece's table --------------------------------------------------------------------


def table(entries):
    """The bytes of a table of characters: a double array over UTF-8, and the texts."""
    texts = b"".join(text.encode() + b"\0" for text in entries.values())
    starts = itertools.accumulate((len(t.encode()) + 1 for t in entries.values()), initial=0)
    keys = {key.encode(): start for key, start in zip(entries, starts, strict=False)}
    units, used = {}, {0}

    def fill(prefix, place):
        children = sorted(
            {key[len(prefix)] for key in keys if key.startswith(prefix) and key != prefix}
        )
        leaf = prefix in keys
        labels = [*children, *[0] * leaf]
        base = next(b for b in itertools.count(1) if not used & {b ^ c for c in labels})
        used.update(base ^ c for c in labels)
        units[place] = units.get(place, 0) | (place ^ base) << 10 | leaf << 8
        if leaf:
            units[base] = keys[prefix] | 1 << 31
        for c in children:
            units[base ^ c] = c
        for c in children:
            fill(prefix + bytes([c]), base ^ c)

    fill(b"", 0)
    trie = [units.get(i, 0) for i in range((max(used) | 255) + 1)]
    return struct.pack("<I", 4 * len(trie)) + struct.pack(f"<{len(trie)}I", *trie) + texts


ENTRIES = {
    "\u00a0": " ", "\t": " ", "\n": " ", "\u200b": "", "ﬁ": "fi", "e\u0301": "é", "Å": "Å",
    "１": "1", "①": "1", "か\u3099": "が", "ab": "AB", "\r": "",
}  # fmt: skip


def test_a_table_of_characters_is_used_as_the_package_does():
    data = table(ENTRIES)
    mine, reference = CharsMap(data), N.Precompiled(data)
    assert mine("ﬁn\u00a0１①\u200b") == "fin 11"
    draw = random.Random(0)
    parts = [*ENTRIES, *"".join(ENTRIES), "x", "\u0301", "👩‍👩‍👧", "e\u0301\u0323", "\r\n", "世"]
    for _ in range(2000):
        text = "".join(draw.choices(parts, k=draw.randint(0, 8)))
        assert mine(text) == reference.normalize_str(text), ascii(text)


@pytest.mark.bad_input
@pytest.mark.parametrize("data", [b"", b"\1\0", struct.pack("<I", 8) + b"1234", b"\5\0\0\0abcde"])
def test_what_is_no_table_is_named(data):
    with pytest.raises(ValueError, match=f"a table of characters of {len(data)} bytes says"):
        CharsMap(data)
