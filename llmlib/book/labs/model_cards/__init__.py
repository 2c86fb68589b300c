"""The model cards as a table: each card's choices in words, and its numbers counted.

Nothing here is a number of its own: sizes and choices come from `llmlib.model_cards`, counts from
`llmlib.accounting`.
"""

from llmlib.book.labs.model_cards.explorer import explorer
from llmlib.book.labs.model_cards.table import Entry, from_five_numbers, guess, unbroken, zoo
from llmlib.book.labs.model_cards.words import Shape, choices, newer, pattern, shape

__all__ = [
    "Entry",
    "Shape",
    "choices",
    "explorer",
    "from_five_numbers",
    "guess",
    "newer",
    "pattern",
    "shape",
    "unbroken",
    "zoo",
]
