"""What all tokenizers share: a vocabulary, added tokens, pieces and their cache, conversations."""

import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Generic, SupportsIndex, TypedDict, TypeVar, Unpack

from llmlib.tokenization.added import MARK, AddedToken, AddedTokens
from llmlib.tokenization.chat import ChatTemplate, Messages
from llmlib.tokenization.decoders import Decoding
from llmlib.tokenization.files import naming, write_texts
from llmlib.tokenization.ids import whole_ids
from llmlib.tokenization.learning import Symbol
from llmlib.tokenization.normalizers import Normalizer, make_normalizer
from llmlib.tokenization.patterns import Pattern, Splitter
from llmlib.tokenization.tokenizer_config import Beside, files_beside, read_beside
from llmlib.tokenization.tokenizer_file import Around, Model, TokenizerFile
from llmlib.tokenization.tokenizer_json import json_path, read_tokenizer_json, tokenizer_json

CACHED_PIECES = 1 << 16
CACHED_LETTERS = 64  # longer pieces are rare, and would make the cache large
ERRORS = ("replace", "ignore", "strict")


class Options(TypedDict, total=False):
    """What every tokenizer takes, see `Tokenizer`."""

    special_tokens: Mapping[str, int] | None
    added_tokens: Sequence[AddedToken]
    normalization: Normalizer | None
    around: Around
    cache_size: int
    chat_template: str | None
    template_tokens: Mapping[str, str] | None


def refuse_lone_surrogates(text: str) -> None:
    """Raises ValueError if a text holds half of a surrogate pair, which UTF-8 cannot express."""
    if not isinstance(text, str):
        raise TypeError(f"text is a {type(text).__name__}, expected str")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        place = f"U+{ord(text[error.start]):04X} at position {error.start}"
        raise ValueError(f"lone surrogate {place} of the text: UTF-8 cannot express it") from None


class _PieceCache(dict[str, tuple[int, ...]]):
    """Piece -> ids, filled as pieces are met; full, it is emptied, so that it follows the text."""

    def __init__(self, encode_piece: Callable[[str], list[int]], size: int) -> None:
        super().__init__()
        self.encode_piece = encode_piece
        self.size = size

    def __missing__(self, piece: str) -> tuple[int, ...]:
        ids = tuple(self.encode_piece(piece))
        if len(piece) <= CACHED_LETTERS and self.size:
            if len(self) >= self.size:
                self.clear()
            self[piece] = ids
        return ids


Own = TypeVar("Own", bound="Tokenizer[Any]")


