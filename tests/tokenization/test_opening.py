"""Unit tests of llmlib.tokenization.opening: the kind a file asks for, and damage with a name."""

import json
import math
import shutil

import pytest

from llmlib.formats.packaged import gpt2_encoder_json, gpt2_vocab_bpe
from llmlib.tokenization import (
    AddedToken,
    BPETokenizer,
    ByteLevelBPETokenizer,
    UnigramTokenizer,
    WordPieceTokenizer,
    open_tokenizer,
)
from llmlib.tokenization.byte_symbols import ByteSymbols
from llmlib.tokenization.chars_map import CharsMap
from llmlib.tokenization.decoders import (
    ByteFallback,
    Fuse,
    MetaspaceOut,
    ReplaceIn,
    SpaceBetween,
    StripEnds,
)
from llmlib.tokenization.normalizers import (
    Bert,
    Lowercase,
    Nmt,
    Prepend,
    Replace,
    Strip,
    StripAccents,
    Unicode,
)
from llmlib.tokenization.patterns import Metaspace, PrefixSpace, Split
from tests.tokenization.test_files import DELETED, places, put

bad_input = pytest.mark.bad_input
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
EMPTY_TABLE = b"\x04\0\0\0" + b"\0" * 4


def sentence_piece():
    tokens = ["<unk>", "<s>", "▁", "a", "b", "▁a", "▁ab", *BYTES]
    return BPETokenizer(
        tokens,
        [("▁", "a"), ("▁a", "b")],
        added_tokens=[AddedToken("<s>", 1, rstrip=True)],
        pattern=(Metaspace(prepend="first", split=False),),
        normalization=(Strip(False, True), Nmt(), Replace("x", "y"), Replace("z+", "", True)),
        byte_fallback=True,
        unknown="<unk>",
        fuse_unknown=True,
        decoding=(ReplaceIn("▁", " "), ByteFallback(), Fuse(), StripEnds(" ", 1, 0)),
        around=((1,), ()),
    )


def unigram():
    return UnigramTokenizer(
        ["<unk>", "▁", "a", "</s>"],
        [0.0, -1.0, -2.5],
        special_tokens={"</s>": 3},
        pattern=(Split(r"\s", "removed"), Metaspace()),
        normalization=(CharsMap(EMPTY_TABLE), Unicode("NFKD"), StripAccents(), Lowercase()),
        unknown=0,
        decoding=(MetaspaceOut(),),
        around=((), (3,)),
    )


def word_piece():
    return WordPieceTokenizer(
        ["[UNK]", "a", "##b", "[SEP]"], special_tokens={"[SEP]": 3}, normalization=(Bert(),)
    )


def byte_level():
    base = ByteLevelBPETokenizer.train("ab ab", 258)
    return ByteLevelBPETokenizer(
        base.tokens,
        base.merges,
        pattern=(PrefixSpace(), ByteSymbols(), Split("[0-9]")),
        normalization=(Prepend("-"),),
    )


MADE = {
    BPETokenizer: sentence_piece,
    UnigramTokenizer: unigram,
    WordPieceTokenizer: word_piece,
    ByteLevelBPETokenizer: byte_level,
}


@pytest.mark.parametrize("kind", MADE)
def test_a_file_opens_as_its_kind_and_keeps_everything(kind, tmp_path):
    tokenizer = MADE[kind]()
    tokenizer.save(tmp_path)
    opened = open_tokenizer(tmp_path)
    assert type(opened) is kind
    for name in ("tokens", "added_tokens", "pattern", "normalization", "around"):
        assert getattr(opened, name) == getattr(tokenizer, name), name
    for text in ("", "ab AB\u00a0xz é 12", " a\n"):
        ids = tokenizer.encode(text, add_special=True)
        assert opened.encode(text, add_special=True) == ids
        assert opened.decode(ids) == tokenizer.decode(ids)
    opened.save(tmp_path)
    assert open_tokenizer(tmp_path / "tokenizer.json").tokens == tokenizer.tokens


@pytest.mark.parametrize("kind", MADE)
def test_every_other_kind_names_what_the_file_is(kind, tmp_path):
    MADE[kind]().save(tmp_path)
    for other in MADE:
        if other is not kind:
            with pytest.raises(ValueError, match=r"tokenizer\.json: (not|is) .*(load|every kind)"):
                other.load(tmp_path)


def test_a_file_without_a_decoder_has_a_space_between_tokens(tmp_path):
    tokenizer = BPETokenizer(["a", "b"], [], pattern=(), decoding=(SpaceBetween(),))
    tokenizer.save(tmp_path)
    assert json.loads((tmp_path / "tokenizer.json").read_text())["decoder"] is None
    assert open_tokenizer(tmp_path).decode([0, 1]) == "a b"


def test_a_folder_of_before_tokenizer_json(tmp_path):
    (tmp_path / "vocab.txt").write_text("[UNK]\n[CLS]\n[SEP]\né\ne\nE\n", encoding="utf-8")
    for config, text, named in (
        ({}, "É", ["e"]),
        ({"do_lower_case": False}, "E é", ["E", "é"]),
        ({"strip_accents": False}, "É", ["é"]),
        ({"tokenize_chinese_chars": None}, "e世e", ["e", "[UNK]", "e"]),
        ({"tokenize_chinese_chars": False}, "e世e", ["[UNK]"]),
    ):
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
        tokenizer = open_tokenizer(tmp_path)
        assert [tokenizer.tokens[i] for i in tokenizer.encode(text)] == named
    (tmp_path / "vocab.txt").unlink()
    shutil.copy(gpt2_encoder_json(), tmp_path / "vocab.json")
    shutil.copy(gpt2_vocab_bpe(), tmp_path / "merges.txt")
    assert open_tokenizer(tmp_path).encode("Hello world") == [15496, 995]


