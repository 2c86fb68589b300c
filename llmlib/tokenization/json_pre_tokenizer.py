"""The pre_tokenizer of a tokenizer.json, read as steps and written again."""

from collections.abc import Mapping
from typing import Any

from llmlib.tokenization.byte_symbols import ByteSymbols
from llmlib.tokenization.files import expect, only, read_either, short
from llmlib.tokenization.patterns import (
    BERT_STEPS,
    DIGITS_FIRST_PATTERN,
    GPT2_PATTERN,
    PUNCTUATION_PATTERN,
    SPACES,
    WORDS_PATTERN,
    Behavior,
    Metaspace,
    Pattern,
    PrefixSpace,
    Split,
    Step,
)

BEHAVIORS: dict[str, Behavior] = {
    "Isolated": "isolated",
    "Removed": "removed",
    "Contiguous": "contiguous",
    "MergedWithPrevious": "merged_with_previous",
    "MergedWithNext": "merged_with_next",
}
FILE_NAMES = {name: file_name for file_name, name in BEHAVIORS.items()}
DIGITS_FIRST = (Split(r"\p{N}"), Split(GPT2_PATTERN))
WORDS: dict[str, tuple[Step, ...]] = {
    "Whitespace": (Split(WORDS_PATTERN, "removed", invert=True),),
    "WhitespaceSplit": (SPACES,),
    "BertPreTokenizer": BERT_STEPS,
}


def read_pattern(section: Any) -> tuple[Pattern, bool]:
    """The pattern of the pieces, or its steps, and whether the pieces become bytes.

    Raises: ValueError naming a step that is not known, or one of its options.
    """
    steps = [] if section is None else [step for one in _flat(section) for step in _read_step(one)]
    byte_level = ByteSymbols() in steps
    if steps.count(ByteSymbols()) > 1:
        raise ValueError(f"pre_tokenizer {short(section)} has ByteLevel twice, expected once")
    if byte_level and steps[-1] == ByteSymbols():  # at the end, bytes are spelled anyway
        steps.pop()
    if tuple(steps) == DIGITS_FIRST:
        return DIGITS_FIRST_PATTERN, byte_level
    match steps:
        case [Split(pattern, "isolated", False)]:
            return pattern, byte_level
    return tuple(steps), byte_level


def _flat(section: Any) -> list[dict[str, Any]]:
    """Sequences within sequences as one list of steps."""
    step = expect(section, dict, "a pre_tokenizer")
    if step.get("type") != "Sequence":
        return [step]
    only(step, ("type", "pretokenizers"), "Sequence's option")
    steps = expect(step.get("pretokenizers"), list, "pretokenizers")
    return [inner for one in steps for inner in _flat(one)]


def _read_step(step: Mapping[str, Any]) -> list[Step]:
    """One step of the file, which may be several here."""
    kind = step.get("type")
    options = {key: value for key, value in step.items() if key != "type"}
    what = f"{kind}'s option"
    match kind:
        case "Split":
            only(options, ("pattern", "behavior", "invert"), what)
            text, is_regex = read_either(options.get("pattern"), "Split's pattern")
            invert = expect(options.get("invert"), bool, "Split's invert")
            return [Split(text if is_regex else _literal(text), _behavior(step), invert)]
        case "Digits":
            only(options, ("individual_digits",), what)
            single = expect(options.get("individual_digits"), bool, "individual_digits")
            return [Split(r"\p{N}", "isolated" if single else "contiguous")]
        case "Punctuation":
            only(options, ("behavior",), what)
            return [Split(PUNCTUATION_PATTERN, _behavior(step))]
        case "CharDelimiterSplit":
            only(options, ("delimiter",), what)
            return [Split(_literal(expect(options.get("delimiter"), str, what)), "removed")]
        case "Whitespace" | "WhitespaceSplit" | "BertPreTokenizer":
            only(options, (), what)
            return list(WORDS[kind])
        case "Metaspace":
            return [read_metaspace(step)]
        case "ByteLevel":
            only(options, ("add_prefix_space", "trim_offsets", "use_regex"), what)
            prefix = expect(options.get("add_prefix_space"), bool, "add_prefix_space")
            cut = expect(options.get("use_regex", True), bool, "use_regex")
            return [*[PrefixSpace()] * prefix, *[Split(GPT2_PATTERN)] * cut, ByteSymbols()]
    raise ValueError(f"pre_tokenizer {short(dict(step))}, which is not read here")


