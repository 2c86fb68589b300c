"""What the calculators share: letters, the fields of a model's sizes, cards, chips."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import sympy
import torch

from llmlib.accounting import CHIPS, LETTERS, SWITCHES, Breakdown, Chip
from llmlib.book.widgets.calculator import Check, Field, Follow, Letter, Pick
from llmlib.model_cards import CARDS, ModelConfig

V, d, L, H, G = (LETTERS[x] for x in ("vocab_size", "dim", "n_layers", "n_heads", "n_kv_heads"))
D_HEAD, D_FF, N_CTX = LETTERS["head_dim"], LETTERS["ffn_dim"], LETTERS["context"]
B, S, P = LETTERS["batch"], LETTERS["seq"], LETTERS["past"]

LEARNED, FINAL_NORM, EMBEDDING_NORM, NORMS = (
    sympy.Symbol(name, integer=True, nonnegative=True)
    for name in ("learned", "final_norm", "embedding_norm", "norms")
)
"""Choices that only the calculators hold as letters; NORMS is how many a block has."""

PEAK, BANDWIDTH, MEMORY = (
    sympy.Symbol(name, positive=True) for name in ("peak", "bandwidth", "memory")
)
"""A chip's FLOP/s with 16-bit numbers, bytes a second and bytes."""

_STOPS: dict[Letter, tuple[int, ...]] = {
    V: (256, 1000, 5000, 10_000, 20_000, 32_000, 50_257, 65_536, 100_000, 128_256, 152_064,
        256_000),
    d: (64, 128, 256, 384, 512, 576, 768, 1024, 1280, 1600, 2048, 2560, 3072, 4096, 5120, 6144,
        8192, 12_288, 16_384, 18_432),
    L: (1, 2, 4, 6, 8, 12, 16, 20, 24, 28, 32, 36, 40, 48, 60, 80, 96, 118, 126),
    H: (1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128),
    G: (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128),
    D_HEAD: (16, 32, 48, 64, 80, 96, 128, 192, 256),
    D_FF: (256, 512, 1024, 1536, 2048, 3072, 4096, 5120, 8192, 11_008, 14_336, 18_944, 28_672,
           49_152, 73_728),
    N_CTX: (128, 256, 512, 1024, 2048, 4096, 8192, 16_384, 32_768, 131_072),
}  # fmt: skip
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
LENGTHS = (64, 128, 256, 512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536, 131_072, 1_048_576)
_LABELS = {V: "vocabulary", d: "width", L: "layers", H: "heads", G: "key/value heads"} | {
    D_HEAD: "head size",
    D_FF: "hidden width",
    N_CTX: "positions",
}
_FOLLOWS = {
    G: Follow(H, "H is {H}"),
    D_HEAD: Follow(d / H, "H is {H}, expected a divisor of d = {d}, or a head size of its own"),
    D_FF: Follow(4 * d, "d is {d}"),
}
SIZES = {
    V: "vocab_size",
    d: "dim",
    L: "n_layers",
    H: "n_heads",
    G: "n_kv_heads",
    D_HEAD: "head_dim",
    D_FF: "ffn_dim",
    N_CTX: "context",
}
_SWITCHED = ("tied", "gated", "qkv_bias", "out_bias", "ffn_bias", "norm_bias", "qk_norm")
HEADS_DIVIDE = Check(G, sympy.Eq(sympy.Mod(H, G), 0), "is {G}: expected a divisor of the {H} heads")


def size_fields(model: str, *, stops: bool, skip: tuple[Letter, ...] = ()) -> list[Field]:
    """The sizes of a model, which are the start."""
    sizes = CARDS[model].config
    numbers = {letter: getattr(sizes, name) for letter, name in SIZES.items()}

    def follows(letter: Letter) -> Follow | None:
        if letter not in _FOLLOWS:
            return None
        rule = _FOLLOWS[letter]
        return replace(rule, start=bool(rule.value.subs(numbers) == numbers[letter]))

    return [
        Field(
            letter,
            _LABELS[letter],
            start=numbers[letter],
            stops=_STOPS[letter] if stops else (),
            follows=follows(letter),
        )
        for letter, name in SIZES.items()
        if letter not in skip
    ]


