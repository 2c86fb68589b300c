"""An encoder-decoder as a picture made from its description, each box a link to its chapter."""

import html
from dataclasses import dataclass

from IPython.display import HTML, display

import llmlib.architecture as arch
from llmlib.book.labs.model_cards.words import choices

WIDTH, BOX, HEIGHT, GAP = 520, 176, 32, 20
CENTERS = (122, 398)
BLUE, ORANGE, GREEN, PURPLE, GREY = 1, 2, 3, 4, 6
"""Series of the book's colors: attention, feed-forward, norms, positions, ends."""


@dataclass(frozen=True)
class Box:
    """One box of a column."""

    text: str
    chapter: str
    color: int
    adds: bool = False  # the stream goes round it and is added to what it gives
    crossed: bool = False  # it also reads the other column


def show_drawing(config: arch.ModelConfig, name: str) -> None:
    """Shows an encoder-decoder, bottom to top: the reader on the left, the writer on the right."""
    display(HTML(f'<div class="lm-plot">{drawn(config, name)}</div>'))


def drawn(config: arch.ModelConfig, name: str) -> str:
    """The picture as SVG.

    Raises:
        ValueError: a model without an encoder.
    """
    if config.source is None:
        raise ValueError(f"family is {config.family!r}, expected 'encoder-decoder'")
    columns = [_column(config, config.source), _column(config, config.stack)]
    levels = max(len(before) + len(block) + len(after) for before, block, after in columns)
    height = levels * (HEIGHT + GAP) + 5 * GAP + 16
    shapes, last = [], []
    stacks = (config.source, config.stack)
    for center, parts, stack in zip(CENTERS, columns, stacks, strict=True):
        found, crossing, top = _shapes(parts, stack.n_layers, center, height)
        shapes += found
        last.append((crossing, top))
    shapes.append(_across(last[0][1], last[1][0]))
    title = html.escape(f"{name}, drawn from its description")
    said = "; ".join(
        f"{side}: {', '.join(box.text for part in parts for box in part)}"
        for side, parts in zip(("encoder", "decoder"), columns, strict=True)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="group" '
        f'aria-label="{title}, from bottom to top. {html.escape(said)}" fill="currentColor" '
        f'style="width: {WIDTH}px; max-width: 100%; height: auto; font-size: 14px">'
        f"{''.join(shapes)}</svg>"
    )


# --- from the description to boxes ------------------------------------------------------------


def _column(config: arch.ModelConfig, stack: arch.Stack) -> tuple[list[Box], list[Box], list[Box]]:
    """What stands before the blocks, in one block, and after them, bottom to top."""
    before = [Box(f"embedding, {config.vocab_size:,} × {config.dim}", "forward_pass", GREY)]
    places = {arch.Sinusoidal: "+ sines of the position", arch.Learned: "+ a learned position"}
    if type(stack.positions) in places:
        before.append(Box(places[type(stack.positions)], "position_encoding", PURPLE))
    if stack.first_norm is not None:
        before.append(_norm(stack.first_norm))
    after = [] if stack.last_norm is None else [_norm(stack.last_norm)]
    if stack is config.stack:
        text = "the embedding, transposed" if config.tied else f"head, {config.vocab_size:,}"
        after += [Box(text, "forward_pass", GREY), Box("softmax, a token", "decoding", GREY)]
    return before, _block(config, arch.layers(stack.runs)[0], stack.causal), after


def _block(config: arch.ModelConfig, block: arch.Block, causal: bool) -> list[Box]:
    """The parts of one block, and the norms where its description puts them."""
    mixer, work = block.mixer, block.feed_forward
    assert isinstance(mixer, arch.Attention)
    assert isinstance(work, arch.FeedForward)
    heads = f"attention, {mixer.n_heads} heads"
    parts = [Box(f"causal {heads}" if causal else heads, "attention", BLUE, True)]
    if block.cross is not None:
        parts.append(Box("attention to the source", "attention", BLUE, True, crossed=True))
    width = f"{choices(config)['activation']}, {work.ffn_dim:,} wide"
    parts.append(Box(width, "activations", ORANGE, True))
    norm, made = _norm(block.norm), []
    for part in parts:
        made += [norm, part] if block.norms == "pre" else [part, norm]
    return made


def _norm(norm: arch.Norm) -> Box:
    return Box("RMSNorm" if norm.kind == "rms" else "LayerNorm", "normalization", GREEN)


# --- from boxes to shapes ---------------------------------------------------------------------


