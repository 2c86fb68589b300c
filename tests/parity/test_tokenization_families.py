"""The tokenizers of well-known families against the package tokenizers: the same ids and texts.

Small vocabularies, but the steps of the real files, and a megabyte of text of many kinds.
"""

import random
import unicodedata

import pytest
from babel import Locale
from tokenizers import BertWordPieceTokenizer, Tokenizer

from llmlib.formats.packaged import kjv_text, minilm_folder
from llmlib.tokenization import (
    BPETokenizer,
    ByteLevelBPETokenizer,
    UnigramTokenizer,
    WordPieceTokenizer,
    open_tokenizer,
)
from tests.parity.test_tokenization import emoji_and_cjk, python_code, random_unicode
from tests.tokenization_families import FAMILIES, Trainer

LANGUAGES = (
    *("ar", "hi", "ja", "zh", "ko", "th", "ru", "el", "he", "ta", "bn", "am", "ka", "hy", "my"),
    *("km", "de", "vi", "tr"),
)
PIECE = 2000  # characters; tokenizers is slow on one long text
SPACES = "a \t\n\r\n  b\u00a0\u2003\u3000 c\u200b\x1c\x85d   1  23\n\n\n   x'll I'M it's '12 "
# The tables behind these are old: what Unicode has added since is another kind of character there.
OLD_TABLES = ("albert", "bert uncased", "bert cased")
CLASSES = {"t5": UnigramTokenizer, "albert": UnigramTokenizer, "bert uncased": WordPieceTokenizer}
CHARACTERS = ("llama 2", "llama 2, Metaspace", "mistral", "phi3", "gemma 2", "gemma 3")


def names():
    """What languages and territories are called in nineteen languages."""
    found = []
    for code in LANGUAGES:
        locale = Locale(code)
        found += [*list(locale.languages.values())[:150], *list(locale.territories.values())[:150]]
    return ", ".join(found)


def old_random_unicode(n):
    """As random_unicode, of characters that Unicode has had since 2002."""
    known = [c for c in random_unicode(4 * n) if unicodedata.ucd_3_2_0.category(c) != "Cn"]
    same = [c for c in known if unicodedata.ucd_3_2_0.category(c) == unicodedata.category(c)]
    return "".join(same)[:n]


def cut(text):
    return [text[i : i + PIECE] for i in range(0, len(text), PIECE)]


@pytest.fixture(scope="module")
def mixed():
    """A megabyte: English, code, many scripts, emoji, white space, long runs, in pieces."""
    kinds = [kjv_text()[:500_000], python_code(310_000), names(), emoji_and_cjk(), SPACES * 50]
    runs = ["x" * 3000, " " * 3000, "!" * 3000, "١٢٣½Ⅷ" * 100]
    text = "\n".join([*kinds, *runs, old_random_unicode(5000)])
    assert len(text.encode()) >= 1_000_000
    return cut(text)


@pytest.fixture(scope="module")
def trainer():
    return Trainer([kjv_text()[:150_000], python_code(100_000), names()[:30_000]])


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, trainer, tmp_path_factory):
    """Name, the package's tokenizer, and ours from the file that it wrote."""
    reference = FAMILIES[request.param](trainer)
    folder = tmp_path_factory.mktemp("family")
    reference.save(str(folder / "tokenizer.json"))
    return request.param, reference, open_tokenizer(folder)


def test_a_megabyte_gives_the_same_ids_and_comes_back(family, mixed):
    name, reference, mine = family
    texts = mixed if name in OLD_TABLES else [*mixed, *cut(random_unicode(3000))]
    ids = [mine.encode(text, allow_special=True) for text in texts]
    theirs = reference.encode_batch_fast(texts, add_special_tokens=False)
    assert sum(a != b.ids for a, b in zip(ids, theirs, strict=True)) == 0
    decoded = reference.decode_batch(ids[::8], skip_special_tokens=False)
    assert [mine.decode(row) for row in ids[::8]] == decoded


def snippets(mine, generator, n):
    """Short texts of added tokens, white space, and characters that steps treat in their way."""
    added = [token.content for token in mine.added_tokens]
    parts = [*added, *added, " ", "  ", "\n", "\r\n", "\t", "\u3000", "\u200d", "\x00", "\ufffd"]
    parts += ["a", "the", "▁", "don't", "Σας", "İß", "``", "''", "12", "世界", "é", "e\u0301", "ﬁ"]
    parts += ["🙂", "<0x41>", "<unk", "</", "s>", "|"]
    return ["".join(generator.choices(parts, k=generator.randint(0, 8))) for _ in range(n)]


def test_added_tokens_and_odd_characters_in_any_order(family, tmp_path):
    """The same ids, also of the tokenizer that was saved and read by either side."""
    _, reference, mine = family
    generator = random.Random(0)
    mine.save(tmp_path)
    back, again = Tokenizer.from_file(str(tmp_path / "tokenizer.json")), open_tokenizer(tmp_path)
    assert type(again) is type(mine)
    for text in snippets(mine, generator, 80):
        for allow in (True, False):
            reference.encode_special_tokens = back.encode_special_tokens = not allow
            for add in (True, False):
                expected = reference.encode(text, add_special_tokens=add).ids
                assert mine.encode(text, allow, add_special=add) == expected, text
                assert again.encode(text, allow, add_special=add) == expected, text
                assert back.encode(text, add_special_tokens=add).ids == expected, text
    for _ in range(50):
        row = [generator.randrange(mine.vocab_size) for _ in range(generator.randint(0, 12))]
        expected = reference.decode(row, skip_special_tokens=False)
        assert mine.decode(row) == again.decode(row) == expected
        assert back.decode(row, skip_special_tokens=False) == expected


def test_each_family_has_its_kind_of_tokenizer(family):
    name, _, mine = family
    expected = CLASSES.get(name, BPETokenizer if name in CHARACTERS else ByteLevelBPETokenizer)
    assert isinstance(mine, WordPieceTokenizer if name == "bert cased" else expected)


def test_the_real_vocabulary_of_minilm(mixed):
    path = str(minilm_folder() / "vocab.txt")
    reference, mine = BertWordPieceTokenizer(path), WordPieceTokenizer.from_vocab(path)
    opened = open_tokenizer(minilm_folder())  # its tokenizer.json cuts texts for batches
    assert opened.tokens == mine.tokens
    assert opened.encode(mixed[0], add_special=True) == mine.encode(mixed[0], add_special=True)
    theirs = reference.encode_batch(mixed)
    ids = [mine.encode(text, allow_special=True, add_special=True) for text in mixed]
    assert sum(a != b.ids for a, b in zip(ids, theirs, strict=True)) == 0
    assert mine.decode(ids[0]) == reference.decode(ids[0], skip_special_tokens=False)
