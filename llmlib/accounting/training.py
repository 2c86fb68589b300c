"""What a training step takes, moment by moment: weights, optimizer, gradients, activations.

Gradients come while activations go, so that the peak is no sum of all four. The module lists the
moments that can be the fullest and what is held at each.
"""

import dataclasses
from typing import Literal

import llmlib.architecture as arch
from llmlib.accounting.activations import (
    SINGLE,
    AttentionKind,
    block_bytes,
    check_decoder,
    known_parts,
    norm_bytes,
    outside_bytes,
)
from llmlib.accounting.arithmetic import is_number, largest, on
from llmlib.accounting.breakdown import Breakdown, Count
from llmlib.accounting.checks import check_choices, check_counts
from llmlib.accounting.layers import norms_of
from llmlib.accounting.parameters import layer_parameters, norm_parameters, parameters

Precision = Literal["float32", "mixed"]
Optimizer = Literal["adamw", "sgd"]


def training_bytes(
    config: arch.ModelConfig,
    batch: Count,
    seq: Count,
    *,
    precision: Precision = "float32",
    optimizer: Optimizer = "adamw",
    attention: AttentionKind = "flash",
    checkpointing: bool = False,
) -> Breakdown:
    """What a training step of a decoder takes at its peak; other families are not counted.

    Weights and the optimizer's state are there all the time: 4 + 8 bytes a parameter with AdamW in
    float32; mixed, 2 for the weights and 4 + 8 for a float32 copy and the moments. Gradients, 4
    bytes or mixed 2, come in the backward pass while activations go, so the peak is not the sum: it
    is the fullest of the moments that `training_moments` lists. With letters the components
    "weights" and "optimizer" are followed by "step", the maximum of the rest over the moments.

    Args:
        config: as for `activation_bytes`; sizes may be letters.
        batch: b, texts in one backward pass.
        seq: s, tokens of each.
        precision: all in "float32", or "mixed": weights, gradients and activations in 16 bit, a
            float32 copy of the weights with the optimizer.
        optimizer: "adamw" with two moments, or "sgd" without any.
        attention, checkpointing: as for `activation_bytes`.

    Raises:
        TypeError, ValueError: as `activation_bytes`; an unknown precision or optimizer.

    Source: micikevicius2018mixed, rajbhandari2020zero, loshchilov2019adamw, chen2016checkpointing
    """
    moments = training_moments(
        config, batch, seq, precision=precision, optimizer=optimizer, attention=attention,
        checkpointing=checkpointing,
    )  # fmt: skip
    if all(is_number(moment.total) for moment in moments.values()):
        return max(moments.values(), key=lambda moment: moment.total)
    always = {name: moments["loss"][name] for name in ("weights", "optimizer")}
    rest = [moment.total - sum(always.values()) for moment in moments.values()]
    # Not evaluated: to compare formulas with each other takes seconds, and decides little.
    return Breakdown(always | {"step": largest(*rest, evaluate=False)})


def training_moments(
    config: arch.ModelConfig,
    batch: Count,
    seq: Count,
    *,
    precision: Precision = "float32",
    optimizer: Optimizer = "adamw",
    attention: AttentionKind = "flash",
    checkpointing: bool = False,
) -> dict[str, Breakdown]:
    """What is held at the moments of a training step that can be its fullest, in their order.

    Between them the sum only rises or only falls: each layer that the backward pass leaves trades
    its activations for its gradients.

        loss                     all activations. Temporary: two tensors like the logits, which the
                                 gradient of log-softmax makes beside its result
        last_layer.feed_forward  the head's gradient is there, b s V is gone; the backward pass is
                                 in the last layer. Temporary: the gradient of the stream, and those
                                 of the two factors that meet in the block's hidden units
        last_layer.attention     the feed-forward block's activations have become gradients.
                                 Temporary: the gradient of the stream, and those of queries, keys
                                 and values; of the formula six matrices between queries and keys,
                                 the gradient of the weights and what the quotient's takes, when
                                 the weights themselves are gone
        first_layer.*            the same in the first layer, when all others are done
        end                      all gradients; where head and embedding are one matrix, its two
                                 gradients beside their sum

    With checkpointing the layer where the backward pass is has all of its activations, the others
    before it their inputs. Left out are the program itself, work space of products, and gaps
    between allocated pieces. What is mixed is counted by the same rules but, unlike float32, not
    measured by the tests. The gradients are taken to be freed before the forward pass, and the
    optimizer to update in place (PyTorch's "fused").

    Args, Raises: as `training_bytes`.
    """
    check_decoder(config)
    check_counts(1, batch=batch, seq=seq)
    check_choices(
        precision=(precision, Precision), optimizer=(optimizer, Optimizer),
        attention=(attention, AttentionKind),
    )  # fmt: skip
    size, fixed = _states(parameters(config).total, precision, optimizer)
    step = _Step(config, batch, seq, size, attention, checkpointing)
    first, last = _end(config.stack.runs[0], 0), _end(config.stack.runs[-1], -1)
    found = {
        "loss": step.loss(),
        "last_layer.feed_forward": step.feed_forward(last, is_last=True),
        "last_layer.attention": step.attention(last, is_last=True),
        "first_layer.feed_forward": step.feed_forward(first, is_last=False),
        "first_layer.attention": step.attention(first, is_last=False),
        "end": step.end(),
    }
    kept = ("weights", "optimizer", "gradients")
    return {name: Breakdown(fixed | moment, keep=kept) for name, moment in found.items()}


