"""Checks of arguments that counting shares; formulas pass, for nobody knows their value."""

from typing import Any, get_args

import sympy

from llmlib.model_cards import ModelConfig
from llmlib.sizes import check_sizes


def check_choices(**choices: tuple[Any, Any]) -> None:
    """ValueError for a value that its `Literal` does not list.

    Args:
        choices: by the argument's name, what was found and the `Literal`.
    """
    for name, (found, literal) in choices.items():
        if found not in get_args(literal):
            expected = " or ".join(map(repr, get_args(literal)))
            raise ValueError(f"{name} is {found!r}, expected {expected}")


def check_counts(least: int, **counts: Any) -> None:
    """`check_sizes` for those that are no formulas; sympy's own numbers are none."""
    for name, count in counts.items():
        if isinstance(count, sympy.Expr) and not count.is_number:
            continue
        check_sizes(least, **{name: int(count) if isinstance(count, sympy.Integer) else count})


def check_past(c: ModelConfig, past: Any) -> None:
    """TypeError, ValueError for what no cache can hold, or an encoder's, which has none."""
    check_counts(0, past=past)
    if c.family == "encoder" and past != 0:
        raise ValueError(f"past is {past}, expected 0: an encoder keeps no cache")


def source_tokens(seq: Any, source_seq: Any, least: int = 1) -> Any:
    """Tokens of an encoder-decoder's source, checked; as many as the target's if not given."""
    check_counts(least, source_seq=seq if source_seq is None else source_seq)
    return seq if source_seq is None else source_seq
