"""Hugging Face's tokenizer.json: every section is understood or refused by name."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llmlib.tokenization.added import AddedToken
from llmlib.tokenization.base import Around, Normalization
from llmlib.tokenization.files import (
    TokenizerFile,
    by_id,
    expect,
    naming,
    only,
    read_json,
    read_merges,
    short,
)
from llmlib.tokenization.patterns import (
    DIGITS_FIRST_PATTERN,
    GPT2_PATTERN,
    PUNCTUATION_PATTERN,
    Pattern,
    Split,
)

SECTIONS = (
    *("version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer"),
    *("post_processor", "decoder", "model"),
)
# Options of the model that do nothing with these values. A token for the unknown does nothing as
# long as all is known; where a byte or character has no token, `encode` says so.
IDLE = {
    "dropout": (None, 0, 0.0),
    "continuing_subword_prefix": (None, ""),
    "end_of_word_suffix": (None, ""),
    "byte_fallback": (None, False),
}
ADDED_FLAGS = ("special", "lstrip", "rstrip", "single_word", "normalized")
BEHAVIORS = {
    "Isolated": "isolated",
    "Removed": "removed",
    "Contiguous": "contiguous",
    "MergedWithPrevious": "merged_with_previous",
    "MergedWithNext": "merged_with_next",
}
FILE_NAMES = {name: file_name for file_name, name in BEHAVIORS.items()}
DIGITS_FIRST = (Split(r"\p{N}"), Split(GPT2_PATTERN))


def json_path(path: str | os.PathLike[str]) -> Path:
    """The file itself, or tokenizer.json in a folder."""
    path = Path(path)
    return path / "tokenizer.json" if path.is_dir() else path


def read_tokenizer_json(path: str | os.PathLike[str]) -> TokenizerFile:
    """Reads a tokenizer.json that holds a BPE model.

    Raises: ValueError naming the file, if something is missing or is not supported here.
    """
    path = json_path(path)
    content = read_json(path)
    with naming(path):
        return _parse(content)


def _parse(content: Mapping[str, Any]) -> TokenizerFile:
    only(content, SECTIONS, "the section")
    vocabulary, merges, ignore_merges = _model(content.get("model"))
    added = _added(content.get("added_tokens") or [], vocabulary)
    if content.get("truncation") is not None:
        raise ValueError(
            f"truncation is {short(content['truncation'])}, expected none: it cuts ids off"
        )
    padding = content.get("padding")
    if padding is not None and (
        expect(padding, dict, "padding").get("strategy") != "BatchLongest"
        or padding.get("pad_to_multiple_of")
    ):
        raise ValueError(f"padding is {short(padding)}, expected none: it adds ids")
    pattern, byte_level = _pattern(content.get("pre_tokenizer"))
    _check_decoder(content.get("decoder"), byte_level)
    tokens = by_id(vocabulary | {token.content: token.id for token in added})
    ids = {token: i for i, token in enumerate(tokens)}
    return TokenizerFile(
        *(tokens, merges, added, pattern, byte_level),
        normalization=_normalization(content.get("normalizer")),
        ignore_merges=ignore_merges,
        around=_around(content.get("post_processor"), ids),
    )


def _model(model: Any) -> tuple[dict[str, Any], list[tuple[str, str]], bool]:
    """Vocabulary, merges, and whether a piece that is a token needs none."""
    model = expect(model, dict, "model")
    if model.get("type", "BPE") != "BPE":
        raise ValueError(f"model type {model['type']!r}, expected 'BPE'")
    for option, idle in IDLE.items():
        if model.get(option) not in idle:
            raise ValueError(f"model option {option} is {model[option]!r}, which is not read here")
    known = ("type", "vocab", "merges", "ignore_merges", "unk_token", "fuse_unk", *IDLE)
    only(model, known, "model option")
    vocabulary = expect(model.get("vocab"), dict, "model.vocab")
    ignore_merges = expect(model.get("ignore_merges") or False, bool, "model.ignore_merges")
    return vocabulary, read_merges(model.get("merges"), "model.merges"), ignore_merges


def _added(entries: Any, vocabulary: Mapping[str, Any]) -> tuple[AddedToken, ...]:
    added = []
    for entry in expect(entries, list, "added_tokens"):
        only(expect(entry, dict, "an added token"), ("id", "content", *ADDED_FLAGS), "added token")
        content = expect(entry.get("content"), str, "content of an added token")
        what = f"of the added token {content!r}"
        i = expect(entry.get("id"), int, f"id {what}")
        if vocabulary.get(content, i) != i:
            raise ValueError(f"id {what} is {i}, but {vocabulary[content]} in the vocabulary")
        flags = {flag: expect(entry.get(flag), bool, f"{flag} {what}") for flag in ADDED_FLAGS}
        added.append(AddedToken(content, i, **flags))
    return tuple(added)


def _normalization(normalizer: Any) -> Normalization | None:
    if normalizer is None:
        return None
    kind = expect(normalizer, dict, "normalizer").get("type")
    steps = expect(normalizer.get("normalizers", []), list, "normalizers")
    if kind == "Sequence" and len(steps) <= 1:
        return _normalization(steps[0]) if steps else None
    if kind not in ("NFC", "NFD", "NFKC", "NFKD"):
        raise ValueError(f"normalizer {short(normalizer)}, expected none, NFC, NFD, NFKC or NFKD")
    only(normalizer, ("type",), f"{kind}'s option")
    return kind


# --- pre_tokenizer ----------------------------------------------------------------------------


def _pattern(pre_tokenizer: Any) -> tuple[Pattern, bool]:
    """The pattern of the pieces, or its steps, and whether the pieces are bytes."""
    if pre_tokenizer is None:
        raise ValueError("pre_tokenizer is null, expected ByteLevel or Split")
    steps = _flat(pre_tokenizer)
    last = steps[-1] if steps else {}
    byte_level = last.get("type") == "ByteLevel"
    splits = [_split(step) for step in (steps[:-1] if byte_level else steps)]
    if byte_level:
        only(last, ("type", "add_prefix_space", "trim_offsets", "use_regex"), "ByteLevel's option")
        if expect(last.get("add_prefix_space"), bool, "add_prefix_space"):
            raise ValueError("add_prefix_space is true, expected false")
        if expect(last.get("use_regex", True), bool, "use_regex"):
            splits.append(Split(GPT2_PATTERN))
    if tuple(splits) == DIGITS_FIRST:
        return DIGITS_FIRST_PATTERN, byte_level
    alone = len(splits) == 1 and splits[0].behavior == "isolated"
    return (splits[0].pattern if alone else tuple(splits)), byte_level


def _flat(pre_tokenizer: Any) -> list[dict[str, Any]]:
    """Sequences within sequences as one list of steps."""
    step = expect(pre_tokenizer, dict, "a pre_tokenizer")
    if step.get("type") != "Sequence":
        return [step]
    only(step, ("type", "pretokenizers"), "Sequence's option")
    steps = expect(step.get("pretokenizers"), list, "pretokenizers")
    return [inner for one in steps for inner in _flat(one)]


def _split(step: Mapping[str, Any]) -> Split:
    """One step, as a pattern with a behavior."""
    kind = step.get("type")
    if kind == "Split":
        only(step, ("type", "pattern", "behavior", "invert"), "Split's option")
        pattern = expect(step.get("pattern"), dict, "Split's pattern")
        only(pattern, ("Regex", "String"), "Split's pattern")
        if len(pattern) != 1:
            raise ValueError(f"Split's pattern is {short(pattern)}, expected Regex or String")
        ((form, text),) = pattern.items()
        text = expect(text, str, f"Split's {form}")
        if not text:
            raise ValueError(f"Split's {form} is empty, expected a text")
        literal = "".join(f"\\x{{{ord(c):x}}}" for c in text)
        invert = expect(step.get("invert"), bool, "Split's invert")
        return Split(text if form == "Regex" else literal, _behavior(step), invert)  # type: ignore[arg-type]
    if kind == "Digits":
        only(step, ("type", "individual_digits"), "Digits' option")
        single = expect(step.get("individual_digits"), bool, "individual_digits")
        return Split(r"\p{N}", "isolated" if single else "contiguous")
    if kind == "Punctuation":
        only(step, ("type", "behavior"), "Punctuation's option")
        return Split(PUNCTUATION_PATTERN, _behavior(step))  # type: ignore[arg-type]
    where = " before the last step" if kind == "ByteLevel" else ""
    raise ValueError(f"pre_tokenizer {short(dict(step))}{where}, which is not read here")


def _behavior(step: Mapping[str, Any]) -> str:
    behavior = step.get("behavior")
    if behavior not in BEHAVIORS:
        expected = ", ".join(BEHAVIORS)
        raise ValueError(
            f"{step['type']}'s behavior is {short(behavior)}, expected one of {expected}"
        )
    return BEHAVIORS[behavior]


# --- decoder and post_processor ---------------------------------------------------------------


def _check_decoder(decoder: Any, byte_level: bool) -> None:
    kind = expect(decoder, dict, "decoder").get("type")
    expected = "ByteLevel" if byte_level else "Fuse"
    if kind != expected:
        raise ValueError(f"decoder {short(decoder)}, expected {expected}")


def _around(processor: Any, ids: Mapping[str, int]) -> Around:
    """The ids that a post-processor puts before and behind a text."""
    if processor is None:
        return (), ()
    match expect(processor, dict, "post_processor").get("type"):
        case "ByteLevel":  # places in the text, not ids
            return (), ()
        case "Sequence":
            before: tuple[int, ...] = ()
            behind: tuple[int, ...] = ()
            for step in expect(processor.get("processors"), list, "processors"):
                first, last = _around(step, ids)
                before, behind = first + before, behind + last
            return before, behind
        case "TemplateProcessing":
            return _template(processor, ids)
        case "BertProcessing" | "RobertaProcessing":
            return tuple((_named(processor.get(k), ids),) for k in ("cls", "sep"))  # type: ignore[return-value]
    raise ValueError(f"post_processor {short(processor)}, which is not read here")


def _named(pair: Any, ids: Mapping[str, int]) -> int:
    """The id of a token that is written with its id."""
    if not isinstance(pair, list) or len(pair) != 2 or not isinstance(pair[0], str):
        raise ValueError(f"a token around a text is {short(pair)}, expected its name and id")
    if ids.get(pair[0]) != pair[1]:
        raise ValueError(
            f"{pair[0]!r} around a text has id {pair[1]}, but {ids.get(pair[0])} in the vocabulary"
        )
    return ids[pair[0]]


def _template(processor: Mapping[str, Any], ids: Mapping[str, int]) -> Around:
    """Tokens before and behind the text in the template for a single text."""
    tokens = expect(processor.get("special_tokens"), dict, "post_processor.special_tokens")
    sides: list[list[int]] = [[]]
    for piece in expect(processor.get("single"), list, "post_processor.single"):
        match piece:
            case {"Sequence": {"id": "A"}}:
                sides.append([])
            case {"SpecialToken": {"id": str(name)}} if isinstance(tokens.get(name), dict):
                numbers = expect(tokens[name].get("ids"), list, f"ids of {name!r}")
                known = set(ids.values())
                if wrong := [i for i in numbers if type(i) is not int or i not in known]:
                    raise ValueError(
                        f"{name!r} around a text has id {wrong[0]!r}, not in the vocabulary"
                    )
                sides[-1] += numbers
            case _:
                raise ValueError(
                    f"post_processor.single holds {short(piece)}, which is not read here"
                )
    if len(sides) != 2:
        raise ValueError(
            f"post_processor.single holds the text {len(sides) - 1} times, expected once"
        )
    return tuple(sides[0]), tuple(sides[1])


# --- writing ----------------------------------------------------------------------------------


def tokenizer_json(
    vocabulary: Mapping[str, int],
    merges: Sequence[tuple[str, str]],
    added_tokens: Sequence[AddedToken],
    pattern: Pattern,
    *,
    byte_level: bool,
    normalization: Normalization | None = None,
    ignore_merges: bool = False,
    around: Around = ((), ()),
) -> str:
    """The text of a tokenizer.json that the package tokenizers reads."""
    names = {i: token for token, i in vocabulary.items()}
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": t.id, "content": t.content, **{flag: getattr(t, flag) for flag in ADDED_FLAGS}}
            for t in sorted(added_tokens, key=lambda token: token.id)
        ],
        "normalizer": {"type": normalization} if normalization else None,
        "pre_tokenizer": _pre_tokenizer(pattern, byte_level),
        "post_processor": _post_processor(around, names) if any(around) else None,
        "decoder": _byte_level(False) if byte_level else {"type": "Fuse"},
        "model": {
            "type": "BPE",
            **({"ignore_merges": True} if ignore_merges else {}),
            "vocab": dict(vocabulary),
            "merges": [list(merge) for merge in merges],
        },
    }
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


def _byte_level(use_regex: bool) -> dict[str, Any]:
    options = {"add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}
    return {"type": "ByteLevel", **options}


def _pre_tokenizer(pattern: Pattern, byte_level: bool) -> dict[str, Any]:
    """The inverse of `_pattern`."""
    if byte_level and pattern == GPT2_PATTERN:
        return _byte_level(True)
    if byte_level and pattern == DIGITS_FIRST_PATTERN:
        steps = [{"type": "Digits", "individual_digits": True}, _byte_level(True)]
        return {"type": "Sequence", "pretokenizers": steps}
    splits = (Split(pattern),) if isinstance(pattern, str) else pattern
    steps = []
    for split in splits:
        if "(?s" in split.pattern:
            raise ValueError(
                f"the pattern {split.pattern!r} cannot be saved: Oniguruma writes (?m for (?s"
            )
        behavior = {"behavior": FILE_NAMES[split.behavior], "invert": split.invert}
        steps.append({"type": "Split", "pattern": {"Regex": split.pattern}, **behavior})
    if not byte_level and len(steps) == 1:
        return steps[0]
    steps += [_byte_level(False)] if byte_level else []
    return {"type": "Sequence", "pretokenizers": steps}


def _post_processor(around: Around, names: Mapping[int, str]) -> dict[str, Any]:
    sides = [[{"SpecialToken": {"id": names[i], "type_id": 0}} for i in side] for side in around]
    single = [*sides[0], {"Sequence": {"id": "A", "type_id": 0}}, *sides[1]]
    pair = [*single, {"Sequence": {"id": "B", "type_id": 1}}]
    used = {
        names[i]: {"id": names[i], "ids": [i], "tokens": [names[i]]}
        for side in around
        for i in side
    }
    return {"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": used}
