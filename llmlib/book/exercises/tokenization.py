"""Exercises of the chapter on tokenization."""

from collections.abc import Callable
from typing import Any

from llmlib.book.exercise import Choice, Exercise, Function, Mistake, Number
from llmlib.tokenization import WORD_PATTERN, BPETokenizer, count_pairs, learn_merges, merge_pair


def _grade_merge(answer: Callable[..., Any]) -> str | None:
    symbols = list("dddd")
    result = answer(symbols, ("d", "d"))
    if symbols != list("dddd"):
        return "Your function changes the list it is given. Build a new one and return it."
    if not isinstance(result, list):
        return f"Return a list of symbols; your function returned {type(result).__name__}."
    if result == ["dd", "dd", "dd"]:
        return "dddd counts three pairs, but two merges fit: step over both symbols of a pair."
    if result == ["dd", "d", "d"]:
        return "You joined the first pair only. Go on to the end of the list."
    tests: list[tuple[list[str], tuple[str, str]]] = [
        (list("dddd"), ("d", "d")),
        (list("ddddd"), ("d", "d")),
        (["lo", "w", "lo"], ("lo", "w")),
        (list("abcab"), ("a", "b")),
        (list("cab"), ("b", "a")),
        (["a"], ("a", "b")),
        ([], ("a", "b")),
    ]
    for word, pair in tests:
        expected = merge_pair(word, pair, pair[0] + pair[1])
        if (found := answer(list(word), pair)) != expected:
            return f"merge({word}, {pair}) gives {found}, expected {expected}."
    return None


def _reference_encode(word: str, merges: list[tuple[str, str]]) -> list[str]:
    alphabet = sorted(set(word) | {c for pair in merges for symbol in pair for c in symbol})
    tokens = [*alphabet, *(left + right for left, right in merges)]
    tokenizer = BPETokenizer(tokens, merges, pattern=WORD_PATTERN)
    return [tokenizer.tokens[i] for i in tokenizer.encode(word)]


def _grade_encode(answer: Callable[..., Any]) -> str | None:
    if answer("abc", [("b", "c"), ("a", "b")]) == ["ab", "c"]:
        return "With the merges bc, ab the word abc is a + bc: the rank decides, not the place."
    if answer("abab", [("a", "b")]) == ["ab", "a", "b"]:
        return "abab with the merge ab is ab + ab: join every place where the pair stands."
    words = {"low": 5, "lower": 2, "newest": 6, "widest": 3, "dddd": 1}
    merges = learn_merges(words, 13)
    for word in ("lowest", "newer", "wide", "ddddd", "l", "slow", "zoo"):
        expected = _reference_encode(word, merges)
        if (found := answer(word, merges)) != expected:
            return f"{word} gives {found}, expected {expected}."
    return None


