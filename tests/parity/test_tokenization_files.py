"""tokenizer.json of the package tokenizers, each setting changed in turn: the same ids, or an error."""
# ruff: noqa: E501 - one setting a line

import json
import random

import pytest
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from llmlib.formats.packaged import kjv_text
from llmlib.tokenization import BPETokenizer, ByteLevelBPETokenizer

NASTY = [
    "",
    " ",
    "a",
    "The LORD said unto Moses,  Go 12345 times!\n\n  And he went.\r\n",
    "e\u0301 é ﬁ ﬃ Å ½ ² Ⅷ ٣ İ ı ß ſ K \u1e9b\u0323",
    "<s><think>x</think> </s>  <pad>a<pad>  the<mask>them <mask> the\n<mask>\t <s> <s>",
    "user<think>the</think><think > hethe the the, them them",
    "世界 ひらがな 한국어 🙂👩‍👩‍👧 \u200b\u00a0\u3000\x85\x1c\x00\x7f",
    "   \t\t \n \n\n    x   ",
    "'s 'S I'll WE'VE don’t <|im_start|>user\n<|im_end|>",
]


def tokenizer(**sections):
    """A byte-level BPE trained on a little text, with some of its sections set."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=500, show_progress=False, initial_alphabet=alphabet)
    made.train_from_iterator([TEXT], trainer)
    for name, value in sections.items():
        setattr(made, name, value)
    return made


TEXT = kjv_text()[:20_000]
FLAGS = ("lstrip", "rstrip", "single_word", "normalized")


def added(made, *tokens):
    for token in tokens:
        (made.add_special_tokens if token.special else made.add_tokens)([token])
    return made


def with_model(**options):
    """The same with options of the model, which the file holds."""
    content = json.loads(tokenizer().to_str())
    content["model"] |= options
    return Tokenizer.from_str(json.dumps(content))


def split(pattern, behavior="isolated", invert=False):
    return pre_tokenizers.Split(Regex(pattern), behavior, invert)


def steps(*several, use_regex=False):
    last = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)
    return tokenizer(pre_tokenizer=pre_tokenizers.Sequence([*several, last]))


BEHAVIORS = ("isolated", "removed", "contiguous", "merged_with_previous", "merged_with_next")
N = normalizers
# What is read: name -> a tokenizer of the package.
READ = {
    "plain": lambda: tokenizer(),
    "dropout 0": lambda: with_model(dropout=0.0),
    "empty affixes": lambda: with_model(continuing_subword_prefix="", end_of_word_suffix=""),
    "an unknown token that never comes": lambda: with_model(unk_token="!", fuse_unk=True),
    "ignore_merges": lambda: with_model(ignore_merges=True),
    **{
        f"normalizer {n}": lambda n=n: tokenizer(normalizer=getattr(N, n)())
        for n in ("NFC", "NFD", "NFKC", "NFKD")
    },
    **{
        f"normalizer {type(n).__name__} {i}": lambda n=n: tokenizer(normalizer=n)
        for i, n in enumerate(
            (
                *(N.Lowercase(), N.Strip(), N.Strip(left=False), N.StripAccents(), N.Nmt()),
                *(N.Replace("a", "bb"), N.Replace(Regex(r"\s+|x"), "_"), N.Prepend("x")),
                *(N.BertNormalizer(), N.BertNormalizer(strip_accents=False, lowercase=False)),
                *(N.BertNormalizer(clean_text=False, handle_chinese_chars=False),),
                N.Sequence([N.NFD(), N.Sequence([N.StripAccents(), N.Lowercase()])]),
            )
        )
    },
    "a space before each piece": lambda: tokenizer(pre_tokenizer=pre_tokenizers.ByteLevel(True)),
    "a space before each run of digits too": lambda: tokenizer(
        pre_tokenizer=pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(), pre_tokenizers.ByteLevel(True, use_regex=False)]
        )
    ),
    "bytes cut as characters": lambda: tokenizer(
        pre_tokenizer=pre_tokenizers.Sequence(
            [pre_tokenizers.ByteLevel(False), pre_tokenizers.Digits(), split("[a-eÂ-Ï]")]
        )
    ),
    **{
        f"{type(p).__name__} before bytes": lambda p=p: steps(p)
        for p in (
            *(pre_tokenizers.Whitespace(), pre_tokenizers.WhitespaceSplit()),
            *(pre_tokenizers.BertPreTokenizer(), pre_tokenizers.CharDelimiterSplit("e")),
        )
    },
    **{
        f"Metaspace {scheme} {cut} before bytes": lambda scheme=scheme, cut=cut: steps(
            pre_tokenizers.Metaspace("_", scheme, cut)
        )
        for scheme in ("always", "first", "never")
        for cut in (True, False)
    },
    "a first piece that is not at the start": lambda: tokenizer(
        normalizer=N.Strip(),
        pre_tokenizer=pre_tokenizers.Sequence(
            [pre_tokenizers.Metaspace("_", "first"), pre_tokenizers.ByteLevel(False)]
        ),
    ),
    "normalizer in a sequence": lambda: tokenizer(normalizer=N.Sequence([N.NFC()])),
    "no normalizer in a sequence": lambda: tokenizer(normalizer=N.Sequence([])),
    "digits alone": lambda: steps(pre_tokenizers.Digits(individual_digits=True), use_regex=True),
    "digits together": lambda: steps(
        pre_tokenizers.Digits(individual_digits=False), use_regex=True
    ),
    **{
        f"punctuation {b}": lambda b=b: steps(pre_tokenizers.Punctuation(b), use_regex=True)
        for b in BEHAVIORS
    },
    **{
        f"split {b} {i}": lambda b=b, i=i: steps(split(r"\s|\p{N}{1,3}", b, i))
        for b in BEHAVIORS
        for i in (False, True)
    },
    "split by a text": lambda: steps(pre_tokenizers.Split("th", "isolated")),
    "split by a sign": lambda: steps(pre_tokenizers.Split(".*", "removed")),
    "several splits": lambda: steps(
        split(r"\p{N}{1,3}"), split("[一-龥ひ-ん]+"), split(r"\s?\p{L}+"), split(r"\s+$")
    ),
    "sequence in a sequence": lambda: steps(pre_tokenizers.Sequence([split(r"\s"), split("e")])),
    "no pattern": lambda: tokenizer(pre_tokenizer=pre_tokenizers.ByteLevel(False, use_regex=False)),
    "padding to the longest": lambda: _padded(tokenizer(), length=None),
    "padding to a length": lambda: _padded(tokenizer(), length=20),
    "padding to a multiple": lambda: _padded(tokenizer(), pad_to_multiple_of=8),
    "truncation": lambda: _truncated(tokenizer()),
    **{
        f"added {special} {flag}": lambda special=special, flag=flag: added(
            tokenizer(),
            AddedToken(
                "<mask>", special=special, **({flag: True} if flag else {"normalized": False})
            ),
        )
        for special in (True, False)
        for flag in (*FLAGS, None)
    },
    "added white space that the token before takes": lambda: added(
        tokenizer(),
        AddedToken("<mask>", rstrip=True, special=False, normalized=False),
        AddedToken("\t ", lstrip=True, special=False, normalized=False),
    ),
    "added words": lambda: added(
        tokenizer(normalizer=N.NFC()),
        AddedToken("the", single_word=True, special=False, normalized=False),
        AddedToken("them", special=False, normalized=True),
        AddedToken("é", special=False, normalized=True),
        AddedToken("e\u0301", special=False, normalized=False),
        AddedToken("  ", special=False, normalized=False),
        AddedToken(" the", special=False, normalized=True),
        AddedToken("<s>", special=True, normalized=False, rstrip=True, lstrip=True),
        AddedToken("<think>", special=False, normalized=False),
        AddedToken("<think", special=False, normalized=False),
        AddedToken("</s>", special=True, normalized=True, lstrip=True),
    ),
    "an added token that merges make too": lambda: added(
        tokenizer(), AddedToken("the", special=True, normalized=False)
    ),
    "byte-level processor": lambda: tokenizer(
        post_processor=processors.ByteLevel(trim_offsets=True)
    ),
    "template": lambda: _around(
        processors.TemplateProcessing("! $A # !", "! $A $B", [("!", 0), ("#", 2)])
    ),
    "template before": lambda: _around(
        processors.TemplateProcessing("! $A", "! $A $B", [("!", 0)])
    ),
    "two processors": lambda: _around(
        processors.Sequence(
            [processors.ByteLevel(), processors.TemplateProcessing("! $A", "! $A $B", [("!", 0)])]
        )
    ),
    "roberta": lambda: _around(processors.RobertaProcessing(("#", 2), ("!", 0))),
    "bert": lambda: _around(processors.BertProcessing(("#", 2), ("!", 0))),
}


def _around(processor):
    made = tokenizer(post_processor=processor)
    assert (made.token_to_id("!"), made.token_to_id("#")) == (0, 2)
    return made


def _padded(made, **options):
    made.enable_padding(**options)
    return made


def _truncated(made):
    made.enable_truncation(4)
    return made


# What is refused, and by which word.
REFUSED = {
    "normalizer ByteLevel": (lambda: tokenizer(normalizer=N.ByteLevel()), "normalizer"),
    **{
        f"pre_tokenizer {type(p).__name__}": (lambda p=p: tokenizer(pre_tokenizer=p), word)
        for p, word in (
            (pre_tokenizers.BertPreTokenizer(), "decoder"),
            (pre_tokenizers.Metaspace(), "decoder"),
            (pre_tokenizers.UnicodeScripts(), "pre_tokenizer"),
            (pre_tokenizers.FixedLength(5), "pre_tokenizer"),
        )
    },
    "ByteLevel twice": (
        lambda: tokenizer(
            pre_tokenizer=pre_tokenizers.Sequence([pre_tokenizers.ByteLevel(False)] * 2)
        ),
        "ByteLevel twice",
    ),
    "a pattern that reads otherwise": (lambda: steps(split(r"(?i:\p{Lu})")), "in any case"),
    **{
        f"decoder {type(d).__name__}": (lambda d=d: tokenizer(decoder=d), "decoder")
        for d in (
            decoders.WordPiece(),
            decoders.Fuse(),
            decoders.Metaspace(),
            decoders.BPEDecoder(),
            decoders.ByteFallback(),
        )
    },
    "no decoder": (lambda: tokenizer(decoder=None), "decoder"),
    **{
        f"model {name}": (lambda name=name, value=value: with_model(**{name: value}), name)
        for name, value in {
            "dropout": 0.5,
            "end_of_word_suffix": "</w>",
        }.items()
    },
    "model continuing_subword_prefix": (
        lambda: with_model(continuing_subword_prefix="##", merges=[]),
        "continuing_subword_prefix",
    ),
    "another model": (lambda: Tokenizer(models.Unigram([("a", 0.0)])), "not byte-level BPE"),
    "no model of today": (lambda: Tokenizer(models.WordLevel({"a": 0}, "a")), "type 'WordLevel'"),
    "a template of two texts": (
        lambda: _around(processors.TemplateProcessing("! $A $A", "! $A $B", [("!", 0)])),
        "post_processor",
    ),
}


def texts():
    generator = random.Random(0)
    pieces = [text[i : i + 6] for text in NASTY for i in range(0, len(text), 3)]
    return [*NASTY, TEXT[:3000], *("".join(generator.choices(pieces, k=12)) for _ in range(30))]


@pytest.mark.parametrize("name", READ)
def test_a_setting_that_is_read_gives_the_same_ids(name, tmp_path):
    reference = READ[name]()
    reference.save(str(tmp_path / "tokenizer.json"))
    mine = ByteLevelBPETokenizer.load(tmp_path)
    mine.save(tmp_path / "again.json")
    again = ByteLevelBPETokenizer.load(tmp_path / "again.json")
    back = Tokenizer.from_file(str(tmp_path / "again.json"))
    reference.no_padding()
    reference.no_truncation()
    for text in texts():
        for allow in (True, False):
            reference.encode_special_tokens = back.encode_special_tokens = not allow
            for add in (False, True):
                ids = reference.encode(text, add_special_tokens=add).ids
                assert mine.encode(text, allow_special=allow, add_special=add) == ids, text
                assert again.encode(text, allow_special=allow, add_special=add) == ids, text
                assert back.encode(text, add_special_tokens=add).ids == ids, text
    assert mine.vocab_size == reference.get_vocab_size()


@pytest.mark.bad_input
@pytest.mark.parametrize("name", REFUSED)
def test_a_setting_that_is_not_read_is_refused_by_name(name, tmp_path):
    make, word = REFUSED[name]
    make().save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ValueError, match=rf"tokenizer\.json: .*{word}"):
        ByteLevelBPETokenizer.load(tmp_path)


@pytest.mark.bad_input
def test_a_section_or_option_that_nobody_knows_is_refused_by_name(tmp_path):
    good = json.loads(
        added(steps(split("a"), pre_tokenizers.Digits()), AddedToken("<s>", special=True)).to_str()
    )
    places = [
        *((), ("model",), ("added_tokens", 0), ("pre_tokenizer",)),
        *(("pre_tokenizer", "pretokenizers", i) for i in range(3)),
        ("pre_tokenizer", "pretokenizers", 0, "pattern"),
    ]
    for place in places:
        content = json.loads(json.dumps(good))
        inner = content
        for key in place:
            inner = inner[key]
        inner["unheard_of"] = 1
        (tmp_path / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
        with pytest.raises(ValueError, match=r"tokenizer\.json: .*'unheard_of'"):
            ByteLevelBPETokenizer.load(tmp_path)


def test_characters_are_read_with_the_same_settings(tmp_path):
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = split(r" ?\S+|\s")
    made.normalizer = N.NFC()
    made.decoder = decoders.Fuse()
    made.train_from_iterator([TEXT], trainers.BpeTrainer(vocab_size=200, show_progress=False))
    added(
        made,
        AddedToken("<s>", special=True, rstrip=True),
        AddedToken("the", special=False, single_word=True),
    )
    made.save(str(tmp_path / "tokenizer.json"))
    mine = BPETokenizer.load(tmp_path)
    for text in (TEXT[:3000], "<s>  the LORD, them <s>the"):
        assert mine.encode(text, allow_special=True) == made.encode(text).ids
        made.encode_special_tokens = True
        if "<" in "".join(mine.tokens[:100]) or "<" not in text:
            assert mine.encode(text) == made.encode(text).ids
        made.encode_special_tokens = False
