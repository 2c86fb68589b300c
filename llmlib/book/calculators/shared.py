"""What the calculators share: letters, the fields of a model's sizes, cards, chips."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import sympy

import llmlib.architecture as arch
from llmlib.accounting import CHIPS, CONTROLS, LETTERS, SWITCHES, Breakdown, Chip
from llmlib.book.widgets.calculator import Check, Field, Follow, Letter, Pick
from llmlib.model_cards import CARDS

V, d, L, H, G = (LETTERS[x] for x in ("vocab_size", "dim", "n_layers", "n_heads", "n_kv_heads"))
D_HEAD, D_FF, N_CTX = LETTERS["head_dim"], LETTERS["ffn_dim"], LETTERS["context"]
B, S, P = LETTERS["batch"], LETTERS["seq"], LETTERS["past"]

LEARNED, FINAL_NORM, EMBEDDING_NORM, NORMS, QK_NORM = (
    CONTROLS[x] for x in ("learned", "final_norm", "embedding_norm", "norms", "qk_norm")
)
"""What a description has or has not: a count of it is multiplied by its letter."""

PEAK, BANDWIDTH, MEMORY = (CONTROLS[x] for x in ("peak", "bandwidth", "memory"))
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
SIZES = (V, d, L, H, G, D_HEAD, D_FF, N_CTX)
HEADS_DIVIDE = Check(G, sympy.Eq(sympy.Mod(H, G), 0), "is {G}: expected a divisor of the {H} heads")


def size_fields(model: str, *, stops: bool, skip: tuple[Letter, ...] = ()) -> list[Field]:
    """The sizes of a model, which are the start."""
    numbers = card_numbers(CARDS[model].config)

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
        for letter in SIZES
        if letter not in skip
    ]


def letters_config() -> arch.ModelConfig:
    """A decoder of which every size and switch is a letter.

    It has every part that a model can have or not: whoever counts multiplies by its letter.
    """
    bias, norm = SWITCHES["ffn_bias"], arch.Norm("layer", bias=SWITCHES["norm_bias"])
    block = arch.Block(
        arch.Attention(
            H, G, D_HEAD, qkv_bias=SWITCHES["qkv_bias"], out_bias=SWITCHES["out_bias"],
            qk_norm=arch.RMS,
        ),
        arch.FeedForward(D_FF, "gelu", gated=SWITCHES["gated"], bias=bias),
        norm,
    )  # fmt: skip
    rows = arch.Learned(LEARNED * N_CTX)
    stack = arch.Stack((arch.repeat(L, block),), norm, positions=rows, first_norm=norm)
    return arch.ModelConfig(d, V, N_CTX, stack, tied=SWITCHES["tied"])


def plain_config(tied: Any = False) -> arch.ModelConfig:
    """A decoder in letters without biases, position table and norms of heads, which cost little."""
    feed_forward = arch.FeedForward(D_FF, gated=SWITCHES["gated"])
    block = arch.Block(arch.Attention(H, G, D_HEAD, arch.Rope()), feed_forward)
    return arch.ModelConfig(d, V, N_CTX, arch.Stack((arch.repeat(L, block),)), tied=tied)


def one_shape(config: arch.ModelConfig) -> tuple[arch.Block, arch.Attention, arch.FeedForward]:
    """A block that stands for all of a decoder's, which differ in windows and positions alone.

    Raises:
        ValueError: another family, blocks of several shapes, or parts that no letter stands for.
    """
    if config.family != "decoder":
        raise ValueError(f"family is {config.family!r}, expected 'decoder'")
    shapes = {_without_reach(block) for block, _, _ in arch.kinds(config.stack.runs)}
    if len(shapes) > 1:
        raise ValueError(f"the model has blocks of {len(shapes)} shapes, expected one")
    (block,) = shapes
    attention, part = block.mixer, block.feed_forward
    if not isinstance(attention, arch.Attention) or not isinstance(part, arch.FeedForward):
        raise ValueError(f"block is {block!r}, expected attention and one feed-forward block")
    if attention.sinks or attention.gate or attention.qk_norm_over != "head":
        raise ValueError(f"mixer is {attention!r}, expected no sinks, no gate, norms of heads")
    return block, attention, part


def _without_reach(block: arch.Block) -> arch.Block:
    if not isinstance(block.mixer, arch.Attention):
        return block
    return replace(block, mixer=replace(block.mixer, window=None, rope=None))


def card_numbers(config: arch.ModelConfig) -> dict[Letter, int]:
    """The number of every letter of `letters_config` for a decoder that is `one_shape`."""
    block, attention, part = one_shape(config)
    table = config.stack.positions
    norms = {"in turn": 2, "parallel": 2, "parallel, one norm": 1}[block.order]
    return {
        V: config.vocab_size,
        d: config.dim,
        L: config.n_layers,
        H: attention.n_heads,
        G: attention.n_kv_heads,
        D_HEAD: attention.head_dim,
        D_FF: part.ffn_dim,
        N_CTX: table.rows if isinstance(table, arch.Learned) else config.context,
        SWITCHES["tied"]: int(config.tied),
        SWITCHES["gated"]: int(part.gated),
        SWITCHES["qkv_bias"]: int(attention.qkv_bias),
        SWITCHES["out_bias"]: int(attention.out_bias),
        SWITCHES["ffn_bias"]: int(part.bias),
        SWITCHES["norm_bias"]: int(block.norm.bias),
        QK_NORM: int(attention.qk_norm is not None),
        LEARNED: int(isinstance(table, arch.Learned)),
        NORMS: norms * (2 if block.norms == "sandwich" else 1),
        FINAL_NORM: int(config.stack.last_norm is not None),
        EMBEDDING_NORM: int(config.stack.first_norm is not None),
    }


def plain_decoders() -> dict[str, arch.ModelConfig]:
    """The cards whose models the calculators can hold."""
    found = {}
    for name, card in CARDS.items():
        try:
            one_shape(card.config)
        except ValueError:
            continue
        found[name] = card.config
    return found


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


def sixteen_bits(chip: Chip) -> str:
    """The type of 16 bits that a chip multiplies: V100 has no bfloat16."""
    return "bfloat16" if "bfloat16" in chip.peak else "float16"


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


def sizes_alone(config: arch.ModelConfig) -> dict[Letter, int]:
    """What the calculators of FLOPs and bytes take from a card."""
    gated = SWITCHES["gated"]
    return {x: n for x, n in card_numbers(config).items() if x in SIZES or x == gated}
