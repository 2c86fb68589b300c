"""The decoder of a tokenizer.json, read as steps and written again."""

from collections.abc import Mapping
from typing import Any

from llmlib.tokenization.decoders import (
    ByteFallback,
    Decoding,
    Fuse,
    MetaspaceOut,
    ReplaceIn,
    SpaceBetween,
    Step,
    StripEnds,
    WordPieceOut,
)
from llmlib.tokenization.files import expect, only, read_either, short
from llmlib.tokenization.json_pre_tokenizer import read_metaspace

BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True}


def read_decoder(section: Any, byte_level: bool) -> Decoding:
    """The steps; none where tokens are bytes, whose decoder has to be ByteLevel.

    Raises: ValueError naming a step that is not known, or does not fit.
    """
    if section is None and not byte_level:
        return (SpaceBetween(),)
    steps = _flat(section)
    if byte_level:
        if [step.get("type") for step in steps] != ["ByteLevel"]:
            raise ValueError(f"decoder {short(section)}, expected ByteLevel")
        return ()
    return tuple(map(_read_step, steps))


def _flat(section: Any) -> list[dict[str, Any]]:
    step = expect(section, dict, "decoder")
    if step.get("type") != "Sequence":
        return [step]
    only(step, ("type", "decoders"), "Sequence's option")
    steps = expect(step.get("decoders"), list, "decoders")
    return [inner for one in steps for inner in _flat(one)]


def _read_step(step: Mapping[str, Any]) -> Step:
    kind = step.get("type")
    options = {key: value for key, value in step.items() if key != "type"}
    what = f"{kind}'s option"
    match kind:
        case "Fuse" | "ByteFallback":
            only(options, (), what)
            return Fuse() if kind == "Fuse" else ByteFallback()
        case "Replace":
            only(options, ("pattern", "content"), what)
            text, is_regex = read_either(options.get("pattern"), "Replace's pattern")
            content = expect(options.get("content"), str, "Replace's content")
            return ReplaceIn(text, content, is_regex)
        case "Strip":
            only(options, ("content", "start", "stop"), what)
            sides = (
                expect(options.get(side), int, f"Strip's {side}") for side in ("start", "stop")
            )
            return StripEnds(expect(options.get("content"), str, "Strip's content"), *sides)
        case "Metaspace":
            found = read_metaspace(step)
            return MetaspaceOut(found.mark, found.prepend, found.split)
        case "WordPiece":
            only(options, ("prefix", "cleanup"), what)
            prefix = expect(options.get("prefix"), str, "WordPiece's prefix")
            return WordPieceOut(prefix, expect(options.get("cleanup"), bool, "cleanup"))
    raise ValueError(f"decoder {short(dict(step))}, which is not read here")


def write_decoder(decoding: Decoding, byte_level: bool) -> dict[str, Any] | None:
    """The inverse of `read_decoder`."""
    if byte_level:
        return {**BYTE_LEVEL, "use_regex": True}
    if decoding == (SpaceBetween(),):
        return None
    steps = list(map(_write_step, decoding)) or [{"type": "Fuse"}]
    return steps[0] if len(steps) == 1 else {"type": "Sequence", "decoders": steps}


def _write_step(step: Step) -> dict[str, Any]:
    match step:
        case Fuse() | ByteFallback():
            return {"type": type(step).__name__}
        case ReplaceIn(text, content, is_regex):
            pattern = {"Regex" if is_regex else "String": text}
            return {"type": "Replace", "pattern": pattern, "content": content}
        case StripEnds(content, start, stop):
            return {"type": "Strip", "content": content, "start": start, "stop": stop}
        case MetaspaceOut(mark, prepend, split):
            scheme = {"replacement": mark, "prepend_scheme": prepend, "split": split}
            return {"type": "Metaspace", **scheme}
        case WordPieceOut(prefix, cleanup):
            return {"type": "WordPiece", "prefix": prefix, "cleanup": cleanup}
        case SpaceBetween():
            raise ValueError("a file has a space between all tokens, or other steps, not both")
