"""Every field of the description: it changes the number of parameters, or it does not.

A field that the description gains fails here until somebody has said which of the two it is.
"""

import dataclasses
from typing import Any

import llmlib.architecture as arch
from llmlib.accounting import parameters
from llmlib.model_cards import card
from llmlib.model_cards.families import MODERNBERT
from tests.folding import for_each

GPT, T5, BERT = (card(name).config for name in ("GPT-2", "T5-small", "BERT-base"))
QWEN, GEMMA = card("Qwen3-8B").config, card("Gemma-3-27B").config
LATENT, DELTA = card("DeepSeek-V3").config, card("Qwen3-Next-80B-A3B").config
MODERN = MODERNBERT.config
STRETCHED = card("Llama-3.1-405B").config
WAVES: arch.ModelConfig = arch.changed(GPT, arch.Stack, positions=arch.Sinusoidal())

# What a field is changed to, and in which model.
STORED: dict[type[arch.Described], dict[str, tuple[arch.ModelConfig, Any]]] = {
    arch.Norm: {"bias": (QWEN, True)},
    arch.Scaling: {},
    arch.Rope: {},
    arch.Learned: {"rows": (GPT, 7)},
    arch.Sinusoidal: {},
    arch.Transform: {"norm": (MODERN, arch.LAYER), "bias": (MODERN, True)},
    arch.Buckets: {"n_heads": (T5, 9), "n_buckets": (T5, 9)},
    arch.Attention: {
        "n_heads": (QWEN, 40), "n_kv_heads": (QWEN, 4), "head_dim": (QWEN, 9),
        "value_dim": (QWEN, 9), "qkv_bias": (QWEN, True), "out_bias": (QWEN, True),
        "qk_norm": (QWEN, None), "qk_norm_over": (QWEN, "all heads"), "sinks": (QWEN, True),
        "gate": (QWEN, True),
    },
    arch.Latent: {
        "n_heads": (LATENT, 9), "kv_rank": (LATENT, 9), "rope_dim": (LATENT, 9),
        "plain_dim": (LATENT, 9), "value_dim": (LATENT, 9), "query_rank": (LATENT, None),
        "qkv_bias": (LATENT, True), "out_bias": (LATENT, True),
        "norm": (LATENT, arch.Norm(bias=True)),
    },
    arch.GatedDelta: dict.fromkeys(
        ("n_key_heads", "n_value_heads", "key_dim", "value_dim", "conv"), (DELTA, 9)
    ),
    arch.FeedForward: {"ffn_dim": (QWEN, 9), "gated": (QWEN, False), "bias": (QWEN, True)},
    arch.Router: {"bias": (DELTA, True)},
    arch.Experts: {
        "n_experts": (DELTA, 99), "expert": (DELTA, arch.FeedForward(9)), "n_shared": (DELTA, 2),
        "shared_gate": (DELTA, False),
    },
    arch.Block: {
        "mixer": (QWEN, arch.Attention(9, 9, 9)), "feed_forward": (QWEN, None),
        "norm": (QWEN, arch.LAYER), "norms": (QWEN, "sandwich"), "cross": (T5, None),
        "order": (QWEN, "parallel, one norm"), "mixer_norm": (QWEN, False),
    },
    arch.Run: {
        "times": (QWEN, 9), "parts": (QWEN, (QWEN.block, QWEN.block)), "shared": (QWEN, True),
    },
    arch.Stack: {
        "runs": (QWEN, GPT.stack.runs), "last_norm": (QWEN, None),
        "positions": (QWEN, arch.Learned(9)), "first_norm": (QWEN, arch.RMS),
    },
    arch.ModelConfig: {
        "dim": (QWEN, 9), "vocab_size": (QWEN, 9), "stack": (QWEN, GPT.stack),
        "source": (T5, None), "tied": (QWEN, True), "segments": (BERT, 9), "head": (QWEN, "none"),
        "transform": (MODERN, None), "head_bias": (MODERN, False), "pooler": (BERT, False),
    },
}  # fmt: skip
NOTHING: dict[type[arch.Described], dict[str, tuple[arch.ModelConfig, Any]]] = {
    arch.Norm: {"kind": (QWEN, "layer"), "eps": (QWEN, 0.5), "gain": (QWEN, "1 + weight")},
    arch.Scaling: {
        "kind": (STRETCHED, "linear"), "factor": (STRETCHED, 3.0), "original": (STRETCHED, 3),
        "more": (STRETCHED, ()),
    },
    arch.Rope: {
        "base": (QWEN, 5.0), "share": (QWEN, 0.5), "scaling": (QWEN, arch.Scaling("linear", 2.0)),
        "layout": (QWEN, "interleaved"),
    },
    arch.Learned: {"first": (GPT, 3)},
    arch.Transform: {"activation": (MODERN, "relu")},
    arch.Sinusoidal: {"scale": (WAVES, 0.5)},
    arch.Buckets: {"max_distance": (T5, 9)},
    arch.Attention: {
        "rope": (QWEN, None), "window": (QWEN, 9), "alibi": (QWEN, True), "scale": (QWEN, 0.5),
        "softcap": (QWEN, 5.0),
    },
    arch.Latent: {"rope": (LATENT, None), "alibi": (LATENT, True), "scale": (LATENT, 0.5)},
    arch.GatedDelta: {},
    arch.FeedForward: {"activation": (QWEN, "relu"), "clamp": (QWEN, 5.0)},
    arch.Router: {
        "score": (DELTA, "sigmoid"), "order": (DELTA, "score, then choose"), "scale": (DELTA, 5.0),
        "balanced": (DELTA, True), "groups": (DELTA, (8, 4)),
    },
    arch.Experts: {"n_active": (DELTA, 9), "router": (DELTA, arch.Router())},
    arch.Block: {"residual_scale": (QWEN, 0.5)},
    arch.Run: {},
    arch.Stack: {"causal": (QWEN, False)},
    arch.ModelConfig: {
        "context": (QWEN, 9), "embedding_scale": (QWEN, 2.0), "softcap": (QWEN, 5.0),
        "output_scale": (QWEN, 0.5),
    },
}  # fmt: skip


