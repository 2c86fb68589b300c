"""Text to token ids and back: byte-pair encoding (BPE), and the other ways of today's models.

One idea a file. `patterns` cuts text into pieces (`oniguruma` reads the dialect of its regular
expressions), `normalizers` prepare it, `learning` counts pairs and learns merges, `merging` applies
them to a piece, `added` finds special tokens in a text, `byte_symbols` writes bytes as characters,
`decoders` go back to text, `chat` lays out a conversation. The tokenizers: `base` is what all have,
`character` and `byte_level` are BPE, `sentencepiece` merges by score, `unigram` finds the likeliest
tokens (`viterbi`; `unigram_learning` learns them), `wordpiece` the longest (`word_piece_learning`).
`opening` chooses among them for a file: `tokenizer_json` (a file a section: `json_...`),
`tokenizer_config` and `gguf_vocabulary` read it as a `tokenizer_file`.

Files are read so that the ids are those of the program that wrote them, or there is an error.

`encode` gives the ids of the text alone; the tokens that a model wants around every text (BOS, EOS)
come with add_special=True.
"""

from llmlib.tokenization.added import AddedToken
from llmlib.tokenization.byte_level import ByteLevelBPETokenizer
from llmlib.tokenization.byte_symbols import BYTE_SYMBOLS
from llmlib.tokenization.character import BPETokenizer
from llmlib.tokenization.chat import ChatML, ChatTemplate
from llmlib.tokenization.learning import (
    MergeStep,
    count_pairs,
    learn_merges,
    merge_pair,
    merge_steps,
    reference_learn_merges,
)
from llmlib.tokenization.merging import merge_by_rank, reference_merge_by_rank
from llmlib.tokenization.opening import AnyTokenizer, gguf_tokenizer, open_tokenizer
from llmlib.tokenization.patterns import (
    DIGITS_FIRST_PATTERN,
    GPT2_PATTERN,
    LLAMA3_PATTERN,
    QWEN2_PATTERN,
    WORD_PATTERN,
    Split,
)
from llmlib.tokenization.sentencepiece import (
    SentencePieceTokenizer,
    merge_by_score,
    reference_merge_by_score,
)
from llmlib.tokenization.unigram import UnigramTokenizer
from llmlib.tokenization.unigram_learning import (
    expected_counts,
    frequent_substrings,
    learn_unigram,
    losses,
)
from llmlib.tokenization.viterbi import likeliest, reference_likeliest
from llmlib.tokenization.word_piece_learning import (
    PieceStep,
    learn_word_pieces,
    pieces_of,
    reference_learn_word_pieces,
    word_piece_steps,
)
from llmlib.tokenization.wordpiece import (
    WordPieceTokenizer,
    longest_first,
    reference_longest_first,
)

__all__ = [
    "BYTE_SYMBOLS",
    "DIGITS_FIRST_PATTERN",
    "GPT2_PATTERN",
    "LLAMA3_PATTERN",
    "QWEN2_PATTERN",
    "WORD_PATTERN",
    "AddedToken",
    "AnyTokenizer",
    "BPETokenizer",
    "ByteLevelBPETokenizer",
    "ChatML",
    "ChatTemplate",
    "MergeStep",
    "PieceStep",
    "SentencePieceTokenizer",
    "Split",
    "UnigramTokenizer",
    "WordPieceTokenizer",
    "count_pairs",
    "expected_counts",
    "frequent_substrings",
    "gguf_tokenizer",
    "learn_merges",
    "learn_unigram",
    "learn_word_pieces",
    "likeliest",
    "longest_first",
    "losses",
    "merge_by_rank",
    "merge_by_score",
    "merge_pair",
    "merge_steps",
    "open_tokenizer",
    "pieces_of",
    "reference_learn_merges",
    "reference_learn_word_pieces",
    "reference_likeliest",
    "reference_longest_first",
    "reference_merge_by_rank",
    "reference_merge_by_score",
    "word_piece_steps",
]
