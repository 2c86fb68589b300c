"""A model with letters in the place of its sizes: what is counted of it is a formula.

Equal sizes get one letter wherever they stand; a size that has several values in a model gets an
index, d_ff,1 and d_ff,2. Layers that then say the same are one run.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import llmlib.architecture as arch
from llmlib.accounting.checks import check_config
from llmlib.accounting.layers import all_runs, window
from llmlib.accounting.letters import LETTERS, SWITCHES, indexed

_SIZES = (
    *("n_heads", "n_kv_heads", "head_dim", "window", "value_dim", "kv_rank", "rope_dim"),
    *("plain_dim", "query_rank", "n_key_heads", "n_value_heads", "key_dim", "conv"),
    *("ffn_dim", "n_experts", "n_active", "n_shared"),
)
_BIASES = ("qkv_bias", "out_bias", "ffn_bias")
_OF_MODEL = ("dim", "vocab_size", "context")


def in_letters(config: arch.ModelConfig, **values: Any) -> arch.ModelConfig:
    """The model with the same choices and letters for its sizes.

    G is H where a model's heads share no keys. Experts are d_ff wide, or d_expert where the model
    has blocks without experts too. Of L layers L_dense have none; L_full see all where others have
    a window or a state; other kinds of layers are L_1, L_2 and so on.

    Args:
        config: whose choices are kept.
        values: what a letter stands for instead, by the alphabet's field: `ffn_dim=4 * d,
            head_dim=d / H`, `gated=True`, `tied=SWITCHES["tied"]`; `bias` is all three of the
            projections' biases.

    Raises:
        TypeError: what is no description of a model, a field that the alphabet lacks.
    """
    check_config(config)
    if "bias" in values:
        values = dict.fromkeys(_BIASES, values["bias"]) | values
    unknown = values.keys() - LETTERS.keys() - SWITCHES.keys() - {"bias"}
    if unknown:
        raise TypeError(f"no letter for {', '.join(sorted(unknown))}: expected fields of the "
                        f"alphabet, {', '.join((*LETTERS, *SWITCHES))}")  # fmt: skip
    table = _Table(config, values)
    made: dict[str, Any] = {name: values.get(name, LETTERS[name]) for name in _OF_MODEL}
    made |= {"tied": values.get("tied", config.tied)}
    made |= {"transform": _lettered(config.transform, table)}
    made |= {"stack": _stack(config.stack, "n_layers", config.context, table)}
    if config.source is not None:
        same = config.source.n_layers == config.n_layers
        length = "n_layers" if same else "n_source_layers"
        made["source"] = _stack(config.source, length, config.context, table)
    return dataclasses.replace(config, **made)


class _Table:
    """The letter of each size, by its field and its number."""

    def __init__(self, config: arch.ModelConfig, values: Mapping[str, Any]) -> None:
        self.values = values
        parts = [part for block, _, _ in arch.kinds(all_runs(config)) for part in _parts(block)]
        blocks = [part for part in parts if isinstance(part, arch.FeedForward)]
        experts = {part.expert for part in parts if isinstance(part, arch.Experts)}
        self.narrow = experts if any(one not in experts for one in blocks) else set()
        self.found: dict[str, list[Any]] = {}
        for part in parts:
            for field, size in vars(part).items():
                if field in _SIZES and size:
                    equal = self.found.setdefault(self._name(part, field), [])
                    equal += [] if size in equal else [size]

    def _name(self, part: arch.Described, field: str) -> str:
        """The alphabet's name of a part's field."""
        if field == "ffn_dim" and part in self.narrow:
            return "expert_dim"
        if field == "n_kv_heads" and part.n_kv_heads == part.n_heads:  # type: ignore[attr-defined]
            return "n_heads" if "n_kv_heads" not in self.values else field
        return field

    def letter(self, part: arch.Described, field: str, size: Any) -> Any:
        name = self._name(part, field)
        if name in self.values:
            return self.values[name]
        equal = self.found[name]
        return LETTERS[name] if len(equal) == 1 else indexed(name, equal.index(size) + 1)


def _parts(block: arch.Block) -> Iterator[arch.Described]:
    """The parts of a block that have sizes."""
    yield from (part for part in (block.mixer, block.cross, block.feed_forward) if part is not None)
    if isinstance(block.feed_forward, arch.Experts):
        yield block.feed_forward.expert


def _lettered(part: Any, table: _Table) -> Any:
    """A part of a description and all that it holds, with letters and the caller's switches."""
    if not isinstance(part, arch.Described):
        return part
    made: dict[str, Any] = {}
    for field, x in vars(part).items():
        if field in _SIZES and x and not isinstance(part, arch.Buckets):
            made[field] = table.letter(part, field, x)
        else:
            made[field] = _lettered(x, table)
    return dataclasses.replace(part, **(made | _switches(part, table.values)))  # type: ignore[type-var]


def _switches(part: arch.Described, values: Mapping[str, Any]) -> dict[str, Any]:
    """Fields that the caller says are on, off or a letter."""
    match part:
        case arch.Attention() | arch.Latent():
            names = {"qkv_bias": "qkv_bias", "out_bias": "out_bias"}
        case arch.FeedForward():
            names = {"ffn_bias": "bias", "gated": "gated"}
        case arch.Norm():
            names = {"norm_bias": "bias"}
        case _:
            names = {}
    return {field: values[name] for name, field in names.items() if name in values}


# --- stacks -----------------------------------------------------------------------------------


def _stack(stack: arch.Stack, length: str, context: Any, table: _Table) -> arch.Stack:
    """A stack in letters, each kind of block one run."""
    counted: dict[arch.Block, list[Any]] = {}
    for block, times, own in arch.kinds(stack.runs):
        both = counted.setdefault(_lettered(block, table), [0, 0])
        both[0], both[1] = both[0] + times, both[1] + own
    lengths = _lengths(list(counted), [times for times, _ in counted.values()], length, table)
    runs = tuple(
        _run(block, letter, times, own)
        for (block, (times, own)), letter in zip(counted.items(), lengths, strict=True)
    )
    around = {
        "positions": _positions(stack.positions, context, table),
        "first_norm": _lettered(stack.first_norm, table),
        "last_norm": _lettered(stack.last_norm, table),
    }
    return dataclasses.replace(stack, runs=runs, **around)


def _run(block: arch.Block, letter: Any, times: Any, own: Any) -> arch.Run:
    if times == own:
        return arch.repeat(letter, block)
    # The same weights again and again: as many sets of them as there are, a number.
    return arch.Run(letter / own, (arch.repeat(own, block),), shared=True)


def _positions(positions: Any, context: Any, table: _Table) -> Any:
    """Rows beside those of the context stay: BART's 2 for padding, PanGu's second table."""
    match positions:
        case arch.Learned(rows):
            length = table.values.get("context", LETTERS["context"])
            return dataclasses.replace(positions, rows=length + rows - context)
        case arch.Buckets():
            heads = table.values.get("n_heads", LETTERS["n_heads"])
            return dataclasses.replace(positions, n_heads=heads)
        case _:
            return positions


def _lengths(blocks: list[arch.Block], times: list[Any], name: str, table: _Table) -> list[Any]:
    """How many layers there are of each kind: L in all, the most frequent kind takes the rest."""
    whole = table.values.get(name, LETTERS[name])
    names = [_kind(block, blocks) for block in blocks]
    plain = [k for k, one in enumerate(names) if one is None]
    rest = max(plain or range(len(blocks)), key=lambda k: times[k])
    letters: list[Any] = [0] * len(blocks)
    for k, one in enumerate(names):
        if one is None or names.count(one) > 1:
            letters[k] = indexed("n_layers", k + 1)
        else:
            letters[k] = table.values.get(one, LETTERS[one])
    letters[rest] = 0
    letters[rest] = whole - sum(letters)
    return letters


def _kind(block: arch.Block, blocks: list[arch.Block]) -> str | None:
    """The alphabet's field of such layers where others are of another kind."""

    def any_other(test: Callable[[arch.Block], bool]) -> bool:
        return not test(block) and any(map(test, blocks))

    if any_other(lambda one: isinstance(one.feed_forward, arch.Experts)):
        return "n_dense_layers"
    if any_other(lambda one: _local(one.mixer)):
        return "n_full_layers"
    return None


def _local(mixer: arch.Mixer) -> bool:
    """Whether a layer's cache stops growing."""
    return window(mixer) is not None or isinstance(mixer, arch.GatedDelta)