class Tokenizer(ABC, Generic[Symbol]):
    """Splits text into pieces, and writes each piece as tokens.

    Args:
        tokens: id -> token, a str or bytes; special and other added tokens are among them.
        pattern: regular expression that matches the pieces, or steps (`patterns`); no token
            crosses the border of a piece.
        special_tokens: text -> id of tokens that stand for no text, such as the end of a document.
        added_tokens: the same, and other tokens that merges do not make, with their options.
        normalization: what is done to the text before anything else: the name of one of Unicode's
            normal forms, such as "NFC", or steps (`normalizers`).
        around: ids that the model wants before and behind a text; `encode` adds them if asked.
        cache_size: of how many pieces the ids are kept.
        chat_template: the Jinja template of a model that chats.
        template_tokens: what the template calls the model's tokens, such as bos_token -> "<s>".

    Raises:
        ValueError: a token listed twice, a special token that is also an ordinary one, a pattern
            that is not read here.
    """

    def __init__(
        self, tokens: Sequence[Symbol], *, pattern: Pattern, **options: Unpack[Options]
    ) -> None:
        self.tokens: tuple[Symbol, ...] = tuple(tokens)
        special: list[AddedToken] = [
            AddedToken(name, i) for name, i in (options.get("special_tokens") or {}).items()
        ]
        self.added_tokens: tuple[AddedToken, ...] = (*special, *options.get("added_tokens", ()))
        self.special_tokens = {t.content: t.id for t in self.added_tokens if t.special}
        self.pattern, self.normalization = pattern, options.get("normalization")
        self.around: Around = options.get("around", ((), ()))
        self.chat_template = options.get("chat_template")
        self.template_tokens = dict(options.get("template_tokens") or {})
        self._normalize = make_normalizer(self.normalization)
        self._split = Splitter(pattern)
        self._added = AddedTokens(self.added_tokens, self._normalize)
        self._ids: dict[Symbol, int] = _number(self.tokens, self.added_tokens)
        self._cache = _PieceCache(self._encode_piece, options.get("cache_size", CACHED_PIECES))
        if outside := [i for ids in self.around for i in ids if not 0 <= i < len(self.tokens)]:
            raise ValueError(f"around a text stands id {outside[0]}, {self._expected()}")

    @abstractmethod
    def _encode_piece(self, piece: str) -> list[int]:
        """The ids of a piece; ValueError names a symbol that has none."""

    @abstractmethod
    def _join(self, tokens: Iterable[Symbol], errors: str) -> str:
        """The text of tokens."""

    @abstractmethod
    def _to_file(self) -> TokenizerFile:
        """What a file says of this tokenizer."""

    @classmethod
    @abstractmethod
    def from_parts(cls: type[Own], file: TokenizerFile, beside: Beside) -> Own:
        """The tokenizer that a file describes, with what lies beside it.

        Raises: ValueError for a file of another kind; `open_tokenizer` takes every kind.
        """

    @property
    def vocab_size(self) -> int:
        """How many ids there are, special tokens included."""
        return len(self.tokens)

    @property
    def n_cached(self) -> int:
        """Of how many pieces the cache holds the ids now."""
        return len(self._cache)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(vocab_size={self.vocab_size}, "
            f"special_tokens={len(self.special_tokens)})"
        )

    def pieces(self, text: str) -> list[str]:
        """Splits text by the pattern; what it does not match are pieces too."""
        return self._split(text)

    def encode(
        self, text: str, allow_special: bool = False, *, add_special: bool = False
    ) -> list[int]:
        """The token ids of a text.

        Added tokens that are not special, such as <think>, are ordinary text that is always found
        whole.

        Args:
            text: any text of Unicode characters.
            allow_special: read the names of special tokens in the text as those tokens. Without
                it they are text like any other: what a user types cannot end the document.
            add_special: put the tokens around it that the model's file asks for, such as the one
                that begins a text.

        Raises:
            ValueError: a lone surrogate, or a character or byte without a token.
        """
        refuse_lone_surrogates(text)
        ids: list[int] = []
        for part, at_start in self._parts(text, allow_special):  # one, if there is nothing to find
            ids += [part] if isinstance(part, int) else self._encode_plain(part, at_start)
        return [*self.around[0], *ids, *self.around[1]] if add_special else ids

    def _parts(self, text: str, allow_special: bool) -> Iterator[tuple[str | int, bool]]:
        """Added tokens and the normalized text between; with whether the text begins there."""
        at_start = True
        for part in self._added.split(text, allow_special):
            # If normalizing took the first character away, what is left begins behind it.
            yield part, at_start and isinstance(part, str) and self._normalize(text[:1]) != ""
            at_start = False

    def _encode_plain(self, text: str, at_start: bool) -> list[int]:
        # As long as the cache knows the pieces, no Python runs once a piece.
        pieces = self._split(text, at_start)
        return list(chain.from_iterable(map(self._cache.__getitem__, pieces)))

    def decode(self, ids: Iterable[SupportsIndex], errors: str = "replace") -> str:
        """The text of token ids.

        Args:
            ids: token ids; special tokens give their names.
            errors: what to do with bytes that are not UTF-8, such as a token that is part of a
                character: "replace" (U+FFFD), "ignore" or "strict" (UnicodeDecodeError).

        Raises:
            ValueError: an id outside the vocabulary, or another value of `errors`.
            TypeError: ids that are not whole numbers.
        """
        if errors not in ERRORS:
            raise ValueError(f"errors is {errors!r}, expected one of {', '.join(ERRORS)}")
        numbers = whole_ids(ids)
        if numbers and not (min(numbers) >= 0 and max(numbers) < self.vocab_size):
            wrong = next(i for i in numbers if not 0 <= i < self.vocab_size)
            raise ValueError(f"token id {wrong}, {self._expected()}")
        return self._join(map(self.tokens.__getitem__, numbers), errors)

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
        if sign not in self._normalize(sign):
            raise ValueError(
                "the normalization takes away the sign that keeps marks within messages apart"
            )
        ids: list[int] = []
        for part, at_start in self._parts(text, allow_special=True):
            if isinstance(part, int):
                ids.append(part)
            elif mark := MARK.search(part):
                raise ValueError(f"the chat template writes {mark[0]!r}, which is no token here")
            else:
                ids += self._encode_plain(part.replace(sign, ""), at_start)
        return ids

    # --- files --------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes Hugging Face's tokenizer.json, and beside it a chat template if there is one.

        What was there before stays whole if anything fails.

        Raises: ValueError if a template of another tokenizer lies there, which would be read with
            this one, or if a file cannot say what this tokenizer does.
        """
        path = json_path(path)
        content = tokenizer_json(self._to_file())
        beside = files_beside(path.parent, self.chat_template, self.template_tokens)
        write_texts({path: content, **beside})

    @classmethod
    def load(cls: type[Own], path: str | os.PathLike[str]) -> Own:
        """Reads what `save` wrote."""
        return cls.from_tokenizer_json(path)

    @classmethod
    def from_tokenizer_json(cls: type[Own], path: str | os.PathLike[str]) -> Own:
        """Reads a tokenizer.json, or the one in a folder, and what lies beside it.

        `encode` gives what the package tokenizers gives with add_special_tokens=False, and with
        add_special_tokens=True if add_special is set. Truncation and padding, which a file may ask
        for, are for batches: here a text gives all its ids, and no others. The template of a
        conversation is read from chat_template.jinja, or from tokenizer_config.json.

        Raises: ValueError naming the file, if it is damaged, asks for what is not read here, or
            holds another kind of tokenizer; `open_tokenizer` reads every kind.
        """
        path = json_path(path)
        file = read_tokenizer_json(path)
        beside = read_beside(path.parent, file)
        with naming(path):
            return cls.from_parts(file, beside)

    def _expected(self) -> str:
        return f"expected 0 to {self.vocab_size - 1}"


def read_options(file: TokenizerFile, beside: Beside) -> Options:
    """What every tokenizer takes from a file."""
    return {
        "added_tokens": file.added,
        "normalization": file.normalization,
        "around": beside.around,
        "chat_template": beside.chat_template,
        "template_tokens": dict(beside.template_tokens),
    }


def describe(tokenizer: Tokenizer[str], model: Model, decoding: Decoding) -> TokenizerFile:
    """What a file says of a tokenizer whose tokens are characters."""
    return TokenizerFile(
        list(tokenizer.tokens),
        model,
        tokenizer.added_tokens,
        tokenizer.pattern,
        byte_level=False,
        normalization=tokenizer.normalization,
        decoding=decoding,
        around=tokenizer.around,
    )


def _number(tokens: Sequence[Symbol], added: Sequence[AddedToken]) -> dict[Symbol, int]:
    """Token -> id of the tokens that merges work on; added ones only if no other is spelled so."""
    by_id: dict[int, AddedToken] = {}
    for token in added:
        if not 0 <= token.id < len(tokens):
            kind = "special" if token.special else "added"
            raise ValueError(f"{kind} token id {token.id}, expected 0 to {len(tokens) - 1}")
        if token.id in by_id:
            both = f"{by_id[token.id].content!r} and {token.content!r}"
            raise ValueError(f"{both} are both special tokens with id {token.id}")
        by_id[token.id] = token
    ids: dict[Symbol, int] = {}
    for i, symbol in enumerate(tokens):
        if i not in by_id and ids.setdefault(symbol, i) != i:
            raise ValueError(f"the token {symbol!r} is listed twice, as {ids[symbol]} and {i}")
    for i, token in by_id.items():
        if ids.setdefault(tokens[i], i) != i and token.special:
            raise ValueError(f"{tokens[i]!r} is a special token and one that the merges make")
    return ids


def count_pieces(
    text: str,
    pattern: Pattern,
    special_tokens: Sequence[str] = (),
    normalize: Callable[[str], str] = str,
) -> Counter[str]:
    """How often each piece occurs in a text; special tokens in it only separate."""
    refuse_lone_surrogates(text)
    if isinstance(special_tokens, str) or not all(isinstance(t, str) for t in special_tokens):
        raise TypeError(f"special_tokens is {special_tokens!r}, expected a list of texts")
    special = AddedTokens([AddedToken(t, i) for i, t in enumerate(special_tokens)], normalize)
    parts = (part for part in special.split(text, True) if isinstance(part, str))
    return Counter(chain.from_iterable(map(Splitter(pattern), parts)))


def n_merges_for(vocab_size: int, n_symbols: int, what: str) -> int:
    """How many merges fill a vocabulary that starts with `n_symbols` symbols."""
    if not isinstance(vocab_size, int) or isinstance(vocab_size, bool):
        raise TypeError(f"vocab_size is {vocab_size!r}, expected an integer")
    if vocab_size < n_symbols:
        raise ValueError(f"vocab_size is {vocab_size}, expected {n_symbols} ({what}) or more")
    return vocab_size - n_symbols
