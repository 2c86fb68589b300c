"""The tokenizer that a reader types into: its JavaScript against `ByteLevelBPETokenizer`.

The page's patterns ask the browser for the classes of characters, Python's ask the package regex;
where the two know different versions of Unicode they differ on what is assigned in one of them
alone. The texts are of characters that Python's `unicodedata` has, the oldest of the three.
"""

import functools
import itertools
import random
import re
import unicodedata
from collections.abc import Iterator

import pytest
import regex
from playwright.sync_api import Browser, Page

from llmlib.book.labs.tokenization import typing_vocabularies
from llmlib.book.widgets import TypingTokenizer
from llmlib.book.widgets.base import STYLE, static_script
from llmlib.formats.packaged import kjv_text
from tests.browser.conftest import SETTLED, TOTALS

pytestmark = pytest.mark.browser
PAGE = """<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Typing</title>
<style>{style}</style></head><body><main>{widget}</main><script>{script}</script></body></html>"""
# Types each text and reads the ids of both rows.
TRY = """([first, second, texts]) => {
  const widget = document.querySelector('.lm-widget'), field = widget.querySelector('textarea');
  const send = (input, value) => {
    input.value = value;
    input.dispatchEvent(new Event('input', { bubbles: true }));
  };
  const [, one, two] = widget.querySelectorAll('select');
  send(one, first);
  send(two, second);
  return texts.map(text => {
    send(field, text);
    return { ids: JSON.parse(widget.dataset.ids), chips: widget.querySelectorAll('.lm-chip').length,
      note: widget.querySelector('[aria-live]').textContent,
      shown: widget.querySelector('.lm-figure').textContent };
  });
}"""
SCRIPTS = [
    "Latin",
    "Greek",
    "Cyrillic",
    "Arabic",
    "Hebrew",
    "Devanagari",
    "Bengali",
    "Tamil",
    "Thai",
    "Hangul",
    "Hiragana",
    "Katakana",
    "Han",
    "Georgian",
    "Armenian",
    "Ethiopic",
    "Khmer",
    "Tibetan",
    "Cherokee",
    "Gothic",
]
HARD = [
    "", " ", "  ", "\n", "\r\n\t \x0b\x0c", " \n x", "   spaced   out   ",
    "\x00\x01\x7f", "\x1c\x85",
    "\ufeff", "a\ufeffb", "\xa0\u2003\u3000 x", "\u2028\u2029",
    "it's we'll I'D they've 'tis ''s",
    "1234567 or 12,345.67", "٣٤٥ ①²Ⅷ 〇", " 7", "7 8\t9",
    "e\u0301 n\u0303 \u0301\u0301 a\u0301\u0300",
    "👩‍👩‍👧‍👦🏽🇩🇪✊🏿", "Ω is not \u2126", "ﬁ ſ İ ı ß ẞ",
    "\U0001d49c\U00010348\U0010ffff", "\u0378",
    "<|endoftext|><|im_start|>", "Ġthe Ċ", "a" * 10_000, "ab" * 5_000, " " * 3_000, "न" * 500,
    "\\ \" < > & </script> <!--", "x=1;y\t=[i for i in range(10)]",
]  # fmt: skip


def by_script() -> dict[str, list[str]]:
    """Characters of some scripts, and signs, marks, digits and emoji, as Python knows them."""
    wanted = {script: rf"\p{{Script={script}}}" for script in SCRIPTS}
    wanted |= {"marks": r"\p{M}", "numbers": r"\p{N}", "signs": r"[\p{P}\p{S}]", "space": r"\s",
               "emoji": r"\p{Emoji_Presentation}", "format": r"\p{Cf}"}  # fmt: skip
    old = [
        chr(code)
        for code in range(0x20000)
        if unicodedata.category(chr(code)) not in ("Cn", "Cs", "Co")
    ]
    return {name: [c for c in old if regex.match(p, c)][:2000] for name, p in wanted.items()}


@functools.cache
def texts() -> list[str]:
    """More than two thousand: hard ones by hand, real verses, and random mixtures of scripts."""
    rng, signs = random.Random(0), by_script()
    found = list(HARD) + rng.sample(kjv_text().split("\n"), 300)
    for name, own in signs.items():
        for length in range(1, 31):
            words = ("".join(rng.choices(own, k=rng.randint(1, 6))) for _ in range(length))
            found.append(rng.choice(["", " ", "  ", "\n"]).join(words))
        assert own, name
    every = list(itertools.chain.from_iterable(signs.values()))
    for _ in range(1_000):
        pools = [
            *rng.choices(list(signs.values()), k=3),
            list("etaoin shrdlu' 0123456789\n.,"),
            every,
        ]
        found.append("".join(rng.choice(rng.choice(pools)) for _ in range(rng.randint(1, 60))))
    return found


