"""BPE over the bytes of UTF-8, as GPT-2 and most models since: 256 symbols spell every text."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from llmlib.gguf_format import GGUFFile
from llmlib.tokenization import files
from llmlib.tokenization.base import MergeTokenizer, count_pieces, n_merges_for
from llmlib.tokenization.chat import ChatML
from llmlib.tokenization.files import TokenizerFile
from llmlib.tokenization.learning import Ties, learn_merges
from llmlib.tokenization.patterns import DIGITS_FIRST_PATTERN, GPT2_PATTERN, QWEN2_PATTERN

TEMPLATE_FILE = "chat_template.jinja"
GGUF_PATTERNS = {
    "gpt-2": GPT2_PATTERN,
    "smollm": DIGITS_FIRST_PATTERN,
    "qwen2": QWEN2_PATTERN,
}
GGUF_CONTROL = 3  # the token type of special tokens


class ByteLevelBPETokenizer(MergeTokenizer[bytes]):
    """Byte-pair encoding whose smallest tokens are bytes: no character is unknown.

    A token need not be whole characters. Arguments as in `MergeTokenizer`, and chat_template: the
    Jinja template of a model that chats.

    Source: radford2019gpt2
    """

    def __init__(
        self,
        tokens: Sequence[bytes],
        merges: Sequence[tuple[bytes, bytes]],
        *,
        special_tokens: Mapping[str, int] | None = None,
        pattern: str = GPT2_PATTERN,
        chat_template: str | None = None,
    ) -> None:
        super().__init__(tokens, merges, special_tokens=special_tokens, pattern=pattern)
        self.chat_template = chat_template
        self._byte_ids = [self._ids.get(bytes([byte]), -1) for byte in range(256)]

    @classmethod
    def train(
        cls,
        text: str,
        vocab_size: int,
        pattern: str = GPT2_PATTERN,
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
        alphabet = [bytes([byte]) for byte in files.GPT2_BYTE_ORDER]
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
        data = piece.encode()
        ids = list(map(self._byte_ids.__getitem__, data))
        if -1 in ids:
            byte = data[ids.index(-1)]
            raise ValueError(f"the byte 0x{byte:02X} of {piece!r} has no token in this vocabulary")
        return ids

    def _join(self, tokens: Iterable[bytes], errors: str) -> str:
        return b"".join(tokens).decode("utf-8", errors)

    def chat(
        self, messages: Sequence[Mapping[str, str]], add_generation_prompt: bool = True
    ) -> list[int]:
        """The ids of a conversation, laid out by the model's template.

        Names of special tokens inside a message stay text, so that no message can end itself or
        open another; only the template's own marks become special tokens.

        Args:
            messages: mappings with "role" (system, user, assistant) and "content".
            add_generation_prompt: end with the opening of the assistant's answer.

        Raises: ValueError if the model has no template, or one of a layout not known here.
        """
        if self.chat_template is None:
            raise ValueError("this tokenizer has no chat template")
        layout = ChatML.from_template(self.chat_template)
        ids: list[int] = []
        for text, special in layout.segments(messages, add_generation_prompt):
            ids += self.encode(text, allow_special=special)
        return ids

    # --- files --------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes Hugging Face's tokenizer.json, and a chat template beside it if there is one."""
        path = files.write_tokenizer_json(
            path,
            self._vocabulary(),
            self._symbol_merges(),
            self.special_tokens,
            self.pattern,
            byte_level=True,
        )
        if self.chat_template is not None:
            (path.parent / TEMPLATE_FILE).write_text(self.chat_template, encoding="utf-8")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "ByteLevelBPETokenizer":
        """Reads what `save` wrote."""
        return cls.from_tokenizer_json(path)

    @classmethod
    def from_tokenizer_json(cls, path: str | os.PathLike[str]) -> "ByteLevelBPETokenizer":
        """Reads a byte-level tokenizer.json, or the one in a folder, and a template beside it.

        `encode` gives what the package tokenizers gives with add_special_tokens=False.

        Raises: ValueError naming the file, if it is damaged or asks for what is not read here.
        """
        path = files.json_path(path)
        file = files.read_tokenizer_json(path)
        template = path.parent / TEMPLATE_FILE
        text = template.read_text(encoding="utf-8") if template.is_file() else None
        with files.naming(path):
            if not file.byte_level:
                raise ValueError("not byte-level; BPETokenizer.load reads characters")
            return cls._from_file(file, text)

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
            return cls._from_file(file)

    def save_gpt2_files(
        self, encoder_json: str | os.PathLike[str], vocab_bpe: str | os.PathLike[str]
    ) -> None:
        """Writes GPT-2's two files, which carry neither pattern nor template.

        Raises: ValueError for another pattern than GPT-2's, which a reader would assume.
        """
        if self.pattern != GPT2_PATTERN:
            raise ValueError(f"the pattern is {self.pattern!r}, expected GPT2_PATTERN")
        vocabulary, merges = self._vocabulary(), self._symbol_merges()
        files.write_gpt2_files(encoder_json, vocab_bpe, vocabulary, merges)

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
            kind, split = metadata["tokenizer.ggml.model"], metadata["tokenizer.ggml.pre"]
            tokens, types = (metadata[f"tokenizer.ggml.{k}"] for k in ("tokens", "token_type"))
            merges = files.read_merges(metadata["tokenizer.ggml.merges"])
            if kind != "gpt2" or split not in GGUF_PATTERNS:
                expected = f"gpt2 with one of {', '.join(GGUF_PATTERNS)}"
                raise ValueError(f"a tokenizer {kind!r} split by {split!r}, expected {expected}")
            if len(types) != len(tokens):
                raise ValueError(f"{len(types)} entries of token_type for {len(tokens)} tokens")
            special = {
                token: i
                for i, (token, type_) in enumerate(zip(tokens, types, strict=True))
                if type_ == GGUF_CONTROL
            }
            file = TokenizerFile(tokens, merges, special, GGUF_PATTERNS[split], byte_level=True)
            return cls._from_file(file, metadata.get("tokenizer.chat_template"))

    @classmethod
    def _from_file(
        cls, file: TokenizerFile, chat_template: str | None = None
    ) -> "ByteLevelBPETokenizer":
        """From byte symbols to bytes; a special token is spelled as it is."""
        plain = [token for token in file.tokens if token not in file.special_tokens]
        known = dict(zip(plain, files.from_symbols(plain), strict=True))
        known |= {name: name.encode() for name in file.special_tokens}
        if unknown := next((t for pair in file.merges for t in pair if t not in known), None):
            raise ValueError(f"the merges use {unknown!r}, which is not in the vocabulary")
        return cls(
            [known[token] for token in file.tokens],
            [(known[left], known[right]) for left, right in file.merges],
            special_tokens=file.special_tokens,
            pattern=file.pattern,
            chat_template=chat_template,
        )

    def _vocabulary(self) -> dict[str, int]:
        texts = files.to_symbols(self.tokens)
        for name, i in self.special_tokens.items():
            texts[i] = name
        vocabulary = {text: i for i, text in enumerate(texts)}
        if clash := next((text for i, text in enumerate(texts) if vocabulary[text] != i), None):
            raise ValueError(f"in a file, {clash!r} would be a special token and an ordinary one")
        return vocabulary

    def _symbol_merges(self) -> list[tuple[str, str]]:
        left, right = zip(*self.merges, strict=True) if self.merges else ((), ())
        return list(zip(files.to_symbols(left), files.to_symbols(right), strict=True))