EXERCISES: list[Exercise] = [
    Number(
        "tokenization.count_an",
        level="easy",
        hint="Count the places in each word, then multiply by how often the word occurs.",
        solution=(
            "<em>b<u>an</u><u>an</u>a</em> holds the pair twice, <em>b<u>an</u>d<u>an</u>a</em> "
            "too: 2·4 + 2·3 = <strong>14</strong>."
        ),
        answer=lambda: count_pairs({"banana": 4, "bandana": 3})["a", "n"],
        tolerance=0,
        mistakes=[
            Mistake(4, "Weigh each word by how often it occurs."),
            Mistake(7, "The pair stands twice in each word."),
            Mistake(11, "<code>bandana</code> holds the pair twice as well."),
            Mistake(2, "Those are the places in one word; count both, as often as they occur."),
        ],
    ),
    Choice(
        "tokenization.no_token",
        level="easy",
        hint="Merges stay within the pieces that the pattern cuts.",
        solution=(
            "<code>of the</code>. The pattern cuts before the space, so <code>of</code> and "
            "<code> the</code> are two pieces and no merge joins them, however frequent the pair. "
            "A token may begin with a space, and it may be part of a character."
        ),
        options=[
            "“ the”, with its space",
            "“of the”",
            "the bytes E3 81, two thirds of a kana",
            "“ing”",
        ],
        answer=1,
        mistakes=[
            Mistake(0, "A space belongs to the piece of the word after it: this is token 262."),
            Mistake(2, "Bytes merge without regard for characters: GPT-2 has this token."),
            Mistake(3, "Frequent endings are among the first tokens learned."),
        ],
    ),
    Function(
        "tokenization.write_merge",
        level="medium",
        hint="Walk with an index: by two over a pair, by one over anything else.",
        solution="""\
def merge(symbols, pair):
    result, i = [], 0
    while i < len(symbols):
        if tuple(symbols[i : i + 2]) == tuple(pair):
            result.append(pair[0] + pair[1])
            i += 2
        else:
            result.append(symbols[i])
            i += 1
    return result
""",
        grader=_grade_merge,
        mistakes=[
            Mistake(
                "def f(symbols, pair):\n"
                "    out, i = [], 0\n"
                "    while i < len(symbols):\n"
                "        if tuple(symbols[i : i + 2]) == pair:\n"
                "            out.append(pair[0] + pair[1])\n"
                "        elif i == 0 or tuple(symbols[i - 1 : i + 1]) != pair:\n"
                "            out.append(symbols[i])\n"
                "        i += 1\n"
                "    return out\n",
                "two merges fit",
            ),
            Mistake(
                "def f(symbols, pair):\n"
                "    for i in range(len(symbols) - 1):\n"
                "        if tuple(symbols[i : i + 2]) == pair:\n"
                "            return symbols[:i] + [pair[0] + pair[1]] + symbols[i + 2 :]\n"
                "    return symbols\n",
                "first pair only",
            ),
            Mistake(
                "def f(symbols, pair):\n"
                "    i = 0\n"
                "    while i < len(symbols):\n"
                "        if tuple(symbols[i : i + 2]) == pair:\n"
                "            symbols[i : i + 2] = [pair[0] + pair[1]]\n"
                "        i += 1\n"
                "    return symbols\n",
                "changes the list",
            ),
            Mistake(
                "def f(symbols, pair):\n"
                "    text = ' '.join(symbols)\n"
                "    return text.replace(' '.join(pair), ''.join(pair))\n",
                "Return a list",
            ),
            Mistake(
                "def f(symbols, pair):\n"
                "    out, i = [], 0\n"
                "    while i < len(symbols) - 1:\n"
                "        two = tuple(symbols[i : i + 2]) == pair\n"
                "        out.append(pair[0] + pair[1] if two else symbols[i])\n"
                "        i += 2 if two else 1\n"
                "    return out\n",
                "expected",
            ),
        ],
    ),
    Function(
        "tokenization.write_encode",
        level="hard",
        hint="Number the merges. Of the pairs that are present, join the one of lowest number.",
        solution="""\
def my_encode(word, merges):
    rank = {pair: i for i, pair in enumerate(merges)}
    symbols = list(word)
    while True:
        pairs = [p for p in zip(symbols, symbols[1:]) if p in rank]
        if not pairs:
            return symbols
        best = min(pairs, key=rank.get)
        i = 0
        while i < len(symbols) - 1:
            if (symbols[i], symbols[i + 1]) == best:
                symbols[i : i + 2] = ["".join(best)]
            i += 1
""",
        grader=_grade_encode,
        mistakes=[
            Mistake(
                "def f(word, merges):\n"
                "    tokens = {a + b for a, b in merges}\n"
                "    out = []\n"
                "    while word:\n"
                "        n = max(k for k in range(1, len(word) + 1)\n"
                "                if k == 1 or word[:k] in tokens)\n"
                "        out.append(word[:n])\n"
                "        word = word[n:]\n"
                "    return out\n",
                "the rank decides",
            ),
            Mistake(
                "def f(word, merges):\n"
                "    symbols = list(word)\n"
                "    for pair in merges:\n"
                "        for i in range(len(symbols) - 1):\n"
                "            if (symbols[i], symbols[i + 1]) == pair:\n"
                "                symbols[i : i + 2] = [pair[0] + pair[1]]\n"
                "                break\n"
                "    return symbols\n",
                "every place",
            ),
            Mistake("def f(word, merges):\n    return list(word)\n", "expected"),
        ],
    ),
]
