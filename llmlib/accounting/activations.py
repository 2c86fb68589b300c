"""What autograd keeps of a forward pass until the backward pass, component by component.

A product keeps its input for the gradient of its weight, an activation what its slope depends on, a
softmax its result. Sums, views and transpositions keep nothing. The counts are those of
`llmlib.decoder.Decoder` with `llmlib.training.next_token_loss`, written in plain PyTorch: where one
formula takes several operations, each of them keeps its own. Fused kernels keep less; see
`fused_activation_bytes`.
"""

from typing import Literal, assert_never

import llmlib.architecture as arch
from llmlib.accounting.arithmetic import largest, on
from llmlib.accounting.breakdown import Breakdown, Count
from llmlib.accounting.checks import check_choices, check_config, check_counts
from llmlib.accounting.layers import norms_of, over_layers
from llmlib.accounting.sizes import Bytes, number_bytes

AttentionKind = Literal["flash", "reference"]

Known = arch.Attention | arch.Latent
INDEX, MASK, SINGLE = 8, 1, 4  # bytes of a token id, of a truth value, of a float32

# Tensors as wide as the feed-forward block that an activation keeps, in float32 or wider, beside
# what the next product keeps: ReLU a mask, sigmoid its result, which the next product keeps anyway.
_KEPT = {"relu": 0, "gelu": 3, "gelu_tanh": 2, "swish": 2, "silu": 2, "sigmoid": 0, "identity": 0}


def activation_bytes(
    config: arch.ModelConfig,
    batch: Count,
    seq: Count,
    dtype: Bytes = "float32",
    *,
    attention: AttentionKind = "flash",
    checkpointing: bool = False,
) -> Breakdown:
    """The bytes that autograd keeps at the end of a decoder's forward pass and its loss.

    With w bytes a number, and W = max(w, 4) for what is computed in float32 in any case, a token of
    a layer keeps, in bytes:

        norms         two of (W + w) d + W for RMSNorm: what it reads and the normalized row;
                      LayerNorm 2 W d + W: the centered row and the normalized one;
                      a gain of 1 + weight 2 W d + W too, and once W d, the gain
        attention     w d, the input of the three projections; w d_head (H + 2 G) queries, keys and
                      values; w H d_head twice, the average and its copy with the heads side by side
                      for the output projection; W H of log-sum-exps
        feed_forward  w d, its input; w d_ff, the input of the down projection; between them for
                      each of the d_ff units 3 W for GELU, 2 W for its tanh form and for Swish,
                      1 byte for ReLU; and 2 W for the two factors of a gate

    The formula of attention ("reference") keeps matrices of s numbers a head and token instead of
    log-sum-exps: masked scores, their exponentials and the weights, 3 W H s; and queries, keys and
    values in W with the keys and values repeated for every query head.

    Once for the model: what the embedding's norm, the last norm and the head read, w V of
    log-softmax a token, token ids, targets, and RoPE's tables. Parameters are left out, and single
    numbers such as the loss.

    With checkpointing a block keeps its input alone, w d.

    Args:
        config: a decoder of attention without gates and sinks, and without experts; sizes may be
            letters.
        batch: b, texts; more than one (with one, some copies that are counted are views).
        seq: s, tokens of each.
        dtype: of weights and activations.
        attention: "flash", exact without the matrices (engines "auto", "blocked", "triton"), or
            the formula, engine "reference".
        checkpointing: each block is computed again in the backward pass.

    Raises:
        TypeError, ValueError: sizes that are no positive integers, another model, an unknown
            activation or attention.

    Source: korthikanti2022activations, chen2016checkpointing
    """
    check_decoder(config)
    check_counts(1, batch=batch, seq=seq)
    check_choices(attention=(attention, AttentionKind))
    before, after = outside_bytes(config, batch, seq, dtype, attention)

    def block(one: arch.Block) -> dict[str, Count]:
        if checkpointing:
            return {"blocks.input": batch * seq * config.dim * number_bytes(dtype)}
        return dict(block_bytes(one, config.dim, batch, seq, dtype, attention))

    return Breakdown(before | over_layers(config.stack.runs, block) | after)


def outside_bytes(
    config: arch.ModelConfig, batch: Count, seq: Count, dtype: Bytes, attention: AttentionKind
) -> tuple[dict[str, Count], dict[str, Count]]:
    """What is kept once, before the blocks and after them."""
    tokens, size, stack = batch * seq, number_bytes(dtype), config.stack
    before = {
        "embedding.tokens": INDEX * tokens,
        "embedding.positions": _position_bytes(stack, seq, size, attention),
        "embedding_norm": norm_bytes(stack.first_norm, config.dim, tokens, size),
    }
    return before, {
        "final_norm": norm_bytes(stack.last_norm, config.dim, tokens, size),
        "head.input": tokens * config.dim * size,
        "head.cap": int(config.softcap is not None) * tokens * config.vocab_size * size,
        "loss.log_softmax": tokens * config.vocab_size * largest(size, SINGLE),
        "loss.targets": INDEX * tokens,
    }


