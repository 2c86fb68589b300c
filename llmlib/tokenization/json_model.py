"""The model of a tokenizer.json: BPE, Unigram or WordPiece."""

from collections.abc import Mapping
from typing import Any

from llmlib.tokenization.files import expect, only, read_merges, short
from llmlib.tokenization.tokenizer_file import BPE, Model, Unigram, WordPiece

# Options of BPE that do nothing with these values.
IDLE = {
    "dropout": (None, 0, 0.0),
    "continuing_subword_prefix": (None, ""),
    "end_of_word_suffix": (None, ""),
}


def read_model(section: Any) -> tuple[Model, dict[str, Any]]:
    """The model, and token -> id.

    Raises: ValueError naming another kind of model, or an option that is not read.
    """
    model = expect(section, dict, "model")
    kind = model.get("type", _kind(model))
    match kind:
        case "BPE":
            return _read_bpe(model)
        case "Unigram":
            return _read_unigram(model)
        case "WordPiece":
            return _read_word_piece(model)
    raise ValueError(f"model type {short(kind)}, expected BPE, Unigram or WordPiece")


def _kind(model: Mapping[str, Any]) -> str:
    """The kind of a model whose file, of before 2021, does not say it."""
    if isinstance(model.get("vocab"), list):
        return "Unigram"
    return "WordPiece" if "max_input_chars_per_word" in model else "BPE"


def _read_bpe(model: Mapping[str, Any]) -> tuple[Model, dict[str, Any]]:
    for option, idle in IDLE.items():
        if model.get(option) not in idle:
            raise ValueError(f"model option {option} is {model[option]!r}, which is not read here")
    flags = ("ignore_merges", "byte_fallback", "fuse_unk")
    only(model, ("type", "vocab", "merges", "unk_token", *flags, *IDLE), "model option")
    vocabulary = expect(model.get("vocab"), dict, "model.vocab")
    ignore, fallback, fuse = (expect(model.get(f) or False, bool, f"model.{f}") for f in flags)
    unknown = model.get("unk_token")
    if unknown is not None and expect(unknown, str, "model.unk_token") not in vocabulary:
        unknown = None  # it never comes, or encoding fails, in the program that wrote it
    merges = read_merges(model.get("merges"), "model.merges")
    return BPE(merges, ignore, fallback, unknown, fuse), vocabulary


def _read_unigram(model: Mapping[str, Any]) -> tuple[Model, dict[str, Any]]:
    only(model, ("type", "vocab", "unk_id", "byte_fallback"), "model option")
    vocabulary: dict[str, int] = {}
    scores = []
    for entry in expect(model.get("vocab"), list, "model.vocab"):
        match entry:
            case [str(token), float() | int() as score] if type(score) is not bool:
                if token in vocabulary:
                    raise ValueError(f"the token {token!r} is listed twice")
                vocabulary[token] = len(vocabulary)
                scores.append(float(score))
            case _:
                raise ValueError(f"model.vocab holds {short(entry)}, expected a token and a score")
    unknown = model.get("unk_id")
    if unknown is not None and not 0 <= expect(unknown, int, "model.unk_id") < len(scores):
        raise ValueError(f"model.unk_id is {unknown}, expected 0 to {len(scores) - 1}")
    fallback = expect(model.get("byte_fallback") or False, bool, "model.byte_fallback")
    return Unigram(scores, unknown, fallback), vocabulary


def _read_word_piece(model: Mapping[str, Any]) -> tuple[Model, dict[str, Any]]:
    options = ("unk_token", "continuing_subword_prefix", "max_input_chars_per_word")
    only(model, ("type", "vocab", *options), "model option")
    vocabulary = expect(model.get("vocab"), dict, "model.vocab")
    unknown = expect(model.get("unk_token"), str, "model.unk_token")
    if unknown not in vocabulary:
        raise ValueError(f"model.unk_token is {unknown!r}, which is not in the vocabulary")
    prefix = expect(model.get(options[1]), str, options[1])
    return WordPiece(unknown, prefix, expect(model.get(options[2]), int, options[2])), vocabulary


def write_model(model: Model, vocabulary: Mapping[str, int]) -> dict[str, Any]:
    """The inverse of `read_model`.

    Raises: ValueError for a model that tokenizer.json does not have.
    """
    match model:
        case BPE(merges, ignore_merges, byte_fallback, unknown, fuse_unknown):
            options = {
                "ignore_merges": ignore_merges,
                "byte_fallback": byte_fallback,
                "unk_token": unknown,
                "fuse_unk": fuse_unknown,
            }
            return {
                "type": "BPE",
                **{key: value for key, value in options.items() if value},
                "vocab": dict(vocabulary),
                "merges": [list(merge) for merge in merges],
            }
        case Unigram(scores, unknown_id, byte_fallback):
            vocab = [[t, s] for t, s in zip(vocabulary, scores, strict=False)]
            return {
                "type": "Unigram",
                "unk_id": unknown_id,
                "byte_fallback": byte_fallback,
                "vocab": vocab,
            }
        case WordPiece(unknown, prefix, longest):
            return {
                "type": "WordPiece",
                "unk_token": unknown,
                "continuing_subword_prefix": prefix,
                "max_input_chars_per_word": longest,
                "vocab": dict(vocabulary),
            }
    raise ValueError(
        "merges by score cannot be saved as tokenizer.json, which has merges by rank: of tokens "
        "with one score the place in the text decides; keep the GGUF file"
    )
