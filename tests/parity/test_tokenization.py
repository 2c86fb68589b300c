"""llmlib.tokenization against tiktoken and tokenizers: the same ids, the same merges."""

import json
import os
import random
import unicodedata
from pathlib import Path

import pytest
import tiktoken
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from llmlib.formats.gguf import GGUFFile
from llmlib.formats.packaged import gpt2_encoder_json, gpt2_vocab_bpe, kjv_text, smollm2_gguf
from llmlib.tokenization import (
    GPT2_PATTERN,
    QWEN2_PATTERN,
    BPETokenizer,
    ByteLevelBPETokenizer,
)

END = "<|endoftext|>"
LLAMA3_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def python_code(size):
    """Source text of the standard library."""
    parts, total = [], 0
    for path in sorted(Path(os.__file__).parent.glob("*.py")):
        parts.append(path.read_text(encoding="utf-8", errors="replace"))
        total += len(parts[-1])
        if total > size:
            break
    return "".join(parts)[:size]


def random_unicode(n):
    """Characters that every program's Unicode tables know: assigned, and not surrogates."""
    generator = random.Random(0)
    assigned = [chr(c) for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cn", "Cs")]
    characters = generator.choices(assigned, k=n)
    return "".join(c + generator.choice(["", "", " ", "\n", "7"]) for c in characters)


def emoji_and_cjk():
    emoji = [chr(c) for c in range(0x1F300, 0x1FAFF) if unicodedata.category(chr(c)) == "So"]
    families = "👩‍👩‍👧‍👦 👍🏽 🇯🇵🇩🇪 ☺️ "
    hanzi = "".join(random.Random(1).choices([chr(c) for c in range(0x4E00, 0x9FFF)], k=5000))
    kana = "これは日本語の文章です。カタカナ、ひらがな。 한국어 문장입니다. "
    return "".join(emoji) + " ".join(emoji) + families * 50 + hanzi + kana * 100


@pytest.fixture(scope="module")
def mixed():
    """Over 2 MB of text of many kinds."""
    kinds = [kjv_text()[:1_200_000], python_code(800_000), random_unicode(20_000), emoji_and_cjk()]
    spaces = "a \t\n\r\n  b\u00a0\u2003\u3000 c\u200b\x1c\x85d   1  23\n\n\n   x'll I'M it's '12 "
    text = "\n".join([*kinds, spaces * 50, "x" * 3000, " " * 3000, "!" * 3000, "١٢٣½Ⅷ" * 100])
    assert len(text.encode()) >= 2_000_000
    return text


@pytest.fixture(scope="module")
def gpt2():
    return ByteLevelBPETokenizer.from_gpt2_files(gpt2_encoder_json(), gpt2_vocab_bpe())


@pytest.fixture(scope="module")
def smollm2():
    return ByteLevelBPETokenizer.from_gguf(smollm2_gguf())


def hugging_face_smollm2(metadata):
    """The package tokenizers with the vocabulary and merges of the GGUF file."""
    tokens = metadata["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in metadata["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    digits = pre_tokenizers.Digits(individual_digits=True)
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def test_gpt2_ids_are_tiktokens(gpt2, mixed):
    reference = tiktoken.Encoding(
        "gpt2 from files",
        pat_str=GPT2_PATTERN,
        mergeable_ranks={token: i for i, token in enumerate(gpt2.tokens[:-1])},
        special_tokens={END: 50_256},
    )
    ids = gpt2.encode(mixed)
    assert ids == reference.encode_ordinary(mixed)
    assert gpt2.decode(ids, errors="strict") == mixed
    text = f"one{END} two{END}{END}"
    assert gpt2.encode(text, allow_special=True) == reference.encode(text, allowed_special="all")
    assert gpt2.encode(text) == reference.encode_ordinary(text)
    for part in (ids[:7], ids[-999:-3], [50_256]):
        assert gpt2.decode(part) == reference.decode(part)


def test_smollm2_ids_are_those_of_tokenizers(smollm2, mixed):
    known = {token[0] for token in smollm2.tokens if len(token) == 1}
    spelled = {character: known.issuperset(character.encode()) for character in set(mixed)}
    text = "".join(filter(spelled.__getitem__, mixed))
    assert len(text.encode()) >= 2_000_000
    reference = hugging_face_smollm2(GGUFFile(smollm2_gguf()).settings)
    # In parts, which tokenizers encodes several times faster than one long text.
    parts = [text[i : i + 20_000] for i in range(0, len(text), 20_000)]
    ids = [smollm2.encode(part) for part in parts]
    assert ids == [encoding.ids for encoding in reference.encode_batch_fast(parts)]
    assert [smollm2.decode(part, errors="strict") for part in ids] == parts


@pytest.mark.parametrize("name", ["gpt2", "smollm2"])
def test_tokenizers_reads_what_is_saved(request, tmp_path, name):
    tokenizer = request.getfixturevalue(name)
    tokenizer.save(tmp_path)
    reference = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert reference.get_vocab_size() == tokenizer.vocab_size
    text = kjv_text()[:20_000] + "12 34\n\n  x = 'it''s' é 東京 " + END + " and on"
    ids = tokenizer.encode(text, allow_special=True)
    assert reference.encode(text).ids == ids
    assert reference.decode(ids, skip_special_tokens=False) == text


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (BPETokenizer, {}),
        (ByteLevelBPETokenizer, {}),
        (ByteLevelBPETokenizer, {"pattern": LLAMA3_PATTERN}),
    ],
)
def test_tokenizers_reads_what_was_trained(tmp_path, kind, options):
    text = kjv_text()[:100_000]
    tokenizer = kind.train(text, 600, special_tokens=[END, "<pad>"], **options)
    tokenizer.save(tmp_path / "mine.json")
    reference = Tokenizer.from_file(str(tmp_path / "mine.json"))
    sample = text[:30_000] + END + "<pad>" + text[500:900]
    ids = tokenizer.encode(sample, allow_special=True)
    assert reference.encode(sample).ids == ids
    assert reference.decode(ids, skip_special_tokens=False) == sample
    reference.save(str(tmp_path / "theirs.json"))
    assert kind.load(tmp_path / "theirs.json").encode(sample, allow_special=True) == ids


def test_merges_are_those_of_tokenizers(tmp_path):
    text = kjv_text()[:1_000_000] + emoji_and_cjk()[:20_000]
    trainer = trainers.BpeTrainer(
        vocab_size=1500,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    reference = Tokenizer(models.BPE())
    reference.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    reference.train_from_iterator([text], trainer)
    mine = ByteLevelBPETokenizer.train(text, 1500)
    vocabulary = reference.get_vocab()
    reference_ids = reference.encode(text[:50_000]).ids
    mine.save(tmp_path)
    saved = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    assert vocabulary == saved["model"]["vocab"]
    assert reference_ids == mine.encode(text[:50_000])


@pytest.mark.parametrize("pattern", [LLAMA3_PATTERN, QWEN2_PATTERN], ids=["llama3", "qwen2"])
def test_other_patterns_split_alike(mixed, pattern):
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    mine = ByteLevelBPETokenizer.train("x", 256, pattern)
    sample = mixed[-300_000:]
    assert mine.pieces(sample) == [piece for piece, _ in split.pre_tokenize_str(sample)]