def _position_bytes(stack: arch.Stack, seq: Count, size: Count, attention: AttentionKind) -> Count:
    """Ids of a table's rows, tables of RoPE, each once, and slopes of ALiBi."""
    mixers = [known_parts(block)[0] for block, _, _ in arch.kinds(stack.runs)]
    turned = {(x.rope, _turned(x)) for x in mixers if x.rope is not None}
    slopes = {x.n_heads for x in mixers if x.alibi}
    # A cosine and a sine for each pair.
    rope = sum(largest(size, SINGLE) * seq * width for _, width in turned)
    learned = INDEX * seq * int(isinstance(stack.positions, arch.Learned))
    return rope + learned + sum(SINGLE * n for n in slopes) * int(attention == "flash")


def _turned(mixer: Known) -> Count:
    """Features of a head that turn."""
    if isinstance(mixer, arch.Latent):
        return mixer.rope_dim
    return 0 if mixer.rope is None else mixer.rope.turned(mixer.head_dim)


def block_bytes(
    block: arch.Block, dim: Count, batch: Count, seq: Count, dtype: Bytes, attention: AttentionKind
) -> Breakdown:
    """What one block keeps. Wherever the norms stand, as many inputs of products are kept.

    Two RMSNorms side by side keep what they read once in float32; here it is counted twice.
    """
    tokens, size = batch * seq, number_bytes(dtype)
    mixer, part = known_parts(block)
    counts = {
        "norms": sum(norms_of(block)) * norm_bytes(block.norm, dim, tokens, size),
        "attention.input": tokens * dim * size,
    }
    match mixer:
        case arch.Attention():
            counts |= _head_norms(mixer, tokens, size)
        case arch.Latent():
            counts |= _latents(mixer, tokens, size)
        case _:
            assert_never(mixer)
    inside = (
        _flash(mixer, tokens, size) if attention == "flash" else _formula(mixer, batch, seq, size)
    )
    # Parts side by side with one norm read the same input.
    apart = int(block.order != "parallel, one norm")
    counts |= inside | {"feed_forward.input": apart * tokens * dim * size}
    return Breakdown(counts | _feed_forward(part, tokens * part.ffn_dim, size))


def norm_bytes(norm: arch.Norm | None, width: Count, rows: Count, size: Count) -> Count:
    """One norm: what it reads, 1 / sigma of each row, and what the gain multiplies."""
    if norm is None:
        return 0
    wide, added = largest(size, SINGLE), int(norm.gain == "1 + weight")
    # LayerNorm multiplies with its gain before it rounds, and 1 + weight is a float32; RMSNorm's
    # own gain multiplies after.
    late = int(norm.kind == "layer" or added) * (wide - size)
    return rows * (width * (wide + size) + wide) + late * rows * width + added * SINGLE * width


# --- attention --------------------------------------------------------------------------------


def _widths(mixer: Known) -> tuple[Count, Count, Count]:
    """Of a head's query and key, of its value, and how many key/value heads there are."""
    if isinstance(mixer, arch.Latent):
        return mixer.plain_dim + mixer.rope_dim, mixer.value_dim, mixer.n_heads
    return mixer.head_dim, mixer.value_width, mixer.n_kv_heads


def _head_norms(a: arch.Attention, tokens: Count, size: Count) -> dict[str, Count]:
    """Norms over each head's query and key, or over all heads."""

    def normed(heads: Count) -> Count:
        if a.qk_norm_over == "head":
            return norm_bytes(a.qk_norm, a.head_dim, tokens * heads, size)
        return norm_bytes(a.qk_norm, heads * a.head_dim, tokens, size)

    return {"attention.head_norms": normed(a.n_heads) + normed(a.n_kv_heads)}


def _latents(z: arch.Latent, tokens: Count, size: Count) -> dict[str, Count]:
    """Of latent attention: its norms, and the inputs of the products that expand again."""
    down = 0
    if z.query_rank is not None:
        down = norm_bytes(z.norm, z.query_rank, tokens, size) + tokens * z.query_rank * size
    return {
        "attention.query_down": down,
        "attention.latent_norm": norm_bytes(z.norm, z.kv_rank, tokens, size),
        "attention.rows": tokens * (z.kv_rank + z.rope_dim) * size,
    }


def _flash(mixer: Known, tokens: Count, size: Count) -> dict[str, Count]:
    """Tiles are computed again: nothing is as long as the square of the text."""
    key, value, groups = _widths(mixer)
    average = tokens * mixer.n_heads * value * size
    return {
        "attention.query": tokens * mixer.n_heads * key * size,
        "attention.key": tokens * groups * key * size,
        "attention.value": tokens * groups * value * size,
        "attention.average": average,
        "attention.lse": tokens * mixer.n_heads * largest(size, SINGLE),
        "attention.output": average,
    }


