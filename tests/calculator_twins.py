"""What the calculators must show, by `llmlib.accounting` with numbers, and inputs to try.

An input is what a reader does: `text` typed into boxes, boxes that `follow`, toggles `on`, and the
option that each select has (`pick`). A twin takes the numbers of all letters and gives every value
that the page computes, by name. No formula with letters is used here.
"""

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import llmlib.architecture as arch
from llmlib.accounting import (
    CHIPS,
    Breakdown,
    forward_flops,
    kv_cache_bytes,
    moved_bytes,
    parameters,
    step_time,
    training_moments,
    weight_bytes,
)
from llmlib.book.calculators.shared import sixteen_bits

Numbers = Mapping[str, Any]


@dataclass(frozen=True)
class Input:
    """What a reader does, and the number that each letter then stands for."""

    text: dict[str, str]
    follow: dict[str, bool]
    on: dict[str, int]
    pick: list[int]
    numbers: dict[str, Any] = field(default_factory=dict)


def config_of(
    numbers: Numbers, *, tied: bool = False, context: int = 1, learned: bool = False,
    qk_norm: bool = False, block: arch.Block | None = None,
) -> arch.ModelConfig:  # fmt: skip
    """A model with the sizes that the letters stand for; `block` says the rest of its blocks."""
    made = block or arch.Block(arch.Attention(1, 1, 1, arch.Rope()), arch.FeedForward(1))
    sizes = {"n_heads": numbers["H"], "n_kv_heads": numbers["G"], "head_dim": numbers["d_head"]}
    attention = replace(made.mixer, **sizes, qk_norm=arch.RMS if qk_norm else None)
    width = {"ffn_dim": numbers["d_ff"], "gated": bool(numbers["gated"])}
    made = replace(
        made,
        mixer=attention,
        feed_forward=replace(made.feed_forward, **width),  # type: ignore
    )
    stack = arch.Stack(
        (arch.repeat(numbers["L"], made),),
        made.norm if numbers.get("final_norm", 1) else None,
        positions=arch.Learned(context) if learned else None,
        first_norm=made.norm if numbers.get("embedding_norm", 0) else None,
    )
    return arch.ModelConfig(numbers["d"], numbers["V"], context, stack, tied=tied)


def _named(counts: Breakdown, names: list[str], prefix: str = "") -> dict[str, Any]:
    """All names of a calculator's parts: what a breakdown leaves out is 0."""
    assert set(counts) <= {name.removeprefix(prefix) for name in names if name.startswith(prefix)}
    return {name: counts.get(name.removeprefix(prefix), 0) for name in names}


def part_names(spec: Mapping[str, Any], bar: int = 0) -> list[str]:
    """The names of the parts of one of a calculator's bars."""
    return [part["name"] for group in spec["bars"][bar]["groups"] for part in group["parts"]]


def parameter_twin(spec: Mapping[str, Any], numbers: Numbers) -> dict[str, Any]:
    """Every value of the parameter calculator."""
    on = {name: bool(numbers[name]) for name in ("qkv_bias", "out_bias", "ffn_bias", "norm_bias")}
    block = arch.Block(
        arch.Attention(1, 1, 1, qkv_bias=on["qkv_bias"], out_bias=on["out_bias"]),
        arch.FeedForward(1, bias=on["ffn_bias"]),
        arch.Norm("layer", bias=on["norm_bias"]),
        norms="sandwich" if numbers["norms"] == 4 else "pre",
        order="parallel, one norm" if numbers["norms"] == 1 else "in turn",
    )
    config = config_of(
        numbers,
        block=block,
        tied=bool(numbers["tied"]),
        context=numbers["n_ctx"],
        learned=bool(numbers["learned"]),
        qk_norm=bool(numbers["qk_norm"]),
    )
    counts = parameters(config)
    tables = sum(counts.get(name, 0) for name in ("embedding", "positions", "head"))
    return _named(counts, part_names(spec)) | {
        "total": counts.total,
        "tables_share": tables / counts.total,
        "blocks": counts.total - tables,
        "float32_bytes": counts.total * 4,
        "bfloat16_bytes": counts.total * 2,
    }


def flop_twin(spec: Mapping[str, Any], numbers: Numbers) -> dict[str, Any]:
    """Every value of the FLOP calculator."""
    chip = CHIPS[numbers["option of chip"]]
    config, batch, seq = config_of(numbers), numbers["b"], numbers["s"]
    pairs = "visible" if numbers["causal"] else "all"
    logits = "last" if numbers["last_only"] else "all"
    found: dict[str, Any] = {}
    for bar, name in enumerate(("prefill", "decode")):
        new, past = (seq, 0) if name == "prefill" else (1, numbers["p"])
        options = {"pairs": pairs, "logits": logits} if name == "prefill" else {}
        flops = forward_flops(config, batch, new, past=past, **options)
        moved = moved_bytes(config, batch, new, past=past).total
        time = step_time(flops, moved, chip, sixteen_bits(chip)).seconds
        found |= _named(flops, part_names(spec, bar), f"{name}.")
        found |= {
            f"{name}_flops": flops.total,
            f"{name}_bytes": moved,
            f"{name}_intensity": flops.total / moved,
            f"{name}_seconds": time,
            f"{name}_rate": batch * new / time,
            f"roof:{'prefill' if name == 'prefill' else 'decode step'}:flops": flops.total,
            f"roof:{'prefill' if name == 'prefill' else 'decode step'}:bytes": moved,
        }
    return found | {
        "roof:peak": chip.rate(sixteen_bits(chip)),
        "roof:bandwidth": chip.bandwidth,
    }


