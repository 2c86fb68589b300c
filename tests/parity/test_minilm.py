"""all-MiniLM-L6-v2 against transformers' model and the tokenizer of the package itself."""

import pytest
import torch
import transformers

from llmlib.encoder import embed_texts
from llmlib.formats.packaged import minilm_folder
from llmlib.pretrained import minilm

LONGEST = 256
SENTENCES = [
    "A cat sits on the mat.",
    "The quick brown fox jumps over the lazy dog.",
    "How do I cook rice without burning it?",
    "Café crème à Zürich, naïve façade, Ångström.",  # accents
    "I am 😀 happy 👩‍👩‍👧 today 🇨🇭!",  # emoji, joined ones too
    "",
    "word " * 600,  # over the limit
    "in the beginning God created the heaven and the earth " * 30,
    "x" * 150,  # a word over 100 characters
    "東京は日本の首都です。",
    "Москва — столица России.",
    "مرحبا بالعالم",
    "UPPER lower MiXeD",
    "3.14159, 2,718 and 1/2",
    "e-mail: someone@example.org; see https://example.org/a?b=c",
    "tabs\tand\nnew lines\r\nand   spaces",
    "\u200bzero\u200dwidth\ufeff",
    "[CLS] a text that names [MASK] and [SEP]",
    "def f(x):\n    return x ** 2  # code",
    "!",
    "Nine million bicycles, said the mayor, is too many for a town of nine thousand.",
]


@pytest.fixture(scope="module")
def ours():
    return minilm()


@pytest.fixture(scope="module")
def theirs():
    folder = str(minilm_folder())
    return (
        transformers.AutoModel.from_pretrained(folder).eval(),
        transformers.AutoTokenizer.from_pretrained(folder),
    )


@torch.no_grad()
def reference(theirs, text):
    """Mean of the last states and length 1, as the model's card has it."""
    model, tokenizer = theirs
    read = tokenizer([text], truncation=True, max_length=LONGEST, return_tensors="pt")
    return torch.nn.functional.normalize(model(**read).last_hidden_state.mean(1), dim=-1)[0]


def test_the_folder_says_how_long_a_text_may_be():
    settings = (minilm_folder() / "sentence_bert_config.json").read_text()
    assert f'"max_seq_length": {LONGEST}' in settings


def test_ids_are_those_of_the_package(ours, theirs):
    for text in SENTENCES:
        expected = theirs[1](text, truncation=False)["input_ids"]
        assert ours[1].encode(text, add_special=True, allow_special=True) == expected


@pytest.mark.parametrize("batch", [1, 7, 32])
def test_the_vectors_are_those_of_the_reference(ours, theirs, batch):
    """In batches of any size: padding takes no part."""
    plain = [text for text in SENTENCES if "[CLS]" not in text]
    found = embed_texts(*ours, plain, max_tokens=LONGEST, batch=batch)
    expected = torch.stack([reference(theirs, text) for text in plain])
    cosines = (found * expected).sum(-1)
    assert cosines.min() >= 0.99999, dict(zip(plain, cosines.tolist(), strict=True))
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(len(plain)))


def test_the_names_of_special_tokens_in_a_text_are_text(ours, theirs):
    """A reader's "[SEP]" ends nothing here; the reference takes it for its own."""
    text = "[CLS] a text that names [MASK] and [SEP]"
    mine, other = ours[1].encode(text, add_special=True), theirs[1](text)["input_ids"]
    assert (mine.count(102), other.count(102)) == (1, 2)


def test_the_pooler_equals_transformers(ours, theirs):
    ids = torch.tensor([theirs[1]("a text of one line")["input_ids"]])
    with torch.no_grad():
        found, expected = ours[0](ids), theirs[0](ids)
        torch.testing.assert_close(found, expected.last_hidden_state, rtol=0, atol=1e-4)
        torch.testing.assert_close(ours[0].pooled(found), expected.pooler_output, rtol=0, atol=1e-4)
