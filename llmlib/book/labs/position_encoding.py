"""Train short, test long: one small decoder with each position encoding, and how it is tested.

Every variant is the book's decoder; only the way in which order gets in differs. Not here: the runs
themselves, which `benchmarks/length_extrapolation.py` makes and stores in position_encoding.tsv.

Then RoPE's pairs in a trained model: how large they are (`pair_sizes`), what the model loses
without some of them (`losses_without`), and whether RoPE's bound says anything there
(`decay_bounds`).
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

import llmlib.architecture as arch
from llmlib.attention import Attention
from llmlib.blocks import Block
from llmlib.book.labs.tables import read_rows, write_rows
from llmlib.decoder import Decoder, DecoderConfig
from llmlib.position_encoding import Scaling, rope_frequencies

FILE = Path(__file__).with_name("position_encoding.tsv")
ENCODINGS = ("none", "learned", "sinusoidal", "t5", "alibi", "rope")
LONGEST = 1024


def small_decoder(encoding: str, vocab_size: int, seed: int = 0, context: int = LONGEST) -> Decoder:
    """Two layers of width 64 with four heads; `encoding` is one of ENCODINGS.

    Raises: ValueError for an unknown encoding.
    """
    if encoding not in ENCODINGS:
        raise ValueError(f"encoding is {encoding!r}, expected one of {', '.join(ENCODINGS)}")
    torch.manual_seed(seed)
    tables = {
        "t5": arch.Buckets(n_heads=4),
        # Of the embedding's own initial size: entries with a standard deviation of 0.02.
        "sinusoidal": arch.Sinusoidal(scale=0.02 * 2**0.5),
    }
    position = "none" if encoding in tables else encoding
    config = DecoderConfig(
        vocab_size,
        dim=64,
        n_layers=2,
        n_heads=4,
        ffn_dim=160,
        context=context,
        position=position,  # type: ignore[arg-type]
    )
    if encoding in tables:
        config = arch.changed(config, arch.Stack, positions=tables[encoding])
    return Decoder(config)


def rescaled(model: Decoder, scaling: Scaling | None) -> Decoder:
    """A RoPE decoder with the same weights and other angles; nothing is trained."""
    slowed = None if scaling is None else arch.Scaling.of(scaling)
    other = Decoder(arch.changed(model.config, arch.Rope, scaling=slowed))
    other.load_state_dict(model.state_dict())
    return other


@torch.no_grad()
def token_losses(
    model: Decoder, text: Int[Tensor, "rows plus_one"], length: int, batch: int = 16
) -> Float[Tensor, "rows total"]:
    """The loss of each token of each row, when a row is read in pieces of `length` tokens.

    A token at place p of its piece has seen p + 1 tokens: early ones of a piece have seen few.

    Raises: ValueError when the pieces do not fill a row.
    """
    rows, total = len(text), text.shape[1] - 1
    if length < 1 or total % length:
        raise ValueError(f"length is {length}, expected a divisor of the row's {total} tokens")
    inputs, targets = (x.reshape(-1, length) for x in (text[:, :-1], text[:, 1:]))
    pieces = max(1, batch * LONGEST // length)
    losses = [
        torch.nn.functional.cross_entropy(model(x).mT, y, reduction="none")
        for x, y in zip(inputs.split(pieces), targets.split(pieces), strict=True)
    ]
    return torch.cat(losses).reshape(rows, total)


def rows_of(ids: Int[Tensor, " length"], rows: int) -> Int[Tensor, "rows plus_one"]:
    """Rows of LONGEST + 1 tokens, evenly spread over a text."""
    starts = torch.linspace(0, len(ids) - LONGEST - 1, rows).long()
    return ids[starts[:, None] + torch.arange(LONGEST + 1)]


# --- stored runs ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measurement:
    """One model tested at one length; losses in nats a character.

    `pieces` is the mean over all tokens of texts cut into pieces of the length; `full` is the mean
    over the same 32 tokens at the end of each text, which then have seen (nearly) the whole length.
    """

    encoding: str
    seed: int
    length: int
    pieces: float
    full: float


def save(measurements: Iterable[Measurement], file: Path = FILE) -> None:
    """Write the runs as a table, losses to four decimals."""
    write_rows(file, Measurement, measurements, pieces=".4f", full=".4f")


def stored(file: Path = FILE) -> list[Measurement]:
    """The runs that the benchmark stored."""
    return read_rows(file, Measurement)


# --- RoPE's pairs in a trained model ----------------------------------------------------------


def turned_blocks(model: Decoder) -> list[Block]:
    """The blocks whose attention turns pairs, as many as the first of them does.

    None where a model has no RoPE, or latents instead of keys.
    """
    found: list[Block] = []
    for block in model.blocks:
        if not isinstance(block, Block) or not isinstance(block.mixer, Attention):
            continue
        if block.angles and (not found or len(_features(block)) == len(_features(found[0]))):
            found.append(block)
    return found


def _features(block: Block) -> Int[Tensor, "pairs 2"]:
    """Which two features of a head are a pair."""
    assert block.angles is not None
    features = torch.arange(2 * len(block.angles.frequencies))
    half = block.mixer.rope_layout == "half"
    return features.view(2, -1).T if half else features.view(-1, 2)


def _read_by(model: Decoder, ids: Int[Tensor, "1 seq"]) -> tuple[list[Block], list[Tensor]]:
    """The blocks that turn pairs, and what the attention of each reads."""
    blocks, inputs = turned_blocks(model), []
    hooks = [
        block.mixer.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
        for block in blocks
    ]
    try:
        model(ids)
    finally:
        for hook in hooks:
            hook.remove()
    return blocks, inputs


@torch.no_grad()
def decay_bounds(
    model: Decoder,
    ids: Int[Tensor, "1 seq"],
    distances: Int[Tensor, " n"],
    samples: int = 200,
) -> Float[Tensor, "layers heads samples"]:
    """RoPE's bound on a score over |q||k|, the least over the distances; below 1 it says something.

    For random pairs of a query and a key of the text; the first token, a sink, is left out.
    Empty where nothing turns.
    """
    blocks, inputs = _read_by(model, ids)
    draw = torch.Generator().manual_seed(0)
    found = []
    for block, x in zip(blocks, inputs, strict=True):
        assert block.angles is not None
        phases = distances.double()[:, None] * block.angles.frequencies.double()
        sums = torch.polar(torch.ones_like(phases), phases).cumsum(-1).abs().sum(-1)
        mixer: Any = block.mixer
        q, k, _ = mixer.project(x)
        q, k = (t[0, :, 1:].double() for t in (q, k))
        k = k.repeat_interleave(len(q) // len(k), 0)
        q, k = (
            t[:, torch.randint(t.shape[1], (samples,), generator=draw)][..., _features(block)]
            for t in (q, k)
        )
        h = torch.view_as_complex(q.contiguous()) * torch.view_as_complex(k.contiguous()).conj()
        steps = torch.cat([h, torch.zeros_like(h[..., :1])], dim=-1).diff(dim=-1).abs().amax(-1)
        lengths = q.flatten(-2).norm(dim=-1) * k.flatten(-2).norm(dim=-1)
        found.append(steps * sums.min() / lengths)
    return torch.stack(found) if found else torch.zeros(0, 1, 1)


@torch.no_grad()
def pair_sizes(
    model: Decoder, ids: Int[Tensor, "1 seq"]
) -> tuple[Float[Tensor, "layers heads pairs"], Float[Tensor, "layers heads pairs"]]:
    """|q_i||k_i| of each pair, and |v_i|^2 of the same features of the values, which do not turn.

    Sizes are means over the tokens, the first one left out: it is a sink, and unlike the others.
    Both are empty where nothing turns.
    """
    blocks, inputs = _read_by(model, ids)
    found = []
    for block, x in zip(blocks, inputs, strict=True):
        mixer: Any = block.mixer
        q, k, v = mixer.project(x)
        sizes = [t[0, :, 1:][..., _features(block)].norm(dim=-1).mean(1) for t in (q, k, v)]
        share = len(sizes[0]) // len(sizes[1])
        keys, values = (t.repeat_interleave(share, 0) for t in sizes[1:])
        found.append((sizes[0] * keys, values**2))
    if not found:
        return torch.zeros(0, 1, 1), torch.zeros(0, 1, 1)
    products, controls = (torch.stack(each) for each in zip(*found, strict=True))
    return products, controls


@torch.no_grad()
def losses_without(
    model: Decoder, ids: Int[Tensor, "rows plus_one"], pairs: Sequence[int]
) -> Float[Tensor, " rows"]:
    """Each row's mean loss when these pairs of all queries are 0; the model stays as it was."""
    kept: list[tuple[Any, Tensor]] = []
    for block in turned_blocks(model):
        gone = _features(block)[list(pairs)].flatten()
        for weight in block.mixer.query.parameters():  # and bias, where there is one
            kept.append((weight, weight.data.clone()))
            weight.data.unflatten(0, (-1, block.mixer.head_dim))[:, gone] = 0
    try:
        logits = model(ids[:, :-1])
    finally:
        for weight, old in kept:
            weight.data.copy_(old)
    losses = torch.nn.functional.cross_entropy(logits.mT, ids[:, 1:], reduction="none")
    return losses.mean(-1)


