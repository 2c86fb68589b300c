"""Patterns as tokenizer.json holds them: Oniguruma's dialect, written anew for the package regex.

The two differ in what looks alike. In Oniguruma `&&` and `[` within a class are an intersection and
a class, `^` and `$` stand at every line, `\\h` is a hexadecimal digit, `x{1,3}+` repeats and is not
possessive, and ignoring case never takes `İ` for `i`. Here a pattern is read item by item and each
is written so that the package regex cannot misread it. What is not known is refused by name.

Not the same: characters that one package's Unicode tables know and the other's do not yet.
"""

from collections.abc import Callable

import regex

from llmlib.tokenization.unicode_names import PROPERTIES

POSIX = {
    "alpha": r"\p{Alphabetic}",
    "digit": r"\p{Nd}",
    "alnum": r"\p{Alphabetic}\p{Nd}",
    "upper": r"\p{Uppercase}",
    "lower": r"\p{Lowercase}",
    "space": r"\p{White_Space}",
    "punct": r"\p{P}\p{S}",
    "cntrl": r"\p{Cc}",
    "blank": r"\p{Zs}\t",
    "xdigit": "0-9A-Fa-f",
    "word": r"\p{Alphabetic}\p{M}\p{Nd}\p{Pc}",
}
# Oniguruma's \w, but not its [\w], takes these six fractions and powers for letters.
WORD = rf"[{POSIX['word']}²³¹¼½¾]"
CONTROLS = {"t": "\t", "n": "\n", "r": "\r", "f": "\f", "v": "\v", "a": "\a", "e": "\x1b"}
SETS = {"s": r"\s", "d": r"\d", "h": "0-9A-Fa-f"}  # also with a capital: the others
BOUNDARY = f"(?:(?<={WORD})(?!{WORD})|(?<!{WORD})(?={WORD}))"
NO_BOUNDARY = f"(?:(?<={WORD})(?={WORD})|(?<!{WORD})(?!{WORD}))"
ITEMS = {
    "A": r"\A",
    "z": r"\Z",
    "Z": r"(?=\n?\Z)",
    "b": BOUNDARY,
    "B": NO_BOUNDARY,
    "w": WORD,
    "W": f"[^{WORD}]",
    "N": r"[^\n]",
    "O": r"[\s\S]",
    "R": r"(?>\r\n|[\n-\r\x85\u2028\u2029])",
}
LINE_START, LINE_END = r"(?:(?<![^\n])(?!\Z)|\A)", r"(?=\n|\Z)"
GROUPS = ("?:", "?=", "?!", "?>", "?<=", "?<!")
INTERVAL = regex.compile(r"\{(\d*)(,?)(\d*)\}")
# Case of these letters is not one to one: s also ſ, k also the Kelvin sign, and pairs that are one
# character in another case, such as ss and ß.
MORE_CASES = {"s": "ſ", "k": "\u212a"}
ONE_IN_ANOTHER_CASE = ("ss", "ff", "fi", "fl", "st")
SAME_IN_EVERY_CASE = {
    *SETS.values(),
    *(rf"\p{{{name}}}" for name in ("L", "M", "N", "Nd", "P", "S", "Z", "C", "Han")),
}


def translate(pattern: str) -> str:
    """The same pattern for the package regex, with `(?V1)` in front.

    Groups no longer capture: only whole matches count when a text is split.

    Raises: ValueError for what Oniguruma does not know, or what this does not; it names the place.
    """
    reader = _Reader(pattern)
    text = reader.alternatives(ignore_case=False, dot_all=False)
    if reader.at < len(pattern):
        raise reader.unknown("unbalanced ')'")
    return "(?V1)" + text


def _literal(character: str) -> str:
    """One character that means nothing else, in or outside a class."""
    if character.isalnum() or character in " '\"" or ord(character) > 127:
        return character
    return f"\\x{ord(character):02x}"


def _cases(character: str) -> list[str]:
    """An ASCII letter in each of its cases."""
    both = {character.lower(), character.upper()}
    return sorted(both | set(MORE_CASES.get(character.lower(), "")))


