"""BPE over the bytes of UTF-8, as GPT-2 and most models since: 256 symbols spell every text."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

from llmlib.formats.gguf import GGUFFile
from llmlib.tokenization import files
from llmlib.tokenization.base import Options, count_pieces, n_merges_for, read_options
from llmlib.tokenization.byte_symbols import (
    GPT2_BYTE_ORDER,
    ByteSymbols,
    from_symbols,
    to_symbols,
)
from llmlib.tokenization.gguf_vocabulary import read_gguf_metadata
from llmlib.tokenization.learning import Ties, learn_merges
from llmlib.tokenization.merge_tokenizer import MergeTokenizer
from llmlib.tokenization.patterns import GPT2_PATTERN, Pattern
from llmlib.tokenization.tokenizer_config import Beside
from llmlib.tokenization.tokenizer_file import BPE, TokenizerFile


class ByteLevelBPETokenizer(MergeTokenizer[bytes]):
    """Byte-pair encoding whose smallest tokens are bytes: no character is unknown.

    A token need not be whole characters. Arguments as in `MergeTokenizer`.

    Source: radford2019gpt2
    """

    def __init__(
        self,
        tokens: Sequence[bytes],
        merges: Sequence[tuple[bytes, bytes]],
        *,
        pattern: Pattern = GPT2_PATTERN,
        ignore_merges: bool = False,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(tokens, merges, pattern=pattern, ignore_merges=ignore_merges, **options)
        self._byte_ids = [self._ids.get(bytes([byte]), -1) for byte in range(256)]
        steps = pattern if isinstance(pattern, tuple) else ()
        self._pieces_are_symbols = ByteSymbols() in steps

    @classmethod
    def train(
        cls,
        text: str,
        vocab_size: int,
        pattern: Pattern = GPT2_PATTERN,
        *,
        special_tokens: Sequence[str] = (),
        ties: Ties = "smallest",
    ) -> "ByteLevelBPETokenizer":
        """Learns a vocabulary: 256 bytes in GPT-2's order, one token a merge, special tokens.

        Training ends early, with fewer tokens than asked for, when every piece is one token. With
        ties="smallest" the merges are those of the package tokenizers, with "first" minbpe's.

        Args:
            text: what to learn from.
            vocab_size: how many tokens to have in the end, special tokens included.
            pattern: regular expression of the pieces that merges stay within.
            special_tokens: names of tokens that get the last ids; in the text they separate pieces.
            ties: which of two equally frequent pairs is merged, see `merge_steps`.

        Raises: ValueError if vocab_size is under 256 and the special tokens, or the text holds a
            lone surrogate.
        """
        n_merges = n_merges_for(vocab_size, 256 + len(special_tokens), "bytes and special tokens")
        alphabet = [bytes([byte]) for byte in GPT2_BYTE_ORDER]
        single = [bytes([byte]) for byte in range(256)]
        words = {
            tuple(map(single.__getitem__, piece.encode())): count
            for piece, count in count_pieces(text, pattern, special_tokens).items()
        }
        merges = learn_merges(words, n_merges, alphabet=alphabet, ties=ties)
        tokens = [*alphabet, *(left + right for left, right in merges)]
        special = {name: len(tokens) + i for i, name in enumerate(special_tokens)}
        tokens += [name.encode() for name in special_tokens]
        return cls(tokens, merges, special_tokens=special, pattern=pattern)

    def _spell(self, piece: str) -> list[int]:
        data = self._as_token(piece)
        ids = list(map(self._byte_ids.__getitem__, data))
        if -1 in ids:
            byte = data[ids.index(-1)]
            raise ValueError(f"the byte 0x{byte:02X} of {piece!r} has no token in this vocabulary")
        return ids

    def _as_token(self, piece: str) -> bytes:
        return from_symbols([piece])[0] if self._pieces_are_symbols else piece.encode()

    def _join(self, tokens: Iterable[bytes], errors: str) -> str:
        return b"".join(tokens).decode("utf-8", errors)

    # --- files --------------------------------------------------------------------------------

    @classmethod
    def from_gpt2_files(
        cls,
        encoder_json: str | os.PathLike[str],
        vocab_bpe: str | os.PathLike[str],
        special_tokens: Sequence[str] = ("<|endoftext|>",),
    ) -> "ByteLevelBPETokenizer":
        """Reads GPT-2's two files: token -> id, and the merges, one a line.

        Raises: ValueError naming the file that is damaged or does not fit the other.
        """
        file = files.read_gpt2_files(encoder_json, vocab_bpe, special_tokens)
        with files.naming(vocab_bpe):
            return cls.from_parts(file, Beside(around=file.around))

    def save_gpt2_files(
        self, encoder_json: str | os.PathLike[str], vocab_bpe: str | os.PathLike[str]
    ) -> None:
        """Writes GPT-2's two files, which carry neither pattern nor template.

        Raises: ValueError for another pattern than GPT-2's, which a reader would assume.
        """
        if self.pattern != GPT2_PATTERN:
            raise ValueError(f"the pattern is {self.pattern!r}, expected GPT2_PATTERN")
        file = self._to_file()
        vocabulary = {token: i for i, token in enumerate(file.tokens)}
        files.write_gpt2_files(encoder_json, vocab_bpe, vocabulary, self._symbol_merges())

    @classmethod
    def from_gguf(cls, path: str | os.PathLike[str]) -> "ByteLevelBPETokenizer":
        """The tokenizer in the metadata of a GGUF file, such as SmolLM2's.

        Raises: ValueError naming the file, if it is damaged or its tokenizer is of another kind.
        """
        return cls.from_gguf_metadata(GGUFFile(Path(path)).settings, path)

    @classmethod
    def from_gguf_metadata(
        cls, metadata: Mapping[str, Any], path: str | os.PathLike[str] = "GGUF metadata"
    ) -> "ByteLevelBPETokenizer":
        """The same from metadata that was read already; path is named in errors."""
        with files.naming(path):
            return cls.from_parts(*read_gguf_metadata(metadata))

    @classmethod
    def from_parts(cls, file: TokenizerFile, beside: Beside) -> "ByteLevelBPETokenizer":
        """The tokenizer of a file: byte symbols become bytes, an added token is spelled as it is.

        Raises: ValueError for a file of another kind, or merges of unknown tokens.
        """
        if not isinstance(file.model, BPE) or not file.byte_level:
            raise ValueError(
                f"not byte-level BPE but {type(file.model).__name__}; open_tokenizer reads every "
                "kind, and BPETokenizer.load characters"
            )
        whole = {token.content for token in file.added} | {file.tokens[i] for i in file.unused}
        plain = [token for token in file.tokens if token not in whole]
        known = dict(zip(plain, from_symbols(plain), strict=True))
        known |= {name: name.encode() for name in whole}
        merges = file.model.merges
        if unknown := next((t for pair in merges for t in pair if t not in known), None):
            raise ValueError(f"the merges use {unknown!r}, which is not in the vocabulary")
        return cls(
            [known[token] for token in file.tokens],
            [(known[left], known[right]) for left, right in merges],
            pattern=file.pattern,
            ignore_merges=file.model.ignore_merges,
            **read_options(file, beside),
        )

    def _to_file(self) -> TokenizerFile:
        texts = to_symbols(self.tokens)
        for token in self.added_tokens:
            texts[token.id] = token.content
        return TokenizerFile(
            texts,
            BPE(self._symbol_merges(), self.ignore_merges),
            self.added_tokens,
            self.pattern,
            byte_level=True,
            normalization=self.normalization,
            around=self.around,
        )

    def _symbol_merges(self) -> list[tuple[str, str]]:
        left, right = zip(*self.merges, strict=True) if self.merges else ((), ())
        return list(zip(to_symbols(left), to_symbols(right), strict=True))