def memory_twin(spec: Mapping[str, Any], numbers: Numbers) -> dict[str, Any]:
    """Every value of the memory calculator."""
    chip = CHIPS[numbers["option of chip"]]
    config, batch, seq = config_of(numbers, tied=bool(numbers["tied"])), numbers["b"], numbers["s"]
    moments = training_moments(
        config,
        batch,
        seq,
        precision="mixed" if numbers["mixed"] else "float32",
        optimizer="adamw" if numbers["adamw"] else "sgd",
        attention="flash" if numbers["flash"] else "reference",
        checkpointing=bool(numbers["checkpointing"]),
    )
    peak = max(moments.values(), key=lambda moment: moment.total)
    sizes = Fraction(numbers["w"]), Fraction(numbers["w_cache"])
    weights, token = weight_bytes(config, sizes[0]), kv_cache_bytes(config, 1, 1, sizes[1])
    serve = weights + kv_cache_bytes(config, batch, seq, sizes[1])
    memory = Fraction(chip.memory)
    free = max(Fraction(0), memory - weights)
    return {
        "serve.weights": weights,
        "serve.cache": serve - weights,
        **_named(peak, part_names(spec, 1), "train."),
        "serve:limit": memory,
        "train:limit": memory,
        "total": parameters(config).total,
        "token_bytes": token,
        "serve_bytes": serve,
        "train_bytes": peak.total,
        "serve_chips": math.ceil(serve / memory),
        "train_chips": math.ceil(peak.total / memory),
        "most_sequences": math.floor(free / (seq * token)),
        "most_tokens": math.floor(free / (batch * token)),
    }


TWINS: dict[str, Callable[[Mapping[str, Any], Numbers], dict[str, Any]]] = {
    "parameter_calculator": parameter_twin,
    "flop_calculator": flop_twin,
    "memory_calculator": memory_twin,
}


# --- inputs -----------------------------------------------------------------------------------


def _size(draw: random.Random, most: int) -> int:
    """Small ones as often as large ones, primes among them."""
    return round(most ** draw.random())


def _sizes(draw: random.Random, letters: list[str]) -> tuple[dict[str, int], dict[str, bool]]:
    """Sizes that fit together, some of them as others demand."""
    most = {"V": 300_000, "d": 20_000, "L": 150, "d_head": 300, "d_ff": 80_000, "n_ctx": 200_000}
    most |= {"b": 2000, "s": 200_000, "p": 200_000, "n": 64}
    n = {letter: _size(draw, most.get(letter, 1)) for letter in letters}
    follow = {letter: draw.random() < 0.5 for letter in ("G", "d_head", "d_ff", "p")}
    n["G"] = draw.choice([1, 2, 3, 4, 7, 8, 16])
    n["H"] = n["G"] * (1 if follow["G"] else draw.choice([1, 2, 3, 4, 8]))
    if follow["d_head"]:
        n["d"] = n["H"] * n["d_head"]
    if follow["d_ff"]:
        n["d_ff"] = 4 * n["d"]
    if "p" in n:
        n["p"] = n["s"] if follow["p"] else n["p"] - 1
    return n, {letter: yes for letter, yes in follow.items() if letter in n}


def inputs(spec: Mapping[str, Any], count: int, seed: int = 0) -> list[Input]:
    """Random inputs for a calculator; each option and each side of a toggle comes up."""
    draw = random.Random(seed)
    found = []
    for _ in range(count):
        sizes, follow = _sizes(draw, [box["letter"] for box in spec["fields"]])
        on = {toggle["letter"]: draw.randrange(2) for toggle in spec["toggles"]}
        pick = [draw.randrange(len(one["options"])) for one in spec["picks"]]
        text = {
            letter: draw.choice([str(size), f"{size:,}"])
            for letter, size in sizes.items()
            if not follow.get(letter)
        }
        numbers: dict[str, Any] = {**sizes, **on, **picked(spec, pick)}
        found.append(Input(text, follow, on, pick, numbers))
    return found


def picked(spec: Mapping[str, Any], pick: list[int]) -> dict[str, Any]:
    """What the options stand for; and the option that each select has."""
    numbers: dict[str, Any] = {}
    for one, k in zip(spec["picks"], pick, strict=True):
        option = one["options"][k]
        numbers |= option["numbers"] | {f"option of {one['label']}": option["label"]}
    return numbers
