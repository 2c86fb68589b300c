"""WordPiece, BERT's tokens: of each word the longest token first, from the left."""

import os
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Unpack

from llmlib.tokenization.added import AddedToken
from llmlib.tokenization.base import (
    Options,
    Tokenizer,
    count_pieces,
    describe,
    n_merges_for,
    read_options,
)
from llmlib.tokenization.decoders import Decoding, WordPieceOut, join_tokens
from llmlib.tokenization.files import naming, read_text
from llmlib.tokenization.normalizers import Bert, Normalizer, make_normalizer
from llmlib.tokenization.patterns import BERT_STEPS, Pattern
from llmlib.tokenization.tokenizer_config import Beside
from llmlib.tokenization.tokenizer_file import TokenizerFile, WordPiece
from llmlib.tokenization.word_piece_learning import (
    PREFIX,
    Score,
    learn_word_pieces,
    pieces_of,
    word_alphabet,
)

# What tokenizer_config.json calls BERT's special tokens, and what they are if it does not say.
ROLES = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
UNKNOWN, SPECIAL = ROLES["unk_token"], tuple(ROLES.values())
NEEDED = ("unk_token", "cls_token", "sep_token")
LONGEST = 100  # characters of a word
DECODING, UNCASED = (WordPieceOut(),), Bert()


def reference_longest_first(
    word: str, vocabulary: Container[str], prefix: str = PREFIX
) -> list[str] | None:
    """Cuts a word into tokens, each the longest that the vocabulary has for what is left.

    Args:
        word: what is cut.
        vocabulary: tokens; those that continue a word begin with `prefix`.
        prefix: the mark of a continuation.

    Returns: the tokens, or None if some part of the word has none.

    Source: wu2016gnmt
    """
    tokens, mark = [], ""
    while word:
        ends = range(len(word), 0, -1)
        end = next((end for end in ends if mark + word[:end] in vocabulary), 0)
        if not end:
            return None
        tokens.append(mark + word[:end])
        word, mark = word[end:], prefix
    return tokens


def longest_first(
    word: str, vocabulary: Container[str], prefix: str = PREFIX, longest: int | None = None
) -> list[str] | None:
    """The tokens of `reference_longest_first`, found without trying what is too long to be one.

    Args:
        word, vocabulary, prefix: as there.
        longest: characters of the longest token, or more; None: it is not known.

    Source: wu2016gnmt
    """
    tokens: list[str] = []
    begin, last = 0, len(word)
    while begin < last:
        mark = prefix if begin else ""
        end = last if longest is None else min(last, begin + longest)
        while (token := mark + word[begin:end]) not in vocabulary:
            end -= 1
            if end == begin:
                return None
        tokens.append(token)
        begin = end
    return tokens


def vocab_file(
    path: str | os.PathLike[str], normalizer: Bert = UNCASED, roles: Mapping[str, str] = ROLES
) -> TokenizerFile:
    """What a vocab.txt says, and what it leaves to BERT's program.

    Args:
        path: the file, one token a line; a line's place is the token's id.
        normalizer: see `WordPieceTokenizer.from_vocab`.
        roles: which tokens are special: names as in `ROLES` -> token.

    Raises: ValueError if a token is listed twice, or an unknown, first or last one is not there.
    """
    tokens = [line.removesuffix("\r") for line in read_text(path).split("\n")]
    tokens = tokens[:-1] if tokens[-1] == "" else tokens
    ids = {token: i for i, token in enumerate(tokens)}
    if twice := next((token for i, token in enumerate(tokens) if ids[token] != i), None):
        both = f"{tokens.index(twice)} and {ids[twice]}"
        raise ValueError(f"the token {twice!r} is listed twice, as {both}")
    unknown, first, last = (roles[role] for role in NEEDED)
    for token in (unknown, first, last):
        if token not in ids:
            raise ValueError(f"no token {token}, expected it in BERT's vocabulary")
    return TokenizerFile(
        tokens,
        WordPiece(unknown, PREFIX, LONGEST),
        tuple(AddedToken(t, ids[t]) for t in dict.fromkeys(roles.values()) if t in ids),
        BERT_STEPS,
        byte_level=False,
        normalization=(normalizer,),
        decoding=DECODING,
        around=((ids[first],), (ids[last],)),
    )


