"""How many numbers a model stores, component by component.

The module reads as the forward pass runs: what stands before the blocks, attention, the
feed-forward block, what stands behind. Everything is plain arithmetic, so that letters pass
through it as numbers do; switches are 0 or 1.
"""

from typing import Any

from llmlib.accounting.breakdown import Breakdown, Count
from llmlib.accounting.config import as_config
from llmlib.model_cards import ModelConfig


def parameters(config: Any, *, active: bool = False) -> Breakdown:
    """The numbers that a model stores, by component; a tied head is counted once.

    A classic block has 4 d² + 4 d in attention, 8 d² + 5 d in the feed-forward block and 4 d in
    two norms; see the chapter "parameters" for the others.

    Args:
        config: a `ModelConfig` (decoder, encoder or encoder-decoder) or a `DecoderConfig`; sizes
            may be sympy letters.
        active: of a mixture of experts only those that a token passes through.

    Raises:
        TypeError, ValueError: sizes that are no positive integers, or that do not divide.

    Source: vaswani2017attention
    """
    c = as_config(config)
    stacks = n_stacks(c)
    # Cross-attention, in the second stack alone, has a norm of its own.
    norms = stacks * c.n_layers * c.norms_per_block + (stacks - 1) * c.n_layers
    counts = {
        "embedding": c.vocab_size * c.dim,
        "positions": stacks * _positions(c),
        "segments": c.segments * c.dim,
        "embedding_norm": c.embedding_norm * stacks * norm_parameters(c),
    }
    attention = attention_parameters(c).items()
    counts |= {f"attention.{name}": stacks * c.n_layers * x for name, x in attention}
    if c.family == "encoder-decoder":
        counts |= {f"cross_attention.{name}": c.n_layers * x for name, x in attention}
    counts |= {f"feed_forward.{name}": x for name, x in _feed_forwards(c, stacks, active).items()}
    counts["norms"] = norms * norm_parameters(c)
    # A post-norm block ends with a norm: one more would find nothing left to do.
    counts["final_norm"] = (c.norm_position == "pre") * stacks * norm_parameters(c)
    counts["pooler"] = c.pooler * (c.dim * c.dim + c.dim)
    counts["head"] = 0 if c.family == "encoder" else (1 - c.tied) * c.vocab_size * c.dim
    return Breakdown(counts, keep=() if c.family == "encoder" else ("head",))


def n_stacks(c: ModelConfig) -> int:
    """An encoder-decoder has two."""
    return 2 if c.family == "encoder-decoder" else 1


def norm_parameters(c: ModelConfig) -> Count:
    """A gain for each feature and, with a bias, a shift."""
    return c.dim * (1 + c.norm_bias)


def _positions(c: ModelConfig) -> Count:
    """What a stack stores about positions: a row each, or T5's table of buckets by heads."""
    if c.position == "learned":
        return c.position_rows * c.dim
    return c.relative_buckets * c.n_heads if c.position == "relative_bias" else 0


def attention_parameters(c: ModelConfig) -> dict[str, Count]:
    """One attention: a weight for each input and output feature, a bias for each output."""
    if c.latent is not None:
        return _latent_attention(c)
    heads, groups = c.n_heads * c.head_dim, c.n_kv_heads * c.head_dim
    return {
        "query": c.dim * heads + c.qkv_bias * heads,
        "key": c.dim * groups + c.qkv_bias * groups,
        "value": c.dim * groups + c.qkv_bias * groups,
        "head_norms": c.qk_norm * 2 * c.head_dim,
        "output": heads * c.dim + c.out_bias * c.dim,
    }


def _latent_attention(c: ModelConfig) -> dict[str, Count]:
    """What compresses a token to its latent, and what expands the latent for every head."""
    z, H, d = c.latent, c.n_heads, c.dim
    down = 0 if z.query_rank is None else d * z.query_rank + c.qkv_bias * z.query_rank
    return {
        "query_down": down,
        "query": (d if z.query_rank is None else z.query_rank) * H * (z.plain_dim + z.rope_dim),
        "latent": d * z.kv_rank + c.qkv_bias * z.kv_rank,
        "rope_key": d * z.rope_dim + c.qkv_bias * z.rope_dim,
        "latent_norms": z.kv_rank + (0 if z.query_rank is None else z.query_rank),
        "key_up": z.kv_rank * H * z.plain_dim,
        "value_up": z.kv_rank * H * z.value_dim,
        "output": H * z.value_dim * d + c.out_bias * d,
    }


def feed_forward_parameters(c: ModelConfig, width: Count) -> dict[str, Count]:
    """One block of a hidden width: up and down, and beside up a gate."""
    up = c.dim * width + c.ffn_bias * width
    return {"gate": c.gated * up, "up": up, "down": width * c.dim + c.ffn_bias * c.dim}


def _feed_forwards(c: ModelConfig, stacks: int, active: bool) -> dict[str, Count]:
    """Those of all layers; experts, where there are any, in all but the first few."""
    dense = feed_forward_parameters(c, c.ffn_dim)
    if c.experts is None:
        return {name: stacks * c.n_layers * x for name, x in dense.items()}
    e = c.experts
    one, layers = sum(feed_forward_parameters(c, e.ffn_dim).values()), c.n_layers - e.n_dense_layers
    return {
        **{name: e.n_dense_layers * x for name, x in dense.items()},
        "router": layers * c.dim * e.n_experts,
        "experts": layers * (e.n_active if active else e.n_experts) * one,
        "shared_experts": layers * e.n_shared * one,
    }
