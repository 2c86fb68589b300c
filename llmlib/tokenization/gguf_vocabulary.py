"""The tokenizer in the metadata of a GGUF file.

Every `tokenizer.*` key is understood, known to change no id, or refused by name.
"""

from collections.abc import Mapping
from typing import Any

from llmlib.tokenization.added import AddedToken
from llmlib.tokenization.decoders import ByteFallback, Fuse, ReplaceIn, StripEnds
from llmlib.tokenization.files import expect, read_merges, short
from llmlib.tokenization.gguf_patterns import BPE_KINDS, Kind
from llmlib.tokenization.normalizers import Prepend, Replace
from llmlib.tokenization.tokenizer_config import Beside
from llmlib.tokenization.tokenizer_file import BPE, Scored, TokenizerFile

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
TYPE_NAMES = {
    NORMAL: "normal",
    UNKNOWN: "unknown",
    CONTROL: "control",
    USER_DEFINED: "user-defined",
    UNUSED: "unused",
    BYTE: "byte",
}
SENTENCE_PIECE = Kind((), add_bos=True)
DEFAULT_IDS = {"bos": 1, "eos": 2}  # of SentencePiece, where the file does not say
OTHER_MODELS = {
    "bert": "WordPiece",
    "t5": "SentencePiece unigram",
    "gemma4": "BPE with SentencePiece's spaces",
    "rwkv": "RWKV",
    "plamo2": "PLaMo-2",
    "none": "no tokenizer",
}
# Roles of tokens, which a program may ask for; scores, which only SentencePiece uses; other
# templates than the one that is used.
HARMLESS = (
    *("scores", "token_type_count", "unknown_token_id", "padding_token_id", "mask_token_id"),
    *("cls_token_id", "seperator_token_id", "separator_token_id", "eot_token_id", "eom_token_id"),
    *("prefix_token_id", "suffix_token_id", "middle_token_id", "fim_pre_token_id"),
    *("fim_suf_token_id", "fim_mid_token_id", "fim_pad_token_id", "fim_rep_token_id"),
    *("fim_sep_token_id", "eog_token_ids"),
)
UNDERSTOOD = (
    *("model", "pre", "tokens", "token_type", "merges", "add_bos_token", "add_eos_token"),
    *("bos_token_id", "eos_token_id"),
)
IDLE = {
    "add_space_prefix": (False,),
    "remove_extra_whitespaces": (False,),
    "add_sep_token": (False,),
    "escape_whitespaces": (False,),
    "precompiled_charsmap": ([],),
}
# Of SentencePiece, a space in front is an option, and spaces are always written as marks.
SENTENCE_PIECE_IDLE = {
    **{key: idle for key, idle in IDLE.items() if key != "add_space_prefix"},
    "escape_whitespaces": (True,),
}


def read_gguf_metadata(metadata: Mapping[str, Any]) -> tuple[TokenizerFile, Beside]:
    """The vocabulary, and the template of a conversation with the names it uses.

    Raises: ValueError naming the key and the value that is missing, damaged, or not read here.
    """
    settings = {
        key.removeprefix("tokenizer.ggml."): value
        for key, value in metadata.items()
        if key.startswith("tokenizer.") and not key.startswith("tokenizer.chat_template")
    }
    kind = _kind(settings)
    sentence_piece = kind is SENTENCE_PIECE
    _check_keys(settings, sentence_piece)
    tokens, types = (_list(settings, key) for key in ("tokens", "token_type"))
    if len(types) != len(tokens):
        raise ValueError(f"{len(types)} entries of token_type for {len(tokens)} tokens")
    added = _added(tokens, types, sentence_piece)
    if sentence_piece:
        file = _sentence_piece(settings, tokens, added)
    else:
        merges = read_merges(_list(settings, "merges"), "tokenizer.ggml.merges")
        file = TokenizerFile(
            tokens,
            BPE(merges, kind.ignore_merges),
            added,
            kind.pattern,
            byte_level=True,
            unused=frozenset(i for i, type_ in enumerate(types) if type_ == UNUSED),
        )
    return file, _beside(settings, tokens, kind, metadata.get("tokenizer.chat_template"))