class _Reader:
    """Reads a pattern from left to right; each method leaves `at` behind what it has read."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0

    def unknown(self, what: str) -> ValueError:
        return ValueError(f"the pattern {self.pattern!r}: {what} at position {self.at}")

    def rest(self) -> str:
        return self.pattern[self.at :]

    def take(self, text: str) -> bool:
        """Steps over a text if it comes next."""
        found = self.pattern.startswith(text, self.at)
        self.at += len(text) * found
        return found

    def next(self) -> str:
        if self.at == len(self.pattern):
            raise self.unknown("the pattern ends too early")
        self.at += 1
        return self.pattern[self.at - 1]

    # --- outside classes ----------------------------------------------------------------------

    def alternatives(self, ignore_case: bool, dot_all: bool) -> str:
        """Items and quantifiers, up to the end of the group."""
        items: list[str] = []
        repeated = False  # whether the last item has a quantifier already
        run = ""  # letters side by side whose case is ignored
        while self.at < len(self.pattern) and self.pattern[self.at] != ")":
            begin = self.at
            if self.take("|"):
                items.append("|")
            elif quantifier := self.quantifier():
                if not items or items[-1] in ("|", ""):
                    self.at = begin
                    raise self.unknown(f"nothing to repeat before {self.pattern[begin]!r}")
                items[-1] = quantifier(f"(?:{items[-1]})" if repeated else items[-1])
                repeated = True
                continue
            elif flags := regex.compile(r"\(\?([ims]*)(?:-([ims]+))?(\)|:)").match(
                self.pattern, begin
            ):
                self.at = flags.end()
                on, off = flags[1], flags[2] or ""
                inner = (ignore_case or "i" in on) and "i" not in off
                dots = (dot_all or "m" in on or "s" in on) and not {"m", "s"} & set(off)
                items.append(f"(?:{self.alternatives(inner, dots)})")
                if flags[3] == ":" and not self.take(")"):
                    raise self.unknown("a group without its ')'")
            else:
                items.append(self.item(ignore_case, dot_all))
            repeated = False
            letter = self.pattern[begin : self.at]
            run = run + letter.lower() if len(letter) == 1 and letter.isalpha() else ""
            if ignore_case and run.endswith(ONE_IN_ANOTHER_CASE):
                raise self.unknown(f"{run[-2:]!r} in any case, which may be one character,")
        return "".join(items)

    def quantifier(self) -> Callable[[str], str] | None:
        """What a quantifier makes of the item before it; None if there is none."""
        if (sign := self.rest()[:1]) in ("*", "+", "?") and sign:
            self.at += 1
            more = "?" if self.take("?") else "+" if self.take("+") else ""
            return lambda item: f"{item}{sign}{more}"
        found = INTERVAL.match(self.pattern, self.at)
        if found is None or found[0] in ("{}", "{,}"):
            return None
        least, most = found[1] or "0", found[3] if found[2] else found[1]
        if most and int(least) > int(most):
            raise self.unknown(f"the interval {found[0]}")
        self.at = found.end()
        counted = f"{{{least},{most}}}"
        if found[2] and self.take("?"):
            return lambda item: f"{item}{counted}?"
        return lambda item: (
            f"{item}{counted}"
        )  # a + behind it, or a ? behind {n}, repeats once more

    def item(self, ignore_case: bool, dot_all: bool) -> str:
        """One character, class, anchor or group."""
        character = self.next()
        match character:
            case "[":
                return self.char_class(ignore_case)
            case "(":
                return self.group(ignore_case, dot_all)
            case "\\":
                return self.escape(ignore_case)
            case ".":
                return r"[\s\S]" if dot_all else r"[^\n]"
            case "^":
                return LINE_START
            case "$":
                return LINE_END
        return self.character(character, ignore_case)

    def character(self, character: str, ignore_case: bool) -> str:
        """A literal, in each of its cases if case is ignored."""
        if not ignore_case or character.lower() == character.upper():
            return _literal(character)
        if not character.isascii():
            raise self.unknown(f"{character!r} in any case, which is not read here,")
        return f"[{''.join(_cases(character))}]"

    def group(self, ignore_case: bool, dot_all: bool) -> str:
        if self.take("?#"):
            self.at = self.pattern.find(")", self.at) + 1 or len(self.pattern)
            return ""
        kind = next((kind for kind in GROUPS if self.take(kind)), None)
        if kind is None and self.rest()[:1] in ("?", "*"):
            raise self.unknown(f"the group '({self.rest()[:2]}', which is not read here,")
        inner = self.alternatives(ignore_case, dot_all)
        if not self.take(")"):
            raise self.unknown("a group without its ')'")
        return f"({kind or '?:'}{inner})"

    def escape(self, ignore_case: bool) -> str:
        r"""Behind a backslash: \s, \p{L}, \x41, \n, \. and the like."""
        if (kind := self.rest()[:1]) in ITEMS and kind:
            self.at += 1
            return ITEMS[kind]
        if (set_ := self.named_set(ignore_case)) is not None:
            return set_ if set_.startswith("\\") else f"[{set_}]"
        return self.character(self.escaped_character(), ignore_case)

    # --- named sets and characters, in or outside a class -------------------------------------

    def named_set(self, ignore_case: bool) -> str | None:
        r"""What \s, \D or \p{L} stand for within a class; None if it is none of them."""
        kind = self.rest()[:1]
        if kind.lower() in SETS and kind:
            self.at += 1
            found, negated = SETS[kind.lower()], kind.isupper()
        elif kind in ("p", "P") and kind:
            name = regex.compile(r"[pP]\{(\^?)([^}]*)\}").match(self.pattern, self.at)
            plain = regex.sub(r"[\s_-]", "", name[2]).lower() if name else ""
            if name is None or plain not in PROPERTIES:
                shown = name[0] if name else self.rest()[:2]
                raise self.unknown(f"the property \\{shown}, which is not read here,")
            self.at = name.end()
            found, negated = rf"\p{{{PROPERTIES[plain]}}}", (kind == "P") != bool(name[1])
        else:
            return None
        if ignore_case and found not in SAME_IN_EVERY_CASE:
            raise self.unknown(f"{found} in any case, which is not read here,")
        return f"[^{found}]" if negated else found

    def escaped_character(self) -> str:
        code = regex.compile(r"x\{([0-9A-Fa-f]{1,6})\}|x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})")
        if found := code.match(self.pattern, self.at):
            number = int(found[1] or found[2] or found[3], 16)
            if number > 0x10FFFF or 0xD800 <= number < 0xE000 or (found[2] and number > 127):
                raise self.unknown(f"\\{found[0]}, which is no character,")
            self.at = found.end()
            return chr(number)
        character = self.next()
        if character in CONTROLS:
            return CONTROLS[character]
        if character.isascii() and character.isalnum():
            raise self.unknown(f"\\{character}, which is not read here,")
        return character

    # --- classes ------------------------------------------------------------------------------

    def char_class(self, ignore_case: bool) -> str:
        """A class behind its '[': ranges, named sets, classes within, and intersections."""
        negated = self.take("^")
        operands: list[str] = [""]
        if self.take("]"):  # first, it is a character
            operands[0] = _literal("]")
        while not self.take("]"):
            if self.take("&&"):
                operands.append("")
            else:
                operands[-1] += self.class_item(ignore_case)
        if "" in operands:
            raise self.unknown("an empty class, or && with nothing beside it,")
        inner = operands[0] if len(operands) == 1 else "&&".join(f"[{one}]" for one in operands)
        return f"[{'^' * negated}{inner}]"

    def class_item(self, ignore_case: bool) -> str:
        posix = regex.compile(r"\[:(\^?)(\w+):\]").match(self.pattern, self.at)
        if posix:
            if posix[2] not in POSIX or (ignore_case and posix[2] in ("upper", "lower")):
                raise self.unknown(f"the class {posix[0]}, which is not read here,")
            self.at = posix.end()
            return f"[{posix[1]}{POSIX[posix[2]]}]"
        if self.take("["):
            return self.char_class(ignore_case)
        if self.pattern[self.at : self.at + 1] == "\\":
            self.at += 1
            if (kind := self.rest()[:1]) in ("w", "W") and kind:
                self.at += 1
                return self.no_range(f"[{'^' * (kind == 'W')}{POSIX['word']}]")
            if (set_ := self.named_set(ignore_case)) is not None:
                return self.no_range(set_)
            first = "\b" if self.take("b") else self.escaped_character()
        else:
            first = self.next()
        if self.rest()[:1] != "-" or self.rest()[1:2] in ("]", ""):
            return self.range(first, first, ignore_case)
        self.at += 1
        last = self.next()
        if last == "[" or (last == "&" and self.rest()[:1] == "&"):
            raise self.unknown(f"the range {first!r}-{last!r}")
        if last == "\\":
            last = self.escaped_character()
        return self.range(first, last, ignore_case)

    def no_range(self, set_: str) -> str:
        """A set within a class, behind which a hyphen may only be the last character."""
        if self.rest()[:1] == "-" and self.rest()[1:2] != "]":
            raise self.unknown("a range that begins with a set")
        return set_

    def range(self, first: str, last: str, ignore_case: bool) -> str:
        if first > last:
            raise self.unknown(f"the range {first!r}-{last!r}, whose end is before its beginning,")
        plain = _literal(first) if first == last else f"{_literal(first)}-{_literal(last)}"
        if not ignore_case:
            return plain
        if not last.isascii() and (first != last or first.lower() != first.upper()):
            raise self.unknown(f"{first!r}-{last!r} in any case, which is not read here,")
        letters = filter(str.isalpha, map(chr, range(ord(first), min(ord(last), 127) + 1)))
        return plain + "".join(case for letter in letters for case in _cases(letter))
