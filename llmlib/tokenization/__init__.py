"""Text to token ids and back: byte-pair encoding (BPE) over characters and over bytes.

One idea a file: `patterns` cuts text into pieces, `learning` counts pairs and learns merges,
`merging` applies them to a piece, `base` is what the tokenizers `character` and `byte_level` share,
`files` reads and writes their files, `chat` lays out a conversation.

Not here: SentencePiece, WordPiece, Unicode normalization, and tokens that a model wants around
every text (BOS, EOS): `encode` gives the ids of the text alone.
"""

from llmlib.tokenization.byte_level import ByteLevelBPETokenizer
from llmlib.tokenization.character import BPETokenizer
from llmlib.tokenization.chat import ChatML
from llmlib.tokenization.files import BYTE_SYMBOLS
from llmlib.tokenization.learning import (
    MergeStep,
    count_pairs,
    learn_merges,
    merge_pair,
    merge_steps,
    reference_learn_merges,
)
from llmlib.tokenization.merging import merge_by_rank, reference_merge_by_rank
from llmlib.tokenization.patterns import (
    DIGITS_FIRST_PATTERN,
    GPT2_PATTERN,
    QWEN2_PATTERN,
    WORD_PATTERN,
)

__all__ = [
    "BYTE_SYMBOLS",
    "DIGITS_FIRST_PATTERN",
    "GPT2_PATTERN",
    "QWEN2_PATTERN",
    "WORD_PATTERN",
    "BPETokenizer",
    "ByteLevelBPETokenizer",
    "ChatML",
    "MergeStep",
    "count_pairs",
    "learn_merges",
    "merge_by_rank",
    "merge_pair",
    "merge_steps",
    "reference_learn_merges",
    "reference_merge_by_rank",
]
