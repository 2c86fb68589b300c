"""The forward pass for one token of one text, written for speed, and the same compiled.

Decoding one token reads every weight once for two operations each, so what counts is how fast
weights come from memory and how little happens between two products. Here vectors have one axis (a
matrix-vector product starts faster than a product with a matrix of one row), query and key are
rotated together, and no module is called. A block is one function of tensors: compiled once, it
serves all blocks of all models of the same shapes.

`Decoder.forward` is the reference, and the tests hold both equal. A block that is built otherwise
than Llama's or has something of its own put in (`premises` says what) computes for itself between
the others. Not here: batches, padding, gradients, accelerators; for those `generate` uses the
reference.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmlib.decoder.compiled import compiled
from llmlib.decoder.model import Decoder
from llmlib.decoder.premises import Watch, why_not_block
from llmlib.flash_attention import see_all
from llmlib.kv_cache import FixedKVCache, FixedLayer, KVCache
from llmlib.normalization import RMSNorm, rms_norm
from llmlib.positions import Angles, Positions
from llmlib.precision import widened
from llmlib.quantization import Int8Linear

Update = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
Norm = Callable[[Tensor, Tensor, float], Tensor]


# The compiler writes a loop of its own for each product. With 16-bit weights that loop is a third
# faster when it finds the vector in memory in float32, instead of widening it again for every row.
# A function that the compiler cannot look into puts it there.
_LIBRARY = torch.library.Library("llmlib", "DEF")
_LIBRARY.define("widened(Tensor vector) -> Tensor")
_LIBRARY.impl("widened", lambda vector: vector.float(), "CPU")
_LIBRARY.impl("widened", lambda vector: vector.new_empty(len(vector), dtype=torch.float32), "Meta")


class Matrix(NamedTuple):
    """A linear layer's tensors; the scale belongs to integer weights."""

    weight: Tensor
    bias: Tensor | None
    scale: Tensor | None


class BlockWeights(NamedTuple):
    """A block's tensors; matrices that read the same vector stand together."""

    mixer_norm: Tensor
    query_key_value: tuple[Matrix, ...]
    output: Matrix
    query_norm: Tensor | None
    key_norm: Tensor | None
    feed_forward_norm: Tensor
    gate_up: tuple[Matrix, ...]
    down: Matrix


class Heads(NamedTuple):
    """What a block needs to know beside its tensors."""

    n_heads: int
    n_kv_heads: int
    head_dim: int
    window: int | None
    norm_eps: float
    qk_norm_eps: float


def product(matrix: Matrix, x: Tensor) -> Tensor:
    """The linear layer's output for one vector, which may be wider than 16-bit weights."""
    if matrix.scale is not None:
        y = torch.ops.aten._weight_int8pack_mm(x[None], matrix.weight, matrix.scale)[0]
    elif x.dtype != matrix.weight.dtype:
        y = (matrix.weight.float() * x).sum(-1).to(matrix.weight.dtype)
    else:
        y = torch.mv(matrix.weight, x)
    return y if matrix.bias is None else y + matrix.bias


def products(matrices: tuple[Matrix, ...], x: Tensor) -> list[Tensor]:
    """The outputs of the layers that read the same vector."""
    if x.element_size() < 4 and matrices[0].scale is None and torch.compiler.is_compiling():
        x = torch.ops.llmlib.widened(x)
    return [product(matrix, x) for matrix in matrices]


