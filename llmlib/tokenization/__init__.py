"""Text to token ids and back: byte-pair encoding (BPE) over characters and over bytes.

One idea a file: `patterns` cuts text into pieces (`oniguruma` reads the dialect of its regular
expressions), `learning` counts pairs and learns merges, `merging` applies them to a piece, `added`
finds special tokens in a text, `base` is what the tokenizers `character` and `byte_level` share,
`tokenizer_json`, `tokenizer_config` and `gguf_vocabulary` read files (`files` has what they share),
`chat` lays out a conversation.

Files are read so that the ids are those of the program that wrote them, or there is an error.

Not here: SentencePiece and WordPiece. `encode` gives the ids of the text alone; the tokens that a
model wants around every text (BOS, EOS) come with add_special=True.
"""

from llmlib.tokenization.added import AddedToken
from llmlib.tokenization.byte_level import ByteLevelBPETokenizer
from llmlib.tokenization.character import BPETokenizer
from llmlib.tokenization.chat import ChatML, ChatTemplate
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
    LLAMA3_PATTERN,
    QWEN2_PATTERN,
    WORD_PATTERN,
    Split,
)

__all__ = [
    "BYTE_SYMBOLS",
    "DIGITS_FIRST_PATTERN",
    "GPT2_PATTERN",
    "LLAMA3_PATTERN",
    "QWEN2_PATTERN",
    "WORD_PATTERN",
    "AddedToken",
    "BPETokenizer",
    "ByteLevelBPETokenizer",
    "ChatML",
    "ChatTemplate",
    "MergeStep",
    "Split",
    "count_pairs",
    "learn_merges",
    "merge_by_rank",
    "merge_pair",
    "merge_steps",
    "reference_learn_merges",
    "reference_merge_by_rank",
]
