"""What may stand in a calculator's controls, whoever puts it there: the page or Python."""

from collections.abc import Mapping
from typing import Any


def checked_state(spec: Mapping[str, Any], state: Mapping[str, Any]) -> dict[str, Any]:
    """`state` itself, where every control of `spec` can show it.

    Raises:
        ValueError: a part missing or too many, an unknown letter, an option that a select lacks.
        TypeError: something other than text in a number box; what the text says is checked by the
            page, which tells the reader.
    """
    _same("state", state, ("text", "follow", "on", "pick", "preset", "changed"))
    fields = spec["fields"]
    _same("text", state["text"], [field["letter"] for field in fields])
    followers = [field["letter"] for field in fields if "follows" in field]
    _same("follow", state["follow"], followers)
    _same("on", state["on"], [toggle["letter"] for toggle in spec["toggles"]])
    for letter, text in state["text"].items():
        if not isinstance(text, str):
            raise TypeError(
                f"state: the text of {letter} is {text!r}, expected a text like '1,024'"
            )
    if len(state["pick"]) != len(spec["picks"]):
        raise ValueError(f"state: pick is {state['pick']}, expected {len(spec['picks'])} of them")
    for chosen, pick in zip(state["pick"], spec["picks"], strict=True):
        _within(f"pick of {pick['label']!r}", chosen, len(pick["options"]))
    _within("preset", state["preset"], len(spec["presets"]) + 1)
    return dict(state)


def _same(name: str, found: Mapping[str, Any], expected: Any) -> None:
    if set(found) != set(expected):
        raise ValueError(f"{name} has {sorted(found)}, expected {sorted(expected)}")


def _within(name: str, chosen: Any, count: int) -> None:
    if not isinstance(chosen, int) or not 0 <= chosen < count:
        raise ValueError(f"state: {name} is {chosen!r}, expected 0 to {count - 1}")
