"""RoPE in config.json, as the versions of transformers write it, and how far it reaches.

Version 5 has one object, rope_parameters, with base and scaling; version 4 had rope_theta beside
rope_scaling. Folders that were edited by hand may say it twice: that is read where both agree.
Gemma 3 and OLMo 3 have a RoPE for the layers with a window and another for those without.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal

import llmlib.architecture as arch
from llmlib.pretrained.settings import (
    FACTORS,
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
    harmless,
    read_settings,
)

ROPE: Table = {
    "max_position_embeddings": SIZE(2048),
    "original_max_position_embeddings": SIZE(None, null=True),
    "rope_theta": POSITIVE(None, null=True),
    "rope_scaling": OBJECT(None, null=True),
    "rope_parameters": OBJECT(None, null=True),
    "partial_rotary_factor": Only((None, 1.0)),
}
"""Keys of config.json that say how RoPE turns."""
PARTIAL: Table = {"partial_rotary_factor": POSITIVE(None, null=True)}
"""Of families where a part of each head turns."""

_PLAIN: Table = {
    "rope_type": TEXT("default"),
    "type": SameAs("rope_type"),  # its name before transformers 4.43
    "rope_theta": POSITIVE(None),
    "partial_rotary_factor": POSITIVE(None),
    "original_max_position_embeddings": SIZE(None),
    **harmless("tells how the weights were trained", "finetuned"),
}
SCALINGS: dict[str, Table] = {
    "default": _PLAIN,
    "linear": {**_PLAIN, "factor": POSITIVE()},
    "llama3": {
        **_PLAIN,
        "factor": POSITIVE(),
        "low_freq_factor": POSITIVE(),
        "high_freq_factor": POSITIVE(),
    },
    "yarn": {
        **_PLAIN,
        "factor": POSITIVE(null=True),
        "attention_factor": POSITIVE(None, null=True),
        "beta_fast": POSITIVE(None, null=True),
        "beta_slow": POSITIVE(None, null=True),
        "mscale": NUMBER(None, null=True),
        "mscale_all_dim": NUMBER(None, null=True),
        "truncate": FLAG(True),
    },
}
"""Keys of each kind of scaling within rope_scaling and rope_parameters."""
LONGROPE: Table = {
    **_PLAIN,
    "short_factor": FACTORS(),
    "long_factor": FACTORS(),
    "factor": POSITIVE(None, null=True),
    "attention_factor": POSITIVE(None, null=True),
}
PHI3_SCALINGS = {"default": _PLAIN, "longrope": LONGROPE, "su": LONGROPE}
"""Phi-3's: short texts turn by one list of factors, long ones by another."""


def rope(
    settings: Settings,
    base: float = 10_000.0,
    share: float | None = None,
    layout: Literal["half", "interleaved"] = "half",
    scalings: Mapping[str, Table] = SCALINGS,
    beside: Mapping[str, str] | None = None,
) -> arch.Rope:
    """How the layers' RoPE turns.

    Args:
        settings: with the keys of ROPE.
        base: where the settings have none.
        share: of a head's features that turn, where the settings say nothing; None: all of them
            in every model of the family, whatever the settings say.
        layout: which features are a pair.
        scalings: kinds of scaling that the family has.
        beside: names of keys beside the objects, where the family has its own for them.

    Raises:
        ValueError: a kind of scaling, a key or a value that is not supported; two descriptions
            that differ (transformers takes rope_scaling and forgets the base of the other).
    """
    objects = [name for name in ("rope_scaling", "rope_parameters") if settings[name]]
    given = [(name, settings[name]) for name in objects] or [("config.json", {})]
    found = [_described(*one, settings, base, scalings, beside or {}) for one in given]
    if found[0] != found[-1]:
        raise ValueError(
            f"rope_scaling is {settings['rope_scaling']!r} and rope_parameters is "
            f"{settings['rope_parameters']!r}, expected one of them, or both alike"
        )
    theta, part, scaling = found[0]
    if share is None and part not in (None, 1.0):
        where = f"in {objects[0]}, " if objects else ""
        raise ValueError(f"{where}partial_rotary_factor is {part}, expected 1.0, or no such key")
    return arch.Rope(theta, part or share or 1.0, scaling, layout)