# --- what the cards say -----------------------------------------------------------------------


def how_order_enters(config: arch.ModelConfig) -> tuple[str, str, str]:
    """For a table: the kind of positions by layer, RoPE's bases, the longest wavelength."""
    kinds: dict[str, int] = {}
    bases, longest = [], 0.0
    for block in arch.layers(config.stack.runs):
        mixer = block.mixer
        if isinstance(mixer, arch.GatedDelta):  # its state is read in order; it has no scores
            continue
        kind, rope = ("ALiBi" if mixer.alibi else "none"), mixer.rope
        if rope is not None:
            turned = (
                mixer.rope_dim if isinstance(mixer, arch.Latent) else rope.turned(mixer.head_dim)
            )
            kind = "RoPE" if turned == mixer.head_dim else f"RoPE on {turned} of {mixer.head_dim}"
            stretch = f" ({rope.scaling.kind})" if rope.scaling else ""
            bases.append(f"{rope.base:,.0f}{stretch}")
            slowest = rope_frequencies(turned, rope.base)[-1].item()
            longest = max(longest, 2 * math.pi / slowest)
        kinds[kind] = kinds.get(kind, 0) + 1
    tables: dict[type, str] = {arch.Learned: "learned table", arch.Buckets: "T5 bias"}
    above = tables.get(type(config.stack.positions))
    by_layer = (kind if len(kinds) == 1 else f"{kind}: {n} layers" for kind, n in kinds.items())
    waves = f"{longest:,.0f}" if bases else "–"
    return above or ", ".join(by_layer), ", ".join(dict.fromkeys(bases)) or "–", waves
