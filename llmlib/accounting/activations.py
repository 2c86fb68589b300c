"""What autograd keeps of a forward pass until the backward pass, component by component.

A product keeps its input for the gradient of its weight, an activation what its slope depends on, a
softmax its result. Sums, views and transpositions keep nothing. The counts are those of
`llmlib.decoder.Decoder` with `llmlib.training.next_token_loss`, written in plain PyTorch: where one
formula takes several operations, each of them keeps its own. Fused kernels keep less; see
`fused_activation_bytes`.
"""

from typing import Any, Literal

import torch

from llmlib.accounting.breakdown import Breakdown, Count
from llmlib.accounting.checks import check_choices, check_counts
from llmlib.accounting.config import as_config
from llmlib.accounting.letters import largest
from llmlib.accounting.sizes import Bytes, number_bytes
from llmlib.model_cards import ModelConfig

AttentionKind = Literal["flash", "reference"]

INDEX, MASK, SINGLE = 8, 1, 4  # bytes of a token id, of a truth value, of a float32

# Tensors as wide as the feed-forward block that an activation keeps, in float32 or wider, beside
# what the next product keeps: ReLU a mask, sigmoid its result, which the next product keeps anyway.
_KEPT = {"relu": 0, "gelu": 3, "gelu_tanh": 2, "swish": 2, "silu": 2, "sigmoid": 0, "identity": 0}


def activation_bytes(
    config: Any,
    batch: Count,
    seq: Count,
    dtype: Bytes = torch.float32,
    *,
    attention: AttentionKind = "flash",
    checkpointing: bool = False,
) -> Breakdown:
    """The bytes that autograd keeps at the end of a decoder's forward pass and its loss.

    With w bytes a number, and W = max(w, 4) for what is computed in float32 in any case, a token of
    a layer keeps, in bytes:

        norms         two of (W + w) d + W for RMSNorm: what it reads and the normalized row;
                      LayerNorm 2 W d + W: the centered row and the normalized one
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
        config: a `DecoderConfig`, or a `ModelConfig` of a decoder without experts; sizes may be
            letters.
        batch: b, texts; more than one (with one, some copies that are counted are views).
        seq: s, tokens of each.
        dtype: of weights and activations.
        attention: "flash", exact without the matrices (engines "auto", "blocked", "triton"), or
            the formula, engine "reference".
        checkpointing: each block is computed again in the backward pass.

    Raises:
        TypeError, ValueError: sizes that are no positive integers, another family, experts, an
            unknown activation or attention.

    Source: korthikanti2022activations, chen2016checkpointing
    """
    c = as_decoder(config)
    check_counts(1, batch=batch, seq=seq)
    check_choices(attention=(attention, AttentionKind))
    kept = outside_bytes(c, batch, seq, dtype, attention)
    block = (
        {"blocks.input": batch * seq * c.dim * number_bytes(dtype)}
        if checkpointing
        else dict(block_bytes(c, batch, seq, dtype, attention))
    )
    before = {name: x for name, x in kept.items() if not name.startswith(("final", "head", "loss"))}
    inside = {name: c.n_layers * x for name, x in block.items()}
    return Breakdown(before | inside | kept)


def outside_bytes(
    c: ModelConfig, batch: Count, seq: Count, dtype: Bytes, attention: AttentionKind
) -> dict[str, Count]:
    """What is kept once, before and behind the blocks."""
    tokens, size = batch * seq, number_bytes(dtype)
    turned = c.head_dim if c.latent is None else c.latent.rope_dim
    tables = {
        "rope": largest(size, SINGLE) * seq * turned,  # a cosine and a sine for each pair
        "learned": INDEX * seq,
        "alibi": SINGLE * c.n_heads * int(attention == "flash"),
    }
    norm = norm_bytes(c, tokens, size)
    return {
        "embedding.tokens": INDEX * tokens,
        "embedding.positions": tables.get(c.position, 0),
        "embedding_norm": c.embedding_norm * norm,
        "final_norm": int(c.norm_position == "pre") * norm,
        "head.input": tokens * c.dim * size,
        "loss.log_softmax": tokens * c.vocab_size * largest(size, SINGLE),
        "loss.targets": INDEX * tokens,
    }


def block_bytes(
    c: ModelConfig, batch: Count, seq: Count, dtype: Bytes, attention: AttentionKind
) -> Breakdown:
    """What one block keeps. Before or behind the norms, as many inputs of products are kept."""
    tokens, size = batch * seq, number_bytes(dtype)
    counts = {
        "norms": c.norms_per_block * norm_bytes(c, tokens, size),
        "attention.input": tokens * c.dim * size,
    }
    counts |= _latents(c, tokens, size) if c.latent is not None else _head_norms(c, tokens, size)
    counts |= _flash(c, tokens, size) if attention == "flash" else _formula(c, batch, seq, size)
    # A parallel block (one norm) reads the input of attention.
    counts["feed_forward.input"] = (c.norms_per_block - 1) * tokens * c.dim * size
    return Breakdown(counts | _feed_forward(c, tokens * c.ffn_dim, size))


def norm_bytes(c: ModelConfig, tokens: Count, size: Count) -> Count:
    """One norm over the stream: what it reads, 1 / sigma, and what the gain multiplies."""
    wide = largest(size, SINGLE)
    # LayerNorm multiplies with its gain before it rounds, RMSNorm after.
    return _rms_norm(tokens, c.dim, size) + int(c.norm == "layer") * (wide - size) * tokens * c.dim


def _rms_norm(rows: Count, width: Count, size: Count) -> Count:
    wide = largest(size, SINGLE)
    return rows * (width * (wide + size) + wide)