def _formula(mixer: Known, batch: Count, seq: Count, size: Count) -> dict[str, Count]:
    """Every matrix between queries and keys; products take one key and value for each query."""
    key, value, groups = _widths(mixer)
    tokens, wide = batch * seq, largest(size, SINGLE)
    matrix, rows = tokens * mixer.n_heads * seq * wide, tokens * mixer.n_heads
    return {
        "attention.query": rows * key * wide,
        "attention.key": rows * key * wide,
        "attention.value": (tokens * groups + rows) * value * wide,  # read for NaN, and repeated
        "attention.mask": seq * seq * MASK,
        "attention.scores": matrix,
        "attention.exponentials": matrix,
        "attention.weights": matrix,
        "attention.row_sums": rows * (2 * wide + 2 * MASK),  # maximum and sum, and where they are 0
        "attention.output": rows * value * size,
    }


# --- feed-forward block -----------------------------------------------------------------------


def _feed_forward(part: arch.FeedForward, units: Count, size: Count) -> dict[str, Count]:
    """Of all hidden units of all tokens; a gate's factors are kept in float32."""
    wide, mask = largest(size, SINGLE), MASK * int(part.activation == "relu")
    # Without a gate, a function that keeps nothing hands its input on to the next product.
    return {
        "feed_forward.activation": units * (_KEPT[part.activation] * wide + mask),
        "feed_forward.gate": on(part.gated) * 2 * units * wide,
        "feed_forward.hidden": units * size,
    }


# --- the rule of thumb ------------------------------------------------------------------------


def fused_activation_bytes(config: arch.ModelConfig, batch: Count, seq: Count) -> Breakdown:
    """What blocks with dropout keep in 16 bit where norm and GELU are one kernel each.

    For the classic block s b h (34 + 5 a s / h) bytes a layer, h = d and a = H: in units of s b h

        attention     2 input; 4 queries and keys; 2 values; 2 average; 1 mask of dropout;
                      5 a s / h: softmax 2, mask of dropout 1, its result 2
        feed_forward  2 input; 8 before GELU; 8 after it; 1 mask of dropout
        norms         4: the inputs of two

    `activation_bytes` differs: no dropout, so no masks; norms, GELU and softmax in several
    operations, each of which keeps what it needs, in float32; flash attention without s by s
    matrices; and embedding, head and loss, which this rule leaves out.

    Args:
        config: as for `activation_bytes`; a gate keeps gate, value and their product.
        batch, seq: b and s.

    Source: korthikanti2022activations
    """
    check_decoder(config)
    check_counts(1, batch=batch, seq=seq)
    return Breakdown(
        over_layers(config.stack.runs, lambda block: _fused(block, config.dim, batch, seq))
    )


def _fused(block: arch.Block, dim: Count, batch: Count, seq: Count) -> dict[str, Count]:
    tokens, half = batch * seq, 2
    mixer, part = known_parts(block)
    key, value, groups = _widths(mixer)
    stream, hidden = tokens * dim, tokens * part.ffn_dim * half
    return {
        "norms": sum(norms_of(block)) * stream * half,
        "attention.input": stream * half,
        "attention.query": tokens * mixer.n_heads * key * half,
        "attention.key": tokens * groups * key * half,
        "attention.value": tokens * groups * value * half,
        "attention.weights": tokens * mixer.n_heads * seq * (half + MASK + half),
        "attention.output": tokens * mixer.n_heads * value * half,
        "attention.dropout": stream * MASK,
        "feed_forward.input": int(block.order != "parallel, one norm") * stream * half,
        "feed_forward.activation": hidden * (1 + on(part.gated)),
        "feed_forward.hidden": hidden,
        "feed_forward.dropout": stream * MASK,
    }


# --- what can be counted ----------------------------------------------------------------------


def known_parts(block: arch.Block) -> tuple[Known, arch.FeedForward]:
    """The two parts of a block whose activations are known.

    Raises:
        ValueError: a mixer with a state, a gate, sinks or a cap; experts, or no feed-forward block;
            an activation that is not in the library.
    """
    mixer, part = block.mixer, block.feed_forward
    if not isinstance(mixer, arch.Attention | arch.Latent):
        raise ValueError(f"mixer is {mixer!r}, expected Attention or Latent")
    for name in ("gate", "sinks", "softcap"):
        if getattr(mixer, name, None):
            raise ValueError(f"{name} is {getattr(mixer, name)}, expected none: what it keeps is "
                             "not counted here")  # fmt: skip
    if isinstance(part, arch.Experts):
        raise ValueError(f"experts are {part}, expected None: what routing keeps depends on "
                         "where tokens go")  # fmt: skip
    if part is None or part.clamp is not None or part.activation not in _KEPT:
        found = part and part.activation
        raise ValueError(f"activation is {found!r}, expected one of {', '.join(_KEPT)}, no clamp")
    return mixer, part


def check_decoder(config: arch.ModelConfig) -> None:
    """ValueError for a model of which it is not known what autograd keeps."""
    check_config(config)
    if config.family != "decoder":
        raise ValueError(f"family is {config.family!r}, expected 'decoder': what others keep is "
                         "not counted here")  # fmt: skip
    for block, _, _ in arch.kinds(config.stack.runs):
        known_parts(block)