def _shapes(
    parts: tuple[list[Box], list[Box], list[Box]], times: int, center: int, height: int
) -> tuple[list[str], int, int]:
    """The shapes of a column, the height at which it is crossed, and that of its upper end."""
    boxes = [box for part in parts for box in part]
    side = -1 if center < WIDTH / 2 else 1
    y, crossing = height - 2 * GAP - HEIGHT, 0
    bottom, drawn_boxes, lines = y + HEIGHT + GAP, [], []
    pre = parts[1][0].color == GREEN
    frame = [0, 0]
    for number, box in enumerate(boxes):
        if number == len(parts[0]):
            y -= GAP
            frame[0] = y + HEIGHT + GAP // 2
        if number == len(parts[0]) + len(parts[1]):
            frame[1] = y + HEIGHT - GAP // 2 + 4
            y -= GAP
        drawn_boxes.append(_box(box, center, y))
        if box.crossed:
            crossing = y + HEIGHT // 2
        if box.adds:  # from below its norm, where that comes first, to above it
            below = HEIGHT + GAP if boxes[number - 1].color == GREEN and pre else 0
            lines.append(_detour(center, side, y + HEIGHT + GAP // 2 + below, y - GAP // 2))
        y -= HEIGHT + GAP
    top = y + HEIGHT
    if not parts[2]:
        frame[1] = top - GAP // 2 + 14
    stem = f'<path d="M{center} {bottom}V{top}" stroke="currentColor" stroke-width="1.6"/>'
    corner = center - BOX // 2 - 28, frame[1]
    around = (
        f'<rect x="{corner[0]}" y="{corner[1]}" width="{BOX + 56}" height="{frame[0] - frame[1]}" '
        f'rx="10" fill="none" stroke="currentColor" stroke-dasharray="6 5" opacity="0.6"/>'
    )
    ends = ("ids of the source", "what it has read") if side < 0 else ("ids so far", "next id")
    words = [
        _text(center, height - 8, ends[0]),
        _text(center, top - 8, ends[1]),
        _text(center + side * (BOX // 2 + 10), frame[1] - 7, f"{times} ×"),
    ]
    return [stem, around, *lines, *drawn_boxes, *words], crossing, top


def _box(box: Box, center: int, y: int) -> str:
    """A box over the stem, its text a link."""
    return (
        f'<rect x="{center - BOX // 2}" y="{y}" width="{BOX}" height="{HEIGHT}" rx="6" '
        f'fill="var(--pst-color-background, var(--jp-layout-color0, #fff))" '
        f'stroke="var(--series-{box.color})" stroke-width="1.8"/>'
        f'<a class="lm-box" href="{box.chapter}.ipynb">'
        f"{_text(center, y + 21, box.text, ' text-decoration=&quot;underline&quot;')}</a>"
    ).replace("&quot;", '"')


def _text(x: int, y: int, text: str, more: str = "") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="middle"{more}>{html.escape(text)}</text>'


def _detour(center: int, side: int, start: int, end: int) -> str:
    """The residual path round a part, and the plus where it comes back."""
    out = center + side * (BOX // 2 + 14)
    return (
        f'<path d="M{center} {start}H{out}V{end}H{center + side * 8}" fill="none" '
        f'stroke="var(--series-1)" stroke-width="1.6"/>'
        f'<circle cx="{center}" cy="{end}" r="8" stroke="var(--series-1)" stroke-width="1.6" '
        f'fill="var(--pst-color-background, var(--jp-layout-color0, #fff))"/>'
        f'<path d="M{center - 4} {end}h8M{center} {end - 4}v8" stroke="var(--series-1)" '
        f'stroke-width="1.6"/>'
    )


def _across(top: int, crossing: int) -> str:
    """From the upper end of the reader to the attention of the writer that looks at it."""
    left, right = CENTERS[0], CENTERS[1] - BOX // 2
    middle = (CENTERS[0] + CENTERS[1]) // 2
    return (
        f'<path d="M{left} {top}H{middle}V{crossing}H{right - 8}" fill="none" '
        f'stroke="var(--series-1)" stroke-width="2.6"/>'
        f'<path d="M{right - 9} {crossing - 5}l9 5l-9 5z" fill="var(--series-1)"/>'
        f'<a class="lm-box" href="kv_cache.ipynb"><text x="{middle}" y="{crossing + 24}" '
        f'text-anchor="middle" text-decoration="underline">K, V</text></a>'
    )
