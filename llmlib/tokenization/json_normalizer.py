"""The normalizer of a tokenizer.json, read as steps and written again."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any, get_args

from llmlib.tokenization.chars_map import CharsMap
from llmlib.tokenization.files import expect, only, read_either, short
from llmlib.tokenization.normalizers import (
    Bert,
    Lowercase,
    Nmt,
    Normalization,
    Normalizer,
    Prepend,
    Replace,
    Step,
    Strip,
    StripAccents,
    Unicode,
)

PLAIN: dict[str, type[Lowercase | StripAccents | Nmt]] = {
    "Lowercase": Lowercase,
    "StripAccents": StripAccents,
    "Nmt": Nmt,
}
BERT = {
    "clean_text": "clean",
    "handle_chinese_chars": "chinese",
    "strip_accents": "accents",
    "lowercase": "lowercase",
}


def read_normalizer(section: Any) -> Normalizer | None:
    """The steps, or the name of the normal form if that is all.

    Raises: ValueError naming a step that is not known, or one of its options.
    """
    steps = [] if section is None else _flat(section)
    if len(steps) == 1 and isinstance(steps[0], Unicode):
        return steps[0].form
    return tuple(steps) or None


def _flat(section: Any) -> list[Step]:
    step = expect(section, dict, "a normalizer")
    if step.get("type") != "Sequence":
        return [_read_step(step)]
    only(step, ("type", "normalizers"), "Sequence's option")
    steps = expect(step.get("normalizers"), list, "normalizers")
    return [inner for one in steps for inner in _flat(one)]


def _read_step(step: Mapping[str, Any]) -> Step:
    kind = step.get("type")
    options = {key: value for key, value in step.items() if key != "type"}
    what = f"{kind}'s option"
    match kind:
        case "NFC" | "NFD" | "NFKC" | "NFKD":
            only(options, (), what)
            return Unicode(kind)
        case "Lowercase" | "StripAccents" | "Nmt":
            only(options, (), what)
            return PLAIN[kind]()
        case "Replace":
            only(options, ("pattern", "content"), what)
            text, is_regex = read_either(options.get("pattern"), "Replace's pattern")
            return Replace(text, expect(options.get("content"), str, "Replace's content"), is_regex)
        case "Prepend":
            only(options, ("prepend",), what)
            return Prepend(expect(options.get("prepend"), str, "prepend"))
        case "Strip":
            only(options, ("strip_left", "strip_right"), what)
            sides = (expect(options.get(f"strip_{s}"), bool, s) for s in ("left", "right"))
            return Strip(*sides)
        case "BertNormalizer":
            only(options, BERT, what)
            return _read_bert(options)
        case "Precompiled":
            only(options, ("precompiled_charsmap",), what)
            return _read_table(options.get("precompiled_charsmap"))
    raise ValueError(f"normalizer {short(dict(step))}, which is not read here")


def _read_bert(options: Mapping[str, Any]) -> Bert:
    values = {BERT[key]: value for key, value in options.items()}
    for key, value in values.items():
        if not (value is None and key == "accents"):
            expect(value, bool, f"BertNormalizer's {key}")
    return Bert(**values)


def _read_table(text: Any) -> CharsMap:
    try:
        return CharsMap(base64.b64decode(expect(text, str, "precompiled_charsmap"), validate=True))
    except binascii.Error as error:
        raise ValueError(f"precompiled_charsmap is no base64: {error}") from None


def write_normalizer(normalizer: Normalizer | None) -> dict[str, Any] | None:
    """The inverse of `read_normalizer`."""
    if normalizer in get_args(Normalization) or normalizer is None:
        return {"type": normalizer} if normalizer else None
    steps = [_write_step(step) for step in normalizer if not isinstance(step, str)]
    return steps[0] if len(steps) == 1 else {"type": "Sequence", "normalizers": steps}


def _write_step(step: Step) -> dict[str, Any]:
    match step:
        case Unicode(form):
            return {"type": form}
        case Replace(text, content, is_regex):
            pattern = {"Regex" if is_regex else "String": text}
            return {"type": "Replace", "pattern": pattern, "content": content}
        case Prepend(text):
            return {"type": "Prepend", "prepend": text}
        case Strip(left, right):
            return {"type": "Strip", "strip_left": left, "strip_right": right}
        case Bert():
            return {"type": "BertNormalizer", **{k: getattr(step, v) for k, v in BERT.items()}}
        case CharsMap(table):
            text = base64.b64encode(table).decode("ascii")
            return {"type": "Precompiled", "precompiled_charsmap": text}
        case Lowercase() | StripAccents() | Nmt():
            return {"type": type(step).__name__}
