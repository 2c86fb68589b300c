"""How GGUF's byte-level tokenizers cut a text, by the name in `tokenizer.ggml.pre`.

Each name stands for the patterns of the tokenizer.json that the vocabulary came from; "default"
is what llama.cpp does where it does not know.
"""

from dataclasses import dataclass

from llmlib.tokenization.patterns import (
    DIGITS_FIRST_PATTERN,
    GPT2_PATTERN,
    LLAMA3_PATTERN,
    QWEN2_PATTERN,
    Pattern,
    Split,
)


@dataclass(frozen=True)
class Kind:
    """What `tokenizer.ggml.pre` stands for."""

    pattern: Pattern
    ignore_merges: bool = False
    add_bos: bool = False  # where the file does not say


def _steps(*patterns: str) -> tuple[Split, ...]:
    return tuple(map(Split, patterns))


CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
# A word begins with capitals, goes on in small letters, and may have one sign before it. Letters
# without case, and marks, count as either.
CAPITALS, SMALL = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
SIGN = r"[^\r\n\p{L}\p{N}]?"
OTHERS = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
TEKKEN = rf"{SIGN}{CAPITALS}*{SMALL}+|{SIGN}{CAPITALS}+{SMALL}*|\p{{N}}|{OTHERS}"
GPT4O = (
    rf"{SIGN}{CAPITALS}*{SMALL}+{CONTRACTIONS}?|{SIGN}{CAPITALS}+{SMALL}*{CONTRACTIONS}?|"
    rf"\p{{N}}{{1,3}}|{OTHERS}"
)
QWEN35 = (
    rf"{CONTRACTIONS}|{SIGN}[\p{{L}}\p{{M}}]+|\p{{N}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)
# The letters that DeepSeek LLM's file lists: those with case that its makers' tables had.
CASED = (
    r"A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕ"
    r"ἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-\x{1f7d}ᾀ-ᾴᾶ-ᾼ\x{1fbe}ῂ-ῄῆ-ῌῐ-\x{1fd3}ῖ-\x{1fdb}ῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ"
    r"\x{2126}ℨ\x{212a}-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⲳⲳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻"
    r"𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃"
)
DEEPSEEK_LLM = _steps(
    r"[\r\n]",
    rf"\s?[{CASED}]+",
    r"\s?[!-/:-~！-／：-～‘-‟\x{3000}-。]+",
    r"\s+$",
    r"[一-龥ࠀ-一가-\x{d7ff}]+",
    r"\p{N}+",
)
DEEPSEEK_CODER = _steps(r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", r"[一-龥ࠀ-一가-\x{d7ff}]+", r"\p{N}")
DEEPSEEK_V3 = _steps(
    r"\p{N}{1,3}",
    r"[一-龥\x{3040}-ゟ゠-ヿ]+",
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|"
    r" ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
)
FALCON = _steps(r"[\p{P}\$\+<=>\^~\|`]+", GPT2_PATTERN, "[0-9][0-9][0-9]")
DEFAULT = _steps(r"[\p{P}\$\+<=>\^~\|]+", GPT2_PATTERN, r"\p{N}+", "[0-9][0-9][0-9]")
BLOOM = r" ?[^(\s|.,!?…。，、।۔،)]+"

BPE_KINDS = {
    **dict.fromkeys(
        ("gpt-2", "mpt", "olmo", "jais", "phi-2", "gigachat", "exaone4", "modern-bert"),
        Kind(GPT2_PATTERN),
    ),
    **dict.fromkeys(
        ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"),
        Kind(DIGITS_FIRST_PATTERN),
    ),
    **dict.fromkeys(
        ("qwen2", "deepseek-r1-qwen", "stablelm2", "hunyuan", "megrez"), Kind(QWEN2_PATTERN)
    ),
    "qwen35": Kind(QWEN35),
    **dict.fromkeys(
        ("llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "lfm2"),
        Kind(LLAMA3_PATTERN, ignore_merges=True, add_bos=True),
    ),
    **dict.fromkeys(("glm4", "chatglm-bpe", "dbrx", "smaug-bpe"), Kind(LLAMA3_PATTERN)),
    "tekken": Kind(TEKKEN, ignore_merges=True, add_bos=True),
    **dict.fromkeys(("gpt-4o", "llama4"), Kind(GPT4O)),
    "deepseek-llm": Kind(DEEPSEEK_LLM),
    "deepseek-coder": Kind(DEEPSEEK_CODER),
    **dict.fromkeys(("deepseek-v3", "hunyuan-dense"), Kind(DEEPSEEK_V3)),
    "falcon": Kind(FALCON),
    **dict.fromkeys(("bloom", "poro-chat", "gpt3-finnish"), Kind(BLOOM)),
    "viking": Kind(_steps(BLOOM, r"\p{N}")),
    "default": Kind(DEFAULT),
}
