"""One small decoder over vocabularies of different size, compared by its loss on a byte of text.

The loss per token cannot compare them: a token of a large vocabulary holds more text. Not here: the
runs themselves, which `benchmarks/vocabularies.py` makes and stores in tokenization.tsv.
"""

import copy
import functools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from babel import Locale
from jaxtyping import Float, Int
from torch import Tensor

import llmlib.architecture as arch
from llmlib.accounting import forward_flops
from llmlib.book.labs.tables import read_rows, write_rows
from llmlib.book.widgets import Vocabulary, first_merges
from llmlib.decoder import Decoder, DecoderConfig
from llmlib.formats.packaged import gpt2_encoder_json, gpt2_vocab_bpe, smollm2_gguf
from llmlib.tokenization import ByteLevelBPETokenizer

FILE = Path(__file__).with_name("tokenization.tsv")
SIZES = (256, 2048)
CONTEXT = 128  # bytes of text in a row, whatever the vocabulary
BATCH = 16
WIDTH = 64


def small_config(vocab_size: int, context: int, dim: int = WIDTH) -> arch.ModelConfig:
    """Two layers with four heads and a tied head; only the vocabulary's rows differ."""
    return DecoderConfig(
        vocab_size, dim=dim, n_layers=2, n_heads=4, ffn_dim=8 * dim // 3, context=context, tied=True
    )


def nested(tokenizer: ByteLevelBPETokenizer, vocab_size: int) -> ByteLevelBPETokenizer:
    """The smaller vocabulary that training would have passed through on its way.

    Raises: ValueError for a size under the 256 bytes or over the tokenizer's own.
    """
    if not 256 <= vocab_size <= tokenizer.vocab_size:
        raise ValueError(f"vocab_size is {vocab_size}, expected 256 to {tokenizer.vocab_size}")
    merges = tokenizer.merges[: vocab_size - 256]
    return ByteLevelBPETokenizer(tokenizer.tokens[:vocab_size], merges, pattern=tokenizer.pattern)


def step_flops(config: arch.ModelConfig, batch: int, seq: int) -> float:
    """FLOPs of one training step: forward, and twice that backward."""
    return 3 * forward_flops(config, batch, seq).total


