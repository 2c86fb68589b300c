"""Configurations as counting takes them: checked, and with letters in the place of sizes.

A configuration whose sizes are letters goes through the same functions as one with numbers, and
gives the formula instead of the number.
"""

import dataclasses
from types import SimpleNamespace
from typing import Any, Literal, get_origin, get_type_hints

import sympy

from llmlib.accounting.checks import check_choices, check_counts
from llmlib.accounting.letters import LETTERS, SWITCHES, is_number
from llmlib.model_cards import Experts, ModelConfig

_SIZES = ("vocab_size", "dim", "n_layers", "n_heads", "n_kv_heads", "head_dim", "ffn_dim")
_LATENT = ("kv_rank", "query_rank", "rope_dim", "plain_dim", "value_dim")
_HINTS = get_type_hints(ModelConfig)
_CHOICES = {name: hint for name, hint in _HINTS.items() if get_origin(hint) is Literal}
_SWITCHES = (*SWITCHES, "bias", "embedding_norm", "embedding_scaled", "pooler")


def as_config(config: Any) -> ModelConfig:
    """A configuration as a checked `ModelConfig`, its switches 0 or 1.

    Args:
        config: a `ModelConfig`, or anything with its names for what a decoder needs, such as
            `llmlib.decoder.DecoderConfig`. Sizes may be letters.

    Raises:
        TypeError: no configuration, or a size that is neither an integer nor a letter.
        ValueError: sizes that are not positive, key/value heads that do not divide the heads,
            unknown choices, switches that are neither on nor off, experts that do not fit.
    """
    if isinstance(config, ModelConfig):
        fields = dict(vars(config))
    else:
        names = [field.name for field in dataclasses.fields(ModelConfig)]
        fields = {name: getattr(config, name) for name in names if hasattr(config, name)}
        missing = [name for name in _SIZES if name not in fields]
        if missing:
            raise TypeError(f"{type(config).__name__} has no {', '.join(missing)}: expected a "
                            "ModelConfig or a DecoderConfig")  # fmt: skip
    c = ModelConfig(**fields)
    _check_config(c)
    as_numbers = {name: int(x) for name, x in vars(c).items() if isinstance(x, bool)}
    return ModelConfig(**(vars(c) | as_numbers))


def _check_config(c: ModelConfig) -> None:
    check_choices(**{name: (getattr(c, name), known) for name, known in _CHOICES.items()})
    sizes = (*_SIZES, "context", "position_rows", "relative_buckets", "norms_per_block", "window")
    given = {name: getattr(c, name) for name in sizes}
    check_counts(1, **{name: x for name, x in given.items() if x is not None})
    check_counts(0, segments=c.segments)
    for name in _SWITCHES:
        x = getattr(c, name)
        if not isinstance(x, sympy.Expr) and x not in (0, 1):
            raise ValueError(f"{name} is {x!r}, expected True or False")
    if is_number(c.n_heads) and is_number(c.n_kv_heads) and c.n_heads % c.n_kv_heads:
        raise ValueError(f"n_kv_heads is {c.n_kv_heads}, expected a divisor of {c.n_heads} heads")
    if c.experts is not None:
        _check_experts(c.experts, c.n_layers)


def _check_experts(e: Experts, n_layers: Any) -> None:
    check_counts(1, n_experts=e.n_experts, n_active=e.n_active, ffn_dim=e.ffn_dim)
    check_counts(0, n_shared=e.n_shared, n_dense_layers=e.n_dense_layers)
    for name, found, most in (
        ("n_active", e.n_active, e.n_experts), ("n_dense_layers", e.n_dense_layers, n_layers),
    ):  # fmt: skip
        if is_number(found) and is_number(most) and found > most:
            raise ValueError(f"{name} is {found}, expected at most {most}")


def in_letters(config: Any, **changes: Any) -> ModelConfig:
    """The configuration with the same choices and letters for its sizes.

    G is H where the configuration's heads share no keys.

    Args:
        config: whose choices are kept, a `ModelConfig` or a `DecoderConfig`.
        changes: fields to be set otherwise, e.g. `ffn_dim=4 * d, head_dim=d / H`.
    """
    config = as_config(config)
    letters: dict[str, Any] = {name: LETTERS[name] for name in (*_SIZES, "context")}
    # Rows beside those of the context: BART's 2 for padding, PanGu's second table.
    letters["position_rows"] = LETTERS["context"] + config.position_rows - config.context
    if config.n_kv_heads == config.n_heads:
        letters["n_kv_heads"] = LETTERS["n_heads"]
    if config.window is not None:
        letters["window"] = LETTERS["window"]
    if config.latent is not None:
        given = {x: LETTERS[x] for x in _LATENT if getattr(config.latent, x) is not None}
        letters["latent"] = SimpleNamespace(**{"query_rank": None} | given)
        letters["head_dim"] = LETTERS["plain_dim"] + LETTERS["rope_dim"]
    if config.experts is not None:
        letters["experts"] = _experts_in_letters(config.experts, config.ffn_dim)
    return dataclasses.replace(config, **(letters | changes))


def _experts_in_letters(experts: Experts, ffn_dim: Any) -> Experts:
    """Experts are as wide as a dense block (Mixtral), or have a width of their own (DeepSeek)."""
    return Experts(
        n_experts=LETTERS["n_experts"],
        n_active=LETTERS["n_active"],
        ffn_dim=LETTERS["ffn_dim" if experts.ffn_dim == ffn_dim else "expert_dim"],
        n_shared=LETTERS["n_shared"] if experts.n_shared else 0,
        n_dense_layers=LETTERS["n_dense_layers"] if experts.n_dense_layers else 0,
    )
