"""llmlib.tokenization.oniguruma and patterns against the package tokenizers: the same pieces."""
# ruff: noqa: E501, SIM905 - a pattern stands in one line, as the model has it

import random
import sys
import unicodedata

import pytest
from tokenizers import Regex, pre_tokenizers

from llmlib.tokenization import GPT2_PATTERN, LLAMA3_PATTERN, QWEN2_PATTERN, Split
from llmlib.tokenization.patterns import PUNCTUATION_PATTERN, Splitter

CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
NO_HAN = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]"
SIGNS = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
# As the tokenizer.json of these models have them.
MODELS = {
    "GPT-2": GPT2_PATTERN,
    "GPT-4": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "GPT-4 in tiktoken": r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
    "GPT-4o": rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+{CONTRACTIONS}?|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*{CONTRACTIONS}?|\p{{N}}{{1,3}}|{SIGNS}",
    "Tekken": rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*|\p{{N}}|{SIGNS}",
    "Kimi K2": rf"[\p{{Han}}]+|[^\r\n\p{{L}}\p{{N}}]?{NO_HAN[0]}*{NO_HAN[1]}+{CONTRACTIONS}?|[^\r\n\p{{L}}\p{{N}}]?{NO_HAN[0]}+{NO_HAN[1]}*{CONTRACTIONS}?|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "Llama 3": LLAMA3_PATTERN,
    "Qwen2": QWEN2_PATTERN,
    "BLOOM": " ?[^(\\s|[.,!?…。，、।۔،])]+",
    "DeepSeek-V3": r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "DeepSeek-V3, scripts": "[一-龥぀-ゟ゠-ヿ]+",
    "DeepSeek-V2, line ends": r"[\r\n]",
    "DeepSeek-V2, letters": r"\s?\p{L}+",
    "DeepSeek-V2, signs": r"\s?[!-/:-~！-／：-～‘-‟　-。]+",
    "DeepSeek-V2, spaces": r"\s+$",
    "DeepSeek-V2, scripts": "[一-龥ࠀ-一가-퟿]+",
    "Falcon, digits": r"[0-9][0-9][0-9]",
    "CLIP": r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",
    "words": r"\w+|[^\w\s]+",
}
# What looks alike and is not, or is easily misread.
DIALECT = [
    *(
        r"\h+",
        r"\H",
        r"\w",
        r"\W+",
        r"[\w]",
        r"[^\w]",
        r"[\W\d]",
        r"\bfoo\b",
        r"\B.",
        r"\s",
        r"\S+",
    ),
    *(r"^a", "^", "$", r"\s+$", r"\A.", r".\z", r".\Z", r"(?m:.+)", ".+", r"\R", r"\N+", r"\O"),
    *(r"[a--\x2f]", r"[a||b]", r"[a~~b]", r"[a&b]", r"[^a&&b]", r"[a-c&&b-d&&[^c]]", r"[a[^b]]"),
    *(r"[[a-f]&&[^aeiou]]+", r"[^\p{L}&&\p{Han}]", r"[]a]", r"[^]a]", r"[a-]", r"[-a]", r"[a\-c]"),
    *(r"[[:alpha:]]+", r"[[:^alpha:]]", r"[[:punct:]]+", r"[[:upper:][:digit:]]", r"[:alpha:]"),
    *(
        r"[\b]",
        r"[\s\S]",
        r"\p{^L}+",
        r"\P{^L}",
        r"\p{Letter}",
        r"\p{lu}",
        r"[\P{Han}]+",
        r"\p{Greek}",
    ),
    *(
        r"a{1,2}+",
        r"a{2}?",
        r"a{,2}",
        r"a{2}{2}",
        r"a{x",
        "{",
        "a}",
        r"a++a",
        r"a?+a",
        r"a*?b",
        "a**",
    ),
    *(
        r"(?i:s)",
        r"(?i:k)+",
        r"(?i:i)",
        r"(?i:[a-z])",
        r"(?i:[^s])",
        r"a(?i)b|c",
        r"(?i-m:a)",
    ),
    *(
        r"x*",
        "|a",
        "a|",
        "(?=[A-Z])",
        "(?<=a)",
        r"(?<=\d)(?=\D)",
        "(?<=ab|c)d",
        "(?<!a)b",
        "(?>a+)b",
    ),
    *(
        r"\x41",
        r"\x{1F642}",
        r"\u0041",
        r"\e",
        r"\v",
        r"\t",
        r"\é",
        r"\-",
        r"\ ",
        "#",
        "(?#note)a",
        "(a)(b)",
    ),
    *(
        r"[!-~&&[^a-z]]",
        r"[\]\[]",
        r"[\p{N}&&[^0-9]]",
        r"[^\s\p{L}]",
        r"é|ß",
        r"[à-ÿ]+",
        r"(a|b)+(?:c)?",
    ),
]
PIECES = [
    *(
        "a",
        "b",
        "c",
        "aa",
        "ab",
        "foo",
        "Hello",
        "World",
        "sS",
        "ſ",
        "K",
        "K",
        "İ",
        "ı",
        "i",
        "ß",
        "é",
        "e\u0301",
    ),
    *(
        "'s",
        "'S",
        "'LL",
        "'ll",
        "'re",
        "'",
        "’",
        "1",
        "12",
        "1234",
        "²",
        "½",
        "Ⅷ",
        "٣",
        " ",
        "  ",
        "\n",
        "\r\n",
    ),
    *(
        "\t",
        "\x0b",
        "\x1c",
        "\x85",
        "\u00a0",
        "\u2028",
        "\u200b",
        "\u3000",
        "世",
        "界",
        "ひ",
        "カ",
        "한",
        "、",
        "。",
    ),
    *(
        "!",
        "#",
        "&",
        "&&",
        "-",
        "--",
        "|",
        "||",
        "~",
        "[",
        "]",
        "^",
        "$",
        "_",
        "\\",
        "{",
        "}",
        ".",
        "…",
        "🙂",
        "👩‍👩‍👧",
    ),
    *(
        "α",
        "Ω",
        "я",
        "ا",
        "अ",
        "ิ",
        "\x00",
        "\x1b",
        "\b",
        "€",
        "+",
        "<=>",
        "ŉ",
        "ﬁ",
        "ﬆ",
        "\U0010ffff",
        "\ue000",
    ),
]


