"""What a step moves between a chip and its memory: weights, and the cache.

It is counted for a forward pass in which everything between the weights and the cache stays on the
chip: a lower bound, which long prompts exceed.
"""

import dataclasses

import llmlib.architecture as arch
from llmlib.accounting.arithmetic import least, on, without_past
from llmlib.accounting.breakdown import Breakdown, Count
from llmlib.accounting.checks import check_config, check_counts, check_past, source_tokens
from llmlib.accounting.layers import over_layers, window
from llmlib.accounting.memory import cache_row_bytes, state_bytes
from llmlib.accounting.parameters import (
    feed_forward_parameters,
    layer_parameters,
    norm_parameters,
    position_parameters,
    transform_parameters,
)
from llmlib.accounting.sizes import Bytes, number_bytes


def moved_bytes(
    config: arch.ModelConfig,
    batch: Count,
    seq: Count,
    *,
    past: Count = 0,
    dtype: Bytes = "bfloat16",
    cache_dtype: Bytes | None = None,
    source_seq: Count | None = None,
) -> Breakdown:
    """The bytes that a forward pass reads and writes at least, by component.

    Each weight is read once, whatever the batch. Of the embedding only the rows of the tokens are
    read, the head is read as a whole. Of E experts, k for each of n = b s tokens, uniform and
    independent routing reaches E (1 - (1 - k / E)^n): k of them for one token, nearly all soon
    after. Of the cache each layer reads the past that some query sees, and writes the new tokens;
    a layer with a state reads and writes it. Left out are activations, logits, and new keys and
    values on their way through attention.

    A decode step is seq = 1 and past = tokens in the cache.

    Args:
        config: as for `parameters`.
        batch, seq, past, source_seq: as for `forward_flops`.
        dtype: of the weights.
        cache_dtype: of the cache, see `kv_cache_bytes`; that of the weights if None.

    Raises:
        TypeError, ValueError: sizes that are no positive integers, sizes of numbers likewise.

    Source: williams2009roofline, pope2023inference
    """
    check_config(config)
    check_counts(1, batch=batch, seq=seq)
    check_past(config, past)
    source, size = source_tokens(seq, source_seq), number_bytes(dtype)
    read = _weights(config, config.stack, batch, seq)
    if config.source is not None:
        # With a past the source has been read: its keys and values are in the cache.
        first = without_past(1, past)
        encoder = _weights(config, config.source, batch, source, head=False)
        read = read + Breakdown({name: first * x for name, x in encoder.items()})
        once = _source_keys(config)
        read = read + Breakdown({"cross_attention": -(1 - first) * once})
    counts = {name: x * size for name, x in read.items()}
    if config.family != "encoder":
        kept = cache_dtype if cache_dtype is not None else dtype
        length = 0 if config.source is None else source
        moved = over_layers(config.stack.runs, _Cache(seq, past, length, kept).layer)
        counts |= {name: batch * x for name, x in moved.items()}
    return Breakdown(counts)


def _weights(
    config: arch.ModelConfig, stack: arch.Stack, batch: Count, seq: Count, head: bool = True
) -> Breakdown:
    """Numbers read of one stack and what stands around it."""
    d, tokens = config.dim, batch * seq
    learned = isinstance(stack.positions, arch.Learned)
    layers = Breakdown(layer_parameters(stack.runs, d)).groups()
    counts: dict[str, Count] = {
        "embedding": tokens * d,
        "positions": seq * d if learned else position_parameters(stack, d),
        "segments": config.segments * d,
        "embedding_norm": norm_parameters(stack.first_norm, d),
        **layers,
        "final_norm": norm_parameters(stack.last_norm, d),
        "pooler": on(config.pooler) * (d * d + d),
        "transform": transform_parameters(config.transform, d) if head else 0,
    }
    if head and config.head == "tokens":
        counts["head"] = (d + on(config.head_bias)) * config.vocab_size
    unread = over_layers(stack.runs, lambda block: _unread(block, d, tokens), own=True)
    for name, x in unread.items():
        counts[name] -= x
    return Breakdown(counts)


def _unread(block: arch.Block, dim: Count, tokens: Count) -> dict[str, Count]:
    """Weights of the experts that no token is expected to reach."""
    part = block.feed_forward
    if not isinstance(part, arch.Experts):
        return {}
    n, k = part.n_experts, part.n_active
    reached = n * (1 - (1 - k / n) ** tokens)
    stored = feed_forward_parameters(part, dim)["experts"]
    return {"feed_forward": stored * (1 - reached / n)}


def _source_keys(config: arch.ModelConfig) -> Count:
    """Weights that make the source's keys and values for cross-attention, once."""
    found = layer_parameters(config.stack.runs, config.dim)
    return found["cross_attention.key"] + found["cross_attention.value"]


@dataclasses.dataclass(frozen=True)
class _Cache:
    """Bytes of a layer's cache that are read and written for one text."""

    seq: Count
    past: Count
    source: Count
    dtype: Bytes

    def layer(self, block: arch.Block) -> dict[str, Count]:
        """The first new query sees itself and window - 1 tokens before."""
        row, span = cache_row_bytes(block.mixer, self.dtype), window(block.mixer)
        state = state_bytes(block.mixer, self.dtype)
        seen = self.past if span is None else least(self.past, span - 1)
        crossed = 0 if block.cross is None else cache_row_bytes(block.cross, self.dtype)
        new = without_past(self.source, self.past)
        first = without_past(state, self.past)
        return {
            "cache.read": row * seen + crossed * (self.source - new) + state - first,
            "cache.written": row * self.seq + crossed * new + state,
        }
