"""Tokenizers with the steps of well-known models, trained on a little text by `tokenizers`.

Each has the normalizer, pre-tokenizer, post-processor, decoder, options of the model and kinds of
added tokens that the model's own tokenizer.json has; only the vocabulary is small.
"""
# ruff: noqa: E501 - a pattern stands in one line, as the model has it

import json
from collections.abc import Callable, Sequence

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
TAIL = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = rf"{CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}|{TAIL}"
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}|", r"\p{N}|")
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
TEKKEN = rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
BLOOM = " ?[^(\\s|[.,!?…。，、।۔،])]+"
DEEPSEEK_V3 = (
    r"\p{N}{1,3}",
    r"[一-龥぀-ゟ゠-ヿ]+",
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
)
DEEPSEEK_V2 = (
    r"[\r\n]",
    r"\s?\p{L}+",
    r"\s?[!-/:-~！-／：-～‘-‟　-。]+",
    r"\s+$",
    r"[一-龥ࠀ-一가-퟿]+",
)
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
P, N = pre_tokenizers, normalizers


def plain(*names: str, **options: bool) -> list[AddedToken]:
    """Added tokens that are not special."""
    return [AddedToken(name, special=False, normalized=False, **options) for name in names]


def before(name: str, i: int) -> processors.TemplateProcessing:
    """One token before the text."""
    return processors.TemplateProcessing(f"{name} $A", f"{name} $A {name}:1 $B:1", [(name, i)])


def splits(*patterns: str) -> list[P.PreTokenizer]:
    return [P.Split(Regex(pattern), "isolated") for pattern in patterns]


class Trainer:
    """Makes tokenizers from one text.

    Args:
        pieces: the text, in parts.
        size: tokens of each vocabulary.
    """

    def __init__(self, pieces: Sequence[str], size: int = 1500) -> None:
        self.pieces, self.size = pieces, size

    def byte_level(
        self,
        pre_tokenizer: P.PreTokenizer,
        *,
        normalizer: N.Normalizer | None = None,
        special: Sequence[str] = ("<|endoftext|>",),
        added: Sequence[AddedToken] = (),
        post: Callable[[Tokenizer], processors.PostProcessor] | None = None,
        **options: bool,
    ) -> Tokenizer:
        made = Tokenizer(models.BPE())
        made.pre_tokenizer, made.decoder = pre_tokenizer, decoders.ByteLevel()
        if normalizer is not None:
            made.normalizer = normalizer
        trainer = trainers.BpeTrainer(
            vocab_size=self.size, show_progress=False, initial_alphabet=P.ByteLevel.alphabet()
        )
        made.train_from_iterator(self.pieces, trainer)
        return self._finished(made, special, added, post, options)

    def sentence_piece(
        self,
        normalizer: N.Normalizer | None,
        pre_tokenizer: P.PreTokenizer | None,
        decoder: decoders.Decoder,
        *,
        special: Sequence[str] = ("<unk>", "<s>", "</s>"),
        added: Sequence[AddedToken] = (),
        post: Callable[[Tokenizer], processors.PostProcessor] | None = None,
        fallback: bool = True,
        **options: bool,
    ) -> Tokenizer:
        """BPE over characters, with tokens for bytes; learned within words, as SentencePiece."""
        made = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=fallback))
        made.pre_tokenizer = P.Metaspace()
        trainer = trainers.BpeTrainer(
            vocab_size=self.size,
            show_progress=False,
            special_tokens=[*special, *BYTES] if fallback else [*special],
            limit_alphabet=300,
        )
        made.train_from_iterator(self.pieces, trainer)
        content = json.loads(made.to_str())
        content["added_tokens"] = content["added_tokens"][: len(special)]
        for token in content["added_tokens"]:
            token["normalized"] = False
        content["pre_tokenizer"] = None
        made = Tokenizer.from_str(json.dumps(content))
        made.decoder = decoder
        if normalizer is not None:
            made.normalizer = normalizer
        if pre_tokenizer is not None:
            made.pre_tokenizer = pre_tokenizer
        return self._finished(made, (), added, post, options)

    def unigram(
        self, normalizer: N.Normalizer, pre_tokenizer: P.PreTokenizer, post: str
    ) -> Tokenizer:
        made = Tokenizer(models.Unigram())
        made.normalizer, made.pre_tokenizer = normalizer, pre_tokenizer
        made.decoder = decoders.Metaspace()
        special = ["<pad>", "</s>", "<unk>", "<extra_id_0>"]
        trainer = trainers.UnigramTrainer(
            vocab_size=self.size, show_progress=False, special_tokens=special, unk_token="<unk>"
        )
        made.train_from_iterator(self.pieces, trainer)
        made.post_processor = processors.TemplateProcessing(post, f"{post} $B", [("</s>", 1)])
        return made

    def word_piece(self, normalizer: N.Normalizer) -> Tokenizer:
        made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        made.normalizer, made.pre_tokenizer = normalizer, P.BertPreTokenizer()
        made.decoder = decoders.WordPiece()
        special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        trainer = trainers.WordPieceTrainer(
            vocab_size=self.size, show_progress=False, special_tokens=special, limit_alphabet=500
        )
        made.train_from_iterator(self.pieces, trainer)
        made.post_processor = processors.TemplateProcessing(
            "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", [("[CLS]", 2), ("[SEP]", 3)]
        )
        return made

    def _finished(
        self,
        made: Tokenizer,
        special: Sequence[str],
        added: Sequence[AddedToken],
        post: Callable[[Tokenizer], processors.PostProcessor] | None,
        options: dict[str, bool],
    ) -> Tokenizer:
        content = json.loads(made.to_str())
        content["model"] |= options
        made = Tokenizer.from_str(json.dumps(content))
        made.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in special])
        made.add_tokens(list(added))
        if post is not None:
            made.post_processor = post(made)
        return made


