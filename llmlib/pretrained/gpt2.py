"""GPT-2 on Hugging Face."""

from functools import partial

import torch

from llmlib.decoder import DecoderConfig
from llmlib.pretrained.assemble import Rule
from llmlib.pretrained.family import EVERYWHERE, Family, activation, both, head, head_width
from llmlib.pretrained.settings import (
    FLAG,
    POSITIVE,
    SIZE,
    TEXT,
    Only,
    SameAs,
    Settings,
    Table,
    Used,
    harmless,
)

SETTINGS: Table = {
    **EVERYWHERE,
    "vocab_size": Used(SIZE),
    "n_embd": Used(SIZE),
    "hidden_size": SameAs("n_embd"),
    "n_layer": Used(SIZE),
    "num_hidden_layers": SameAs("n_layer"),
    "n_head": Used(SIZE),
    "num_attention_heads": SameAs("n_head"),
    "n_inner": Used(SIZE, None, null=True),  # None: 4 * n_embd
    "n_positions": Used(SIZE, 1024),
    "max_position_embeddings": SameAs("n_positions"),
    "activation_function": Used(TEXT, "gelu_new"),
    "layer_norm_epsilon": Used(POSITIVE, 1e-5),
    "tie_word_embeddings": Used(FLAG, True),
    "scale_attn_weights": Only((True,)),
    "scale_attn_by_inverse_layer_idx": Only((False,)),
    **harmless("the same numbers in float32", "reorder_and_upcast_attn"),
    **harmless("the side of a stored mask, which nothing reads", "n_ctx"),
}


def _config(settings: Settings) -> DecoderConfig:
    return DecoderConfig(
        vocab_size=settings["vocab_size"],
        dim=settings["n_embd"],
        n_layers=settings["n_layer"],
        n_heads=settings["n_head"],
        head_dim=head_width(settings, "n_embd", "n_head"),
        ffn_dim=settings["n_inner"],
        context=settings["n_positions"],
        norm="layer",
        norm_eps=settings["layer_norm_epsilon"],
        activation=activation(settings, "activation_function"),
        gated=False,
        bias=True,
        position="learned",
        tied=settings["tie_word_embeddings"],
    )


def _rules(config: DecoderConfig, prefix: str) -> list[Rule]:
    """GPT-2 stores its projections transposed, and those of queries, keys and values as one."""
    rules = [
        Rule("embedding.weight", f"{prefix}wte.weight"),
        Rule("positions.weight", f"{prefix}wpe.weight"),
        *both("norm", f"{prefix}ln_f"),
    ]
    for i in range(config.n_layers):
        block, stored = f"blocks.{i}", f"{prefix}h.{i}"
        for n, name in enumerate(("query", "key", "value")):
            parameter, tensor = f"{block}.attention.sublayer.{name}", f"{stored}.attn.c_attn"
            # Cut, then transposed: columns of the stored matrix are rows of ours.
            rules += [
                Rule(f"{parameter}.weight", f"{tensor}.weight", partial(_third_transposed, n=n)),
                Rule(f"{parameter}.bias", f"{tensor}.bias", partial(_third, n=n)),
            ]
        for parameter, tensor in (
            ("attention.sublayer.output", "attn.c_proj"),
            ("feed_forward.sublayer.up", "mlp.c_fc"),
            ("feed_forward.sublayer.down", "mlp.c_proj"),
        ):
            weight = f"{stored}.{tensor}.weight"
            rules.append(Rule(f"{block}.{parameter}.weight", weight, lambda x: x.T))
            rules.append(Rule(f"{block}.{parameter}.bias", f"{stored}.{tensor}.bias"))
        rules += both(f"{block}.attention.norm", f"{stored}.ln_1")
        rules += both(f"{block}.feed_forward.norm", f"{stored}.ln_2")
    return rules + head(config)


def _third(x: torch.Tensor, n: int) -> torch.Tensor:
    return x.unflatten(-1, (3, -1)).select(-2, n)


def _third_transposed(x: torch.Tensor, n: int) -> torch.Tensor:
    return _third(x, n).T


GPT2 = Family(
    SETTINGS,
    _config,
    _rules,
    prefix="transformer.",
    no_weights={
        r"(transformer\.)?h\.\d+\.attn\.(bias|masked_bias)": "the causal mask, which is no weight",
    },
)
