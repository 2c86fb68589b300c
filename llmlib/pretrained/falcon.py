"""Falcon on Hugging Face: the parts side by side with one norm or two, or in turn."""

from typing import Literal

import llmlib.architecture as arch
from llmlib.pretrained.bloom import NAMES
from llmlib.pretrained.everywhere import EVERYWHERE
from llmlib.pretrained.family import (
    ANGLES,
    Family,
    activation,
    attention,
    feed_forward,
    heads,
    model,
)
from llmlib.pretrained.names import Names
from llmlib.pretrained.rope_settings import ROPE, rope
from llmlib.pretrained.settings import (
    FLAG,
    POSITIVE,
    SIZE,
    TEXT,
    Only,
    SameAs,
    Settings,
    Table,
    harmless,
)

Order = Literal["in turn", "parallel", "parallel, one norm"]

SETTINGS: Table = {
    **EVERYWHERE,
    **ROPE,
    "vocab_size": SIZE(),
    "hidden_size": SIZE(),
    "n_embed": SameAs("hidden_size"),
    "num_hidden_layers": SIZE(),
    "num_attention_heads": SIZE(),
    "num_kv_heads": SIZE(None, null=True),
    "intermediate_size": SIZE(None, null=True),  # None: 4 * hidden_size
    "ffn_hidden_size": SameAs("intermediate_size"),
    "activation": TEXT("gelu"),
    "layer_norm_epsilon": POSITIVE(1e-5),
    "multi_query": FLAG(True),
    "new_decoder_architecture": FLAG(False),
    "parallel_attn": FLAG(True),
    "num_ln_in_parallel_attn": SIZE(None, null=True),
    "bias": FLAG(False),
    "tie_word_embeddings": FLAG(True),
    "apply_residual_connection_post_layernorm": Only((False,)),
    **harmless("says what ffn_hidden_size says", "ff_factor"),
}
"""Falcon's alibi is refused: transformers scales it, and rounds it to bfloat16."""

TWO_NORMS: Names = {
    **NAMES,
    "blocks.{i}.norms.mixer_input.{kind}": "transformer.h.{i}.ln_attn.{kind}",
    "blocks.{i}.norms.feed_forward_input.{kind}": "transformer.h.{i}.ln_mlp.{kind}",
}


def names(config: arch.ModelConfig) -> Names:
    """Where two norms stand side by side, they have other names."""
    return TWO_NORMS if config.block.order == "parallel" else NAMES


def configure(settings: Settings) -> arch.ModelConfig:
    """What the settings of Falcon describe."""
    settings = {**settings, "num_key_value_heads": _kv_heads(settings)}
    bias = settings["bias"]
    block = arch.Block(
        attention(settings, rope(settings), qkv_bias=bias, out_bias=bias),
        feed_forward(
            settings, activation=activation(settings, "activation"), gated=False, bias=bias
        ),
        arch.Norm("layer", settings["layer_norm_epsilon"], bias=True),
        order=_order(settings),
    )
    return model(settings, [block] * settings["num_hidden_layers"])


def _kv_heads(settings: Settings) -> int | None:
    """Of the new architecture as many as it says, before it one or one for each head."""
    given = settings["num_kv_heads"]
    if settings["new_decoder_architecture"]:
        return int(given) if given else None
    if settings["multi_query"]:
        return 1
    n_heads, _, _ = heads(settings)
    if given not in (None, n_heads):
        raise ValueError(
            f"num_kv_heads is {given}, expected {n_heads} as num_attention_heads where "
            "multi_query and new_decoder_architecture are false"
        )
    return n_heads


def _order(settings: Settings) -> Order:
    """How the two parts stand, and how many norms they read."""
    new, norms = settings["new_decoder_architecture"], settings["num_ln_in_parallel_attn"]
    if settings["parallel_attn"] and norms in ((None, 1, 2) if new else (None, 1)):
        return "parallel" if new and norms != 1 else "parallel, one norm"
    if not settings["parallel_attn"] and not new and norms is None:
        return "in turn"
    raise ValueError(
        f"parallel_attn is {settings['parallel_attn']}, num_ln_in_parallel_attn {norms} and "
        f"new_decoder_architecture {new}; expected parts side by side with 1 or 2 norms where the "
        "architecture is new, before it with 1, or in turn"
    )


FALCON = Family(SETTINGS, configure, names, "transformer.", ANGLES)
