"""Checks of arguments that counting shares; formulas pass, for nobody knows their value."""

from typing import Any, get_args

import llmlib.architecture as arch
from llmlib.sizes import check_sizes


def check_config(config: Any) -> None:
    """TypeError for what is no description of a model."""
    if not isinstance(config, arch.ModelConfig):
        raise TypeError(f"config is a {type(config).__name__}, expected a ModelConfig of "
                        "llmlib.architecture, such as a card's .config")  # fmt: skip


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
        if not arch.is_letter(count):
            whole = int(count) if getattr(count, "is_Integer", False) else count
            check_sizes(least, **{name: whole})


def check_past(config: arch.ModelConfig, past: Any) -> None:
    """TypeError, ValueError for what no cache can hold, or an encoder's, which has none."""
    check_counts(0, past=past)
    if config.family == "encoder" and past != 0:
        raise ValueError(f"past is {past}, expected 0: an encoder keeps no cache")


def source_tokens(seq: Any, source_seq: Any, least: int = 1) -> Any:
    """Tokens of an encoder-decoder's source, checked; as many as the target's if not given."""
    check_counts(least, source_seq=seq if source_seq is None else source_seq)
    return seq if source_seq is None else source_seq
