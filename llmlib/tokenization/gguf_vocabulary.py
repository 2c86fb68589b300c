"""The tokenizer in the metadata of a GGUF file.

Every `tokenizer.*` key is understood, known to change no id, or refused by name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmlib.tokenization.added import AddedToken
from llmlib.tokenization.files import TokenizerFile, expect, read_merges, short
from llmlib.tokenization.patterns import (
    DIGITS_FIRST_PATTERN,
    GPT2_PATTERN,
    LLAMA3_PATTERN,
    QWEN2_PATTERN,
)
from llmlib.tokenization.tokenizer_config import Beside

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)


@dataclass(frozen=True)
class Kind:
    """What `tokenizer.ggml.pre` stands for."""

    pattern: str
    ignore_merges: bool = False
    add_bos: bool = False  # where the file does not say


KINDS = {
    **dict.fromkeys(("gpt-2", "mpt", "olmo", "jais"), Kind(GPT2_PATTERN)),
    **dict.fromkeys(
        ("smollm", "starcoder", "refact", "command-r", "codeshell"), Kind(DIGITS_FIRST_PATTERN)
    ),
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen"), Kind(QWEN2_PATTERN)),
    **dict.fromkeys(("llama-bpe", "llama3", "llama-v3"), Kind(LLAMA3_PATTERN, True, True)),
}
OTHER_MODELS = {
    "llama": "SentencePiece",
    "bert": "WordPiece",
    "t5": "SentencePiece unigram",
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


def read_gguf_metadata(metadata: Mapping[str, Any]) -> tuple[TokenizerFile, Beside]:
    """The vocabulary, and the template of a conversation with the names it uses.

    Raises: ValueError naming the key and the value that is missing, damaged, or not read here.
    """
    settings = _settings(metadata)
    kind = _kind(settings)
    tokens, types = (_list(settings, key) for key in ("tokens", "token_type"))
    if len(types) != len(tokens):
        raise ValueError(f"{len(types)} entries of token_type for {len(tokens)} tokens")
    file = TokenizerFile(
        tokens,
        read_merges(_list(settings, "merges"), "tokenizer.ggml.merges"),
        _added(tokens, types),
        kind.pattern,
        byte_level=True,
        ignore_merges=kind.ignore_merges,
        unused=frozenset(i for i, type_ in enumerate(types) if type_ == UNUSED),
    )
    return file, _beside(settings, tokens, kind, metadata.get("tokenizer.chat_template"))


def _added(tokens: list[Any], types: list[Any]) -> tuple[AddedToken, ...]:
    """The tokens that are looked for in the text itself."""
    added = []
    for i, (token, type_) in enumerate(zip(tokens, types, strict=True)):
        if not isinstance(token, str):
            raise ValueError(f"tokenizer.ggml.tokens[{i}] is {short(token)}, expected a text")
        if type(type_) is not int or type_ not in (NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED):
            raise ValueError(
                f"token_type of {token!r} is {short(type_)}, expected {NORMAL} (normal), "
                f"{UNKNOWN} (unknown), {CONTROL} (control), {USER_DEFINED} (user-defined) or "
                f"{UNUSED} (unused)"
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
        i = settings.get(f"{role}_token_id")
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


def _settings(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of `tokenizer.ggml`, all of them known."""
    settings = {}
    for key, value in metadata.items():
        if key.startswith("tokenizer.chat_template") or not key.startswith("tokenizer."):
            continue
        name = key.removeprefix("tokenizer.ggml.")
        idle = IDLE.get(name, ())
        if name not in (*UNDERSTOOD, *HARMLESS) and (name not in IDLE or value not in idle):
            expected = f", expected {idle[0]!r}" if idle else ""
            raise ValueError(f"{key} is {short(value)}, which is not read here{expected}")
        settings[name] = value
    return settings


def _kind(settings: Mapping[str, Any]) -> Kind:
    """Which tokenizer it is: looked at first, since all else depends on it."""
    known = f"expected gpt2 (byte-level BPE) with one of {', '.join(KINDS)}"
    model, pre = settings.get("model"), settings.get("pre")
    if model is None:
        raise ValueError(f"tokenizer.ggml.model is missing, {known}")
    if model != "gpt2":
        other = f" ({OTHER_MODELS[model]})" if model in OTHER_MODELS else ""
        raise ValueError(f"a tokenizer {short(model)}{other} split by {short(pre)}, {known}")
    if pre is None:
        raise ValueError(
            f"tokenizer.ggml.pre is missing, as in files from before May 2024, {known}; "
            "which of them cannot be seen from the file"
        )
    if pre not in KINDS:
        raise ValueError(f"a tokenizer 'gpt2' split by {short(pre)}, {known}")
    return KINDS[pre]


def _list(settings: Mapping[str, Any], name: str) -> Any:
    if name not in settings:
        raise ValueError(f"tokenizer.ggml.{name} is missing")
    return expect(settings[name], list, f"tokenizer.ggml.{name}")
