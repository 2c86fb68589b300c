"""A small picture of each chapter, drawn from the numbers that its pages are about.

Each function draws into axes without ticks; `COLOR` names the book's series by their matter.
"""

import math
from collections.abc import Callable

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Circle, Rectangle

import llmlib.architecture as arch
from llmlib.accounting import kv_cache_bytes, parameters
from llmlib.activations import swish
from llmlib.attention import attention_weights
from llmlib.book.style import SERIES, as_svg
from llmlib.model_cards import CARDS, card
from llmlib.normalization import layer_norm
from llmlib.position_encoding import rope_frequencies
from llmlib.sparse_attention import longformer_mask

BLUE, ORANGE, GREEN, PURPLE, OCHER, GREY = SERIES
SIZE = (1.9, 1.0)


def thumbnail(chapter: str, title: str) -> str:
    """The picture of a chapter as SVG."""
    figure, axes = plt.subplots(figsize=SIZE)
    axes.set_axis_off()
    axes.margins(0.04)
    THUMBNAILS[chapter](axes)
    return as_svg(figure, f"a small picture of {title}")


def _bars(axes: Axes, heights: list[float], colors: list[str]) -> None:
    axes.bar(range(len(heights)), heights, color=colors, width=0.75)


def _curves(axes: Axes, x: torch.Tensor, rows: list[torch.Tensor]) -> None:
    for y in rows:
        axes.plot(x.tolist(), y.tolist())


def _matrix(axes: Axes, values: torch.Tensor, color: str = BLUE) -> None:
    rows, columns = values.shape
    for i in range(rows):
        for j in range(columns):
            if (share := float(values[i, j])) > 0.02:
                cell = Rectangle(
                    (j, rows - 1 - i), 0.9, 0.9, color=color, alpha=round(share, 2), lw=0
                )
                axes.add_patch(cell)
    axes.set(xlim=(0, columns), ylim=(0, rows))
    axes.set_aspect("equal")


def _box(
    axes: Axes, corner: tuple[float, float], size: tuple[float, float], color: str, alpha: float
) -> None:
    axes.add_patch(Rectangle(corner, *size, color=color, alpha=alpha, lw=0))


def overview(axes: Axes) -> None:
    for one in CARDS.values():
        if one.training_tokens:
            total = parameters(one.config).total
            axes.plot(math.log10(total), math.log10(one.training_tokens), "o", color=BLUE, ms=2.5)


def forward_pass(axes: Axes) -> None:
    for row in range(5):
        axes.plot([0, 4], [row, row], color=GREY, lw=0.8)
        axes.plot(range(5), [row] * 5, "o", color=GREY, ms=3)
    axes.plot([3, 3, 2, 3, 3], range(5), color=BLUE, lw=2.2)
    axes.plot(3, 4, "o", color=ORANGE, ms=6)


def decoding(axes: Axes) -> None:
    chances = torch.softmax(torch.tensor([3.0, 2.4, 1.5, 0.9, 0.2, -0.4, -1.0]), dim=0)
    kept = int((chances.cumsum(0) < 0.9).sum()) + 1
    _bars(axes, chances.tolist(), [ORANGE] * kept + [GREY] * (len(chances) - kept))


def families(axes: Axes) -> None:
    ones = torch.ones(6, 6)
    pair = ones.tril()
    pair[:, :3] = 1
    for number, (mask, color) in enumerate(((ones.tril(), BLUE), (ones, ORANGE), (pair, GREEN))):
        for row, column in mask.nonzero().tolist():
            _box(axes, (7.5 * number + column, 5 - row), (0.88, 0.88), color, 0.8)
    axes.set(xlim=(0, 21), ylim=(0, 6))
    axes.set_aspect("equal")


def tokenization(axes: Axes) -> None:
    widths = [[1] * 10, [2, 1, 1, 2, 2, 1, 1], [3, 1, 4, 2], [4, 6]]
    for row, pieces in enumerate(widths):
        left = 0.0
        for number, width in enumerate(pieces):
            color = ORANGE if row == 3 else (BLUE if number % 2 else PURPLE)
            axes.add_patch(
                Rectangle((left, -row), width - 0.15, 0.7, color=color, alpha=0.75, lw=0)
            )
            left += width
    axes.set(xlim=(0, 10), ylim=(-3.1, 0.8))


def normalization(axes: Axes) -> None:
    x = torch.tensor([2.1, 4.0, 1.2, 3.3, 5.0, 2.6])
    normal = layer_norm(x[None], torch.ones(6), torch.zeros(6))[0]
    _bars(axes, x.tolist(), [GREY] * 6)
    axes.bar([k + 7 for k in range(6)], normal.tolist(), color=BLUE, width=0.75)
    axes.axhline(0, color=GREY, lw=0.8)