def ropes(settings: Settings, bases: Mapping[str, float]) -> dict[str, arch.Rope]:
    """The RoPE of each kind of layer.

    Args:
        settings: with the keys of ROPE; rope_parameters holds an object for each kind, and what
            version 4 had in rope_scaling is that of full_attention.
        bases: kind of layer -> base, where the object has none.
    """
    outer = {**settings, "rope_theta": None}
    given = settings["rope_parameters"] or {}
    if settings["rope_scaling"] and given:
        raise ValueError(
            f"rope_scaling is {settings['rope_scaling']!r} beside rope_parameters {given!r}, "
            "expected one of them"
        )
    if unknown := set(given) - set(bases):
        raise ValueError(
            f"rope_parameters is {given!r}, with {', '.join(sorted(unknown))}; expected an object "
            f"for each of {', '.join(bases)}"
        )
    if "type" in (settings["rope_scaling"] or {}):  # which transformers passes over here
        raise ValueError(
            f"type in rope_scaling is {settings['rope_scaling']!r}, expected rope_type"
        )
    found = {}
    for kind, base in bases.items():
        scaled = settings["rope_scaling"] if kind == "full_attention" else None
        mine = given.get(kind) or scaled or {}
        if not isinstance(mine, dict):
            raise ValueError(f"{kind} in rope_parameters is {mine!r}, expected an object with keys")
        if mine.get("truncate", True) is not True:
            raise ValueError(f"truncate of {kind} in rope_parameters is false, expected true")
        found[kind] = rope({**outer, "rope_parameters": mine, "rope_scaling": None}, base)
    return found


Described = tuple[float, float | None, arch.Scaling | None]


def _described(
    name: str, given: Any, settings: Settings, base: float, scalings: Mapping[str, Table],
    beside: Mapping[str, str],
) -> Described:  # fmt: skip
    """Base, share and scaling as one of the objects and the keys beside it give them."""
    kind = given.get("rope_type", given.get("type", "default"))
    if kind not in scalings:
        raise ValueError(f"rope_type in {name} is {kind!r}, expected one of {', '.join(scalings)}")
    try:
        read = read_settings(given, scalings[kind], f"a RoPE of type {kind}")
    except ValueError as error:
        raise ValueError(f"in {name}, {error}") from None
    length = "original_max_position_embeddings"
    theta, share, original = (
        _agreed(beside.get(key, key), name, read.pop(key), settings)
        for key in ("rope_theta", "partial_rotary_factor", length)
    )
    theta = theta or base
    if kind == "default":
        return theta, share, None
    longest = settings["max_position_embeddings"]
    if kind != "linear":  # which knows no other length than the longest
        original = original or longest
        read["factor"] = read["factor"] or longest / original
    if kind in ("longrope", "su"):
        return theta, share, _short_factors(read, original)
    if read.get("truncate") is True:
        del read["truncate"]  # as it is where nothing is said
    return theta, share, arch.Scaling.of({**read, length: original})


def _short_factors(read: Settings, original: int) -> arch.Scaling:
    """LongRoPE within the context that was trained first.

    Beyond it other factors hold for all tokens, the cached ones too, whose keys have turned by
    then: so the model's context ends there.

    Source: abdin2024phi3
    """
    amplitude = read["attention_factor"]
    if amplitude is None:
        stretched = max(read["factor"], 1.0)
        amplitude = math.sqrt(1 + math.log(stretched) / math.log(original))
    more = (("attention_factor", amplitude), ("factors", tuple(read["short_factor"])))
    return arch.Scaling("factors", 1.0, original, more)


def _agreed(key: str, name: str, inner: Any, settings: Settings) -> Any:
    """A number that may stand in the object, beside it, or in both if they agree."""
    outer = settings.get(key)
    if None not in (inner, outer) and inner != outer:
        raise ValueError(f"{key} is {outer!r}, and {inner!r} in {name}, expected one value")
    return outer if inner is None else inner


def reach(longest: int, turning: arch.Rope | None) -> int:
    """Positions that a model may see: those of the settings, or those that its scaling reaches.

    A folder may be stretched by adding a scaling to it; max_position_embeddings then still is the
    length of the training. Frequencies that hold for short texts alone end with those.
    """
    scaling = None if turning is None else turning.scaling
    if scaling is None:
        return longest
    if scaling.kind == "factors":
        return min(longest, scaling.original or longest)
    reached = scaling.factor * (scaling.original or longest)
    return max(longest, int(min(reached, 2**62)))
