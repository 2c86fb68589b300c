"""StarCoder2 on Hugging Face: LayerNorm, biases, no gate."""

import llmlib.architecture as arch
from llmlib.pretrained.family import ANGLES, Family, attention, feed_forward, model, without
from llmlib.pretrained.llama import NAMES as LLAMA_NAMES
from llmlib.pretrained.names import Names
from llmlib.pretrained.rope_settings import ROPE, rope
from llmlib.pretrained.settings import FLAG, POSITIVE, SIZE, TEXT, Only, Settings, Table, harmless

SETTINGS: Table = {
    **without("rms_norm_eps"),
    **ROPE,
    "num_key_value_heads": SIZE(2),
    "head_dim": SIZE(None, null=True),
    "hidden_act": TEXT("gelu_pytorch_tanh"),
    "max_position_embeddings": SIZE(4096),
    "norm_epsilon": POSITIVE(1e-5),
    "sliding_window": SIZE(None, null=True),
    "use_bias": FLAG(True),
    "tie_word_embeddings": FLAG(True),
    "mlp_type": Only(("default",)),
    "norm_type": Only(("layer_norm",)),
    **harmless("an older name of hidden_act that no version reads", "activation_function"),
}
NAMES: Names = {
    **LLAMA_NAMES,
    "blocks.{i}.feed_forward.up.{kind}": "model.layers.{i}.mlp.c_fc.{kind}",
    "blocks.{i}.feed_forward.down.{kind}": "model.layers.{i}.mlp.c_proj.{kind}",
}


def configure(settings: Settings) -> arch.ModelConfig:
    """What the settings of StarCoder2 describe."""
    bias = settings["use_bias"]
    mixer = attention(
        settings, rope(settings), window=settings["sliding_window"], qkv_bias=bias, out_bias=bias
    )
    block = arch.Block(
        mixer,
        feed_forward(settings, gated=False, bias=bias),
        arch.Norm("layer", settings["norm_epsilon"], bias=True),
    )
    return model(settings, [block] * settings["num_hidden_layers"])


STARCODER2 = Family(SETTINGS, configure, NAMES, no_weights=ANGLES)
