"""GGUF vocabularies against the package tokenizers with the same tokens and the same steps."""

import json

import gguf
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers.tokenization_utils_sentencepiece import generate_merges

from llmlib.formats.gguf import GGUFFile
from llmlib.formats.packaged import kjv_text
from llmlib.tokenization import (
    ByteLevelBPETokenizer,
    SentencePieceTokenizer,
    gguf_tokenizer,
)
from llmlib.tokenization.patterns import Splitter
from tests.parity.test_tokenization import emoji_and_cjk, python_code, random_unicode
from tests.parity.test_tokenization_families import SPACES, cut, names
from tests.tokenization_families import BLOOM, DEEPSEEK_V3, LLAMA3, QWEN2, TEKKEN, Trainer, splits

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
P = pre_tokenizers
GPT2 = P.ByteLevel(add_prefix_space=False)
DIGITS = P.Digits(individual_digits=True)
PUNCTUATION = r"[\p{P}\$\+<=>\^~\|]+"
GPT4O = TEKKEN.replace(r"+|[^\r", r"+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r").replace(
    r"*|\p{N}|", r"*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}|"
)
HAN = "[一-龥ࠀ-一가-퟿]+"
# Name in the file -> the steps before bytes, each piece of which is cut no further.
KINDS = {
    "gpt-2": [],
    "smollm": [DIGITS],
    "starcoder": [DIGITS],
    "command-r": [DIGITS],
    "qwen2": splits(QWEN2),
    "llama-bpe": splits(LLAMA3),
    "glm4": splits(LLAMA3),
    "tekken": splits(TEKKEN),
    "gpt-4o": splits(GPT4O),
    "bloom": splits(BLOOM),
    "deepseek-v3": splits(*DEEPSEEK_V3),
    "deepseek-coder": splits(r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", HAN, r"\p{N}"),
    "falcon": splits(r"[\p{P}\$\+<=>\^~\|`]+"),
    "default": splits(PUNCTUATION),
}
AFTER = {
    "falcon": splits("[0-9][0-9][0-9]"),
    "default": splits(r"\p{N}+", "[0-9][0-9][0-9]"),
}
WITH_GPT2 = ("gpt-2", "smollm", "starcoder", "command-r", "falcon", "default")
GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


@pytest.fixture(scope="module")
def texts():
    kinds = [kjv_text()[:100_000], python_code(80_000), names()[:60_000], emoji_and_cjk()[:20_000]]
    return cut("\n".join([*kinds, SPACES * 20, random_unicode(2000), "Ab'S xIt's ÉCOLE's 12345"]))


@pytest.fixture(scope="module")
def trainer():
    return Trainer([kjv_text()[:100_000], python_code(60_000), names()[:20_000]], 1200)


def settings(reference, pre):
    """What the converter writes of a byte-level tokenizer."""
    content = json.loads(reference.to_str())
    tokens = sorted(reference.get_vocab(), key=reference.token_to_id)
    special = {token["content"] for token in content["added_tokens"]}
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [CONTROL if t in special else NORMAL for t in tokens],
        "tokenizer.ggml.merges": [" ".join(merge) for merge in content["model"]["merges"]],
        "tokenizer.ggml.bos_token_id": tokens.index("<|endoftext|>"),
    }


@pytest.mark.parametrize("pre", KINDS)
def test_a_byte_level_vocabulary_gives_the_ids_of_its_family(pre, trainer, texts):
    steps = [*KINDS[pre], *(splits(GPT2_PATTERN) if pre in WITH_GPT2 else []), *AFTER.get(pre, [])]
    last = P.ByteLevel(add_prefix_space=False, use_regex=False)
    options = {"ignore_merges": True} if pre in ("llama-bpe", "tekken") else {}
    reference = trainer.byte_level(P.Sequence([*steps, last]), **options)
    mine = gguf_tokenizer(settings(reference, pre))
    assert isinstance(mine, ByteLevelBPETokenizer)
    theirs = reference.encode_batch_fast(texts)
    ids = [mine.encode(text, allow_special=True) for text in texts]
    assert sum(a != b.ids for a, b in zip(ids, theirs, strict=True)) == 0
    begins = pre in ("llama-bpe", "tekken")
    bos = mine.special_tokens["<|endoftext|>"]
    assert mine.encode("x", add_special=True) == [bos] * begins + mine.encode("x")