def changed(kind: type[arch.Described], field: str, one: tuple[arch.ModelConfig, Any]) -> Any:
    """The model with one field changed, and its parameters before and after."""
    config, value = one
    if kind is arch.ModelConfig:
        after = dataclasses.replace(config, **{field: value})
    else:
        after = arch.changed(config, kind, **{field: value})
    return parameters(config).total, parameters(after).total


def cases(table: dict[type[arch.Described], Any]) -> dict[str, Any]:
    """Name -> what `changed` takes."""
    return {
        f"{kind.__name__}.{field}": (kind, field, one)
        for kind, fields in table.items()
        for field, one in fields.items()
    }


def test_every_field_of_the_description_is_here_once() -> None:
    kinds = {
        one
        for name in arch.__all__
        if isinstance(one := getattr(arch, name), type) and dataclasses.is_dataclass(one)
    }
    assert set(STORED) == set(NOTHING) == kinds
    for kind in kinds:
        names = [field.name for field in dataclasses.fields(kind)]
        assert sorted([*STORED[kind], *NOTHING[kind]]) == sorted(names), kind.__name__


@for_each("case", cases(STORED).values(), ids=cases(STORED))
def test_what_stores_numbers_is_counted(case: Any) -> None:
    before, after = changed(*case)
    assert before != after


@for_each("case", cases(NOTHING).values(), ids=cases(NOTHING))
def test_what_stores_nothing_is_not(case: Any) -> None:
    before, after = changed(*case)
    assert before == after


def test_the_active_experts_alone_are_counted_where_they_are_asked_for() -> None:
    before = parameters(DELTA, active=True).total
    after = parameters(arch.changed(DELTA, arch.Experts, n_active=9), active=True).total
    assert before - after == 48 * 3 * 2048 * 512
