"""Counting: the parameters, FLOPs and bytes of a model, from its description alone.

The same functions take numbers and sympy letters. With numbers they count; with letters they return
the formula, which the book prints and from which the calculators in its pages are generated.
Neither torch nor sympy is imported to count in numbers; sympy comes with the alphabet.
"""

from typing import TYPE_CHECKING, Any

from llmlib.accounting.activations import activation_bytes, fused_activation_bytes
from llmlib.accounting.breakdown import Breakdown
from llmlib.accounting.chips import CHIPS, Chip
from llmlib.accounting.elementwise import elementwise_operations
from llmlib.accounting.flops import forward_flops, training_flops, visible_pairs
from llmlib.accounting.memory import kv_cache_bytes, weight_bytes
from llmlib.accounting.moved import moved_bytes
from llmlib.accounting.parameters import parameters
from llmlib.accounting.roofline import StepTime, intensity, step_time
from llmlib.accounting.sizes import number_bytes
from llmlib.accounting.training import training_bytes, training_moments

if TYPE_CHECKING:
    from llmlib.accounting.lettered import in_letters
    from llmlib.accounting.letters import ALPHABET, CONTROLS, LETTERS, SWITCHES

__all__ = [
    "ALPHABET",
    "CHIPS",
    "CONTROLS",
    "LETTERS",
    "SWITCHES",
    "Breakdown",
    "Chip",
    "StepTime",
    "activation_bytes",
    "elementwise_operations",
    "forward_flops",
    "fused_activation_bytes",
    "in_letters",
    "intensity",
    "kv_cache_bytes",
    "moved_bytes",
    "number_bytes",
    "parameters",
    "step_time",
    "training_bytes",
    "training_flops",
    "training_moments",
    "visible_pairs",
    "weight_bytes",
]


def __getattr__(name: str) -> Any:
    """The alphabet, when it is asked for."""
    if name == "in_letters":
        from llmlib.accounting import lettered

        return lettered.in_letters
    if name in ("ALPHABET", "CONTROLS", "LETTERS", "SWITCHES"):
        from llmlib.accounting import letters

        return getattr(letters, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
