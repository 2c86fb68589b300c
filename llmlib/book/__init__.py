"""What only the notebooks need: claims, exercises, plots, tables, code listings and widgets."""

from llmlib.book.claim import ClaimError, checks, claim
from llmlib.book.claim_values import less_than, more_than
from llmlib.book.exercise import exercise
from llmlib.book.formula import formula_table, math_table, show_formula
from llmlib.book.listing import show_source, show_table
from llmlib.book.real_model import SMOLLM2, named, real_model, start_of
from llmlib.book.style import show, use_style

__all__ = [
    "SMOLLM2",
    "ClaimError",
    "checks",
    "claim",
    "exercise",
    "formula_table",
    "less_than",
    "math_table",
    "more_than",
    "named",
    "real_model",
    "show",
    "show_formula",
    "show_source",
    "show_table",
    "start_of",
    "use_style",
]
