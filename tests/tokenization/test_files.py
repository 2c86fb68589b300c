"""Unit tests of what the tokenizers read and write: damage has a name, nothing is lost."""

import json
import random

import numpy as np
import pytest
import torch
import transformers

from llmlib.tokenization import AddedToken, BPETokenizer, ByteLevelBPETokenizer, Split

bad_input = pytest.mark.bad_input
TEXT = "She sells sea shells by the sea shore. 12 34\n\n <think>é</think>   x"
DELETED = object()


@pytest.fixture
def tokenizer():
    base = ByteLevelBPETokenizer.train(TEXT * 3, 280)
    n = base.vocab_size
    names = ["<s>", "</s>", "<think>", "</think>", "   "]
    added = [
        AddedToken("<s>", n),
        AddedToken("</s>", n + 1, rstrip=True),
        AddedToken("<think>", n + 2, special=False, normalized=True),
        AddedToken("</think>", n + 3, special=False, lstrip=True),
        AddedToken("   ", n + 4, special=False),
    ]
    return ByteLevelBPETokenizer(
        [*base.tokens, *(name.encode() for name in names)],
        base.merges,
        added_tokens=added,
        pattern=(Split(r"\p{N}{1,3}"), Split(r"\s+$", "merged_with_previous"), Split(r" ?\w+")),
        normalization="NFC",
        ignore_merges=True,
        around=((n,), (n + 1,)),
        chat_template="{{ bos_token }}{% for m in messages %}{{ m.content }}</s>{% endfor %}",
        template_tokens={"bos_token": "<s>"},
    )


def test_everything_that_was_saved_is_loaded(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    loaded = ByteLevelBPETokenizer.load(tmp_path)
    for name in (
        *("tokens", "merges", "added_tokens", "special_tokens", "pattern", "normalization"),
        *("ignore_merges", "around", "chat_template", "template_tokens"),
    ):
        assert getattr(loaded, name) == getattr(tokenizer, name), name
    text = f"<s>{TEXT}e\u0301 </s>  x"
    for allow_special in (False, True):
        ids = tokenizer.encode(text, allow_special, add_special=True)
        assert loaded.encode(text, allow_special, add_special=True) == ids
    messages = [{"role": "user", "content": "Hi </s>"}]
    assert loaded.chat(messages) == tokenizer.chat(messages)
    loaded.save(tmp_path)  # over itself


def test_a_folder_stays_whole_when_saving_fails(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    other = ByteLevelBPETokenizer.train("lone", 260)
    with pytest.raises(ValueError, match="belongs to another tokenizer"):
        other.save(tmp_path)  # its template would be read with this one
    broken = ByteLevelBPETokenizer(
        other.tokens, other.merges, chat_template="a lone \ud800", pattern=other.pattern
    )
    with pytest.raises(ValueError, match=r"is of another tokenizer"):
        broken.save(tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    with pytest.raises(UnicodeEncodeError):
        broken.save(tmp_path)  # the first of two files is written already
    (tmp_path / "tokenizer_config.json").write_bytes(before["tokenizer_config.json"])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert ByteLevelBPETokenizer.load(tmp_path).encode(TEXT) == tokenizer.encode(TEXT)


@bad_input
def test_a_folder_without_the_file_names_it(tmp_path):
    for kind in (BPETokenizer, ByteLevelBPETokenizer):
        with pytest.raises(FileNotFoundError, match=r"tokenizer\.json is not there"):
            kind.load(tmp_path)
    (tmp_path / "e.json").write_text("{}", encoding="utf-8")
    with pytest.raises(FileNotFoundError, match=r"vocab\.bpe is not there"):
        ByteLevelBPETokenizer.from_gpt2_files(tmp_path / "e.json", tmp_path / "vocab.bpe", [])


@bad_input
@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"\xff\xfe{}", "is no JSON: 'utf-8' codec can't decode byte 0xff in position 0"),
        (b"", "is no JSON: Expecting value"),
        (b"null", "holds JSON of type NoneType, expected an object"),
        (b'{"model": {"vocab": {"a": 0, "a": 1}}}', "the key 'a' stands twice"),
        (b"[" * 100_000, "is no JSON"),
        (b'{"model": NaN}', "model is nan, expected an object"),
    ],
)
def test_what_is_no_json_object_is_named(tmp_path, data, problem):
    (tmp_path / "tokenizer.json").write_bytes(data)
    with pytest.raises(ValueError, match=rf"tokenizer\.json.*{problem}"):
        ByteLevelBPETokenizer.load(tmp_path)