def read_metaspace(step: Mapping[str, Any]) -> Metaspace:
    """Metaspace as a step of cutting; a decoder has the same options.

    Raises: ValueError for an option that is not known, or two that do not agree.
    """
    known = ("type", "replacement", "prepend_scheme", "split", "add_prefix_space", "str_rep")
    only(step, known, "Metaspace's option")
    mark = expect(step.get("replacement"), str, "Metaspace's replacement")
    if step.get("str_rep", mark) != mark:
        raise ValueError(f"Metaspace's str_rep is {short(step['str_rep'])}, expected {mark!r}")
    scheme = expect(step.get("prepend_scheme", "always"), str, "prepend_scheme")
    if scheme not in ("always", "first", "never"):
        raise ValueError(f"prepend_scheme is {scheme!r}, expected always, first or never")
    prefix = step.get("add_prefix_space")  # how files said it until 2023
    if prefix is not None and prefix != (scheme != "never"):
        raise ValueError(f"add_prefix_space is {prefix!r}, but prepend_scheme {scheme!r}")
    split = expect(step.get("split", True), bool, "Metaspace's split")
    return Metaspace(mark, scheme, split)


def _literal(text: str) -> str:
    return "".join(f"\\x{{{ord(c):x}}}" for c in text)


def _behavior(step: Mapping[str, Any]) -> Behavior:
    behavior = step.get("behavior", "Isolated" if step["type"] == "Punctuation" else None)
    if behavior not in BEHAVIORS:
        expected = ", ".join(BEHAVIORS)
        raise ValueError(
            f"{step['type']}'s behavior is {short(behavior)}, expected one of {expected}"
        )
    return BEHAVIORS[behavior]


# --- writing ----------------------------------------------------------------------------------


def write_pattern(pattern: Pattern, byte_level: bool) -> dict[str, Any] | None:
    """The inverse of `read_pattern`."""
    if byte_level and pattern == DIGITS_FIRST_PATTERN:
        pattern = DIGITS_FIRST
    steps: list[Step] = [Split(pattern)] if isinstance(pattern, str) else list(pattern)
    if byte_level and ByteSymbols() not in steps:
        steps.append(ByteSymbols())
    written = []
    while steps:
        if taken := _byte_level(steps):
            prefix, cut = PrefixSpace() in steps[:taken], Split(GPT2_PATTERN) in steps[:taken]
            options = {"add_prefix_space": prefix, "trim_offsets": True, "use_regex": cut}
            written.append({"type": "ByteLevel", **options})
        else:
            taken = 1
            written.append(_write_step(steps[0]))
        steps = steps[taken:]
    if len(written) <= 1:
        return written[0] if written else None
    return {"type": "Sequence", "pretokenizers": written}


def _byte_level(steps: list[Step]) -> int:
    """How many of the first steps are one ByteLevel in a file."""
    for several in (
        (PrefixSpace(), Split(GPT2_PATTERN), ByteSymbols()),
        (PrefixSpace(), ByteSymbols()),
        (Split(GPT2_PATTERN), ByteSymbols()),
        (ByteSymbols(),),
    ):
        if tuple(steps[: len(several)]) == several:
            return len(several)
    return 0


def _write_step(step: Step) -> dict[str, Any]:
    match step:
        case Split(pattern, behavior, invert):
            if "(?s" in pattern:
                raise ValueError(
                    f"the pattern {pattern!r} cannot be saved: Oniguruma writes (?m for (?s"
                )
            options = {"behavior": FILE_NAMES[behavior], "invert": invert}
            return {"type": "Split", "pattern": {"Regex": pattern}, **options}
        case Metaspace(mark, prepend, split):
            scheme = {"replacement": mark, "prepend_scheme": prepend, "split": split}
            return {"type": "Metaspace", **scheme}
    raise ValueError(f"the step {step!r} cannot be saved alone: a file has it within ByteLevel")
