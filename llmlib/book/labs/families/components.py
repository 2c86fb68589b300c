"""What changed between families, component by component, read from the models' descriptions."""

import io
import tokenize
from collections.abc import Sequence
from pathlib import Path

import llmlib
import llmlib.architecture as arch
from llmlib.accounting import parameters
from llmlib.book.labs.model_cards.words import attentions_of, choices, kinds_of

NEW = ("encoder.py", "encoder_decoder.py")
SHARED = ("decoder", "stack.py", "blocks.py", "ends.py", "positions.py", "attention", "kv_cache",
          "normalization.py", "activations.py", "position_encoding")  # fmt: skip


def components(config: arch.ModelConfig) -> dict[str, str]:
    """A model's parts in words; "–" where it has none."""
    said, attention, norm = choices(config), attentions_of(config)[0], kinds_of(config)[-1].norm
    windows = [w for one in attentions_of(config) if (w := getattr(one, "window", None))]
    bare = norm.kind == "layer" and not norm.bias
    return {
        "layers": _layers(config),
        "width": f"{config.dim:,}",
        "a token sees": _sees(config) + (f", or {windows[0] - 1} a side" if windows else ""),
        "positions": said["positions"],
        "norm": said["norm"] + (", no shift" if bare else ""),
        "norm stands": {"pre": "before", "post": "after the sum"}[said["norm position"]],
        "feed-forward": said["activation"],
        "biases": said["biases"],
        "scores": "q·k" if attention.scale == 1 else "q·k/√d",
        "head": _head(config),
        "beside": _beside(config),
        "parameters": f"{parameters(config).total / 1e6:,.0f} M",
    }


def _layers(config: arch.ModelConfig) -> str:
    return (
        f"{config.source.n_layers} + {config.n_layers}" if config.source else f"{config.n_layers}"
    )


def _sees(config: arch.ModelConfig) -> str:
    if config.family == "encoder-decoder":
        return "source, up to itself"
    return "up to itself" if config.family == "decoder" else "all"


def _head(config: arch.ModelConfig) -> str:
    if config.head == "none":
        return "–"
    before = "transform, " if config.transform else ""
    return before + ("tied" if config.tied else "its own")


def _beside(config: arch.ModelConfig) -> str:
    """What only some families have."""
    found = {
        f"{config.segments} segments": config.segments > 1, "pooler": config.pooler,
        "√d × embedding": config.embedding_scale is not None,
    }  # fmt: skip
    return ", ".join(name for name, there in found.items() if there) or "–"


def changes(first: arch.ModelConfig, others: Sequence[arch.ModelConfig]) -> list[int]:
    """In how many components, sizes left out, each model differs from the first."""
    sizes = ("layers", "width", "a token sees", "parameters")
    old = components(first)
    return [
        sum(x != old[name] for name, x in components(one).items() if name not in sizes)
        for one in others
    ]


# --- lines of code ----------------------------------------------------------------------------


def code_lines(*names: str) -> int:
    """Lines of code of files and folders of the library: no blank ones, comments, docstrings."""
    root, count = Path(llmlib.__file__).parent, 0
    for name in names:
        path = root / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            count += lines_of(file.read_text(encoding="utf-8"))
    return count


def lines_of(text: str) -> int:
    """Lines of code of a text."""
    lines: set[int] = set()
    start = True  # of a statement, where a text that stands alone is a docstring
    skipped = (tokenize.COMMENT, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NEWLINE:
            start = True
        elif token.type not in (*skipped, tokenize.ENDMARKER):
            if not (start and token.type == tokenize.STRING):
                lines.update(range(token.start[0], token.end[0] + 1))
            start = False
    return len(lines)
