"""The post_processor of a tokenizer.json: the tokens that a model wants around a text."""

from collections.abc import Mapping
from typing import Any

from llmlib.tokenization.files import expect, short
from llmlib.tokenization.tokenizer_file import Around


def read_around(processor: Any, ids: Mapping[str, int]) -> Around:
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
                first, last = read_around(step, ids)
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


def write_around(around: Around, names: Mapping[int, str]) -> dict[str, Any] | None:
    """The inverse of `read_around`.

    Args:
        around: ids before and behind a text.
        names: id -> token.
    """
    if not any(around):
        return None
    sides = [[{"SpecialToken": {"id": names[i], "type_id": 0}} for i in side] for side in around]
    single = [*sides[0], {"Sequence": {"id": "A", "type_id": 0}}, *sides[1]]
    pair = [*single, {"Sequence": {"id": "B", "type_id": 1}}]
    used = {
        names[i]: {"id": names[i], "ids": [i], "tokens": [names[i]]}
        for side in around
        for i in side
    }
    return {"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": used}
