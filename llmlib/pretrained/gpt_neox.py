"""GPT-NeoX and Pythia on Hugging Face: the parts side by side, RoPE over a quarter of each head."""

import llmlib.architecture as arch
from llmlib.pretrained.family import ANGLES, Family, attention, feed_forward, model, without
from llmlib.pretrained.names import Names, in_groups
from llmlib.pretrained.rope_settings import ROPE, rope
from llmlib.pretrained.settings import FLAG, POSITIVE, TEXT, Only, Settings, Table

SETTINGS: Table = {
    **without("rms_norm_eps", "num_key_value_heads", "head_dim"),
    **ROPE,
    "hidden_act": TEXT("gelu"),
    "layer_norm_eps": POSITIVE(1e-5),
    "attention_bias": FLAG(True),
    "use_parallel_residual": FLAG(True),
    "rope_theta": Only((None,)),
    "rotary_emb_base": POSITIVE(None, null=True),
    "rotary_pct": POSITIVE(None, null=True),
}
NAMES: Names = {
    "embedding.weight": "gpt_neox.embed_in.weight",
    "norm.{kind}": "gpt_neox.final_layer_norm.{kind}",
    "output.weight": "embed_out.weight",
    "blocks.{i}.norms.mixer_input.{kind}": "gpt_neox.layers.{i}.input_layernorm.{kind}",
    "blocks.{i}.mixer.query.{kind}": (
        "gpt_neox.layers.{i}.attention.query_key_value.{kind}", in_groups(0)
    ),
    "blocks.{i}.mixer.key.{kind}": (
        "gpt_neox.layers.{i}.attention.query_key_value.{kind}", in_groups(1)
    ),
    "blocks.{i}.mixer.value.{kind}": (
        "gpt_neox.layers.{i}.attention.query_key_value.{kind}", in_groups(2)
    ),
    "blocks.{i}.mixer.output.{kind}": "gpt_neox.layers.{i}.attention.dense.{kind}",
    "blocks.{i}.norms.feed_forward_input.{kind}": (
        "gpt_neox.layers.{i}.post_attention_layernorm.{kind}"
    ),
    "blocks.{i}.feed_forward.up.{kind}": "gpt_neox.layers.{i}.mlp.dense_h_to_4h.{kind}",
    "blocks.{i}.feed_forward.down.{kind}": "gpt_neox.layers.{i}.mlp.dense_4h_to_h.{kind}",
}  # fmt: skip


def configure(settings: Settings) -> arch.ModelConfig:
    """What the settings of GPT-NeoX and Pythia describe: the two parts side by side, or in turn."""
    beside = {"rope_theta": "rotary_emb_base", "partial_rotary_factor": "rotary_pct"}
    block = arch.Block(
        attention(settings, rope(settings, share=0.25, beside=beside)),
        feed_forward(settings, gated=False, bias=True),
        arch.Norm("layer", settings["layer_norm_eps"], bias=True),
        order="parallel" if settings["use_parallel_residual"] else "in turn",
    )
    return model(settings, [block] * settings["num_hidden_layers"])


GPT_NEOX = Family(
    SETTINGS,
    configure,
    NAMES,
    prefix="gpt_neox.",
    no_weights={
        **ANGLES,
        r"(gpt_neox\.)?layers\.\d+\.attention\.(bias|masked_bias)": (
            "the causal mask, which is no weight"
        ),
    },
    other_head="lm_head.weight",
)