# --- attention --------------------------------------------------------------------------------


def _widths(c: ModelConfig) -> tuple[Count, Count, Count]:
    """Of a head's query and key, of its value, and how many key/value heads there are."""
    if c.latent is None:
        return c.head_dim, c.head_dim, c.n_kv_heads
    return c.latent.plain_dim + c.latent.rope_dim, c.latent.value_dim, c.n_heads


def _head_norms(c: ModelConfig, tokens: Count, size: Count) -> dict[str, Count]:
    """RMSNorm over each head's query and key."""
    rows = tokens * (c.n_heads + c.n_kv_heads)
    return {"attention.head_norms": c.qk_norm * _rms_norm(rows, c.head_dim, size)}


def _latents(c: ModelConfig, tokens: Count, size: Count) -> dict[str, Count]:
    """Of latent attention: its norms, and the inputs of the products that expand again."""
    z = c.latent
    down = 0
    if z.query_rank is not None:
        down = _rms_norm(tokens, z.query_rank, size) + tokens * z.query_rank * size
    return {
        "attention.query_down": down,
        "attention.latent_norm": _rms_norm(tokens, z.kv_rank, size),
        "attention.rows": tokens * (z.kv_rank + z.rope_dim) * size,
    }


def _flash(c: ModelConfig, tokens: Count, size: Count) -> dict[str, Count]:
    """Tiles are computed again: nothing is as long as the square of the text."""
    key, value, groups = _widths(c)
    average = tokens * c.n_heads * value * size
    return {
        "attention.query": tokens * c.n_heads * key * size,
        "attention.key": tokens * groups * key * size,
        "attention.value": tokens * groups * value * size,
        "attention.average": average,
        "attention.lse": tokens * c.n_heads * largest(size, SINGLE),
        "attention.output": average,
    }


def _formula(c: ModelConfig, batch: Count, seq: Count, size: Count) -> dict[str, Count]:
    """Every matrix between queries and keys; products take one key and value for each query."""
    key, value, groups = _widths(c)
    tokens, wide = batch * seq, largest(size, SINGLE)
    matrix, rows = tokens * c.n_heads * seq * wide, tokens * c.n_heads
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


def _feed_forward(c: ModelConfig, units: Count, size: Count) -> dict[str, Count]:
    """Of all hidden units of all tokens; a gate's factors are kept in float32."""
    wide = largest(size, SINGLE)
    # Without a gate, a function that keeps nothing hands its input on to the next product.
    return {
        "feed_forward.activation": units * (_KEPT[c.activation] * wide + _mask(c)),
        "feed_forward.gate": c.gated * 2 * units * wide,
        "feed_forward.hidden": units * size,
    }


def _mask(c: ModelConfig) -> int:
    return MASK * int(c.activation == "relu")


# --- the rule of thumb ------------------------------------------------------------------------


def fused_activation_bytes(config: Any, batch: Count, seq: Count) -> Breakdown:
    """What blocks with dropout keep in 16 bit where norm and GELU are one kernel each.

    For the classic block s b h (34 + 5 a s / h) bytes a layer, h = d and a = H: in units of s b h

        attention     2 input; 4 queries and keys; 2 values; 2 average; 1 mask of dropout;
                      5 a s / h: softmax 2, mask of dropout 1, its result 2
        feed_forward  2 input; 8 before GELU; 8 behind it; 1 mask of dropout
        norms         4: the inputs of two

    `activation_bytes` differs: no dropout, so no masks; norms, GELU and softmax in several
    operations, each of which keeps what it needs, in float32; flash attention without s by s
    matrices; and embedding, head and loss, which this rule leaves out.

    Args:
        config: as for `activation_bytes`; a gate keeps gate, value and their product.
        batch, seq: b and s.

    Source: korthikanti2022activations
    """
    c = as_decoder(config)
    check_counts(1, batch=batch, seq=seq)
    tokens, half = batch * seq, 2
    key, value, groups = _widths(c)
    matrix, stream = tokens * c.n_heads * seq, tokens * c.dim
    hidden = tokens * c.ffn_dim * half
    layer = {
        "norms": c.norms_per_block * stream * half,
        "attention.input": stream * half,
        "attention.query": tokens * c.n_heads * key * half,
        "attention.key": tokens * groups * key * half,
        "attention.value": tokens * groups * value * half,
        "attention.weights": matrix * (half + MASK + half),
        "attention.output": tokens * c.n_heads * value * half,
        "attention.dropout": stream * MASK,
        "feed_forward.input": (c.norms_per_block - 1) * stream * half,
        "feed_forward.activation": hidden * (1 + c.gated),
        "feed_forward.hidden": hidden,
        "feed_forward.dropout": stream * MASK,
    }
    return Breakdown({name: c.n_layers * x for name, x in layer.items()})


# --- what can be counted ----------------------------------------------------------------------


def as_decoder(config: Any) -> ModelConfig:
    """The configuration, if it is one whose activations are known.

    Raises:
        ValueError: another family, experts, an activation that is not in the library.
    """
    c = as_config(config)
    if c.family != "decoder":
        raise ValueError(f"family is {c.family!r}, expected 'decoder': what others keep is not "
                         "counted here")  # fmt: skip
    if c.experts is not None:
        raise ValueError(f"experts are {c.experts}, expected None: what routing keeps depends on "
                         "where tokens go")  # fmt: skip
    if c.activation not in _KEPT:
        raise ValueError(f"activation is {c.activation!r}, expected one of {', '.join(_KEPT)}")
    return c
