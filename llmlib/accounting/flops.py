"""How many floating-point operations a model takes, component by component.

Counted are the matrix products, a multiply-add as two: (m, k) times (k, n) takes 2 m k n. The
look-up of an embedding takes none. Norms, softmax, activations and sums are left out: they are few,
though not always fast.
"""

from typing import Any, Literal

from llmlib.accounting.breakdown import Breakdown, Count
from llmlib.accounting.checks import check_choices, check_counts, check_past, source_tokens
from llmlib.accounting.config import as_config
from llmlib.accounting.letters import is_number, least, without_past
from llmlib.model_cards import ModelConfig

Pairs = Literal["all", "visible"]
Logits = Literal["all", "last"]
Order = Literal["expanded", "absorbed"]


def forward_flops(
    config: Any,
    batch: Count,
    seq: Count,
    *,
    past: Count = 0,
    source_seq: Count | None = None,
    pairs: Pairs = "all",
    logits: Logits = "all",
    order: Order = "expanded",
) -> Breakdown:
    """The FLOPs of the matrix products of a forward pass, by component.

    A prompt is past = 0; a decode step with a cache is seq = 1 and past = tokens in the cache.

    Args:
        config: as for `parameters`.
        batch: b, texts.
        seq: s, tokens of each that go through the model; in an encoder-decoder: of the target.
        past: p, tokens whose keys and values a cache holds.
        source_seq: tokens of an encoder-decoder's source; seq if None. With a past the encoder
            has run and its keys and values are kept.
        pairs: the scores that are computed: "all" s * (p + s), as plain products do, or only those
            that a causal mask and the window leave "visible".
        logits: "all" positions' or the "last" one's, all that generation needs.
        order: of latent attention: "expanded" to keys and values for every head, or "absorbed".

    Raises:
        TypeError, ValueError: sizes that are no positive integers, or unknown choices.

    Source: kaplan2020scaling
    """
    c = as_config(config)
    check_counts(1, batch=batch, seq=seq)
    check_past(c, past)
    check_choices(pairs=(pairs, Pairs), logits=(logits, Logits), order=(order, Order))
    shown = batch * (seq if logits == "all" else 1)
    head = 2 * shown * c.dim * c.vocab_size
    if c.family == "encoder-decoder":
        return _two_stacks(c, batch, seq, past, source_seq, pairs, head)
    n_pairs = _pairs(c, seq, past, pairs if c.family == "decoder" else "all")
    counts = _layers("attention", c.n_layers, _attention(c, batch, seq, past, n_pairs, order))
    counts |= _feed_forwards(c, batch * seq)
    if c.family == "encoder":
        return Breakdown(counts | {"pooler": c.pooler * 2 * batch * c.dim * c.dim})
    return Breakdown(counts | {"head": head})


def _two_stacks(
    c: ModelConfig, batch: Count, seq: Count, past: Count, source_seq: Count | None, pairs: Pairs,
    head: Count,
) -> Breakdown:  # fmt: skip
    """The encoder over the source, then the decoder over the target, which looks back at it."""
    source = source_tokens(seq, source_seq)
    read = without_past(source, past)  # tokens that the encoder reads now
    encoder = _layers("attention", c.n_layers, _attention(c, batch, read, 0, read * read))
    n_pairs = _pairs(c, seq, past, pairs)
    decoder = _layers("attention", c.n_layers, _attention(c, batch, seq, past, n_pairs))
    cross = _attention(c, batch, seq, 0, seq * source)
    cross["key"] = cross["value"] = _projection(c, batch * read) * c.n_kv_heads
    return (
        Breakdown(encoder)
        + Breakdown(decoder)
        + Breakdown(_layers("cross_attention", c.n_layers, cross))
        + Breakdown(_feed_forwards(c, batch * read))
        + Breakdown(_feed_forwards(c, batch * seq) | {"head": head})
    )


def training_flops(
    config: Any, batch: Count, seq: Count, *, checkpointing: bool = False, **options: Any
) -> Breakdown:
    """The FLOPs of a training step: forward, backward and, with checkpointing, forward again.

    Each product C = A B becomes two backwards: dA = dC Bᵀ and dB = Aᵀ dC.

    Args:
        config, batch, seq, options: as for `forward_flops`.
        checkpointing: every block is computed again, from its input, when its gradient is due;
            the head is not.

    Raises:
        TypeError, ValueError: as `forward_flops`.

    Source: kaplan2020scaling, chen2016checkpointing
    """
    forward = forward_flops(config, batch, seq, **options)
    again = forward.total - forward.get("head", 0) - forward.get("pooler", 0)
    parts = {"forward": forward.total, "backward": 2 * forward.total}
    return Breakdown(parts | {"recomputation": again if checkpointing else 0})


