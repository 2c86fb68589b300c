"""tokenizer_config.json and the template of a conversation, which lie beside a tokenizer.json.

Here too every key is understood, known to change no id, or refused by name.
"""

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmlib.tokenization.files import expect, naming, only, read_json, read_text, short
from llmlib.tokenization.normalizers import Bert, Lowercase, Prepend, Step, StripAccents
from llmlib.tokenization.patterns import Metaspace, PrefixSpace
from llmlib.tokenization.tokenizer_file import Around, TokenizerFile
from llmlib.tokenization.tokenizer_json import ADDED_FLAGS

CONFIG_FILE, TEMPLATE_FILE = "tokenizer_config.json", "chat_template.jinja"
NAMED_TOKEN = re.compile(r"[a-z]\w*_token")  # bos_token, and a model's own, such as image_token
# What these say is done elsewhere, or not at all, and changes no id of one text.
HARMLESS = (
    # which program to use, and where it was
    *(
        "tokenizer_class",
        "processor_class",
        "auto_map",
        "name_or_path",
        "tokenizer_file",
        "backend",
    ),
    *("special_tokens_map_file", "vocab_file", "merges_file", "is_local", "local_files_only"),
    *("use_fast", "from_slow", "tokenizer_type", "trust_remote_code", "_commit_hash"),
    *("device_map", "torch_dtype", "dtype", "transformers_version", "unsloth_fixed"),
    # what tokenizer.json says itself: its size, and ids whose tokens stand here by name
    *("vocab_size", "bos_token_id", "eos_token_id", "unk_token_id", "pad_token_id"),
    # of other programs than those that read tokenizer.json
    *("sp_model_kwargs", "do_basic_tokenize", "never_split", "keep_accents", "remove_space"),
    # how many tokens T5 has for gaps: they stand in tokenizer.json
    "extra_ids",
    # batches, and texts that are too long: `encode` takes one text and gives all its ids
    *("model_max_length", "max_length", "max_len", "padding_side", "truncation_side", "padding"),
    *("stride", "truncation", "truncation_strategy", "pad_to_multiple_of", "pad_token_type_id"),
    *("model_input_names", "return_token_type_ids", "verbose"),
    # how text is tidied when decoding: `decode` gives the text of the tokens and tidies nothing
    *("clean_up_tokenization_spaces", "spaces_between_special_tokens", "errors", "trim_offsets"),
    # special tokens in a text: the caller says so by allow_special
    *("split_special_tokens", "legacy", "use_default_system_prompt"),
    # how a program reads the answer
    *("response_schema", "response_template", "tool_parser_type"),
)
# Keys that do nothing with these values, and would change ids with others.
IDLE = {
    "normalization": (None, False),
    "dropout": (None, 0, 0.0),
}
# Keys that say again what tokenizer.json says; where the two differ, programs go either way.
AGREEING = ("add_prefix_space", "do_lower_case", "strip_accents", "tokenize_chinese_chars")
SIDES = ("add_bos_token", "add_eos_token")
OWN = "model_specific_special_tokens"
LISTED = ("additional_special_tokens", "extra_special_tokens")


@dataclass(frozen=True)
class Beside:
    """What the files beside a tokenizer say: a template, names for it, tokens around a text."""

    chat_template: str | None = None
    template_tokens: tuple[tuple[str, str], ...] = ()  # such as ("bos_token", "<s>")
    around: Around = ((), ())


def read_beside(folder: Path, file: TokenizerFile) -> Beside:
    """Reads tokenizer_config.json and chat_template.jinja, if they are there.

    Raises: ValueError naming the file and the key that is damaged, not read here, or at odds with
        tokenizer.json.
    """
    template = folder / TEMPLATE_FILE
    text = read_text(template) if template.is_file() else None
    config = folder / CONFIG_FILE
    if not config.is_file():
        return Beside(text, (), file.around)
    content = read_json(config)
    with naming(config):
        known = (
            *HARMLESS,
            *IDLE,
            *AGREEING,
            *SIDES,
            "chat_template",
            "added_tokens_decoder",
            OWN,
            *LISTED,
        )
        # null says that there is no such thing
        given = {k: v for k, v in content.items() if v is not None and not _is_name(k)}
        only(given, known, "the key")
        for key, idle in IDLE.items():
            if content.get(key) not in idle:
                raise ValueError(
                    f"{key} is {short(content[key])}, which changes ids and is not read here"
                )
        _check_agreeing(content, file)
        _check_added(content.get("added_tokens_decoder") or {}, file)
        names = _names(content, file)
        template_of_config = _template(content.get("chat_template"))
        around = _around(content, file, dict(names))
        return Beside(template_of_config if text is None else text, names, around)


