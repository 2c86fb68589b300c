"""How many numbers a model stores, component by component.

The module reads as the forward pass runs: what stands before the blocks, attention, the
feed-forward block, what stands after them. Everything is plain arithmetic, so that letters pass
through it as numbers do.
"""

from typing import assert_never

import llmlib.architecture as arch
from llmlib.accounting.arithmetic import on
from llmlib.accounting.breakdown import Breakdown, Count
from llmlib.accounting.checks import check_config
from llmlib.accounting.layers import Runs, all_runs, mixer_group, named, norms_of, over_layers


def parameters(config: arch.ModelConfig, *, active: bool = False) -> Breakdown:
    """The numbers that a model stores, by component; a shared matrix is counted once.

    A classic block has 4 d² + 4 d in attention, 8 d² + 5 d in the feed-forward block and 4 d in
    two norms; see the chapter "parameters" for the others.

    Args:
        config: a model, such as a card's; sizes may be sympy letters.
        active: of a mixture of experts only those that a token passes through.

    Raises:
        TypeError: what is no description of a model.

    Source: vaswani2017attention
    """
    check_config(config)
    d, matrix = config.dim, config.vocab_size * config.dim
    stacks = [one for one in (config.source, config.stack) if one is not None]
    counts = {
        "embedding": matrix,
        "positions": sum(position_parameters(one, d) for one in stacks),
        "segments": config.segments * d,
        "embedding_norm": sum(norm_parameters(one.first_norm, d) for one in stacks),
        **layer_parameters(all_runs(config), d, active),
        "final_norm": sum(norm_parameters(one.last_norm, d) for one in stacks),
        "pooler": on(config.pooler) * (d * d + d),
        "transform": transform_parameters(config.transform, d),
    }
    if config.head == "tokens":
        head = (1 - on(config.tied)) * matrix + on(config.head_bias) * config.vocab_size
        return Breakdown(counts | {"head": head}, keep=("head",))
    return Breakdown(counts)


def layer_parameters(runs: Runs, dim: Count, active: bool = False) -> dict[str, Count]:
    """Of all blocks of some runs, those of their mixers first."""

    def mixer(block: arch.Block) -> dict[str, Count]:
        return named(mixer_group(block.mixer), mixer_parameters(block.mixer, dim))

    def cross(block: arch.Block) -> dict[str, Count]:
        found = {} if block.cross is None else mixer_parameters(block.cross, dim)
        return named("cross_attention", found)

    def feed_forward(block: arch.Block) -> dict[str, Count]:
        return named("feed_forward", feed_forward_parameters(block.feed_forward, dim, active))

    def norms(block: arch.Block) -> dict[str, Count]:
        return {"norms": sum(norms_of(block)) * norm_parameters(block.norm, dim)}

    found: dict[str, Count] = {}
    for part in (mixer, cross, feed_forward, norms):
        found |= over_layers(runs, part, own=True)
    return found


# --- before and after the blocks --------------------------------------------------------------


def position_parameters(stack: arch.Stack, dim: Count) -> Count:
    """What a stack stores about positions: a row each, or T5's table of buckets by heads."""
    match stack.positions:
        case arch.Learned(rows):
            return rows * dim
        case arch.Buckets(n_heads, n_buckets):
            return n_buckets * n_heads
        case arch.Sinusoidal() | None:
            return 0
        case _:
            assert_never(stack.positions)


def norm_parameters(norm: arch.Norm | None, width: Count) -> Count:
    """A gain for each feature and, with a bias, a shift."""
    return 0 if norm is None else width * (1 + on(norm.bias))


def transform_parameters(transform: arch.Transform | None, dim: Count) -> Count:
    """The square matrix before a head's, and its norm."""
    if transform is None:
        return 0
    return dim * dim + on(transform.bias) * dim + norm_parameters(transform.norm, dim)


# --- one block --------------------------------------------------------------------------------


def mixer_parameters(mixer: arch.Mixer, dim: Count) -> dict[str, Count]:
    """One mixer: a weight for each input and output feature, a bias for each output."""
    match mixer:
        case arch.Attention():
            return attention_parameters(mixer, dim)
        case arch.Latent():
            return _latent_attention(mixer, dim)
        case arch.GatedDelta():
            return _gated_delta(mixer, dim)
        case _:
            assert_never(mixer)


def attention_parameters(a: arch.Attention, dim: Count) -> dict[str, Count]:
    """Four projections; norms of heads, a gate and a logit for each head where there are any."""
    heads, groups = a.n_heads * a.head_dim, a.n_kv_heads * a.head_dim
    averages, values = a.n_heads * a.value_width, a.n_kv_heads * a.value_width
    bias, per_head = on(a.qkv_bias), a.qk_norm_over == "head"
    normed = (a.head_dim, a.head_dim) if per_head else (heads, groups)
    return {
        "query": dim * heads + bias * heads,
        "key": dim * groups + bias * groups,
        "value": dim * values + bias * values,
        "head_norms": sum(norm_parameters(a.qk_norm, width) for width in normed),
        "gate": on(a.gate) * dim * averages,
        "sinks": on(a.sinks) * a.n_heads,
        "output": averages * dim + on(a.out_bias) * dim,
    }


def _latent_attention(z: arch.Latent, dim: Count) -> dict[str, Count]:
    """What compresses a token to its latent, and what expands the latent for every head."""
    H, bias, rank = z.n_heads, on(z.qkv_bias), z.query_rank
    norms = norm_parameters(z.norm, z.kv_rank)
    return {
        "query_down": 0 if rank is None else dim * rank + bias * rank,
        "query": (dim if rank is None else rank) * H * (z.plain_dim + z.rope_dim),
        "latent": dim * z.kv_rank + bias * z.kv_rank,
        "rope_key": dim * z.rope_dim + bias * z.rope_dim,
        "latent_norms": norms + (0 if rank is None else norm_parameters(z.norm, rank)),
        "key_up": z.kv_rank * H * z.plain_dim,
        "value_up": z.kv_rank * H * z.value_dim,
        "output": H * z.value_dim * dim + on(z.out_bias) * dim,
    }


def _gated_delta(m: arch.GatedDelta, dim: Count) -> dict[str, Count]:
    """Projections, a short convolution over them, and two rates for each head: to keep, to write.

    A rate has a column of a projection; that of keeping has a bias and a factor too.
    """
    keys, values = m.n_key_heads * m.key_dim, m.n_value_heads * m.value_dim
    return {
        "query": dim * keys,
        "key": dim * keys,
        "value": dim * values,
        "gate": dim * values,
        "rates": 2 * (dim * m.n_value_heads + m.n_value_heads),
        "convolution": m.conv * (2 * keys + values),
        "norm": m.value_dim,
        "output": values * dim,
    }


def feed_forward_parameters(
    part: arch.FeedForward | arch.Experts | None, dim: Count, active: bool = False
) -> dict[str, Count]:
    """One block: up and down, and beside up a gate; or a router and the experts."""
    match part:
        case None:
            return {}
        case arch.FeedForward(ffn_dim=width):
            bias = on(part.bias)
            up = dim * width + bias * width
            return {"gate": on(part.gated) * up, "up": up, "down": width * dim + bias * dim}
        case arch.Experts():
            one = sum(feed_forward_parameters(part.expert, dim).values())
            bias = on(part.router.bias)
            return {
                "router": dim * part.n_experts + bias * part.n_experts,
                "experts": (part.n_active if active else part.n_experts) * one,
                "shared_experts": part.n_shared * one,
                "shared_gate": on(part.shared_gate) * dim,
            }
        case _:
            assert_never(part)