def texts(n=60):
    """Short texts of everything that patterns tell apart, and of characters from all planes."""
    generator = random.Random(0)
    # Unicode 14: what every program's tables know.
    assigned = [
        chr(c)
        for c in range(sys.maxunicode + 1)
        if unicodedata.category(chr(c)) not in ("Cn", "Cs")
    ]
    for k in range(n):
        source = assigned if k % 3 == 2 else PIECES
        yield "".join(generator.choices(source, k=generator.randint(1, 60)))


TEXTS = [*texts(), "a\nb\n", "\n", "", "helloWorldFoo 123abc", "".join(PIECES)]


def theirs(pattern, text, behavior="isolated", invert=False):
    split = pre_tokenizers.Split(pattern, behavior, invert)
    return [piece for piece, _ in split.pre_tokenize_str(text)]


@pytest.mark.parametrize("name", MODELS)
def test_the_patterns_of_real_models_cut_alike(name):
    mine, regex = Splitter(MODELS[name]), Regex(MODELS[name])
    for text in TEXTS:
        assert mine(text) == theirs(regex, text), (text, name)


@pytest.mark.parametrize("pattern", DIALECT)
def test_what_looks_alike_in_both_dialects_is_read_as_oniguruma_reads_it(pattern):
    if pattern == r"[a--\x2f]":
        with pytest.raises(ValueError, match="whose end is before its beginning"):
            Splitter(pattern)
        with pytest.raises(Exception, match="empty range"):
            Regex(pattern)
        return
    mine, regex = Splitter(pattern), Regex(pattern)
    for text in TEXTS:
        assert mine(text) == theirs(regex, text), (text, pattern)


@pytest.mark.parametrize("invert", [False, True])
@pytest.mark.parametrize(
    "behavior", ["isolated", "removed", "contiguous", "merged_with_previous", "merged_with_next"]
)
@pytest.mark.parametrize("pattern", [r"\s", r"\p{N}{1,3}", r"(?=[A-Z])", "x*", "[ab]", r"\w+"])
def test_what_becomes_of_a_match_is_the_same(pattern, behavior, invert):
    mine, regex = Splitter([Split(pattern, behavior, invert)]), Regex(pattern)
    for text in TEXTS:
        assert mine(text) == theirs(regex, text, behavior, invert), text