@pytest.fixture(scope="module")
def page(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The widget on a page without the book."""
    examples = {"a word": "Shawshank", "two": "one two"}
    widget = TypingTokenizer(
        vocabularies=typing_vocabularies(), examples=examples, alt="tokens of a text"
    )
    path = tmp_path_factory.mktemp("typing") / "page.html"
    style = STYLE.read_text(encoding="utf-8")
    text = PAGE.format(style=style, widget=widget.static_html(), script=static_script())
    path.write_text(text, encoding="utf-8")
    opened = browser.new_page()
    complaints: list[str] = []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    opened.goto(path.as_uri())
    opened.wait_for_function(SETTLED)
    yield opened
    opened.close()
    assert complaints == []


def expected(number: int, text: str) -> list[int] | str:
    """Python's ids, or what it says to a byte that the vocabulary lacks.

    A text field makes every line break a line feed before the page sees it.
    """
    try:
        return typing_vocabularies()[number].tokenizer.encode(re.sub("\r\n?", "\n", text))
    except ValueError as error:
        return re.findall(r"the byte 0x\w\w", str(error))[0]


@pytest.mark.parametrize(("pair", "every"), [((0, 1), 1), ((2, 0), 4)])
def test_the_page_gives_python_s_ids(page: Page, pair: tuple[int, int], every: int) -> None:
    assert len(set(texts())) > 2_000
    tried, wrong = texts()[::every], []
    for text, found in zip(tried, page.evaluate(TRY, [*pair, tried]), strict=True):
        for number, ids in zip(pair, found["ids"], strict=True):
            right = expected(number, text)
            same = right in found["shown"] if isinstance(right, str) else right == ids
            if not same:
                wrong.append((number, text, ids, right))
    assert wrong == []
    TOTALS["texts typed"] += len(tried)


def test_half_a_surrogate_pair_counts_as_the_sign_of_replacement(page: Page) -> None:
    # Playwright sends no lone surrogate, so the page makes them.
    page.evaluate(TRY, [0, 1, ["x"]])
    halves = "['\\ud83d', 'a\\udc00b', '\\ud83dx\\ude00', '\\ude00\\ud83d']"
    found = page.evaluate(f"({TRY})([0, 1, {halves}])")
    texts_ = ["\ufffd", "a\ufffdb", "\ufffdx\ufffd", "\ufffd\ufffd"]
    for text, one in zip(texts_, found, strict=True):
        assert one["ids"] == [expected(0, text), expected(1, text)]
        assert "half surrogate pair" in one["note"]


def test_what_a_reader_sees_and_hears(page: Page) -> None:
    [empty, word, long] = page.evaluate(TRY, [0, 1, ["", "€ a", "a b " * 3_000]])
    assert empty["note"].startswith("0 characters, 0 bytes: 0 tokens")
    assert word["note"].startswith("3 characters, 5 bytes:")
    assert "␣a" in word["shown"]
    assert long["chips"] < 600, "a long text is not drawn whole"
    assert "more" in long["shown"]


def test_it_is_worked_by_the_keyboard_alone(page: Page) -> None:
    page.evaluate(TRY, [0, 1, [""]])
    page.locator("textarea").focus()
    page.keyboard.type("hi there")
    assert page.locator("textarea").evaluate("field => field.labels[0].textContent")
    assert page.locator("[aria-live=polite]").inner_text().startswith("8 characters")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")
    assert page.locator("textarea").input_value() == "one two"
    page.keyboard.press("Tab")
    before = page.locator(".lm-figure").inner_text()
    page.keyboard.press("ArrowDown")
    assert page.locator(".lm-figure").inner_text() != before


def test_what_was_typed_is_there_after_a_reload(page: Page) -> None:
    page.evaluate(TRY, [2, 1, ["kept"]])
    before = page.locator(".lm-figure").inner_text()
    page.reload()
    page.wait_for_function(SETTLED)
    assert page.locator("textarea").input_value() == "kept"
    assert page.locator(".lm-figure").inner_text() == before


def test_the_page_carries_less_than_150_kb_of_vocabulary() -> None:
    widget = TypingTokenizer(vocabularies=typing_vocabularies(), examples={"a": "a"}, alt="tokens")
    assert len(widget.static_html().encode()) < 150_000
