"""DeepSeek-V2 on Hugging Face: latent attention."""

from functools import partial

import torch

from llmlib.attention import LatentSizes
from llmlib.decoder import DecoderConfig
from llmlib.pretrained.assemble import Rule
from llmlib.pretrained.family import Family, both
from llmlib.pretrained.llama import NO_WEIGHTS, PREFIX, around_attention, llama_config
from llmlib.pretrained.llama import SETTINGS as LLAMA_SETTINGS
from llmlib.pretrained.settings import COUNT, SIZE, SameAs, Settings, Table, Used, harmless
from llmlib.sizes import check_even

SETTINGS: Table = {
    **LLAMA_SETTINGS,
    "kv_lora_rank": Used(SIZE, 512),
    "q_lora_rank": Used(SIZE, 1536, null=True),
    "qk_rope_head_dim": Used(SIZE, 64),
    "qk_nope_head_dim": Used(SIZE, 128),
    "v_head_dim": Used(SIZE, 128),
    "first_k_dense_replace": Used(COUNT, 0),
    "n_routed_experts": Used(COUNT, 64, null=True),
    "num_experts": SameAs("n_routed_experts"),
    **harmless("follows from the widths above", "head_dim", "qk_head_dim"),
    **harmless(
        "of layers with experts, which are refused",
        "n_shared_experts", "num_experts_per_tok", "moe_intermediate_size", "moe_layer_freq",
        "n_group", "topk_group", "topk_method", "norm_topk_prob", "routed_scaling_factor",
        "scoring_func", "ep_size",
    ),
}  # fmt: skip


def _config(settings: Settings) -> DecoderConfig:
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
    check_even("qk_rope_head_dim", settings["qk_rope_head_dim"], "RoPE rotates pairs")
    sizes = LatentSizes(
        kv_rank=settings["kv_lora_rank"],
        rope_dim=settings["qk_rope_head_dim"],
        plain_dim=settings["qk_nope_head_dim"],
        value_dim=settings["v_head_dim"],
        query_rank=settings["q_lora_rank"],
    )
    turned = {**settings, "head_dim": sizes.rope_dim}  # what RoPE turns: a part of each head
    return llama_config(turned, head_dim=sizes.head_dim, latent=sizes, rope_layout="interleaved")


def _rules(config: DecoderConfig, prefix: str) -> list[Rule]:
    """DeepSeek stores latent and rotated key as one matrix, and what expands the latent by head."""
    rules, sizes = around_attention(config, prefix), config.latent
    assert sizes is not None
    inner, outer = bool(config.qkv_bias), bool(config.out_bias)
    for i in range(config.n_layers):
        mine, stored = f"blocks.{i}.attention.sublayer", f"{prefix}layers.{i}.self_attn"
        if sizes.query_rank is None:
            rules += both(f"{mine}.query", f"{stored}.q_proj", bias=False)
        else:
            rules += both(f"{mine}.query_down", f"{stored}.q_a_proj", inner)
            rules += both(f"{mine}.query_norm", f"{stored}.q_a_layernorm", bias=False)
            rules += both(f"{mine}.query", f"{stored}.q_b_proj", bias=False)
        rules += both(f"{mine}.latent_norm", f"{stored}.kv_a_layernorm", bias=False)
        rules += both(f"{mine}.output", f"{stored}.o_proj", outer)
        for name, begin, end in (("latent", 0, sizes.kv_rank), ("rope_key", sizes.kv_rank, None)):
            part = partial(_rows, n_heads=1, begin=begin, end=end)
            for rule in both(f"{mine}.{name}", f"{stored}.kv_a_proj_with_mqa", inner):
                rules.append(Rule(rule.parameter, rule.tensor, part))
        for name, begin, end in (("key", 0, sizes.plain_dim), ("value", sizes.plain_dim, None)):
            part = partial(_rows, n_heads=config.n_heads, begin=begin, end=end)
            rules.append(Rule(f"{mine}.{name}_up.weight", f"{stored}.kv_b_proj.weight", part))
    return rules


def _rows(x: torch.Tensor, n_heads: int, begin: int, end: int | None) -> torch.Tensor:
    """Some rows of each head's."""
    return x.unflatten(0, (n_heads, -1))[:, begin:end].flatten(0, 1)


DEEPSEEK_V2 = Family(SETTINGS, _config, _rules, PREFIX, NO_WEIGHTS)
