"""What the overview alone needs: the timeline of models, and its longer experiments."""

from llmlib.book.labs.overview.runs import (
    SHOTS,
    WORD_PAIRS,
    Answer,
    FewShot,
    few_shot,
    stored_few_shot,
    stored_sums,
    sums,
)
from llmlib.book.labs.overview.timeline import Release, read_timeline, release

__all__ = [
    "SHOTS",
    "WORD_PAIRS",
    "Answer",
    "FewShot",
    "Release",
    "few_shot",
    "read_timeline",
    "release",
    "stored_few_shot",
    "stored_sums",
    "sums",
]