def activations(axes: Axes) -> None:
    x = torch.linspace(-4, 3, 60)
    _curves(axes, x, [swish(x, beta) for beta in (0.3, 1.0, 8.0)])


def attention(axes: Axes) -> None:
    generator = torch.Generator().manual_seed(3)
    q, k = (torch.randn(1, 1, 8, 4, generator=generator, dtype=torch.float64) for _ in "qk")
    _matrix(axes, attention_weights(q, k, causal=True)[0, 0])


def position_encoding(axes: Axes) -> None:
    for dial, speed in enumerate(rope_frequencies(8, 10.0).tolist()):
        center = 2.4 * dial
        axes.add_patch(Circle((center, 0), 1, fill=False, color=GREY))
        for position, color in ((1, GREY), (5, BLUE)):
            angle = position * speed
            end = [center, center + math.cos(angle)], [0, math.sin(angle)]
            axes.plot(*end, color=color, lw=2)
    axes.set_aspect("equal")


def kv_cache(axes: Axes) -> None:
    config, tokens = card("Mistral-7B-v0.1").config, [0, 4096, 8192, 12288, 16384, 20480]
    full = card("Llama-2-7B").config
    for one in (full, config):
        axes.plot(tokens, [int(kv_cache_bytes(one, 1, max(1, n))) for n in tokens])


def sparse_attention(axes: Axes) -> None:
    _matrix(axes, longformer_mask(14, 2, (0, 7)).float(), BLUE)


def flash_attention(axes: Axes) -> None:
    tiles = torch.tril(torch.ones(5, 5)) * 0.35
    tiles[3, 1] = 1.0
    _matrix(axes, tiles, GREEN)


def flash_listing(axes: Axes) -> None:
    for row, (width, color) in enumerate(
        [(6, GREY), (8, ORANGE), (7, GREEN), (5, GREY), (6, GREEN)]
    ):
        axes.add_patch(Rectangle((0, -row), width, 0.55, color=color, alpha=0.8, lw=0))
    axes.set(xlim=(0, 10), ylim=(-4.2, 0.8))


def flash_kernel(axes: Axes) -> None:
    for row in range(3):
        for column in range(4):
            alpha = 0.9 if row == 1 else 0.3
            _box(axes, (column, -row), (0.85, 0.75), PURPLE, alpha)
    axes.set(xlim=(-0.2, 4.2), ylim=(-2.2, 1))


def parameters_(axes: Axes) -> None:
    left, found = 0.0, parameters(card("GPT-2").config)
    colors = [BLUE, ORANGE, GREEN, PURPLE, OCHER, GREY]
    for number, (_, count) in enumerate(sorted(found.items(), key=lambda row: -row[1])[:6]):
        axes.barh(0, count, left=left, color=colors[number], height=0.5)
        left += count


def flops(axes: Axes) -> None:
    axes.plot([0, 2, 5], [0, 2, 2], color=GREY, lw=2)
    axes.plot([0.6], [0.6], "o", color=ORANGE, ms=6)
    axes.plot([4], [2], "o", color=BLUE, ms=6)


def memory(axes: Axes) -> None:
    left = 0
    for size, color in ((2, BLUE), (2, ORANGE), (4, GREEN), (4, PURPLE), (4, OCHER)):
        axes.barh(0, size, left=left, color=color, height=0.5)
        left += size


def model_cards(axes: Axes) -> None:
    norms = {"layer": ORANGE, "rms": BLUE}
    for one in CARDS.values():
        kind = arch.layers(one.config.stack.runs)[0].norm.kind
        size = math.log10(parameters(one.config).total)
        axes.plot(one.year + 0.1 * (size % 1), size, "o", color=norms.get(kind, GREY), ms=3)


THUMBNAILS: dict[str, Callable[[Axes], None]] = {
    "overview": overview,
    "forward_pass": forward_pass,
    "decoding": decoding,
    "families": families,
    "tokenization": tokenization,
    "normalization": normalization,
    "activations": activations,
    "attention": attention,
    "position_encoding": position_encoding,
    "kv_cache": kv_cache,
    "sparse_attention": sparse_attention,
    "flash_attention": flash_attention,
    "flash_listing": flash_listing,
    "flash_kernel": flash_kernel,
    "memory": memory,
    "parameters": parameters_,
    "flops": flops,
    "model_cards": model_cards,
}