def places(value, path=()):
    """Where something stands within a JSON value, at most three entries of a list or object."""
    if path:
        yield path
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, inner in list(items)[:3] if len(path) > 1 else items:
        yield from places(inner, (*path, key))


def put(content, path, value):
    content = json.loads(json.dumps(content))
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    if value is DELETED:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return content


@bad_input
@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize(
    "value",
    [
        DELETED,
        None,
        True,
        -1,
        7,
        10**30,
        1.5,
        "",
        "x",
        "\ud800",
        [],
        ["x"],
        {},
        {"type": "x"},
        {"x": 1},
    ],
    ids=lambda value: "absent" if type(value) is object else repr(value),
)
def test_whatever_is_wrong_anywhere_in_a_file_loading_works_or_names_it(
    tokenizer, tmp_path, name, value
):
    tokenizer.save(tmp_path)
    config = {
        "bos_token": "<s>",
        "add_bos_token": True,
        "chat_template": "x",
        "add_prefix_space": False,
        "added_tokens_decoder": {
            str(tokenizer.vocab_size - 5): {"content": "<s>", "special": True}
        },
        "additional_special_tokens": ["<s>"],
    }
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    good = json.loads((tmp_path / name).read_text(encoding="utf-8"))
    messages = []
    for path in places(good):
        (tmp_path / name).write_text(json.dumps(put(good, path, value)), encoding="utf-8")
        try:
            ByteLevelBPETokenizer.load(tmp_path).encode("a b")
        except ValueError as error:
            messages.append(str(error))
    assert messages
    unnamed = [text for text in messages if "/tokenizer" not in text and "has no token" not in text]
    assert unnamed == []


@bad_input
def test_random_damage_to_the_bytes_of_a_file_has_a_name(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    path = tmp_path / "tokenizer.json"
    good = path.read_bytes()
    generator, messages = random.Random(0), []
    for _ in range(200):
        data = bytearray(good)
        for _ in range(generator.randint(1, 4)):
            at = generator.randrange(len(data))
            data[at : at + generator.choice([0, 1, 5])] = bytes([generator.randrange(256)])
        path.write_bytes(bytes(data))
        try:
            ByteLevelBPETokenizer.load(tmp_path)
        except ValueError as error:
            messages.append(str(error))
    assert len(messages) > 50
    assert all("tokenizer.json" in text for text in messages)


@bad_input
@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"add_prefix_space": True}, "add_prefix_space is True, which changes ids"),
        ({"do_lower_case": True}, "do_lower_case is True"),
        ({"unheard_of": 1}, "the key 'unheard_of' is 1"),
        ({"fix_mistral_regex": True}, "the key 'fix_mistral_regex' is True"),
        ({"bos_token": "<nil>"}, "bos_token names '<nil>', which is no added token"),
        ({"image_token": "<nil>"}, "image_token names '<nil>', which is no added token"),
        ({"additional_special_tokens": ["<nil>"]}, "names '<nil>'"),
        ({"add_bos_token": True}, "add_bos_token is true, but there is no bos_token"),
        ({"added_tokens_decoder": {"3": {"content": "x"}}}, r"added_tokens_decoder\['3'\]"),
        ({"chat_template": [{"name": "rag", "template": "x"}]}, "expected one called default"),
    ],
)
def test_a_config_that_changes_ids_is_refused_by_key(tmp_path, change, problem):
    ByteLevelBPETokenizer.train(TEXT, 260, special_tokens=["<s>"]).save(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(change), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"tokenizer_config\.json: .*{problem}"):
        ByteLevelBPETokenizer.load(tmp_path)


CONFIGS_ON_THE_HUB = {  # keys and values that change no id, as the models' own folders have them
    "DeepSeek-V2-Lite": {"legacy": True, "sp_model_kwargs": {}, "model_max_length": 16384},
    "Mistral-Nemo": {
        "legacy": True, "sp_model_kwargs": {}, "spaces_between_special_tokens": False,
        "use_default_system_prompt": False, "model_max_length": 1000000000000000019884624838656,
    },
    "SmolLM2": {"add_prefix_space": False, "vocab_size": 49152, "tokenizer_class": "GPT2Tokenizer"},
    "Llama 3.2, copied": {"unsloth_fixed": True, "padding_side": "left", "unk_token": None},
    "Llava": {"image_token": "<s>", "processor_class": "LlavaProcessor", "backend": "tokenizers"},
    "a key without a value": {"unheard_of": None},
}  # fmt: skip


