"""What a parameter of transformers belongs to, by its name, and the sums of each component."""

import re

import torch

# The first pattern that is found counts.
COMPONENTS = {
    "positions": r"wpe|positions_embed|position_embeddings|embed_positions|relative_attention_bias",
    "segments": r"token_type_embeddings",
    "embedding_norm": r"embeddings\.LayerNorm|word_embeddings_layernorm|layernorm_embedding",
    "embedding": r"(wte|tokens_embed|embed_tokens|embed_in|word_embeddings|shared)\.weight$",
    "pooler": r"pooler",
    "head": r"lm_head|embed_out",
    "final_norm": (
        r"(^|transformer|model|coder)\.(ln_f|norm|norm_f|final_layer_norm|final_layernorm)\."
        r"|^gpt_neox\.final_layer_norm\."
    ),
    "norms": r"ln_\d|ln_attn|ln_mlp|norm_\d|LayerNorm|layer_norm|(input|post|pre)_?\w*_?layernorm",
    "cross_attention": r"EncDecAttention|encoder_attn",
    "recurrent": r"linear_attn",
    "attention": r"attn|[aA]ttention",
    "feed_forward": r"mlp|ffn|fc\d|DenseReluDense|intermediate|output\.dense",
}


def component(name: str) -> str:
    """transformer.h.0.attn.c_attn.weight -> attention"""
    for label, pattern in COMPONENTS.items():
        if re.search(pattern, name):
            return label
    raise AssertionError(f"no component for {name}")


def grouped(model: torch.nn.Module) -> dict[str, int]:
    """A model's parameters by component; a shared tensor counts once."""
    counts: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        counts[component(name)] = counts.get(component(name), 0) + parameter.numel()
    return counts