def test_a_vocabulary_whose_special_tokens_have_other_names(tmp_path):
    (tmp_path / "vocab.txt").write_text("<s>\n</s>\n<unk>\n[UNK]\na\n", encoding="utf-8")
    names = {"cls_token": "<s>", "sep_token": {"content": "</s>"}, "unk_token": "<unk>"}
    for file, others in (
        ("tokenizer_config.json", {"tokenizer_class": "BertTokenizerFast"}),
        ("special_tokens_map.json", {}),
    ):
        (tmp_path / file).write_text(json.dumps(names | others), encoding="utf-8")
        tokenizer = open_tokenizer(tmp_path)
        assert tokenizer.encode("a b", add_special=True) == [0, 4, 2, 1]
        assert tokenizer.special_tokens == {"<s>": 0, "</s>": 1, "<unk>": 2}
        (tmp_path / file).unlink()


@bad_input
@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"tokenizer_class": "EsmTokenizer"}, "tokenizer_class is 'EsmTokenizer', expected BertT"),
        ({"do_basic_tokenize": False}, "do_basic_tokenize is False, which is not read here"),
        ({"never_split": ["a"]}, r"never_split is \['a'\], which is not read here"),
        ({"unk_token": "<unk>"}, r"vocab\.txt: .*no token <unk>"),
        ({"unk_token": 1}, "unk_token is 1, expected a text"),
        ({"bos_token": "a"}, "bos_token names 'a', which is no added token"),
        ({"new": 1}, "the key 'new' is 1, which is not read here"),
        ({"added_tokens_decoder": {"9": {"content": "x"}}}, r"decoder\['9'\] is .*no added token"),
    ],
)
def test_what_lies_beside_a_vocabulary_and_changes_ids_is_refused(config, problem, tmp_path):
    (tmp_path / "vocab.txt").write_text("[UNK]\n[CLS]\n[SEP]\na\n", encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ValueError, match=problem):
        open_tokenizer(tmp_path)


@bad_input
def test_tokens_that_are_added_to_a_vocabulary_are_refused(tmp_path):
    (tmp_path / "vocab.txt").write_text("[UNK]\n[CLS]\n[SEP]\na\n", encoding="utf-8")
    (tmp_path / "added_tokens.json").write_text('{"new": 4}', encoding="utf-8")
    with pytest.raises(ValueError, match=r"added_tokens\.json adds \['new'\] to vocab\.txt"):
        open_tokenizer(tmp_path)


@bad_input
def test_a_folder_without_a_tokenizer_says_what_it_lacks(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"tokenizer\.json is not there$"):
        open_tokenizer(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(b"x")
    with pytest.raises(FileNotFoundError, match=r"not there; tokenizer\.model is not read: save"):
        open_tokenizer(tmp_path)
    (tmp_path / "vocab.txt").write_text("[UNK]\n[CLS]\n[SEP]\n", encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": 1}', encoding="utf-8")
    with pytest.raises(ValueError, match=r"config\.json: do_lower_case is 1, expected true"):
        open_tokenizer(tmp_path)


@bad_input
@pytest.mark.parametrize("kind", MADE)
@pytest.mark.parametrize(
    "value",
    [DELETED, None, True, -1, 7, 10**30, 1.5, math.nan, "", "x", "\ud800", [], ["x"], {}, {"x": 1}],
    ids=lambda value: "absent" if type(value) is object else repr(value),
)
def test_whatever_is_wrong_anywhere_in_a_file_loading_works_or_names_it(kind, value, tmp_path):
    path = tmp_path / "tokenizer.json"
    MADE[kind]().save(tmp_path)
    good, messages = json.loads(path.read_text(encoding="utf-8")), []
    for place in places(good):
        path.write_text(json.dumps(put(good, place, value)), encoding="utf-8")
        try:
            opened = open_tokenizer(path)
        except ValueError as error:
            messages.append(str(error))
            continue
        try:
            opened.decode(opened.encode("a b"))
        except ValueError as error:  # a token that is gone
            assert "token" in str(error)  # noqa: PT017
    assert messages
    assert [text for text in messages if "/tokenizer.json" not in text] == []


@bad_input
@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"do_lower_case": False}, "do_lower_case is False, .* tokenizer.json says True"),
        ({"strip_accents": False}, "strip_accents is False, .* says True"),
        ({"tokenize_chinese_chars": False}, "tokenize_chinese_chars is False, .* says True"),
        ({"add_prefix_space": True}, "add_prefix_space is True, .* says False"),
        ({"add_prefix_space": 1}, "add_prefix_space is 1, expected true or false"),
    ],
)
def test_a_config_at_odds_with_the_steps_is_refused(config, problem, tmp_path):
    word_piece().save(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ValueError, match=problem):
        open_tokenizer(tmp_path)


def test_a_config_that_says_the_same_is_read(tmp_path):
    word_piece().save(tmp_path)
    config = {"do_lower_case": True, "strip_accents": None, "tokenize_chinese_chars": True}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    assert open_tokenizer(tmp_path).encode("A") == [1]
    config = {"add_prefix_space": True, "sp_model_kwargs": {}, "legacy": False}
    (tmp_path / "tokenizer_config.json").unlink()
    sentence_piece().save(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    assert open_tokenizer(tmp_path).encode("a") == [5]
