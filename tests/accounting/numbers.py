"""The number for each letter of a model in letters, found without the code that puts them in."""

from collections.abc import Iterator
from typing import Any

import sympy

import llmlib.architecture as arch
from llmlib.accounting import LETTERS


def parts(found: Any) -> Iterator[arch.Described]:
    """A description and every part of it."""
    if isinstance(found, tuple):
        for one in found:
            yield from parts(one)
    elif isinstance(found, arch.Described):
        yield found
        for value in vars(found).values():
            yield from parts(value)


def numbers_of(config: arch.ModelConfig) -> dict[sympy.Symbol, sympy.Integer]:
    """Letter -> the size that it stands for; several values of a field have an index each."""
    values: dict[str, list[int]] = {}
    experts = {one.expert for one in parts(config) if isinstance(one, arch.Experts)}
    blocks = [one for one in parts(config) if isinstance(one, arch.FeedForward)]
    narrow = experts if any(one not in experts for one in blocks) else set()
    for one in parts((config.source, config)):  # an encoder's sizes are numbered first
        for field, x in vars(one).items():
            name = "expert_dim" if field == "ffn_dim" and one in narrow else field
            if name == "n_kv_heads" and x == one.n_heads:  # type: ignore[attr-defined]
                continue
            known = name in LETTERS and isinstance(x, int) and not isinstance(x, bool) and x
            if known and not isinstance(one, arch.Buckets) and x not in values.get(name, []):
                values.setdefault(name, []).append(x)
    found = {}
    for name, sizes in values.items():
        letter = str(LETTERS[name])
        for k, size in enumerate(sizes, 1):
            index = f"{letter}{',' if '_' in letter else '_'}{k}"
            shown = letter if len(sizes) == 1 else index
            found[sympy.Symbol(shown, integer=True, positive=True)] = sympy.Integer(size)
    return found | lengths_of(config)


def lengths_of(config: arch.ModelConfig) -> dict[sympy.Symbol, sympy.Integer]:
    """L, and how many layers are of each kind."""
    blocks = arch.layers(config.stack.runs)
    counts = {"n_layers": len(blocks)}
    counts |= {} if config.source is None else {"n_source_layers": config.source.n_layers}
    dense = [block for block in blocks if not isinstance(block.feed_forward, arch.Experts)]
    full = [block for block in blocks if sees_all(block.mixer)]
    counts |= {"n_dense_layers": len(dense)} if 0 < len(dense) < len(blocks) else {}
    counts |= {"n_full_layers": len(full)} if 0 < len(full) < len(blocks) else {}
    found = {LETTERS[name]: sympy.Integer(n) for name, n in counts.items()}
    for k, block in enumerate(dict.fromkeys(blocks), 1):
        symbol = sympy.Symbol(f"L_{k}", integer=True, positive=True)
        found[symbol] = sympy.Integer(blocks.count(block))
    return found


def sees_all(mixer: arch.Mixer) -> bool:
    """Neither a window nor a state."""
    return isinstance(mixer, arch.Latent) or getattr(mixer, "window", 0) is None
