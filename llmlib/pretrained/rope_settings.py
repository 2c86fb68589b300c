"""RoPE in config.json, as the versions of transformers write it, and how far it reaches.

Version 5 has one object, rope_parameters, with base and scaling; version 4 had rope_theta beside
rope_scaling. Folders that were edited by hand may say it twice: that is read where both agree.
"""

from typing import Any

from llmlib.pretrained.settings import (
    FLAG,
    NUMBER,
    OBJECT,
    POSITIVE,
    SIZE,
    TEXT,
    Only,
    SameAs,
    Settings,
    Table,
    Used,
    harmless,
    read_settings,
)

Scaling = dict[str, Any]
DEFAULT_BASE = 10_000.0

ROPE: Table = {
    "max_position_embeddings": Used(SIZE, 2048),
    "original_max_position_embeddings": Used(SIZE, None, null=True),
    "rope_theta": Used(POSITIVE, None, null=True),
    "rope_scaling": Used(OBJECT, None, null=True),
    "rope_parameters": Used(OBJECT, None, null=True),
    "partial_rotary_factor": Only((None, 1.0)),
}
"""Keys of config.json that say how RoPE turns."""

_PLAIN: Table = {
    "rope_type": Used(TEXT, "default"),
    "type": SameAs("rope_type"),  # its name before transformers 4.43
    "rope_theta": Used(POSITIVE, None),
    "partial_rotary_factor": Only((None, 1.0)),
    "original_max_position_embeddings": Used(SIZE, None),
    **harmless("tells how the weights were trained", "finetuned"),
}
SCALINGS: dict[str, Table] = {
    "default": _PLAIN,
    "linear": {**_PLAIN, "factor": Used(POSITIVE)},
    "llama3": {
        **_PLAIN,
        "factor": Used(POSITIVE),
        "low_freq_factor": Used(POSITIVE),
        "high_freq_factor": Used(POSITIVE),
    },
    "yarn": {
        **_PLAIN,
        "factor": Used(POSITIVE, null=True),
        "attention_factor": Used(POSITIVE, None, null=True),
        "beta_fast": Used(POSITIVE, None, null=True),
        "beta_slow": Used(POSITIVE, None, null=True),
        "mscale": Used(NUMBER, None, null=True),
        "mscale_all_dim": Used(NUMBER, None, null=True),
        "truncate": Used(FLAG, True),
    },
}
"""Keys of each kind of scaling within rope_scaling and rope_parameters."""


def rope(settings: Settings) -> tuple[float, Scaling | None]:
    """RoPE's base, and its scaling in the terms of `rope_frequencies`.

    Raises:
        ValueError: a kind of scaling, a key or a value that is not supported; two descriptions
            that differ (transformers takes rope_scaling and forgets the base of the other).
    """
    objects = [name for name in ("rope_scaling", "rope_parameters") if settings[name]]
    found = [_described(name, settings) for name in objects]
    if not found:
        return float(settings["rope_theta"] or DEFAULT_BASE), None
    if found[0] != found[-1]:
        raise ValueError(
            f"rope_scaling is {settings['rope_scaling']!r} and rope_parameters is "
            f"{settings['rope_parameters']!r}, expected one of them, or both alike"
        )
    return found[0]


def _described(name: str, settings: Settings) -> tuple[float, Scaling | None]:
    """Base and scaling as one of the objects and the keys beside it give them."""
    given = settings[name]
    kind = given.get("rope_type", given.get("type", "default"))
    if kind not in SCALINGS:
        raise ValueError(f"rope_type in {name} is {kind!r}, expected one of {', '.join(SCALINGS)}")
    try:
        scaling = read_settings(given, SCALINGS[kind], f"a RoPE of type {kind}")
    except ValueError as error:
        raise ValueError(f"in {name}, {error}") from None
    base = _agreed("rope_theta", name, scaling.pop("rope_theta"), settings)
    if kind == "default":
        return float(base or DEFAULT_BASE), None
    length = "original_max_position_embeddings"
    scaling[length] = _agreed(length, name, scaling[length], settings)
    if kind in ("llama3", "yarn"):
        scaling[length] = scaling[length] or settings["max_position_embeddings"]
        scaling["factor"] = (
            scaling["factor"] or settings["max_position_embeddings"] / scaling[length]
        )
    scaling.pop("partial_rotary_factor", None)
    known = {key: value for key, value in scaling.items() if value is not None}
    return float(base or DEFAULT_BASE), known


def _agreed(key: str, name: str, inner: Any, settings: Settings) -> Any:
    """A number that may stand in the object, beside it, or in both if they agree."""
    outer = settings[key]
    if None not in (inner, outer) and inner != outer:
        raise ValueError(f"{key} is {outer!r}, and {inner!r} in {name}, expected one value")
    return outer if inner is None else inner


def context(longest: int, scaling: Scaling | None) -> int:
    """Positions that a model may see: those of the settings, or those that its scaling reaches.

    A folder may be stretched by adding a scaling to it; max_position_embeddings then still is the
    length of the training.
    """
    if scaling is None:
        return longest
    reached = scaling["factor"] * scaling.get("original_max_position_embeddings", longest)
    return max(longest, int(min(reached, 2**62)))
