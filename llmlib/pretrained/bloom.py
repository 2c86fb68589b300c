"""BLOOM on Hugging Face."""

from functools import partial

import torch

from llmlib.decoder import DecoderConfig
from llmlib.pretrained.assemble import Rule
from llmlib.pretrained.family import EVERYWHERE, Family, both, head, head_width
from llmlib.pretrained.settings import (
    FLAG,
    POSITIVE,
    SIZE,
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
    "hidden_size": Used(SIZE),
    "n_embed": SameAs("hidden_size"),
    "n_layer": Used(SIZE),
    "num_hidden_layers": SameAs("n_layer"),
    "n_head": Used(SIZE),
    "num_attention_heads": SameAs("n_head"),
    "seq_length": Used(SIZE, 2048),  # trained with 2048; ALiBi sets no limit
    "layer_norm_epsilon": Used(POSITIVE, 1e-5),
    "tie_word_embeddings": Used(FLAG, True),
    "apply_residual_connection_post_layernorm": Only((False,)),
    **harmless("always 4 * hidden_size, or the tensors would not fit", "n_inner"),
    **harmless(
        "settings of the kernels it was trained with, which compute the same",
        "slow_but_exact", "attention_softmax_in_fp32", "masked_softmax_fusion",
        "bias_dropout_fusion", "skip_bias_add", "skip_bias_add_qkv", "offset_alibi",
    ),
}  # fmt: skip


def _config(settings: Settings) -> DecoderConfig:
    return DecoderConfig(
        vocab_size=settings["vocab_size"],
        dim=settings["hidden_size"],
        n_layers=settings["n_layer"],
        n_heads=settings["n_head"],
        head_dim=head_width(settings, "hidden_size", "n_head"),
        context=settings["seq_length"],
        norm="layer",
        norm_eps=settings["layer_norm_epsilon"],
        activation="gelu_tanh",
        gated=False,
        bias=True,
        position="alibi",
        tied=settings["tie_word_embeddings"],
        embedding_norm=True,
    )


def _rules(config: DecoderConfig, prefix: str) -> list[Rule]:
    """BLOOM stores queries, keys and values as one matrix, head by head."""
    rules = [
        Rule("embedding.weight", f"{prefix}word_embeddings.weight"),
        *both("embedding_norm", f"{prefix}word_embeddings_layernorm"),
        *both("norm", f"{prefix}ln_f"),
    ]
    for i in range(config.n_layers):
        block, stored = f"blocks.{i}", f"{prefix}h.{i}"
        for n, name in enumerate(("query", "key", "value")):
            for kind in ("weight", "bias"):
                parameter = f"{block}.attention.sublayer.{name}.{kind}"
                tensor = f"{stored}.self_attention.query_key_value.{kind}"
                rules.append(
                    Rule(parameter, tensor, partial(_of_each_head, n_heads=config.n_heads, n=n))
                )
        for parameter, tensor in (
            ("attention.sublayer.output", "self_attention.dense"),
            ("feed_forward.sublayer.up", "mlp.dense_h_to_4h"),
            ("feed_forward.sublayer.down", "mlp.dense_4h_to_h"),
            ("attention.norm", "input_layernorm"),
            ("feed_forward.norm", "post_attention_layernorm"),
        ):
            rules += both(f"{block}.{parameter}", f"{stored}.{tensor}")
    return rules + head(config)


def _of_each_head(x: torch.Tensor, n_heads: int, n: int) -> torch.Tensor:
    """Rows lie as (head, query | key | value, head_dim): those of query, key or value."""
    return x.unflatten(0, (n_heads, 3, -1))[:, n].flatten(0, 1)


BLOOM = Family(SETTINGS, _config, _rules, prefix="transformer.", no_weights={})