@torch.no_grad()
def bits_per_byte(
    model: Decoder, ids: Int[Tensor, " length"], n_bytes: Sequence[int], seq: int, batch: int = 64
) -> float:
    """-log2 of the probability that the model gives a text, divided by the text's bytes.

    The text is read in rows of `seq` tokens; the first token of a row is given, not predicted.

    Args:
        ids: the text's tokens.
        n_bytes: of each token of the vocabulary, its bytes.
        seq: tokens in a row.

    Raises: ValueError for a text shorter than a row.
    """
    if len(ids) < seq + 1:
        raise ValueError(f"{len(ids)} tokens, expected at least seq + 1 = {seq + 1}")
    rows = ids[: len(ids) // (seq + 1) * (seq + 1)].reshape(-1, seq + 1)
    nats = 0.0
    for part in rows.split(batch):
        logits = model(part[:, :-1])
        nats += torch.nn.functional.cross_entropy(logits.mT, part[:, 1:], reduction="sum").item()
    sizes = torch.tensor(n_bytes)
    return nats / math.log(2) / int(sizes[rows[:, 1:]].sum())


# --- the vocabularies that a reader types into ---------------------------------------------------

CUT = 11_500  # merges of GPT-2 and of SmolLM2 that the page carries
LANGUAGES = {
    "English": "en",
    "German": "de",
    "Spanish": "es",
    "Russian": "ru",
    "Greek": "el",
    "Chinese": "zh",
    "Japanese": "ja",
    "Hindi": "hi",
}

# The first sentence of Article 1 of the Universal Declaration of Human Rights; in Spanish, where
# the article is one sentence, its first clause.
ARTICLE_1 = {
    "English": "All human beings are born free and equal in dignity and rights.",
    "German": "Alle Menschen sind frei und gleich an Würde und Rechten geboren.",
    "Spanish": "Todos los seres humanos nacen libres e iguales en dignidad y derechos.",
    "Russian": "Все люди рождаются свободными и равными в своем достоинстве и правах.",
    "Greek": "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα.",
    "Chinese": "人人生而自由，在尊严和权利上一律平等。",
    "Japanese": "すべての人間は、生れながらにして自由であり、かつ、尊厳と権利とについて"
    "平等である。",
    "Hindi": "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है।",
}


def names_of(code: str) -> str:
    """The names of all countries and languages in one language, a line each."""
    locale = Locale(code)
    return "\n".join([*locale.territories.values(), *locale.languages.values()])


@functools.cache
def fair_tokenizer() -> ByteLevelBPETokenizer:
    """4,096 tokens learned from the same names in eight languages."""
    return ByteLevelBPETokenizer.train("\n".join(map(names_of, LANGUAGES.values())), 4_096)


@functools.cache
def typing_vocabularies() -> tuple[Vocabulary, ...]:
    """GPT-2's and SmolLM2's first merges, and a vocabulary of equal parts."""
    gpt2 = ByteLevelBPETokenizer.from_gpt2_files(gpt2_encoder_json(), gpt2_vocab_bpe())
    smol = ByteLevelBPETokenizer.from_gguf(smollm2_gguf())
    about = (
        f"the first {CUT:,} of its {{:,}} merges; with all of them rare words take fewer tokens."
    )
    return (
        Vocabulary("GPT-2", first_merges(gpt2, CUT), about.format(len(gpt2.merges))),
        Vocabulary("SmolLM2", first_merges(smol, CUT), about.format(len(smol.merges))),
        Vocabulary(
            "eight languages",
            fair_tokenizer(),
            "4,096 tokens that this chapter learns from the names of countries and languages.",
        ),
    )


# --- what one model knows of its own tokens -------------------------------------------------------

# GPT-4o's and gpt-oss's pieces, as the package tiktoken states them: letters with the marks that
# belong to them, cut where a small letter is followed by a capital; up to three digits.
_LEAD, _ENDING = r"[^\r\n\p{L}\p{N}]?", r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
O200K_PATTERN = (
    rf"{_LEAD}{_UPPER}*{_LOWER}+{_ENDING}|{_LEAD}{_UPPER}+{_LOWER}*{_ENDING}|"
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@torch.no_grad()
def repeated(model: Decoder, tokenizer: ByteLevelBPETokenizer, ids: Sequence[int]) -> list[bool]:
    """Whether the model, shown a token and asked to repeat it, gives that token first.

    The prompt is two examples and the token, after the model's own start of a text (id 0).
    """
    before = tokenizer.encode(
        "Repeat: ' apple' -> ' apple'\nRepeat: ' seven' -> ' seven'\nRepeat: '"
    )
    after = tokenizer.encode("' -> '")
    read = model.new_cache()
    model(torch.tensor([[0, *before]]), read)  # what all prompts begin with is read once
    said = []
    for token in ids:
        logits = model(torch.tensor([[token, *after]]), copy.deepcopy(read))
        said.append(int(logits[0, -1].argmax()) == token)
    return said


def letter_probe(
    rows: Float[Tensor, "words dim"], words: Sequence[str], letter: str, seed: int
) -> dict[str, float]:
    """Whether a word holds a letter, read linearly from its row: the share of unseen words right.

    Ridge regression on four words of five, tested on the fifth. The controls: the same with the
    answers shuffled over the words, the length of the word in the place of its row, and always
    giving the more frequent answer. The last entry does not depend on how frequent the letter is:
    of all pairs of a word that holds it and one that does not, the share ranked rightly.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(words), generator=generator)
    learn, test = order[: len(words) * 4 // 5], order[len(words) * 4 // 5 :]
    holds = torch.tensor([letter in word for word in words]).double()
    lengths = torch.tensor([[float(len(word))] for word in words]).double()

    def reader(inputs: Tensor) -> Callable[[Tensor], Tensor]:
        """What a reading of these inputs says of the unseen words, for any answers."""
        x = (inputs - inputs.mean(0)).double()
        gram = x[learn].mT @ x[learn] + 30 * torch.eye(x.shape[1], dtype=x.dtype)

        def said(answers: Tensor) -> Tensor:
            mean = answers[learn].mean()
            return x[test] @ torch.linalg.solve(gram, x[learn].mT @ (answers[learn] - mean)) + mean

        return said

    def right(said: Tensor, answers: Tensor) -> float:
        return ((said > 0.5) == answers[test].bool()).double().mean().item()

    by_row = reader(rows)
    said, has = by_row(holds), holds[test].bool()
    shuffled = holds[torch.randperm(len(words), generator=generator)]
    often = max(holds[test].mean().item(), 1 - holds[test].mean().item())
    return {
        "rows": right(said, holds),
        "shuffled answers": right(by_row(shuffled), shuffled),
        "length alone": right(reader(lengths)(holds), holds),
        "always the same": often,
        "pairs in order": (said[has, None] > said[~has]).double().mean().item(),
    }


# --- stored runs ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """One trained model: what it was given, and its loss on the held-out text in bits a byte."""

    plan: str  # "equal text", "equal compute", "equal size"
    vocab_size: int
    dim: int
    seed: int
    lr: float
    parameters: int
    tokens: int  # read in training
    megabytes: float  # of text, read in training
    flops: float  # of training
    nats_per_token: float
    bits_per_byte: float


def save(runs: Iterable[Run], file: Path = FILE) -> None:
    """Write the runs as a table."""
    shown = {"megabytes": ".3f", "flops": ".3e"}
    shown |= {"nats_per_token": ".4f", "bits_per_byte": ".4f", "lr": "g"}
    write_rows(file, Run, runs, **shown)


def stored(file: Path = FILE) -> list[Run]:
    """The runs that the benchmark stored."""
    return read_rows(file, Run)