def block_step(
    x: Tensor, weights: BlockWeights, turn: Tensor, heads: Heads, update: Update, norm: Norm,
    visible: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """One block for one token: (dim,) -> (dim,).

    Args:
        x: the residual stream at the token.
        weights: of the block.
        turn: (2, head_dim), what a head and the head with its halves swapped are multiplied with.
        heads: numbers of the attention.
        update: stores key and value, returns all of them.
        norm: RMSNorm of one vector.
        visible: which of the keys are there; None for all.
    """
    groups, width = heads.n_kv_heads, heads.head_dim
    h = norm(x, weights.mixer_norm, heads.norm_eps)
    q, k, value = products(weights.query_key_value, h)
    if weights.query_norm is not None and weights.key_norm is not None:
        q = rms_norm(q.view(-1, width), weights.query_norm, heads.qk_norm_eps).flatten()
        k = rms_norm(k.view(-1, width), weights.key_norm, heads.qk_norm_eps).flatten()
    both = torch.cat([q, k]).view(-1, width)
    wide = widened(both)
    both = (wide * turn[0] + wide.roll(width // 2, -1) * turn[1]).to(x.dtype)
    key, value = both[heads.n_heads :].view(1, groups, 1, width), value.view(1, groups, 1, width)
    keys, values = update(key, value)
    if visible is None and heads.window is not None and keys.shape[2] > heads.window:
        keys, values = keys[:, :, -heads.window :], values[:, :, -heads.window :]
    # The heads of a group as rows of one product with the keys they share.
    query = both[: heads.n_heads].view(1, groups, -1, width)
    if visible is None:
        seen = see_all(query, keys, values, 1 / math.sqrt(width))
    else:
        seen = F.scaled_dot_product_attention(query, keys, values, attn_mask=visible)
    x = x + products((weights.output,), seen.flatten())[0]
    h = norm(x, weights.feed_forward_norm, heads.norm_eps)
    gate, up = products(weights.gate_up, h)
    return x + products((weights.down,), F.silu(gate) * up)[0]


def norm_by_number(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """RMSNorm of one vector: its sum of squares is one number, which Python can work with."""
    wide = widened(x)
    mean_square = torch.dot(wide, wide).item() / len(x)
    return (wide * (1 / math.sqrt(mean_square + eps))).to(x.dtype) * weight


def fixed_block_step(
    x: Tensor, weights: BlockWeights, turn: Tensor, heads: Heads, keys: Tensor, values: Tensor,
    slot: Tensor, visible: Tensor,
) -> Tensor:  # fmt: skip
    """`block_step` over buffers of fixed shape, so that every token is the same program."""

    def update(key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        keys.index_copy_(2, slot, key)
        values.index_copy_(2, slot, value)
        return keys, values

    return block_step(x, weights, turn, heads, update, rms_norm, visible)


def head_step(x: Tensor, norm: Tensor, matrix: Matrix, eps: float) -> Tensor:
    """Logits of one vector."""
    return products((matrix,), rms_norm(x, norm, eps))[0]


class Known(NamedTuple):
    """A block that the step computes itself."""

    weights: BlockWeights
    heads: Heads
    angles: Angles


class SingleStep:
    """Logits of the next token from one token, called as the model is; only its tensors are used.

    Args:
        model: a decoder that nothing stands against (`premises.why_not`). With a `FixedKVCache` the
            compiled block runs, else the plain one.
    """

    def __init__(self, model: Decoder) -> None:
        self.model = model
        self.watch = Watch(model)
        self.blocks = [_known(block) for block in model.blocks]
        self.readers = model.readers()
        self.embedding = model.embedding.weight.detach()
        self.norm = model.norm.weight.detach()  # type: ignore[union-attr]
        self.norm_eps = float(model.norm.eps)  # type: ignore[union-attr]
        tied = Matrix(self.embedding, None, None)
        self.head = tied if model.output is None else _matrix(model.output)

    def still_fits(self) -> bool:
        """Whether the model is as it was when the step was made."""
        return self.watch.unchanged()

    @torch.no_grad()
    def __call__(self, token_ids: Tensor, cache: KVCache, **_: object) -> Tensor:
        """(1, 1) -> (1, 1, vocab); the token's key and value are added to the cache."""
        cache.check(self.readers)
        x, at = self.embedding[int(token_ids)], self.model.places(token_ids, cache)
        turns: dict[int, tuple[Tensor, Tensor]] = {}
        if isinstance(cache, FixedKVCache):
            return self._compiled(x, at, cache, turns)
        for i, block in enumerate(self.blocks):
            layer = cache.layer(i)
            if isinstance(block, Known):
                turn = _turn(block, at, turns)
                x = block_step(x, block.weights, turn, block.heads, layer.update, norm_by_number)
            else:
                x = block(x[None, None], at, layer)[0, 0]
        return product(self.head, norm_by_number(x, self.norm, self.norm_eps))[None, None]

    def _compiled(
        self, x: Tensor, at: Positions, cache: FixedKVCache, turns: dict[int, tuple[Tensor, Tensor]]
    ) -> Tensor:
        slot = at.slots
        step, head = compiled(fixed_block_step), compiled(head_step)
        for i, block in enumerate(self.blocks):
            layer = cache.layer(i)
            assert isinstance(layer, FixedLayer)
            assert isinstance(block, Known)
            seen = at.see(layer, None, True, block.heads.window)
            assert seen.mask is not None
            keys, values = layer.buffers()
            turn, visible = _turn(block, at, turns), seen.mask[None, None]
            x = step(x, block.weights, turn, block.heads, keys, values, slot, visible)
        cache.advance(1)
        return head(x, self.norm, self.head, self.norm_eps)[None, None]


def _turn(block: Known, at: Positions, made: dict[int, tuple[Tensor, Tensor]]) -> Tensor:
    """What a head and the head with its halves swapped are multiplied with, for this block's RoPE.

    a cos - b sin and b cos + a sin at once: (a, b) * (cos, cos) + (b, a) * (-sin, sin).
    """
    cos, sin = at.rotation(block.angles)
    found = made.get(block.angles.number)
    if found is None or found[0] is not cos:
        turn = torch.stack([torch.cat([cos, cos], -1)[0], torch.cat([-sin, sin], -1)[0]])
        made[block.angles.number] = found = cos, turn
    return found[1]


def _known(block: Any) -> Known | nn.Module:
    """What the step needs of a block, or the block itself where it does not know it."""
    if why_not_block(block) is not None:
        return block
    attention, said = block.mixer, block.block
    qk_norm = said.mixer.qk_norm or said.norm
    heads = Heads(
        attention.n_heads, attention.n_kv_heads, attention.head_dim, attention.window,
        said.norm.eps, qk_norm.eps,
    )  # fmt: skip
    return Known(_block_weights(block), heads, block.angles)


def _matrix(linear: Any) -> Matrix:
    bias = None if linear.bias is None else linear.bias.detach()
    scale = linear.scale if isinstance(linear, Int8Linear) else None
    return Matrix(linear.weight.detach(), bias, scale)


def _norm_weight(norm: RMSNorm | None) -> Tensor | None:
    return None if norm is None else norm.weight.detach()


def _block_weights(block: Any) -> BlockWeights:
    attention, feed_forward, norms = block.mixer, block.feed_forward, block.norms
    return BlockWeights(
        mixer_norm=norms["mixer_input"].weight.detach(),
        query_norm=_norm_weight(attention.query_norm),
        key_norm=_norm_weight(attention.key_norm),
        feed_forward_norm=norms["feed_forward_input"].weight.detach(),
        query_key_value=tuple(map(_matrix, (attention.query, attention.key, attention.value))),
        output=_matrix(attention.output),
        gate_up=(_matrix(feed_forward.gate), _matrix(feed_forward.up)),
        down=_matrix(feed_forward.down),
    )