def letters_config(**fixed: Any) -> ModelConfig:
    """A decoder of which every size and choice is a letter, but for what is fixed.

    A final norm is counted for pre-norm alone, so `norm_position` is "pre" and whoever counts
    multiplies it by FINAL_NORM.
    """
    fields: dict[str, Any] = {name: letter for letter, name in SIZES.items()}
    fields |= {name: SWITCHES[name] for name in _SWITCHED}
    fields |= {"norms_per_block": NORMS, "embedding_norm": EMBEDDING_NORM}
    fields |= {"position": "learned", "position_rows": LEARNED * N_CTX, "norm_position": "pre"}
    fields |= {"norm": "layer", "activation": "gelu", "bias": 0}
    return ModelConfig(**(fields | fixed))


def plain_config(**fixed: Any) -> ModelConfig:
    """`letters_config` without biases, position table and choices of norms, which cost little."""
    choices: dict[str, Any] = dict.fromkeys(("qkv_bias", "out_bias", "ffn_bias", "norm_bias"), 0)
    choices |= {"qk_norm": 0, "embedding_norm": 0, "norms_per_block": 2, "norm": "rms"}
    return letters_config(**(choices | {"position": "rope", "context": 1} | fixed))


def card_numbers(config: ModelConfig) -> dict[Letter, int]:
    """The number of every letter of `letters_config` for a decoder without experts or latents."""
    numbers = {letter: getattr(config, name) for letter, name in SIZES.items()}
    numbers |= {SWITCHES[name]: int(getattr(config, name)) for name in _SWITCHED}
    learned = config.position == "learned"
    return numbers | {
        N_CTX: config.position_rows if learned else config.context,
        LEARNED: int(learned),
        NORMS: config.norms_per_block,
        FINAL_NORM: int(config.norm_position == "pre"),
        EMBEDDING_NORM: int(config.embedding_norm),
    }


def plain_decoders() -> dict[str, ModelConfig]:
    """The cards whose models the calculators can hold."""
    return {
        name: card.config
        for name, card in CARDS.items()
        if card.config.family == "decoder"
        and card.config.latent is None
        and card.config.experts is None
    }


def grouped(
    counts: Mapping[str, Any], groups: Mapping[str, Mapping[str, str]], prefix: str = ""
) -> dict[str, dict[str, tuple[str, Any]]]:
    """Groups of (label, formula) from groups of labels; none may be left out."""
    named = [name for parts in groups.values() for name in parts]
    if missing := [name for name in counts if name not in named]:
        raise ValueError(f"no group holds {', '.join(missing)}")
    return {
        label: {prefix + name: (text, counts[name]) for name, text in parts.items()}
        for label, parts in groups.items()
    }


def switched(letter: Letter, on: Breakdown, off: Breakdown) -> Breakdown:
    """One breakdown where the letter is 1, another one where it is 0."""
    names = dict.fromkeys([*on, *off])
    parts = {name: letter * on.get(name, 0) + (1 - letter) * off.get(name, 0) for name in names}
    return Breakdown(parts)


def sixteen_bits(chip: Chip) -> torch.dtype:
    """The type of 16 bits that a chip multiplies: V100 has no bfloat16."""
    return torch.bfloat16 if torch.bfloat16 in chip.peak else torch.float16


def chips(start: str) -> Pick:
    numbers = {
        name: {
            PEAK: chip.rate(sixteen_bits(chip)),
            BANDWIDTH: chip.bandwidth,
            MEMORY: chip.memory,
        }
        for name, chip in CHIPS.items()
    }
    return Pick("chip", numbers, start=start)


def sizes_alone(config: ModelConfig) -> dict[Letter, int]:
    """What the calculators of FLOPs and bytes take from a card."""
    gated = SWITCHES["gated"]
    return {x: n for x, n in card_numbers(config).items() if x in SIZES or x == gated}
