"""Figures with controls: Python computes every number, an ES module draws, live or static."""

from llmlib.book.widgets.base import Choice, Slider
from llmlib.book.widgets.dials import Dials, Hand
from llmlib.book.widgets.head_sharing import HeadSharing
from llmlib.book.widgets.masks import MaskGrid, TileMap
from llmlib.book.widgets.model_explorer import Column, ModelExplorer
from llmlib.book.widgets.pictures import Bars, HeatMap, Lines, Panel, Series
from llmlib.book.widgets.text import ByteExplorer, Ladder, TokenGrid, TokenSteps
from llmlib.book.widgets.three_masks import ThreeMasks
from llmlib.book.widgets.tile_stepper import TileStepper
from llmlib.book.widgets.typing_tokenizer import TypingTokenizer, Vocabulary, first_merges

__all__ = [
    "Bars",
    "ByteExplorer",
    "Choice",
    "Column",
    "Dials",
    "Hand",
    "HeadSharing",
    "HeatMap",
    "Ladder",
    "Lines",
    "MaskGrid",
    "ModelExplorer",
    "Panel",
    "Series",
    "Slider",
    "ThreeMasks",
    "TileMap",
    "TileStepper",
    "TokenGrid",
    "TokenSteps",
    "TypingTokenizer",
    "Vocabulary",
    "first_merges",
]