def sequence(*steps: P.PreTokenizer, **options: bool) -> P.Sequence:
    """Steps, and bytes behind them."""
    return P.Sequence(
        [*steps, P.ByteLevel(add_prefix_space=False, **({"use_regex": False} | options))]
    )


def id_before(name: str) -> Callable[[Tokenizer], processors.PostProcessor]:
    return lambda made: before(name, made.token_to_id(name))


def bytes_then(name: str) -> Callable[[Tokenizer], processors.PostProcessor]:
    """Llama 3's: places in the text, then the token before it."""
    return lambda made: processors.Sequence(
        [processors.ByteLevel(trim_offsets=True), before(name, made.token_to_id(name))]
    )


FALLBACK = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
LLAMA_OUT = decoders.Sequence(
    [
        decoders.Replace("▁", " "),
        decoders.ByteFallback(),
        decoders.Fuse(),
        decoders.Strip(" ", 1, 0),
    ]
)
LLAMA_IN = N.Sequence([N.Prepend("▁"), N.Replace(" ", "▁")])
CHAT_ML = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")

FAMILIES: dict[str, Callable[[Trainer], Tokenizer]] = {
    "gpt2": lambda t: t.byte_level(P.ByteLevel(False), post=lambda m: processors.ByteLevel(trim_offsets=False)),
    "roberta": lambda t: t.byte_level(
        P.ByteLevel(False), special=("<s>", "</s>", "<pad>"), added=[AddedToken("<mask>", lstrip=True, special=True, normalized=False)],
        post=lambda m: processors.RobertaProcessing(("</s>", m.token_to_id("</s>")), ("<s>", m.token_to_id("<s>"))),
    ),
    "llama 2": lambda t: t.sentence_piece(LLAMA_IN, None, LLAMA_OUT, post=id_before("<s>")),
    "llama 2, Metaspace": lambda t: t.sentence_piece(None, P.Metaspace(prepend_scheme="first", split=False), LLAMA_OUT, post=id_before("<s>")),
    "mistral": lambda t: t.sentence_piece(LLAMA_IN, None, LLAMA_OUT, special=("<unk>", "<s>", "</s>", "[INST]", "[/INST]"), post=id_before("<s>")),
    "phi3": lambda t: t.sentence_piece(LLAMA_IN, None, LLAMA_OUT, added=[AddedToken("<|end|>", rstrip=True, special=True, normalized=False), *plain("<|user|>", rstrip=True)], post=id_before("<s>")),
    "gemma 2": lambda t: t.sentence_piece(N.Replace(" ", "▁"), P.Split(" ", "merged_with_previous"), FALLBACK, special=("<pad>", "<eos>", "<bos>", "<unk>"), added=plain("<start_of_turn>", "\n\n", "▁▁", "▁▁▁▁"), post=id_before("<bos>")),
    "gemma 3": lambda t: t.sentence_piece(N.Replace(" ", "▁"), None, FALLBACK, special=("<pad>", "<eos>", "<bos>", "<unk>"), added=plain("<unused0>", "\n\n\n", "[multimodal]"), post=id_before("<bos>")),
    "llama 3": lambda t: t.byte_level(sequence(*splits(LLAMA3)), special=("<|begin_of_text|>", "<|eot_id|>"), post=bytes_then("<|begin_of_text|>"), ignore_merges=True),
    "tekken": lambda t: t.byte_level(sequence(*splits(TEKKEN)), special=("<unk>", "<s>", "</s>", "[INST]"), post=id_before("<s>"), ignore_merges=True),
    "qwen2": lambda t: t.byte_level(sequence(*splits(QWEN2)), normalizer=N.NFC(), special=CHAT_ML, post=lambda m: processors.ByteLevel(trim_offsets=False)),
    "qwen3": lambda t: t.byte_level(sequence(*splits(QWEN2)), normalizer=N.NFC(), special=CHAT_ML, added=plain("<think>", "</think>", "<tool_call>"), post=lambda m: processors.ByteLevel(trim_offsets=False)),
    "bloom": lambda t: t.byte_level(sequence(*splits(BLOOM)), special=("<unk>", "<s>", "</s>", "<pad>")),
    "deepseek v2": lambda t: t.byte_level(sequence(*splits(*DEEPSEEK_V2), P.Digits(individual_digits=True)), added=plain("<｜User｜>"), special=("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"), post=bytes_then("<｜begin▁of▁sentence｜>")),
    "deepseek v3": lambda t: t.byte_level(sequence(*splits(*DEEPSEEK_V3)), normalizer=N.Sequence([]), added=plain("<｜User｜>", "<think>"), special=("<｜begin▁of▁sentence｜>",), post=bytes_then("<｜begin▁of▁sentence｜>")),
    "olmo2": lambda t: t.byte_level(sequence(*splits(LLAMA3)), added=plain("|||EMAIL_ADDRESS|||", "<|im_start|>"), special=("<|endoftext|>",)),
    "smollm2": lambda t: t.byte_level(sequence(P.Digits(individual_digits=True), use_regex=True), special=CHAT_ML),
    "smollm3": lambda t: t.byte_level(sequence(*splits(LLAMA3)), special=CHAT_ML, added=plain("<think>", "</think>"), ignore_merges=True),
    "granite": lambda t: t.byte_level(sequence(P.Digits(individual_digits=True), use_regex=True), special=("<|end_of_text|>", "<|start_of_role|>")),
    "glm4": lambda t: t.byte_level(sequence(*splits(LLAMA3)), special=("<|endoftext|>", "[gMASK]", "<sop>"), post=lambda m: processors.Sequence([processors.ByteLevel(), processors.TemplateProcessing("[gMASK] <sop> $A", "[gMASK] <sop> $A $B", [(n, m.token_to_id(n)) for n in ("[gMASK]", "<sop>")])]), ignore_merges=True),
    "starcoder2": lambda t: t.byte_level(sequence(P.Digits(individual_digits=True), use_regex=True), special=("<|endoftext|>", "<fim_prefix>")),
    "cohere": lambda t: t.byte_level(sequence(P.Digits(individual_digits=True), use_regex=True), normalizer=N.NFC(), special=("<BOS_TOKEN>", "<|START_OF_TURN_TOKEN|>"), post=id_before("<BOS_TOKEN>")),
    "gpt_neox": lambda t: t.byte_level(P.ByteLevel(False), normalizer=N.NFC(), added=[AddedToken(" " * n, special=False, normalized=True) for n in (24, 8, 4, 3, 2)]),
    "falcon": lambda t: t.byte_level(P.Sequence([P.Punctuation("contiguous"), P.ByteLevel(False), P.Digits(individual_digits=False), P.Split(Regex("[0-9][0-9][0-9]"), "isolated")]), special=(">>TITLE<<", "<|endoftext|>")),
    "mpt": lambda t: t.byte_level(P.ByteLevel(False), normalizer=N.NFC(), added=plain(*(" " * n for n in (16, 8, 5, 2)))),
    "t5": lambda t: t.unigram(N.Sequence([N.NFKC(), N.Replace(Regex(" {2,}"), " ")]), P.Sequence([P.WhitespaceSplit(), P.Metaspace()]), "$A </s>"),
    "albert": lambda t: t.unigram(N.Sequence([N.Replace("``", '"'), N.Replace("''", '"'), N.NFKD(), N.StripAccents(), N.Lowercase(), N.Replace(Regex(" {2,}"), " ")]), P.Metaspace(), "</s> $A </s>"),
    "bert uncased": lambda t: t.word_piece(N.BertNormalizer()),
    "bert cased": lambda t: t.word_piece(N.BertNormalizer(lowercase=False)),
}  # fmt: skip
