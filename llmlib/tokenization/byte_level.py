"""BPE over the bytes of UTF-8, as GPT-2 and most models since: 256 symbols spell every text."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from llmlib.formats.gguf import GGUFFile
from llmlib.tokenization import files
from llmlib.tokenization.added import MARK, AddedToken
from llmlib.tokenization.base import (
    CACHED_PIECES,
    Around,
    MergeTokenizer,
    Normalization,
    count_pieces,
    n_merges_for,
    refuse_lone_surrogates,
)
from llmlib.tokenization.chat import ChatTemplate, Messages
from llmlib.tokenization.files import TokenizerFile
from llmlib.tokenization.gguf_vocabulary import read_gguf_metadata
from llmlib.tokenization.learning import Ties, learn_merges
from llmlib.tokenization.patterns import GPT2_PATTERN, Pattern
from llmlib.tokenization.tokenizer_config import Beside, files_beside, read_beside
from llmlib.tokenization.tokenizer_json import json_path, read_tokenizer_json, tokenizer_json


class ByteLevelBPETokenizer(MergeTokenizer[bytes]):
    """Byte-pair encoding whose smallest tokens are bytes: no character is unknown.

    A token need not be whole characters. Arguments as in `MergeTokenizer`, and

    Args:
        chat_template: the Jinja template of a model that chats.
        template_tokens: what the template calls the model's tokens, such as bos_token -> "<s>".

    Source: radford2019gpt2
    """

    def __init__(
        self,
        tokens: Sequence[bytes],
        merges: Sequence[tuple[bytes, bytes]],
        *,
        special_tokens: Mapping[str, int] | None = None,
        added_tokens: Sequence[AddedToken] = (),
        pattern: Pattern = GPT2_PATTERN,
        normalization: Normalization | None = None,
        ignore_merges: bool = False,
        around: Around = ((), ()),
        cache_size: int = CACHED_PIECES,
        chat_template: str | None = None,
        template_tokens: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(
            tokens,
            merges,
            special_tokens=special_tokens,
            added_tokens=added_tokens,
            pattern=pattern,
            normalization=normalization,
            ignore_merges=ignore_merges,
            around=around,
            cache_size=cache_size,
        )
        self.chat_template = chat_template
        self.template_tokens = dict(template_tokens or {})
        self._byte_ids = [self._ids.get(bytes([byte]), -1) for byte in range(256)]

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

    def _as_token(self, piece: str) -> bytes:
        return piece.encode()

    def _join(self, tokens: Iterable[bytes], errors: str) -> str:
        return b"".join(tokens).decode("utf-8", errors)

    def chat(
        self, messages: Messages, add_generation_prompt: bool = True, **variables: Any
    ) -> list[int]:
        """The ids of a conversation, laid out by the model's template.

        Names of special tokens inside a message stay text, and so does all that looks like a mark,
        <|…|>: no message can end itself or open another; only the template's own marks become
        tokens.

        Args:
            messages: mappings with "role" (system, user, assistant) and "content", or "tool_calls"
                for it.
            add_generation_prompt: end with the opening of the assistant's answer.
            variables: what else the template uses, such as enable_thinking.

        Raises: ValueError if the model has no template, if the template refuses the messages, does
            not read tools or documents that are given, or writes a mark that is no token here.
        """
        if self.chat_template is None:
            raise ValueError(
                "this tokenizer has no chat template: none came with it in chat_template.jinja, "
                "tokenizer_config.json or tokenizer.chat_template of a GGUF file"
            )
        template = ChatTemplate(self.chat_template, self.template_tokens)
        special = list(self.special_tokens)
        text, sign = template.render_guarded(messages, special, add_generation_prompt, **variables)
        refuse_lone_surrogates(text)
        ids: list[int] = []
        for part in self._added.split(text, allow_special=True):
            if isinstance(part, int):
                ids.append(part)
            elif mark := MARK.search(part):
                raise ValueError(f"the chat template writes {mark[0]!r}, which is no token here")
            else:
                ids += self._encode_plain(part.replace(sign, ""))
        return ids

    # --- files --------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes Hugging Face's tokenizer.json, and beside it a chat template if there is one.

        What was there before stays whole if anything fails.

        Raises: ValueError if a template of another tokenizer lies there, which would be read with
            this one.
        """
        path = json_path(path)
        content = tokenizer_json(
            self._vocabulary(),
            self._symbol_merges(),
            self.added_tokens,
            self.pattern,
            byte_level=True,
            normalization=self.normalization,
            ignore_merges=self.ignore_merges,
            around=self.around,
        )
        beside = files_beside(path.parent, self.chat_template, self.template_tokens)
        files.write_texts({path: content, **beside})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "ByteLevelBPETokenizer":
        """Reads what `save` wrote."""
        return cls.from_tokenizer_json(path)

    @classmethod
    def from_tokenizer_json(cls, path: str | os.PathLike[str]) -> "ByteLevelBPETokenizer":
        """Reads a byte-level tokenizer.json, or the one in a folder, and what lies beside it.

        `encode` gives what the package tokenizers gives with add_special_tokens=False, and with
        add_special_tokens=True if add_special is set. The template of a conversation is read from
        chat_template.jinja, or from tokenizer_config.json.

        Raises: ValueError naming the file, if it is damaged or asks for what is not read here.
        """
        path = json_path(path)
        file = read_tokenizer_json(path)
        beside = read_beside(path.parent, file)
        with files.naming(path):
            if not file.byte_level:
                raise ValueError("not byte-level; BPETokenizer.load reads characters")
            return cls._from_file(file, beside)

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
            return cls._from_file(*read_gguf_metadata(metadata))

    @classmethod
    def _from_file(
        cls, file: TokenizerFile, beside: Beside | None = None
    ) -> "ByteLevelBPETokenizer":
        """From byte symbols to bytes; an added token is spelled as it is."""
        beside = beside or Beside(around=file.around)
        whole = {token.content for token in file.added} | {file.tokens[i] for i in file.unused}
        plain = [token for token in file.tokens if token not in whole]
        known = dict(zip(plain, files.from_symbols(plain), strict=True))
        known |= {name: name.encode() for name in whole}
        if unknown := next((t for pair in file.merges for t in pair if t not in known), None):
            raise ValueError(f"the merges use {unknown!r}, which is not in the vocabulary")
        return cls(
            [known[token] for token in file.tokens],
            [(known[left], known[right]) for left, right in file.merges],
            added_tokens=file.added,
            pattern=file.pattern,
            normalization=file.normalization,
            ignore_merges=file.ignore_merges,
            around=beside.around,
            chat_template=beside.chat_template,
            template_tokens=dict(beside.template_tokens),
        )

    def _vocabulary(self) -> dict[str, int]:
        texts = files.to_symbols(self.tokens)
        for token in self.added_tokens:
            texts[token.id] = token.content
        vocabulary = {text: i for i, text in enumerate(texts)}
        if clash := next((text for i, text in enumerate(texts) if vocabulary[text] != i), None):
            raise ValueError(f"in a file, {clash!r} would be a special token and an ordinary one")
        return vocabulary

    def _symbol_merges(self) -> list[tuple[str, str]]:
        left, right = zip(*self.merges, strict=True) if self.merges else ((), ())
        return list(zip(files.to_symbols(left), files.to_symbols(right), strict=True))
