"""DeepSeek-V2 on Hugging Face: latent attention."""

import math

from torch import Tensor

import llmlib.architecture as arch
from llmlib.pretrained.family import ANGLES, Family, feed_forward, model, rms
from llmlib.pretrained.llama import NAMES as LLAMA_NAMES
from llmlib.pretrained.llama import SETTINGS as LLAMA_SETTINGS
from llmlib.pretrained.names import Names, Part
from llmlib.pretrained.rope_settings import rope
from llmlib.pretrained.settings import COUNT, SIZE, SameAs, Settings, Table, harmless
from llmlib.sizes import check_even

SETTINGS: Table = {
    **LLAMA_SETTINGS,
    "kv_lora_rank": SIZE(512),
    "q_lora_rank": SIZE(1536, null=True),
    "qk_rope_head_dim": SIZE(64),
    "qk_nope_head_dim": SIZE(128),
    "v_head_dim": SIZE(128),
    "first_k_dense_replace": COUNT(0),
    "n_routed_experts": COUNT(64, null=True),
    "num_experts": SameAs("n_routed_experts"),
    **harmless("follows from the widths above", "head_dim", "qk_head_dim"),
    **harmless(
        "of layers with experts, which are refused",
        "n_shared_experts", "num_experts_per_tok", "moe_intermediate_size", "moe_layer_freq",
        "n_group", "topk_group", "topk_method", "norm_topk_prob", "routed_scaling_factor",
        "scoring_func", "ep_size",
    ),
}  # fmt: skip


def configure(settings: Settings) -> arch.ModelConfig:
    """Latent attention and dense feed-forward blocks; a mixture of experts is not supported."""
    layers, dense = settings["num_hidden_layers"], settings["first_k_dense_replace"]
    if settings["n_routed_experts"] and dense < layers:
        raise ValueError(
            f"layers from {dense} on (first_k_dense_replace) have routed experts, expected dense "
            f"layers alone: first_k_dense_replace {layers} (num_hidden_layers) or more, or "
            "n_routed_experts null"
        )
    heads, kv_heads = settings["num_attention_heads"], settings["num_key_value_heads"]
    if kv_heads not in (None, heads):
        raise ValueError(
            f"num_key_value_heads is {kv_heads}, expected {heads} as num_attention_heads: latent "
            "attention has a key for each head"
        )
    block = arch.Block(_mixer(settings), feed_forward(settings), rms(settings))
    return model(settings, [block] * layers)


def _mixer(settings: Settings) -> arch.Latent:
    """DeepSeek-V2 sharpens the scores of a stretched context here, not in RoPE's tables.

    By (0.1 * mscale_all_dim * ln(factor) + 1)^2; without that setting the usual scale stays.
    """
    check_even("qk_rope_head_dim", settings["qk_rope_head_dim"], "RoPE rotates pairs")
    turning, scale = rope(settings, layout="interleaved"), None
    width = settings["qk_nope_head_dim"] + settings["qk_rope_head_dim"]
    strength = dict(turning.scaling.more).get("mscale_all_dim") if turning.scaling else None
    if turning.scaling and strength:
        sharper = 0.1 * strength * math.log(max(turning.scaling.factor, 1)) + 1
        scale = sharper**2 / math.sqrt(width)
    return arch.Latent(
        settings["num_attention_heads"],
        settings["kv_lora_rank"],
        settings["qk_rope_head_dim"],
        settings["qk_nope_head_dim"],
        settings["v_head_dim"],
        settings["q_lora_rank"],
        turning,
        qkv_bias=settings["attention_bias"],
        out_bias=settings["attention_bias"],
        norm=arch.Norm("rms", 1e-6),  # whatever rms_norm_eps says of the others
        scale=scale,
    )


def _latent(block: arch.Block) -> arch.Latent:
    assert isinstance(block.mixer, arch.Latent)
    return block.mixer


def latent(block: arch.Block, x: Tensor) -> Tensor:
    """What becomes the latent; the rotated key comes from the rows below."""
    return x[: _latent(block).kv_rank]


def rope_key(block: arch.Block, x: Tensor) -> Tensor:
    """What becomes the rotated key, below the latent."""
    return x[_latent(block).kv_rank :]


def of_each_head(n: int) -> Part:
    """What expands the latent to keys (0) or values (1), which lie head by head."""

    def part(block: arch.Block, x: Tensor) -> Tensor:
        mixer = _latent(block)
        rows = x.unflatten(0, (mixer.n_heads, -1))
        return rows.split((mixer.plain_dim, mixer.value_dim), dim=1)[n].flatten(0, 1)

    return part


NAMES: Names = {
    **LLAMA_NAMES,
    "blocks.{i}.mixer.latent.{kind}": (
        "model.layers.{i}.self_attn.kv_a_proj_with_mqa.{kind}", latent
    ),
    "blocks.{i}.mixer.rope_key.{kind}": (
        "model.layers.{i}.self_attn.kv_a_proj_with_mqa.{kind}", rope_key
    ),
    "blocks.{i}.mixer.latent_norm.weight": "model.layers.{i}.self_attn.kv_a_layernorm.weight",
    "blocks.{i}.mixer.key_up.weight": (
        "model.layers.{i}.self_attn.kv_b_proj.weight", of_each_head(0)
    ),
    "blocks.{i}.mixer.value_up.weight": (
        "model.layers.{i}.self_attn.kv_b_proj.weight", of_each_head(1)
    ),
}  # fmt: skip
COMPRESSED: Names = {
    **NAMES,
    "blocks.{i}.mixer.query_down.{kind}": "model.layers.{i}.self_attn.q_a_proj.{kind}",
    "blocks.{i}.mixer.query_norm.weight": "model.layers.{i}.self_attn.q_a_layernorm.weight",
    "blocks.{i}.mixer.query.weight": "model.layers.{i}.self_attn.q_b_proj.weight",
}


def names(config: arch.ModelConfig) -> Names:
    """Where queries are compressed, what makes them has another name."""
    return NAMES if _latent(config.block).query_rank is None else COMPRESSED


DEEPSEEK_V2 = Family(SETTINGS, configure, names, no_weights=ANGLES)
