"""Tables of names: each parameter of a model beside the name under which a file has it.

    "blocks.{i}.mixer.query.{kind}": "model.layers.{i}.self_attn.q_proj.{kind}",

{i} is the layer, {kind} is weight or bias. Beside the stored name may stand a part: what of the
tensor is meant, and how it is turned. The model is asked for its parameters, so what it does not
have, a bias or a head of its own, is never looked for.
"""

import re
from collections.abc import Callable, Mapping
from functools import partial

from torch import Tensor, nn

import llmlib.architecture as arch
from llmlib.pretrained.assemble import Rule

Part = Callable[[arch.Block, Tensor], Tensor]
"""Of a stored tensor what becomes a parameter: some rows, a transposition.

It is given the parameter's block, and what stands outside the blocks the first of them.
"""

Names = Mapping[str, str | tuple[str, Part]]


def rules_of(model: nn.Module, config: arch.ModelConfig, names: Names) -> list[Rule]:
    """A rule for each parameter of the model.

    Args:
        model: of any weights, or of none.
        config: its description; a part is given the block that it belongs to.
        names: parameter -> stored name; the last that fits counts, so that a family may stand
            over another.

    Raises:
        AssertionError: a parameter that the table does not name.
    """
    known = [(_pattern(mine), stored) for mine, stored in names.items()]
    blocks = arch.layers(config.stack.runs)
    return [_rule(name, known, blocks) for name, _ in model.named_parameters()]


def with_prefix(prefix: str, names: Names) -> Names:
    """The table of a model that is a part of another."""
    return _renamed(names, lambda name: prefix + name)


def without_prefix(prefix: str, names: Names) -> Names:
    """The table of a folder that was written without the head: its names lack the prefix."""
    return _renamed(names, lambda name: name.removeprefix(prefix))


def _renamed(names: Names, change: Callable[[str], str]) -> Names:
    return {
        mine: change(stored) if isinstance(stored, str) else (change(stored[0]), stored[1])
        for mine, stored in names.items()
    }


Known = list[tuple[re.Pattern[str], str | tuple[str, Part]]]


def _rule(name: str, known: Known, blocks: list[arch.Block]) -> Rule:
    for pattern, stored in reversed(known):
        if (found := pattern.fullmatch(name)) is None:
            continue
        if isinstance(stored, str):
            return Rule(name, stored.format(**found.groupdict()))
        template, part = stored
        groups = found.groupdict()
        block = blocks[int(groups.get("i", 0))]
        return Rule(name, template.format(**groups), partial(part, block))
    raise AssertionError(f"the table of names lacks the parameter {name}")


def _pattern(template: str) -> re.Pattern[str]:
    text = re.escape(template).replace(r"\{i\}", r"(?P<i>\d+)")
    return re.compile(text.replace(r"\{kind\}", "(?P<kind>weight|bias)"))


# --- parts of tensors ---------------------------------------------------------------------------


def transposed(block: arch.Block, x: Tensor) -> Tensor:
    """A matrix as (out, in) from (in, out); a bias as it is."""
    return x.t()


def third(n: int) -> Part:
    """Queries (0), keys (1) or values (2), which lie one after the other and are equally wide."""

    def part(block: arch.Block, x: Tensor) -> Tensor:
        return x.unflatten(0, (3, -1))[n]

    return part


def half(n: int) -> Part:
    """The gate (0) or what it multiplies (1), which lie one after the other."""

    def part(block: arch.Block, x: Tensor) -> Tensor:
        return x.unflatten(0, (2, -1))[n]

    return part


def projection(n: int) -> Part:
    """Queries (0), keys (1) or values (2), which lie one after the other."""

    def part(block: arch.Block, x: Tensor) -> Tensor:
        mixer = attention_of(block)
        rows = (mixer.n_heads * mixer.head_dim, *[mixer.n_kv_heads * mixer.head_dim] * 2)
        return x.split(rows)[n]

    return part


def in_groups(n: int) -> Part:
    """Queries (0), keys (1) or values (2), which lie group by group.

    A group is some queries, their key and their value: (group, queries | key | value, head_dim).
    Where every head has its own key that is (head, 3, head_dim), where all share one it is all
    queries, the key, the value.
    """

    def part(block: arch.Block, x: Tensor) -> Tensor:
        mixer = attention_of(block)
        queries = mixer.n_heads // mixer.n_kv_heads
        rows = x.unflatten(0, (mixer.n_kv_heads, queries + 2, -1))
        return rows.split((queries, 1, 1), dim=1)[n].flatten(0, 2)

    return part


def attention_of(block: arch.Block) -> arch.Attention:
    """The block's mixer, which has to be attention with keys and values."""
    assert isinstance(block.mixer, arch.Attention)
    return block.mixer