def _check_agreeing(content: Mapping[str, Any], file: TokenizerFile) -> None:
    """Raises: ValueError for a key that is at odds with the steps of tokenizer.json."""
    steps: tuple[Step, ...] = file.normalization if isinstance(file.normalization, tuple) else ()
    cuts = file.pattern if isinstance(file.pattern, tuple) else ()
    bert = [step for step in steps if isinstance(step, Bert)]
    lower = [step.lowercase for step in bert]
    accents = [step.lowercase if step.accents is None else step.accents for step in bert]
    found = {
        "add_prefix_space": any(isinstance(step, Prepend) for step in steps)
        or any(isinstance(cut, PrefixSpace) for cut in cuts)
        or any(isinstance(cut, Metaspace) and cut.prepend != "never" for cut in cuts),
        "do_lower_case": any(lower) or Lowercase() in steps,
        "strip_accents": any(accents) or StripAccents() in steps,
        "tokenize_chinese_chars": any(step.chinese for step in bert),
    }
    for key, does in found.items():
        if content.get(key) is not None and expect(content[key], bool, key) != does:
            raise ValueError(
                f"{key} is {content[key]}, which changes ids: tokenizer.json says {does}"
            )


def _template(template: Any) -> str | None:
    """One template, or the one called default of several."""
    if isinstance(template, list):
        named = {}
        for entry in template:
            entry = expect(entry, dict, "an entry of chat_template")
            named[entry.get("name")] = entry.get("template")
        if "default" not in named:
            raise ValueError(f"chat_template has {short(list(named))}, expected one called default")
        template = named["default"]
    return None if template is None else str(expect(template, str, "chat_template"))


def token_text(value: Any, key: str) -> str:
    """The text of a token, which may be written with its options."""
    if isinstance(value, dict):
        value = value.get("content")
    return str(expect(value, str, key))


def _is_name(key: str) -> bool:
    """Whether a key names a token, which a template may use."""
    return bool(NAMED_TOKEN.fullmatch(key)) and key not in SIDES


def _names(content: Mapping[str, Any], file: TokenizerFile) -> tuple[tuple[str, str], ...]:
    """The tokens that have a role; each must be one that tokenizer.json lists as added."""
    added = {token.content for token in file.added}
    own = expect(content.get(OWN) or {}, dict, OWN)
    named = {k: v for k, v in content.items() if _is_name(k) and v is not None}
    names = [(k, token_text(v, k)) for k, v in (named | own).items()]
    listed: list[tuple[str, str]] = []
    for key in LISTED:
        entries = content.get(key) or []
        entries = list(entries.values()) if isinstance(entries, dict) else entries
        listed += [(key, token_text(entry, key)) for entry in expect(entries, list, key)]
    for key, name in (*names, *listed):
        if name not in added:
            raise ValueError(f"{key} names {name!r}, which is no added token of tokenizer.json")
    return tuple(names)


def _check_added(entries: Any, file: TokenizerFile) -> None:
    """The added tokens are listed a second time: they must be the same."""
    known = {token.id: token for token in file.added}
    for key, entry in expect(entries, dict, "added_tokens_decoder").items():
        what = f"added_tokens_decoder[{key!r}]"
        only(expect(entry, dict, what), ("content", *ADDED_FLAGS), what)
        token = known.get(int(key)) if key.isdecimal() else None
        if token is None:
            raise ValueError(f"{what} is {short(entry)}, which is no added token of tokenizer.json")
        expected = dataclasses.asdict(token)
        for field, value in entry.items():
            if value != expected[field]:
                said = f"{short(expected[field])} in tokenizer.json"
                raise ValueError(f"{field} of {what} is {short(value)}, but {said}")


def _around(content: Mapping[str, Any], file: TokenizerFile, names: Mapping[str, str]) -> Around:
    """add_bos_token and add_eos_token, where they are given, over what tokenizer.json says."""
    ids = {token.content: token.id for token in file.added}
    sides = list(file.around)
    for side, key, role in ((0, "add_bos_token", "bos_token"), (1, "add_eos_token", "eos_token")):
        if content.get(key) is None:
            continue
        if not expect(content[key], bool, key):
            sides[side] = ()
        elif role not in names:
            raise ValueError(f"{key} is true, but there is no {role}")
        else:
            sides[side] = (ids[names[role]],)
    return sides[0], sides[1]


def files_beside(
    folder: Path, chat_template: str | None, template_tokens: Mapping[str, str]
) -> dict[Path, str]:
    """What to write beside a tokenizer.json so that reading it gives template and names again.

    Raises: ValueError if files of another tokenizer lie there, which would be read with this one.
    """
    template, config = folder / TEMPLATE_FILE, folder / CONFIG_FILE
    written = {}
    if chat_template is not None:
        written[template] = chat_template
    elif template.is_file():
        raise ValueError(
            f"{template} belongs to another tokenizer; take it away, or save elsewhere"
        )
    content = json.dumps(dict(template_tokens), ensure_ascii=False, indent=1) + "\n"
    if config.is_file():
        if read_json(config) != dict(template_tokens):
            raise ValueError(f"{config} is of another tokenizer; take it away, or save elsewhere")
    elif template_tokens:
        written[config] = content
    return written
