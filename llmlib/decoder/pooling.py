"""A decoder with fewer key/value heads, made from one that is trained with more."""

import copy

import llmlib.architecture as arch
from llmlib.attention import Attention
from llmlib.blocks import Block
from llmlib.decoder.model import Decoder


def pool_kv_heads(model: Decoder, n_kv_heads: int) -> Decoder:
    """A copy of the model whose key/value heads are means of groups of the model's.

    Its cache is smaller by the same factor, and its predictions are worse until it is trained on
    for a little: the paper spends 5% of the pre-training on that.

    Raises:
        TypeError, ValueError: n_kv_heads that does not divide the model's, or latent attention,
            which has none.

    Source: ainslie2023gqa
    """
    made = copy.deepcopy(model)
    for block in made.blocks:
        if not isinstance(block, Block):
            raise TypeError(f"a block is a {type(block).__name__}, expected a Block")
        if not isinstance(block.mixer, Attention):
            raise ValueError("the model has latent attention: expected key/value heads to pool")
        block.mixer = block.mixer.pooled(n_kv_heads)
        block.block = arch.changed(block.block, arch.Attention, n_kv_heads=n_kv_heads)
    made.config = arch.changed(model.config, arch.Attention, n_kv_heads=n_kv_heads)
    return made