def test_the_steps_that_are_no_patterns_cut_alike():
    for step, split in [
        (pre_tokenizers.Digits(individual_digits=True), Split(r"\p{N}")),
        (pre_tokenizers.Digits(individual_digits=False), Split(r"\p{N}", "contiguous")),
        (pre_tokenizers.Punctuation("contiguous"), Split(PUNCTUATION_PATTERN, "contiguous")),
        (pre_tokenizers.Punctuation("isolated"), Split(PUNCTUATION_PATTERN)),
    ]:
        for text in TEXTS:
            assert Splitter([split])(text) == [piece for piece, _ in step.pre_tokenize_str(text)], (
                text
            )


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "pattern",
    [
        *(
            r"\X",
            r"\K",
            r"\Ga",
            r"\y",
            r"\101",
            r"\0",
            r"\cA",
            r"\pL",
            r"\p{Foo}",
            r"\p{L&}",
            r"\p{InHan}",
        ),
        *(
            r"(a)\1",
            r"(?<n>a)",
            r"\g<1>",
            r"(?~a)",
            r"(?x) a",
            r"(?W)a",
            r"(?@a)",
            "(?P<n>a)",
            "(?(1)a)",
        ),
        *(
            r"(?i:ss)",
            r"(?i:ß)",
            r"(?i:st)",
            r"(?i:[ß])",
            r"(?i:\p{Lu})",
            r"(?i:é)",
            r"(?i:[[:upper:]])",
        ),
        *(
            "[a&&]",
            "[&&a]",
            "[]",
            "[^]",
            "[b-a]",
            r"[\w-a]",
            r"[a-\d]",
            "[[:foo:]]",
            "[a",
            "(a",
            "a)",
            "\\",
        ),
        *("*", "a|*", "(?:+a)", "a{3,1}", r"\x{110000}", r"\ud800", r"\xe9", "(?i", "(?<"),
    ],
)
def test_what_is_not_read_alike_is_refused_with_its_place(pattern):
    with pytest.raises(ValueError, match=r"^the pattern .* at position \d+$"):
        Splitter(pattern)


def random_pattern(generator, depth=0):
    """Items, classes, groups and quantifiers in any order; most are patterns."""
    atoms = r"a b s k S 1 é 世 ' \s \S \d \D \w \W \h \p{L} \P{L} \p{^N} \p{Lu} \n . ^ $ \b \- - & | { ] \x41 \R \A \z \Z #".split()
    inner = r"a b s k 1 - & && | ~ ^ é 世 a-c 0-9 à-ü \s \w \W \p{L} \P{Han} \] \- \\ [:alpha:] [:^alpha:] [:punct:] [a-f] [^b] _".split()
    quantifiers = "* + ? *? +? ?? *+ ++ ?+ {1,2} {2} {,2} {1,} {1,2}? {2}? {1,2}+ { **".split()
    groups = "(?: ( (?= (?! (?<! (?> (?i: (?m: (?-i: (?i-m:".split()
    text = ""
    for _ in range(generator.randint(1, 4)):
        match generator.choices(["item", "class", "group", "or"], [45, 25, 20, 10])[0]:
            case "item":
                text += generator.choice(atoms)
            case "class":
                several = "".join(generator.choices(inner, k=generator.randint(1, 4)))
                text += f"[{generator.choice(['', '^'])}{several}]"
            case "group" if depth < 2:
                text += generator.choice(groups) + random_pattern(generator, depth + 1) + ")"
            case _:
                text += "|"
        text += generator.choice(quantifiers) if generator.random() < 0.35 else ""
    return text


def test_random_patterns_cut_alike_or_are_refused():
    generator = random.Random(0)
    same = 0
    for _ in range(400):
        pattern = random_pattern(generator)
        try:
            regex, mine = Regex(pattern), Splitter(pattern)
        except Exception:  # of either: no pattern, or refused
            continue
        same += 1
        for text in TEXTS[:12]:
            assert mine(text[:40]) == theirs(regex, text[:40]), (pattern, text)
    assert same > 200
