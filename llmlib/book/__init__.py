"""What only the notebooks need: claims, exercises, plots, tables, code listings and widgets."""

from llmlib.book.claim import ClaimError, claim
from llmlib.book.exercise import exercise
from llmlib.book.formula import formula_table, math_table, show_formula
from llmlib.book.listing import show_source, show_table
from llmlib.book.style import show, use_style

__all__ = [
    "ClaimError",
    "claim",
    "exercise",
    "formula_table",
    "math_table",
    "show",
    "show_formula",
    "show_source",
    "show_table",
    "use_style",
]
