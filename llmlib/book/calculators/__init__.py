"""The calculators of the chapters on counting: what `llmlib.accounting` counts, in the page.

Every formula here is what the accounting returns for letters; a control gives each letter its
number.
"""

from llmlib.book.calculators.flops import flop_calculator
from llmlib.book.calculators.memory import memory_calculator
from llmlib.book.calculators.parameters import parameter_calculator

__all__ = ["flop_calculator", "memory_calculator", "parameter_calculator"]
