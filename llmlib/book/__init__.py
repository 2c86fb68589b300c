"""What only the notebooks need: claims, exercises, plots, tables, code listings and widgets."""

from llmlib.book.claim import ClaimError, claim
from llmlib.book.exercise import exercise
from llmlib.book.formula import formula_table, math_table, show_formula
from llmlib.book.listing import show_source, show_table
from llmlib.book.real_model import SMOLLM2, named, real_model
from llmlib.book.style import show, use_style

__all__ = [
    "SMOLLM2",
    "ClaimError",
    "claim",
    "exercise",
    "formula_table",
    "math_table",
    "named",
    "real_model",
    "show",
    "show_formula",
    "show_source",
    "show_table",
    "use_style",
]
