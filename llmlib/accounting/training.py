"""What a training step takes, moment by moment: weights, optimizer, gradients, activations.

Gradients come while activations go, so that the peak is no sum of all four. The module lists the
moments that can be the fullest and what is held at each.
"""

import dataclasses
from typing import Any, Literal

import sympy

from llmlib.accounting.activations import (
    SINGLE,
    AttentionKind,
    as_decoder,
    block_bytes,
    norm_bytes,
    outside_bytes,
)
from llmlib.accounting.breakdown import Breakdown, Count
from llmlib.accounting.checks import check_choices, check_counts
from llmlib.accounting.letters import is_number, largest
from llmlib.accounting.parameters import norm_parameters, parameters
from llmlib.model_cards import ModelConfig

Precision = Literal["float32", "mixed"]
Optimizer = Literal["adamw", "sgd"]


def training_bytes(
    config: Any,
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
        config: a `DecoderConfig`, or a `ModelConfig` of a decoder without experts; sizes may be
            letters.
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
    return Breakdown(always | {"step": sympy.Max(*rest, evaluate=False)})


def training_moments(
    config: Any,
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
    c = as_decoder(config)
    check_counts(1, batch=batch, seq=seq)
    check_choices(
        precision=(precision, Precision), optimizer=(optimizer, Optimizer),
        attention=(attention, AttentionKind),
    )  # fmt: skip
    size, fixed = _states(parameters(c).total, precision, optimizer)
    step = _Step(c, batch, seq, size, attention, checkpointing)
    found = {
        "loss": step.loss(),
        "last_layer.feed_forward": step.feed_forward(c.n_layers),
        "last_layer.attention": step.attention(c.n_layers),
        "first_layer.feed_forward": step.feed_forward(1),
        "first_layer.attention": step.attention(1),
        "end": step.end(),
    }
    kept = ("weights", "optimizer", "gradients")
    return {name: Breakdown(fixed | moment, keep=kept) for name, moment in found.items()}


def _states(n: Count, precision: str, optimizer: str) -> tuple[int, dict[str, Count]]:
    """Bytes a number of weights, gradients and activations; weights and optimizer in all."""
    sizes, moments = {"float32": 4, "mixed": 2}, {"adamw": 8, "sgd": 0}
    copy = 4 if precision == "mixed" else 0
    size = sizes[precision]
    return size, {"weights": size * n, "optimizer": (copy + moments[optimizer]) * n}


@dataclasses.dataclass(frozen=True)
class _Step:
    """Gradients, activations and temporary tensors at the moments of a step."""

    c: ModelConfig
    batch: Count
    seq: Count
    size: int
    kind: AttentionKind
    checkpointing: bool

    def loss(self) -> dict[str, Count]:
        stored = self.c.n_layers * self._stored()
        return {
            "gradients": 0,
            "activations": stored + self._before() + self._behind(),
            "temporary": 2 * self.tokens * self.c.vocab_size * self.size,
        }

    def feed_forward(self, layer: Count) -> dict[str, Count]:
        """The backward pass is in the feed-forward block of a layer, counted from 1."""
        hidden = 2 * self.tokens * self.c.ffn_dim * largest(self.size, SINGLE)
        return {
            "gradients": self._gradients(layer),
            "activations": self._activations(layer),
            "temporary": self._stream() + hidden,
        }

    def attention(self, layer: Count) -> dict[str, Count]:
        """The backward pass is in the attention of a layer, counted from 1."""
        ffn, two = parameters(self._one_layer())["feed_forward"], self.c.norms_per_block - 1
        norm = norm_bytes(self.c, self.tokens, self.size)
        inside = self._block()
        gone = inside["feed_forward"] + two * norm
        if self.kind == "flash":
            new = inside["attention.query"] + inside["attention.key"] + inside["attention.value"]
        else:
            new, gone = 6 * inside["attention.weights"], gone + inside["attention.weights"]
        return {
            "gradients": self._gradients(layer) + self.size * (ffn + two * norm_parameters(self.c)),
            "activations": self._activations(layer) - gone,
            "temporary": self._stream() + new,
        }

    def end(self) -> dict[str, Count]:
        matrix = self.c.vocab_size * self.c.dim
        return {
            "gradients": self.size * parameters(self.c).total,
            "temporary": 2 * self.size * self.c.tied * matrix,
        }

    @property
    def tokens(self) -> Count:
        return self.batch * self.seq

    def _one_layer(self) -> ModelConfig:
        return dataclasses.replace(self.c, n_layers=1)

    def _block(self) -> Breakdown:
        return block_bytes(self.c, self.batch, self.seq, self.size, self.kind)

    def _stream(self) -> Count:
        return self.tokens * self.c.dim * self.size

    def _stored(self) -> Count:
        return self._stream() if self.checkpointing else self._block().total

    def _activations(self, layer: Count) -> Count:
        again = self._block().total if self.checkpointing else 0
        return layer * self._stored() + again + self._before()

    def _gradients(self, layer: Count) -> Count:
        """Of the head, the last norm and the layers behind this one."""
        one = parameters(self._one_layer())
        block = one["attention"] + one["feed_forward"] + one["norms"]
        behind = self.c.vocab_size * self.c.dim + one.get("final_norm", 0)
        return self.size * (behind + (self.c.n_layers - layer) * block)

    def _outside(self, behind: bool) -> Count:
        kept = outside_bytes(self.c, self.batch, self.seq, self.size, self.kind)
        names = ("final_norm", "head", "loss")
        return sum(x for name, x in kept.items() if name.startswith(names) == behind)

    def _before(self) -> Count:
        return self._outside(behind=False)

    def _behind(self) -> Count:
        return self._outside(behind=True)