def visible_pairs(seq: Count, past: Count = 0, window: Count | None = None) -> Count:
    """Scores that a causal mask leaves: the i-th query sees past + i keys, at most the window.

    Without a past and a window s (s + 1) / 2, a half and a little more.

    Raises:
        TypeError, ValueError: sizes that are no integers or negative, a window of no key.
    """
    check_counts(0, seq=seq, past=past)
    if window is not None:
        check_counts(1, window=window)
    return _pairs_from_start(past + seq, window) - _pairs_from_start(past, window)


def _pairs_from_start(n: Count, window: Count | None) -> Count:
    """Those of the first n queries."""
    if window is None:
        return _halved(n * (n + 1))
    ramp = least(n, window)
    return _halved(ramp * (ramp + 1)) + (n - ramp) * window


def _halved(x: Count) -> Count:
    return x // 2 if is_number(x) else x / 2


def _pairs(c: ModelConfig, seq: Count, past: Count, pairs: Pairs) -> Count:
    return seq * (past + seq) if pairs == "all" else visible_pairs(seq, past, c.window)


def _layers(group: str, n_layers: Count, counts: dict[str, Count]) -> dict[str, Count]:
    return {f"{group}.{name}": n_layers * x for name, x in counts.items()}


def _attention(
    c: ModelConfig, batch: Count, seq: Count, past: Count, n_pairs: Count, order: Order = "expanded"
) -> dict[str, Count]:
    """One layer's: four projections, and two products over pairs of a query and a key."""
    if c.latent is not None:
        return _latent_attention(c, batch, seq, past, n_pairs, order)
    token = _projection(c, batch * seq)
    pair = 2 * batch * n_pairs * c.head_dim * c.n_heads
    return {
        "query": token * c.n_heads,
        "key": token * c.n_kv_heads,
        "value": token * c.n_kv_heads,
        "scores": pair,
        "average": pair,
        "output": token * c.n_heads,
    }


def _projection(c: ModelConfig, tokens: Count) -> Count:
    """Tokens projected onto one head, or back."""
    return 2 * tokens * c.dim * c.head_dim


def _latent_attention(
    c: ModelConfig, batch: Count, seq: Count, past: Count, n_pairs: Count, order: Order
) -> dict[str, Count]:
    """Expanded, every cached latent becomes keys and values; absorbed, only queries are changed."""
    z, H = c.latent, c.n_heads
    tokens, absorbed = 2 * batch * seq, order == "absorbed"
    expanded = tokens if absorbed else 2 * batch * (past + seq)
    rank = c.dim if z.query_rank is None else z.query_rank
    key = z.kv_rank + z.rope_dim if absorbed else z.plain_dim + z.rope_dim
    return {
        "query_down": 0 if z.query_rank is None else tokens * c.dim * z.query_rank,
        "query": tokens * rank * H * (z.plain_dim + z.rope_dim),
        "latent": tokens * c.dim * z.kv_rank,
        "rope_key": tokens * c.dim * z.rope_dim,
        "key_up": expanded * z.kv_rank * H * z.plain_dim,
        "scores": 2 * batch * n_pairs * H * key,
        "average": 2 * batch * n_pairs * H * (z.kv_rank if absorbed else z.value_dim),
        "value_up": expanded * z.kv_rank * H * z.value_dim,
        "output": tokens * H * z.value_dim * c.dim,
    }


def _feed_forwards(c: ModelConfig, tokens: Count) -> dict[str, Count]:
    """All layers'; of the experts only those that a token passes through."""
    one = 2 * tokens * c.dim
    if c.experts is None:
        return _blocks(c, c.n_layers * one * c.ffn_dim)
    e = c.experts
    layers = c.n_layers - e.n_dense_layers
    experts = layers * one * e.ffn_dim * (2 + c.gated)
    return {
        **_blocks(c, e.n_dense_layers * one * c.ffn_dim),
        "feed_forward.router": layers * one * e.n_experts,
        "feed_forward.experts": e.n_active * experts,
        "feed_forward.shared_experts": e.n_shared * experts,
    }


def _blocks(c: ModelConfig, product: Count) -> dict[str, Count]:
    parts = {"gate": c.gated * product, "up": product, "down": product}
    return {f"feed_forward.{name}": x for name, x in parts.items()}
