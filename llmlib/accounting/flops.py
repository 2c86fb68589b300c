"""How many floating-point operations a model takes, component by component.

Counted are the matrix products, a multiply-add as two: (m, k) times (k, n) takes 2 m k n. The
look-up of an embedding takes none. Norms, softmax, activations and sums are left out: they are few,
though not always fast.
"""

import dataclasses
from typing import Any, Literal, assert_never

import llmlib.architecture as arch
from llmlib.accounting.arithmetic import halved, least, on, without_past
from llmlib.accounting.breakdown import Breakdown, Count
from llmlib.accounting.checks import (
    check_choices,
    check_config,
    check_counts,
    check_past,
    source_tokens,
)
from llmlib.accounting.layers import Runs, mixer_group, named, over_layers, window

Pairs = Literal["all", "visible"]
Logits = Literal["all", "last"]
Order = Literal["expanded", "absorbed"]


def forward_flops(
    config: arch.ModelConfig,
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
            that a causal mask and each layer's window leave "visible".
        logits: "all" positions' or the "last" one's, all that generation needs.
        order: of latent attention: "expanded" to keys and values for every head, or "absorbed".

    Raises:
        TypeError, ValueError: sizes that are no positive integers, or unknown choices.

    Source: kaplan2020scaling
    """
    check_config(config)
    check_counts(1, batch=batch, seq=seq)
    check_past(config, past)
    check_choices(pairs=(pairs, Pairs), logits=(logits, Logits), order=(order, Order))
    shown, d = batch * (seq if logits == "all" else 1), config.dim
    main = _Pass(d, batch, seq, past, pairs, config.stack.causal, order)
    after = {"head": 2 * shown * d * config.vocab_size} if config.head == "tokens" else {}
    after |= {"transform": 2 * shown * d * d} if config.transform is not None else {}
    after |= {"pooler": on(config.pooler) * 2 * batch * d * d}
    runs = config.stack.runs
    if config.source is None:
        return Breakdown(main.mixers(runs) | main.feed_forwards(runs) | after)
    source = source_tokens(seq, source_seq)
    read = without_past(source, past)  # tokens that the encoder reads now
    first = _Pass(d, batch, read, 0, pairs, config.source.causal, order)
    return (
        Breakdown(first.mixers(config.source.runs))
        + Breakdown(main.mixers(runs))
        + Breakdown(main.cross(runs, source, read))
        + Breakdown(first.feed_forwards(config.source.runs))
        + Breakdown(main.feed_forwards(runs) | after)
    )


def training_flops(
    config: arch.ModelConfig, batch: Count, seq: Count, *, checkpointing: bool = False,
    **options: Any,
) -> Breakdown:  # fmt: skip
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
    ends = sum(forward.get(name, 0) for name in ("head", "transform", "pooler"))
    again = forward.total - ends
    parts = {"forward": forward.total, "backward": 2 * forward.total}
    return Breakdown(parts | {"recomputation": again if checkpointing else 0})


# --- pairs of a query and a key ---------------------------------------------------------------


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
        return halved(n * (n + 1))
    ramp = least(n, window)
    return halved(ramp * (ramp + 1)) + (n - ramp) * window


def _pairs_on_both_sides(seq: Count, window: Count | None) -> Count:
    """Without a causal mask a query sees the window - 1 nearest keys on either side."""
    if window is None:
        return seq * seq
    width = least(seq, window)
    return seq * (2 * width - 1) - width * (width - 1)


# --- the layers -------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Pass:
    """What goes through a stack."""

    dim: Count
    batch: Count
    seq: Count
    past: Count
    pairs: Pairs
    causal: bool
    order: Order

    def mixers(self, runs: Runs) -> dict[str, Count]:
        return over_layers(
            runs, lambda block: named(mixer_group(block.mixer), self._mixer(block.mixer))
        )

    def cross(self, runs: Runs, source: Count, read: Count) -> dict[str, Count]:
        """Attention to the source, whose keys and values are made of what is read now."""

        def one(block: arch.Block) -> dict[str, Count]:
            if block.cross is None:
                return {}
            counts = self._attention(block.cross, self.seq * source)
            made = self._attention(block.cross, 0, self.batch * read)
            again = {name: made[name] for name in ("key", "value")}
            return named("cross_attention", counts | again)

        return over_layers(runs, one)

    def feed_forwards(self, runs: Runs) -> dict[str, Count]:
        return over_layers(
            runs, lambda block: named("feed_forward", self._feed_forward(block.feed_forward))
        )

    def _pairs(self, mixer: arch.Mixer) -> Count:
        if self.pairs == "all":
            return self.seq * (self.past + self.seq)
        if self.causal:
            return visible_pairs(self.seq, self.past, window(mixer))
        return _pairs_on_both_sides(self.seq, window(mixer))

    def _mixer(self, mixer: arch.Mixer) -> dict[str, Count]:
        match mixer:
            case arch.Attention():
                return self._attention(mixer, self._pairs(mixer))
            case arch.Latent():
                return self._latent(mixer, self._pairs(mixer))
            case arch.GatedDelta():
                return self._gated_delta(mixer)
            case _:
                assert_never(mixer)

    def _attention(
        self, a: arch.Attention, pairs: Count, tokens: Count | None = None
    ) -> dict[str, Count]:
        """Four projections, and two products over pairs of a query and a key."""
        each = 2 * (self.batch * self.seq if tokens is None else tokens) * self.dim
        over = 2 * self.batch * pairs
        return {
            "query": each * a.n_heads * a.head_dim,
            "key": each * a.n_kv_heads * a.head_dim,
            "value": each * a.n_kv_heads * a.value_width,
            "scores": over * a.head_dim * a.n_heads,
            "average": over * a.value_width * a.n_heads,
            "gate": on(a.gate) * each * a.n_heads * a.value_width,
            "output": each * a.n_heads * a.value_width,
        }

    def _latent(self, z: arch.Latent, pairs: Count) -> dict[str, Count]:
        """Expanded, each cached latent becomes keys and values; absorbed, only queries change."""
        H, d = z.n_heads, self.dim
        tokens, absorbed = 2 * self.batch * self.seq, self.order == "absorbed"
        expanded = tokens if absorbed else 2 * self.batch * (self.past + self.seq)
        rank = d if z.query_rank is None else z.query_rank
        key = z.kv_rank + z.rope_dim if absorbed else z.plain_dim + z.rope_dim
        return {
            "query_down": 0 if z.query_rank is None else tokens * d * z.query_rank,
            "query": tokens * rank * H * (z.plain_dim + z.rope_dim),
            "latent": tokens * d * z.kv_rank,
            "rope_key": tokens * d * z.rope_dim,
            "key_up": expanded * z.kv_rank * H * z.plain_dim,
            "scores": 2 * self.batch * pairs * H * key,
            "average": 2 * self.batch * pairs * H * (z.kv_rank if absorbed else z.value_dim),
            "value_up": expanded * z.kv_rank * H * z.value_dim,
            "output": tokens * H * z.value_dim * d,
        }

    def _gated_delta(self, m: arch.GatedDelta) -> dict[str, Count]:
        """Token by token: each state is asked for a key, corrected, and asked for the query."""
        each = 2 * self.batch * self.seq
        keys, values = m.n_key_heads * m.key_dim, m.n_value_heads * m.value_dim
        return {
            "query": each * self.dim * keys,
            "key": each * self.dim * keys,
            "value": each * self.dim * values,
            "gate": each * self.dim * values,
            "rates": each * self.dim * 2 * m.n_value_heads,
            "convolution": each * m.conv * (2 * keys + values),
            "state": 3 * each * values * m.key_dim,
            "output": each * values * self.dim,
        }

    def _feed_forward(self, part: arch.FeedForward | arch.Experts | None) -> dict[str, Count]:
        """Of experts only those that a token passes through."""
        one = 2 * self.batch * self.seq * self.dim
        match part:
            case None:
                return {}
            case arch.FeedForward(ffn_dim=width):
                product = one * width
                return {"gate": on(part.gated) * product, "up": product, "down": product}
            case arch.Experts(expert=expert):
                each = one * expert.ffn_dim * (2 + on(expert.gated))
                return {
                    "router": one * part.n_experts,
                    "experts": part.n_active * each,
                    "shared_experts": part.n_shared * each,
                    "shared_gate": on(part.shared_gate) * one,
                }
            case _:
                assert_never(part)