def _sentence_piece(
    settings: Mapping[str, Any], tokens: list[str], added: tuple[AddedToken, ...]
) -> TokenizerFile:
    """Merges by score; spaces are marks, with one in front of a text if the file does not deny."""
    scores = _list(settings, "scores")
    if len(scores) != len(tokens):
        raise ValueError(f"{len(scores)} entries of scores for {len(tokens)} tokens")
    if wrong := next((s for s in scores if type(s) is not float or s != s), None):
        raise ValueError(f"tokenizer.ggml.scores holds {short(wrong)}, expected numbers")
    prefix = expect(settings.get("add_space_prefix", True), bool, "add_space_prefix")
    marks = Replace(" ", "▁")
    spaces = (ReplaceIn("▁", " "), ByteFallback(), Fuse())
    return TokenizerFile(
        tokens,
        Scored(scores),
        added,
        pattern=(),
        byte_level=False,
        normalization=(Prepend(" "), marks) if prefix else (marks,),
        decoding=(*spaces, StripEnds(" ", 1, 0)) if prefix else spaces,
    )


def _added(tokens: list[Any], types: list[Any], with_bytes: bool) -> tuple[AddedToken, ...]:
    """The tokens that are looked for in the text itself."""
    known = [type_ for type_ in TYPE_NAMES if type_ != BYTE or with_bytes]
    added = []
    for i, (token, type_) in enumerate(zip(tokens, types, strict=True)):
        if not isinstance(token, str):
            raise ValueError(f"tokenizer.ggml.tokens[{i}] is {short(token)}, expected a text")
        if type(type_) is not int or type_ not in known:
            *most, last = [f"{type_} ({TYPE_NAMES[type_]})" for type_ in known]
            raise ValueError(
                f"token_type of {token!r} is {short(type_)}, expected {', '.join(most)} or {last}"
            )
        if type_ in (UNKNOWN, CONTROL, USER_DEFINED):
            added.append(AddedToken(token, i, special=type_ != USER_DEFINED))
    return tuple(added)


def _beside(settings: Mapping[str, Any], tokens: list[str], kind: Kind, template: Any) -> Beside:
    """The template, what it calls the model's tokens, and the tokens around a text."""
    names: list[tuple[str, str]] = []
    around: list[tuple[int, ...]] = []
    for role, default in (("bos", kind.add_bos), ("eos", False)):
        asked = expect(settings.get(f"add_{role}_token", default), bool, f"add_{role}_token")
        key = f"tokenizer.ggml.{role}_token_id"
        default_id = DEFAULT_IDS[role] if kind is SENTENCE_PIECE else None
        i = settings.get(f"{role}_token_id", default_id)
        if i is None:
            if asked:
                raise ValueError(f"add_{role}_token is true, but {key} is missing")
            around.append(())
            continue
        if type(i) is not int or not 0 <= i < len(tokens):
            raise ValueError(f"{key} is {short(i)}, expected 0 to {len(tokens) - 1}")
        around.append((i,) if asked else ())
        names.append((f"{role}_token", tokens[i]))
    if template is not None:
        expect(template, str, "tokenizer.chat_template")
    return Beside(template, tuple(names), (around[0], around[1]))


def _check_keys(settings: Mapping[str, Any], sentence_piece: bool) -> None:
    """Raises: ValueError for a key of `tokenizer` that is not known here."""
    allowed = SENTENCE_PIECE_IDLE if sentence_piece else IDLE
    known = (*UNDERSTOOD, *HARMLESS, *(["add_space_prefix"] if sentence_piece else []))
    for name, value in settings.items():
        idle = allowed.get(name, ())
        if name not in known and value not in idle:
            key = name if name.startswith("tokenizer.") else f"tokenizer.ggml.{name}"
            expected = f", expected {idle[0]!r}" if idle else ""
            raise ValueError(f"{key} is {short(value)}, which is not read here{expected}")


def _kind(settings: Mapping[str, Any]) -> Kind:
    """Which tokenizer it is: looked at first, since all else depends on it."""
    known = (
        "expected llama (SentencePiece), or gpt2 (byte-level BPE) with one of "
        f"{', '.join(BPE_KINDS)}"
    )
    model, pre = settings.get("model"), settings.get("pre")
    if model is None:
        raise ValueError(f"tokenizer.ggml.model is missing, {known}")
    if model == "llama":
        return SENTENCE_PIECE
    if model != "gpt2":
        other = f" ({OTHER_MODELS[model]})" if model in OTHER_MODELS else ""
        raise ValueError(f"a tokenizer {short(model)}{other} split by {short(pre)}, {known}")
    if pre is None:
        raise ValueError(
            f"tokenizer.ggml.pre is missing, as in files from before May 2024, {known}; "
            "which of them cannot be seen from the file"
        )
    if pre not in BPE_KINDS:
        raise ValueError(f"a tokenizer 'gpt2' split by {short(pre)}, {known}")
    return BPE_KINDS[pre]


def _list(settings: Mapping[str, Any], name: str) -> Any:
    if name not in settings:
        raise ValueError(f"tokenizer.ggml.{name} is missing")
    return expect(settings[name], list, f"tokenizer.ggml.{name}")
