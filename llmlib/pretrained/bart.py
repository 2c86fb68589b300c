"""BART on Hugging Face: norms over sums, learned positions from row 2 on, two unequal stacks."""

import math

from torch import Tensor

import llmlib.architecture as arch
from llmlib.pretrained.everywhere import EVERYWHERE
from llmlib.pretrained.family import Family, activation
from llmlib.pretrained.names import Names
from llmlib.pretrained.settings import (
    FLAG,
    SIZE,
    TEXT,
    Only,
    SameAs,
    Settings,
    Table,
    harmless,
)

FIRST = 2
"""The row of position 0, whatever padding's id is."""

SETTINGS: Table = {
    **EVERYWHERE,
    "vocab_size": SIZE(50_265),
    "d_model": SIZE(1024),
    "hidden_size": SameAs("d_model"),
    "num_hidden_layers": SIZE(12),
    "encoder_layers": SameAs("num_hidden_layers"),
    "decoder_layers": SIZE(12),
    "encoder_attention_heads": SIZE(16),
    "num_attention_heads": SameAs("encoder_attention_heads"),
    "decoder_attention_heads": SIZE(16),
    "encoder_ffn_dim": SIZE(4096),
    "decoder_ffn_dim": SIZE(4096),
    "activation_function": TEXT("gelu"),
    "max_position_embeddings": SIZE(1024),
    "scale_embedding": FLAG(False),
    "tie_word_embeddings": FLAG(True),
    "is_encoder_decoder": Only((True,)),
    "is_decoder": Only((False,)),
    "normalize_before": Only((False,)),
    "add_final_layer_norm": Only((False,)),
    "normalize_embedding": Only((True,)),
    "add_bias_logits": Only((False,)),
    "static_position_embeddings": Only((False,)),
    "extra_pos_embeddings": Only((2,)),
    **harmless(
        "used in training alone",
        "dropout", "activation_dropout", "classif_dropout", "init_std",
        "encoder_layerdrop", "decoder_layerdrop",
    ),
    **harmless("chooses tokens after the logits are there", "force_bos_token_to_be_generated"),
}  # fmt: skip


def _attention_names(mine: str, theirs: str) -> Names:
    parts = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "output": "out_proj"}
    return {f"{mine}.{a}.{{kind}}": f"{theirs}.{b}.{{kind}}" for a, b in parts.items()}


def _stack_names(name: str) -> Names:
    block, layer = f"{name}.blocks.{{i}}", f"model.{name}.layers.{{i}}"
    return {
        f"{name}.positions.weight": f"model.{name}.embed_positions.weight",
        f"{name}.embedding_norm.{{kind}}": f"model.{name}.layernorm_embedding.{{kind}}",
        **_attention_names(f"{block}.mixer", f"{layer}.self_attn"),
        f"{block}.norms.mixer_sum.{{kind}}": f"{layer}.self_attn_layer_norm.{{kind}}",
        f"{block}.feed_forward.up.{{kind}}": f"{layer}.fc1.{{kind}}",
        f"{block}.feed_forward.down.{{kind}}": f"{layer}.fc2.{{kind}}",
        f"{block}.norms.feed_forward_sum.{{kind}}": f"{layer}.final_layer_norm.{{kind}}",
    }


def _row(block: arch.Block, x: Tensor) -> Tensor:
    """The bias of the head, which is stored as a matrix of one row."""
    return x.squeeze(0)


NAMES: Names = {
    "embedding.weight": "model.shared.weight",
    "output.weight": "lm_head.weight",
    "output_bias": ("final_logits_bias", _row),
    **_stack_names("encoder"),
    **_stack_names("decoder"),
    **_attention_names("decoder.blocks.{i}.cross", "model.decoder.layers.{i}.encoder_attn"),
    "decoder.blocks.{i}.norms.cross_sum.{kind}": (
        "model.decoder.layers.{i}.encoder_attn_layer_norm.{kind}"
    ),
}


def configure(settings: Settings) -> arch.ModelConfig:
    """What the settings describe."""
    rows = settings["max_position_embeddings"]
    positions = arch.Learned(rows + FIRST, FIRST)
    reader, writer = _block(settings, "encoder"), _block(settings, "decoder")
    return arch.ModelConfig(
        settings["d_model"],
        settings["vocab_size"],
        rows,
        _stack(settings["decoder_layers"], writer, positions, causal=True),
        _stack(settings["num_hidden_layers"], reader, positions, causal=False),
        tied=settings["tie_word_embeddings"],
        head_bias=settings["has head_bias"],
        embedding_scale=math.sqrt(settings["d_model"]) if settings["scale_embedding"] else None,
    )


def _block(settings: Settings, side: str) -> arch.Block:
    dim, n_heads = settings["d_model"], settings[f"{side}_attention_heads"]
    if dim % n_heads:
        raise ValueError(
            f"{side}_attention_heads is {n_heads}, expected a divisor of d_model, {dim}"
        )
    heads = arch.Attention(n_heads, n_heads, dim // n_heads, qkv_bias=True, out_bias=True)
    feeding = arch.FeedForward(
        settings[f"{side}_ffn_dim"], activation(settings, "activation_function"),
        gated=False, bias=True,
    )  # fmt: skip
    cross = heads if side == "decoder" else None
    return arch.Block(heads, feeding, arch.LAYER, "post", cross=cross)


def _stack(
    n_layers: int, block: arch.Block, positions: arch.Learned, *, causal: bool
) -> arch.Stack:
    return arch.Stack(
        (arch.repeat(n_layers, block),), None, causal, positions, first_norm=arch.LAYER
    )


BART = Family(
    SETTINGS,
    configure,
    NAMES,
    has={"head_bias": "final_logits_bias"},
    copies={
        f"model.{stack}.embed_tokens.weight": "model.shared.weight"
        for stack in ("encoder", "decoder")
    },
)