def test_the_letters_of_deepseek_llm(texts):
    """Those with case that its list has; later steps cut ASCII's and others out again."""
    mine = gguf_tokenizer(settings(Trainer(["a b"], 300).byte_level(GPT2), "deepseek-llm"))
    words = Splitter(mine.pattern[1:2])
    assert words("naïve Ωμέγα Ἀθῆναι Ὗ\u1f7d\u1fbeé") == [
        "naïve",
        " Ωμέγα",
        " Ἀθῆναι",
        " Ὗ\u1f7d\u1fbeé",
    ]
    assert words("éªé ƻ ʔ Ⴇა") == ["é", "ª", "é", " ƻ ʔ", " Ⴇ", "ა"]
    assert mine.pieces("naïve Привет") == ["na", "ï", "ve", " Привет"]
    signs, end = r"\s?[!-/:-~！-／：-～‘-‟　-。]+", (r"\s+$", HAN, r"\p{N}+")
    steps = P.Sequence(splits(r"[\r\n]", r"\s?[A-Za-z]+", signs, *end))
    ascii_texts = [text for text in texts if text.isascii()]
    assert len(ascii_texts) > 50
    for text in ascii_texts:
        assert mine.pieces(text) == [piece for piece, _ in steps.pre_tokenize_str(text)]


# --- SentencePiece ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def vocabulary(trainer):
    """Tokens and scores as SentencePiece has them: bytes, merged tokens, characters last."""
    content = json.loads(
        trainer.sentence_piece(
            None, None, decoders.Fuse(), special=("<unk>", "<s>", "</s>")
        ).to_str()
    )
    ids = content["model"]["vocab"]
    merged = ["".join(merge) for merge in content["model"]["merges"]]
    first = sorted((t for t in ids if ids[t] < 259), key=ids.__getitem__)
    last = [t for t in ids if t not in {*first, *merged}]
    tokens = [*first, *dict.fromkeys(merged), *sorted(last)]
    scores = [0.0] * 259 + [-float(i) for i in range(len(tokens) - 259)]
    return tokens, scores


def written(path, vocabulary, prefix, added=()):
    """The GGUF file of a model, as the gguf package writes it."""
    tokens, scores = vocabulary
    types = [UNKNOWN, CONTROL, CONTROL, *[BYTE] * 256, *[NORMAL] * (len(tokens) - 259)]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([*tokens, *added])
    writer.add_token_scores([*scores, *[-1000.0] * len(added)])
    writer.add_token_types([*types, *[USER_DEFINED] * len(added)])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_space_prefix(prefix)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def hugging_face(vocabulary, prefix):
    """The package's tokenizer, with the merges that transformers makes of scores."""
    tokens, scores = vocabulary
    ids = {token: i for i, token in enumerate(tokens)}
    plain = {t: s for t, s in zip(tokens, scores, strict=True) if ids[t] >= 259}
    merges = generate_merges(ids, plain)
    made = Tokenizer(models.BPE(ids, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    marks = normalizers.Replace(" ", "▁")
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), marks]) if prefix else marks
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    made.decoder = decoders.Sequence([*steps, *([decoders.Strip(" ", 1, 0)] if prefix else [])])
    return made


@pytest.mark.parametrize("prefix", [True, False])
def test_a_vocabulary_with_scores_gives_the_ids_of_its_merges(vocabulary, texts, tmp_path, prefix):
    mine = gguf_tokenizer(GGUFFile(written(tmp_path / "x.gguf", vocabulary, prefix)).settings)
    assert isinstance(mine, SentencePieceTokenizer)
    reference = hugging_face(vocabulary, prefix)
    ids = [mine.encode(text) for text in texts]
    theirs = reference.encode_batch_fast(texts)
    assert sum(a != b.ids for a, b in zip(ids, theirs, strict=True)) == 0
    assert [mine.decode(row) for row in ids] == reference.decode_batch(
        ids, skip_special_tokens=False
    )
    assert mine.encode("x", add_special=True) == [1, *mine.encode("x")]


def test_user_defined_tokens_go_first_and_a_space_is_put_behind_them(vocabulary, tmp_path):
    path = written(tmp_path / "x.gguf", vocabulary, True, added=["<turn>", "  "])
    mine = SentencePieceTokenizer.from_gguf(path)
    turn, two = mine.vocab_size - 2, mine.vocab_size - 1
    assert mine.encode("a<turn>b") == [*mine.encode("a"), turn, *mine.encode("b")]
    assert mine.encode("  a") == [two, *mine.encode("a")]
    assert mine.encode("</s>", allow_special=True) == [2]
    assert 2 not in mine.encode("</s>")
