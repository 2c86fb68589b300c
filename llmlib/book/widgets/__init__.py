"""Figures with controls: Python computes every number, an ES module draws, live or static."""

from llmlib.book.widgets.base import Choice, Slider
from llmlib.book.widgets.pictures import Bars, HeatMap, Lines, Panel, Series

__all__ = ["Bars", "Choice", "HeatMap", "Lines", "Panel", "Series", "Slider"]
