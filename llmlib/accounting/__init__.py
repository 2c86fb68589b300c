"""Counting: the parameters, FLOPs and bytes of a model, from its configuration alone.

The same functions take numbers and sympy letters. With numbers they count; with letters they return
the formula, which the book prints and from which the calculators in its pages are generated.
"""

from llmlib.accounting.activations import activation_bytes, fused_activation_bytes
from llmlib.accounting.breakdown import Breakdown
from llmlib.accounting.config import in_letters
from llmlib.accounting.elementwise import elementwise_operations
from llmlib.accounting.flops import forward_flops, training_flops, visible_pairs
from llmlib.accounting.letters import LETTERS, SWITCHES
from llmlib.accounting.memory import kv_cache_bytes, weight_bytes
from llmlib.accounting.parameters import parameters
from llmlib.accounting.roofline import CHIPS, Chip, StepTime, intensity, moved_bytes, step_time
from llmlib.accounting.sizes import number_bytes
from llmlib.accounting.training import training_bytes, training_moments

__all__ = [
    "CHIPS",
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
