"""BPE over characters, as it was introduced for translation: the alphabet is that of the text."""

import os
from collections.abc import Iterable, Sequence

from llmlib.tokenization.base import MergeTokenizer, count_pieces, n_merges_for
from llmlib.tokenization.files import naming, write_texts
from llmlib.tokenization.learning import Ties, learn_merges
from llmlib.tokenization.patterns import WORD_PATTERN, Pattern
from llmlib.tokenization.tokenizer_json import json_path, read_tokenizer_json, tokenizer_json


class BPETokenizer(MergeTokenizer[str]):
    """Byte-pair encoding whose smallest tokens are the characters of the training text.

    A word keeps the space before it, so that decoding is joining. A character that the training
    text lacked has no token: `encode` raises ValueError. Arguments as in `MergeTokenizer`.

    Source: sennrich2016bpe
    """

    @classmethod
    def train(
        cls,
        text: str,
        vocab_size: int,
        pattern: Pattern = WORD_PATTERN,
        *,
        special_tokens: Sequence[str] = (),
        ties: Ties = "smallest",
    ) -> "BPETokenizer":
        """Learns a vocabulary: the characters of the text, sorted, then one token a merge.

        `merge_steps` shows each step. Training ends early, with fewer tokens than asked for, when
        every piece has become one token.

        Args:
            text: what to learn from.
            vocab_size: how many tokens to have in the end, special tokens included.
            pattern: regular expression of the pieces that merges stay within.
            special_tokens: names of tokens that get the last ids.
            ties: which of two equally frequent pairs is merged, see `merge_steps`.

        Raises: ValueError if vocab_size cannot hold the characters of the text.
        """
        words = count_pieces(text, pattern, special_tokens)
        alphabet = sorted({character for word in words for character in word})
        n_symbols = len(alphabet) + len(special_tokens)
        n_merges = n_merges_for(vocab_size, n_symbols, "characters and special tokens")
        merges = learn_merges(words, n_merges, alphabet=alphabet, ties=ties)
        tokens = [*alphabet, *(left + right for left, right in merges), *special_tokens]
        special = {
            name: len(tokens) - len(special_tokens) + i for i, name in enumerate(special_tokens)
        }
        return cls(tokens, merges, special_tokens=special, pattern=pattern)

    def _spell(self, piece: str) -> list[int]:
        try:
            return [self._ids[character] for character in piece]
        except KeyError as missing:
            character = missing.args[0]
            raise ValueError(
                f"the character {character!r} (U+{ord(character):04X}) has no token: "
                "the training text lacked it"
            ) from None

    def _as_token(self, piece: str) -> str:
        return piece

    def _join(self, tokens: Iterable[str], errors: str) -> str:
        return "".join(tokens)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the tokenizer in Hugging Face's tokenizer.json form."""
        content = tokenizer_json(
            {token: i for i, token in enumerate(self.tokens)},
            self.merges,
            self.added_tokens,
            self.pattern,
            byte_level=False,
            normalization=self.normalization,
            ignore_merges=self.ignore_merges,
            around=self.around,
        )
        write_texts({json_path(path): content})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "BPETokenizer":
        """Reads what `save` wrote.

        Raises: ValueError naming the file if it is no such file.
        """
        path = json_path(path)
        file = read_tokenizer_json(path)
        if file.byte_level:
            raise ValueError(f"{path} is byte-level: ByteLevelBPETokenizer.load reads it")
        with naming(path):
            return cls(
                file.tokens,
                file.merges,
                added_tokens=file.added,
                pattern=file.pattern,
                normalization=file.normalization,
                ignore_merges=file.ignore_merges,
                around=file.around,
            )