def _end(part: arch.Block | arch.Run, at: int) -> arch.Block:
    """The first block of a run, or its last."""
    return part if isinstance(part, arch.Block) else _end(part.parts[at], at)


def _states(n: Count, precision: str, optimizer: str) -> tuple[int, dict[str, Count]]:
    """Bytes a number of weights, gradients and activations; weights and optimizer in all."""
    sizes, moments = {"float32": 4, "mixed": 2}, {"adamw": 8, "sgd": 0}
    copy = 4 if precision == "mixed" else 0
    size = sizes[precision]
    return size, {"weights": size * n, "optimizer": (copy + moments[optimizer]) * n}


@dataclasses.dataclass(frozen=True)
class _Step:
    """Gradients, activations and temporary tensors at the moments of a step."""

    config: arch.ModelConfig
    batch: Count
    seq: Count
    size: int
    kind: AttentionKind
    checkpointing: bool

    def loss(self) -> dict[str, Count]:
        blocks = arch.kinds(self.config.stack.runs)
        stored = sum(times * self._stored(block) for block, times, _ in blocks)
        return {
            "gradients": 0,
            "activations": stored + self._before() + self._after(),
            "temporary": 2 * self.tokens * self.config.vocab_size * self.size,
        }

    def feed_forward(self, block: arch.Block, *, is_last: bool) -> dict[str, Count]:
        """The backward pass is in the feed-forward block of the first layer or the last."""
        width = known_parts(block)[1].ffn_dim
        return {
            "gradients": self._gradients(block, is_last),
            "activations": self._activations(block, is_last),
            "temporary": self._stream() + 2 * self.tokens * width * largest(self.size, SINGLE),
        }

    def attention(self, block: arch.Block, *, is_last: bool) -> dict[str, Count]:
        """The backward pass is in the attention of the first layer or the last."""
        dim, inside = self.config.dim, self._block(block)
        ffn = Breakdown(layer_parameters((block,), dim))["feed_forward"]
        done = norms_of(block)[2]  # norms of the feed-forward block
        gone = inside["feed_forward"] + done * norm_bytes(block.norm, dim, self.tokens, self.size)
        if self.kind == "flash":
            new = inside["attention.query"] + inside["attention.key"] + inside["attention.value"]
        else:
            new, gone = 6 * inside["attention.weights"], gone + inside["attention.weights"]
        there = self.size * (ffn + done * norm_parameters(block.norm, dim))
        return {
            "gradients": self._gradients(block, is_last) + there,
            "activations": self._activations(block, is_last) - gone,
            "temporary": self._stream() + new,
        }

    def end(self) -> dict[str, Count]:
        matrix = self.config.vocab_size * self.config.dim
        return {
            "gradients": self.size * parameters(self.config).total,
            "temporary": 2 * self.size * on(self.config.tied) * matrix,
        }

    @property
    def tokens(self) -> Count:
        return self.batch * self.seq

    def _block(self, block: arch.Block) -> Breakdown:
        return block_bytes(block, self.config.dim, self.batch, self.seq, self.size, self.kind)

    def _stream(self) -> Count:
        return self.tokens * self.config.dim * self.size

    def _stored(self, block: arch.Block) -> Count:
        return self._stream() if self.checkpointing else self._block(block).total

    def _activations(self, block: arch.Block, is_last: bool) -> Count:
        """Of the layers up to this one, and of this one again if it has to be computed again."""
        again = self._block(block).total if self.checkpointing else 0
        kinds = arch.kinds(self.config.stack.runs) if is_last else [(block, 1, 1)]
        stored = sum(times * self._stored(one) for one, times, _ in kinds)
        return stored + again + self._before()

    def _gradients(self, block: arch.Block, is_last: bool) -> Count:
        """Of the head, the last norm and the layers after this one."""
        dim, last_norm = self.config.dim, self.config.stack.last_norm
        after = self.config.vocab_size * dim + norm_parameters(last_norm, dim)
        layers: Count = 0
        for one, _, own in [] if is_last else arch.kinds(self.config.stack.runs):
            weights = Breakdown(layer_parameters((one,), dim)).groups()
            others, block = (own - 1, None) if one == block else (own, block)  # type: ignore
            layers += others * (weights["attention"] + weights["feed_forward"] + weights["norms"])
        return self.size * (after + layers)

    def _outside(self) -> tuple[Count, Count]:
        found = outside_bytes(self.config, self.batch, self.seq, self.size, self.kind)
        before, after = (sum(part.values()) for part in found)
        return before, after

    def _before(self) -> Count:
        return self._outside()[0]

    def _after(self) -> Count:
        return self._outside()[1]
