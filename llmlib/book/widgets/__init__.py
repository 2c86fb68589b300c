"""Figures with controls: Python computes every number, an ES module draws, live or static."""

from llmlib.book.widgets.base import Choice, Slider
from llmlib.book.widgets.pictures import Bars, HeatMap, Lines, Panel, Series
from llmlib.book.widgets.text import ByteExplorer, TokenGrid, TokenSteps

__all__ = [
    "Bars",
    "ByteExplorer",
    "Choice",
    "HeatMap",
    "Lines",
    "Panel",
    "Series",
    "Slider",
    "TokenGrid",
    "TokenSteps",
]
