"""T5 on Hugging Face, 1.0 and 1.1: a bias by distance on scores that are not scaled."""

import llmlib.architecture as arch
from llmlib.pretrained.everywhere import EVERYWHERE
from llmlib.pretrained.family import Family, activation
from llmlib.pretrained.names import Names
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
    "vocab_size": SIZE(32_128),
    "d_model": SIZE(512),
    "hidden_size": SameAs("d_model"),
    "d_kv": SIZE(64),
    "head_dim": SameAs("d_kv"),
    "d_ff": SIZE(2048),
    "num_hidden_layers": SIZE(6),
    "num_layers": SameAs("num_hidden_layers"),
    "num_decoder_layers": SIZE(None, null=True),  # None: as many as the encoder has
    "num_heads": SIZE(8),
    "num_attention_heads": SameAs("num_heads"),
    "relative_attention_num_buckets": SIZE(32),
    "relative_attention_max_distance": SIZE(128),
    "layer_norm_epsilon": POSITIVE(1e-6),
    "feed_forward_proj": TEXT("relu"),
    "n_positions": SIZE(512),  # of the training: a bias by distance has no end
    "tie_word_embeddings": FLAG(True),
    "scale_decoder_outputs": FLAG(None, null=True),  # None: where the head is the embedding
    "is_encoder_decoder": Only((True,)),
    "is_decoder": Only((False,)),
    **harmless("follow from feed_forward_proj", "dense_act_fn", "is_gated_act"),
    **harmless(
        "used in training alone", "dropout_rate", "initializer_factor", "output_past",
    ),
}  # fmt: skip


def _stack_names(mine: str, theirs: str, last: int) -> Names:
    """The names of one stack, whose feed-forward block is part number `last` of a layer."""
    block, layer = f"{mine}.blocks.{{i}}", f"{theirs}.block.{{i}}.layer"
    first = f"{theirs}.block.0.layer.0.SelfAttention.relative_attention_bias"
    return {
        f"{mine}.relative_bias.weight": f"{first}.weight",
        f"{block}.mixer.query.weight": f"{layer}.0.SelfAttention.q.weight",
        f"{block}.mixer.key.weight": f"{layer}.0.SelfAttention.k.weight",
        f"{block}.mixer.value.weight": f"{layer}.0.SelfAttention.v.weight",
        f"{block}.mixer.output.weight": f"{layer}.0.SelfAttention.o.weight",
        f"{block}.norms.mixer_input.weight": f"{layer}.0.layer_norm.weight",
        f"{block}.feed_forward.up.weight": f"{layer}.{last}.DenseReluDense.wi.weight",
        f"{block}.feed_forward.down.weight": f"{layer}.{last}.DenseReluDense.wo.weight",
        f"{block}.norms.feed_forward_input.weight": f"{layer}.{last}.layer_norm.weight",
        f"{mine}.norm.weight": f"{theirs}.final_layer_norm.weight",
    }


ACROSS = "decoder.block.{i}.layer.1"
NAMES: Names = {
    "embedding.weight": "shared.weight",
    "output.weight": "lm_head.weight",
    **_stack_names("encoder", "encoder", 1),
    **_stack_names("decoder", "decoder", 2),
    "decoder.blocks.{i}.cross.query.weight": f"{ACROSS}.EncDecAttention.q.weight",
    "decoder.blocks.{i}.cross.key.weight": f"{ACROSS}.EncDecAttention.k.weight",
    "decoder.blocks.{i}.cross.value.weight": f"{ACROSS}.EncDecAttention.v.weight",
    "decoder.blocks.{i}.cross.output.weight": f"{ACROSS}.EncDecAttention.o.weight",
    "decoder.blocks.{i}.norms.cross_input.weight": f"{ACROSS}.layer_norm.weight",
}
GATED_NAMES: Names = {
    **NAMES,
    **{
        f"{stack}.blocks.{{i}}.feed_forward.{mine}.weight": (
            f"{stack}.block.{{i}}.layer.{last}.DenseReluDense.{theirs}.weight"
        )
        for stack, last in (("encoder", 1), ("decoder", 2))
        for mine, theirs in (("gate", "wi_0"), ("up", "wi_1"))
    },
}


def names(config: arch.ModelConfig) -> Names:
    """Those of a gated feed-forward block are others."""
    part = config.block.feed_forward
    return GATED_NAMES if isinstance(part, arch.FeedForward) and part.gated else NAMES


def configure(settings: Settings) -> arch.ModelConfig:
    """What the settings describe.

    A head that is the embedding gets its stream divided by sqrt(d_model). Folders of version 1.1
    say that it is not, and have a matrix of its own unless they were written without it.
    """
    n_heads, dim = settings["num_heads"], settings["d_model"]
    across = arch.Attention(n_heads, n_heads, settings["d_kv"], scale=1.0)
    norm = arch.Norm("rms", settings["layer_norm_epsilon"])
    reader = arch.Block(across, _feed_forward(settings), norm)
    writer = arch.Block(across, _feed_forward(settings), norm, cross=across)
    positions = arch.Buckets(
        n_heads, settings["relative_attention_num_buckets"],
        settings["relative_attention_max_distance"],
    )  # fmt: skip
    depth = settings["num_hidden_layers"]
    said, scaled = settings["tie_word_embeddings"], settings["scale_decoder_outputs"]
    return arch.ModelConfig(
        dim,
        settings["vocab_size"],
        settings["n_positions"],
        arch.Stack((arch.repeat(settings["num_decoder_layers"] or depth, writer),), norm,
                   positions=positions),
        arch.Stack((arch.repeat(depth, reader),), norm, causal=False, positions=positions),
        tied=said or not settings["has head"],
        output_scale=dim**-0.5 if (said if scaled is None else scaled) else None,
    )  # fmt: skip


def _feed_forward(settings: Settings) -> arch.FeedForward:
    """ "relu", or "gated-gelu", which means GELU by tanh."""
    gate, _, name = settings["feed_forward_proj"].rpartition("-")
    if gate not in ("", "gated"):
        raise ValueError(f"feed_forward_proj is {settings['feed_forward_proj']!r}, expected a name "
                         "such as 'relu' or 'gated-gelu'")  # fmt: skip
    meant = "gelu_new" if (gate, name) == ("gated", "gelu") else name
    kind = activation({"feed_forward_proj": meant}, "feed_forward_proj")
    return arch.FeedForward(settings["d_ff"], kind, gated=gate == "gated")


T5 = Family(
    SETTINGS,
    configure,
    names,
    prefix="",
    no_weights={
        r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight": (
            "left over in the first folders: attention to the source knows no distance"
        ),
    },
    has={"head": r"lm_head\.weight"},
    copies={f"{stack}.embed_tokens.weight": "shared.weight" for stack in ("encoder", "decoder")},
)
