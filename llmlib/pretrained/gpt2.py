"""GPT-2 on Hugging Face."""

from torch import Tensor

import llmlib.architecture as arch
from llmlib.pretrained.everywhere import EVERYWHERE
from llmlib.pretrained.family import Family, activation, attention, feed_forward, model
from llmlib.pretrained.names import Names, Part, transposed
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

SETTINGS: Table = {
    **EVERYWHERE,
    "vocab_size": SIZE(),
    "hidden_size": SIZE(),
    "n_embd": SameAs("hidden_size"),
    "num_hidden_layers": SIZE(),
    "n_layer": SameAs("num_hidden_layers"),
    "num_attention_heads": SIZE(),
    "n_head": SameAs("num_attention_heads"),
    "intermediate_size": SIZE(None, null=True),  # None: 4 * hidden_size
    "n_inner": SameAs("intermediate_size"),
    "max_position_embeddings": SIZE(1024),
    "n_positions": SameAs("max_position_embeddings"),
    "activation_function": TEXT("gelu_new"),
    "layer_norm_epsilon": POSITIVE(1e-5),
    "tie_word_embeddings": FLAG(True),
    "scale_attn_weights": Only((True,)),
    "scale_attn_by_inverse_layer_idx": Only((False,)),
    **harmless("the same numbers in float32", "reorder_and_upcast_attn"),
    **harmless("the side of a stored mask, which nothing reads", "n_ctx"),
}


def configure(settings: Settings) -> arch.ModelConfig:
    """What the settings describe."""
    block = arch.Block(
        attention(settings, None, qkv_bias=True, out_bias=True),
        feed_forward(
            settings,
            activation=activation(settings, "activation_function"), gated=False, bias=True,
        ),
        arch.Norm("layer", settings["layer_norm_epsilon"], bias=True),
    )  # fmt: skip
    longest = settings["max_position_embeddings"]
    blocks = [block] * settings["num_hidden_layers"]
    return model(settings, blocks, longest, positions=arch.Learned(longest))


def column_third(n: int) -> Part:
    """Of a matrix (in, queries | keys | values), or a bias alike, one as (out, in)."""

    def part(block: arch.Block, x: Tensor) -> Tensor:
        return x.unflatten(-1, (3, -1)).select(-2, n).t()

    return part


NAMES: Names = {
    "embedding.weight": "transformer.wte.weight",
    "positions.weight": "transformer.wpe.weight",
    "norm.{kind}": "transformer.ln_f.{kind}",
    "output.weight": "lm_head.weight",
    "blocks.{i}.norms.mixer_input.{kind}": "transformer.h.{i}.ln_1.{kind}",
    "blocks.{i}.mixer.query.{kind}": ("transformer.h.{i}.attn.c_attn.{kind}", column_third(0)),
    "blocks.{i}.mixer.key.{kind}": ("transformer.h.{i}.attn.c_attn.{kind}", column_third(1)),
    "blocks.{i}.mixer.value.{kind}": ("transformer.h.{i}.attn.c_attn.{kind}", column_third(2)),
    "blocks.{i}.mixer.output.{kind}": ("transformer.h.{i}.attn.c_proj.{kind}", transposed),
    "blocks.{i}.norms.feed_forward_input.{kind}": "transformer.h.{i}.ln_2.{kind}",
    "blocks.{i}.feed_forward.up.{kind}": ("transformer.h.{i}.mlp.c_fc.{kind}", transposed),
    "blocks.{i}.feed_forward.down.{kind}": ("transformer.h.{i}.mlp.c_proj.{kind}", transposed),
}

GPT2 = Family(
    SETTINGS,
    configure,
    NAMES,
    prefix="transformer.",
    no_weights={
        r"(transformer\.)?h\.\d+\.attn\.(bias|masked_bias)": "the causal mask, which is no weight",
    },
)