@pytest.mark.parametrize("name", CONFIGS_ON_THE_HUB)
def test_a_config_that_changes_no_id_is_read(tokenizer, tmp_path, name):
    tokenizer.save(tmp_path)
    config = {"bos_token": "<s>", "eos_token": None, **CONFIGS_ON_THE_HUB[name]}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    text = "She sells <s>sea shells"
    for special in (False, True):
        ids = ByteLevelBPETokenizer.load(tmp_path).encode(text, allow_special=special)
        assert ids == tokenizer.encode(text, allow_special=special)


def test_a_models_own_special_token_is_written_by_transformers_and_read(tmp_path):
    mine = ByteLevelBPETokenizer.train(TEXT, 260, special_tokens=["<s>", "<image>"])
    mine.save(tmp_path)
    theirs = transformers.PreTrainedTokenizerFast.from_pretrained(
        tmp_path, bos_token="<s>", extra_special_tokens={"image_token": "<image>"}
    )
    theirs.chat_template = "{{ bos_token }}{{ image_token }}"
    theirs.save_pretrained(tmp_path)
    read = ByteLevelBPETokenizer.load(tmp_path)
    assert read.template_tokens == {"bos_token": "<s>", "image_token": "<image>"}
    chat = [{"role": "user", "content": "x"}]
    assert read.chat(chat) == theirs.apply_chat_template(chat, return_dict=False)


# --- ids and texts that are none --------------------------------------------------------------


def test_ids_may_come_from_numpy_and_torch(tokenizer):
    ids = tokenizer.encode("She sells")
    for form in (
        *(tuple(ids), iter(ids), np.array(ids), torch.tensor(ids), list(np.array(ids, np.uint16))),
        *(list(torch.tensor(ids)), np.array(ids, np.int8 if max(ids) < 128 else np.int16)),
    ):
        assert tokenizer.decode(form) == "She sells"


@bad_input
@pytest.mark.parametrize(
    "ids",
    [
        *([1.0], [True], ["1"], [None], [[1]], "abc", b"abc", 5, torch.tensor([1.0]), [1.5]),
        *(torch.tensor([[1]]), torch.tensor(1), np.array([True]), torch.tensor([False]), None),
        *([np.float32(1)], [np.bool_(1)], np.zeros((0, 3), int)),
    ],
    ids=repr,
)
def test_what_is_no_row_of_whole_numbers_is_a_type_error(tokenizer, ids):
    with pytest.raises(
        TypeError, match=r"token id .* expected a whole number|ids (are|have shape)"
    ):
        tokenizer.decode(ids)


@bad_input
def test_other_arguments_of_the_wrong_kind_are_named(tokenizer):
    for wrong in (b"bytes", None, 7, ["a"]):
        with pytest.raises(TypeError, match=r"text is a .* expected str"):
            tokenizer.encode(wrong)
    for errors in ("surrogateescape", "", None, "Strict"):
        with pytest.raises(
            ValueError, match=r"errors is .*, expected one of replace, ignore, strict"
        ):
            tokenizer.decode([0], errors=errors)
    with pytest.raises(TypeError, match="special_tokens is '<s>', expected a list"):
        ByteLevelBPETokenizer.train(TEXT, 300, special_tokens="<s>")
    for size in (300.0, True, "300"):
        with pytest.raises(TypeError, match=r"vocab_size is .*, expected an integer"):
            ByteLevelBPETokenizer.train(TEXT, size)
    with pytest.raises(ValueError, match="normalization is 'nfc'"):
        ByteLevelBPETokenizer(tokenizer.tokens, [], normalization="nfc")
    with pytest.raises(ValueError, match="behavior is 'joined'"):
        Split("a", "joined")


def test_an_empty_text_trains_a_tokenizer_without_merges():
    tokenizer = ByteLevelBPETokenizer.train("", 300, special_tokens=["<s>"])
    assert (tokenizer.vocab_size, tokenizer.merges) == (257, [])
    assert BPETokenizer.train("", 300).vocab_size == 0