class WordPieceTokenizer(Tokenizer[str]):
    """BERT's tokenizer. Arguments as in `Tokenizer`, and

    Args:
        unknown: the token of a word that cannot be written.
        prefix: what a token begins with that continues a word.
        longest: words of more characters are unknown.
        decoding: from tokens to text, in steps (`decoders`).

    Raises: ValueError if `unknown` is not in the vocabulary.

    Source: devlin2019bert
    """

    def __init__(
        self,
        tokens: Sequence[str],
        *,
        unknown: str = UNKNOWN,
        prefix: str = PREFIX,
        longest: int = LONGEST,
        pattern: Pattern = BERT_STEPS,
        decoding: Decoding = DECODING,
        **options: Unpack[Options],
    ) -> None:
        options.setdefault("normalization", (UNCASED,))
        super().__init__(tokens, pattern=pattern, **options)
        if unknown not in self._ids:
            raise ValueError(f"unknown is {unknown!r}, which is not in the vocabulary")
        self.unknown, self.prefix, self.longest = unknown, prefix, longest
        self.decoding = decoding
        self._longest_token = max(map(len, self._ids))

    @classmethod
    def train(
        cls,
        text: str,
        vocab_size: int,
        pattern: Pattern = BERT_STEPS,
        *,
        special_tokens: Sequence[str] = (),
        normalization: Normalizer | None = (UNCASED,),
        score: Score = "ratio",
        min_count: int = 1,
    ) -> "WordPieceTokenizer":
        """Learns a vocabulary: BERT's five special tokens, the characters, one token a new part.

        A character has two tokens if it both begins words and stands within them. Training ends
        early, with fewer tokens than asked for, when no pair of parts occurs `min_count` times. The
        merges are forgotten: `encode` looks for the longest token, and reads none.

        Args:
            text: what to learn from; words of more than 100 characters are left out.
            vocab_size: how many tokens to have in the end, special tokens included.
            pattern: regular expression of the words, or steps.
            special_tokens: names of more tokens, which get the last ids; in the text they separate.
            normalization: what is done to a text first, here and when encoding.
            score: which pair of parts is joined next, see `word_piece_learning`. Google's own
                training was never published.
            min_count: pairs that occur less often are left alone.

        Raises: ValueError if vocab_size cannot hold the characters of the text, if a word begins
            with ##, or the text has a lone surrogate.

        Source: huggingface2022wordpiece
        """
        special = [*SPECIAL, *special_tokens]
        normalize = make_normalizer(normalization)
        counts = count_pieces(text, pattern, special, normalize)
        words = {word: count for word, count in counts.items() if len(word) <= LONGEST}
        alphabet = word_alphabet(words)
        n_symbols = len(alphabet) + len(special)
        n_pieces = n_merges_for(vocab_size, n_symbols, "characters and special tokens")
        merges = learn_word_pieces(words, n_pieces, score=score, min_count=min_count)
        pieces = [piece for piece in pieces_of(merges) if piece not in SPECIAL]
        tokens = [*SPECIAL, *alphabet, *pieces, *special_tokens]
        return cls(
            tokens,
            pattern=pattern,
            normalization=normalization,
            special_tokens={token: tokens.index(token) for token in special},
            around=((SPECIAL.index(ROLES["cls_token"]),), (SPECIAL.index(ROLES["sep_token"]),)),
        )

    @classmethod
    def from_vocab(
        cls, path: str | os.PathLike[str], normalizer: Bert = UNCASED
    ) -> "WordPieceTokenizer":
        """Reads vocab.txt, one token a line, as BERT's first files have it.

        Args:
            path: the file.
            normalizer: what the file does not say: whether the model knows small letters alone,
                and no accents, as it does if nothing is given.

        Raises: ValueError naming the file, if a token is listed twice, or one that BERT cannot do
            without is not: [UNK], [CLS], [SEP].
        """
        with naming(path):
            file = vocab_file(path, normalizer)
            return cls.from_parts(file, Beside(around=file.around))

    def _encode_piece(self, piece: str) -> list[int]:
        short = len(piece) <= self.longest
        tokens = self._cut(piece) if short else None
        return [self._ids[token] for token in ([self.unknown] if tokens is None else tokens)]

    def _cut(self, word: str) -> list[str] | None:
        return longest_first(word, self._ids, self.prefix, self._longest_token)

    def _join(self, tokens: Iterable[str], errors: str) -> str:
        return join_tokens(tokens, self.decoding, errors)

    @classmethod
    def from_parts(cls, file: TokenizerFile, beside: Beside) -> "WordPieceTokenizer":
        """The tokenizer of a file. Raises: ValueError for a file of another kind."""
        model = file.model
        if not isinstance(model, WordPiece) or file.byte_level:
            kind = type(model).__name__ + " of bytes" * file.byte_level
            raise ValueError(
                f"not WordPiece of characters but {kind}; open_tokenizer reads every kind"
            )
        return cls(
            file.tokens,
            unknown=model.unknown,
            prefix=model.prefix,
            longest=model.longest,
            pattern=file.pattern,
            decoding=file.decoding,
            **read_options(file, beside),
        )

    def _to_file(self) -> TokenizerFile:
        return describe(self, WordPiece(self.unknown, self.prefix, self.longest), self.decoding)
