"""One decoder for GPT-2, Llama, Gemma, OLMo, BLOOM and more: one stack, other descriptions.

`config` describes a decoder of one kind of block by short names, `model` is the decoder,
`generation` the loop that feeds it its own output, `compiled` the step that loop runs when it is
asked to compile, `pooling` a checkpoint's way to fewer key/value heads. Real weights come from
`llmlib.pretrained`.
"""

from llmlib.blocks import Block
from llmlib.decoder.config import DecoderConfig
from llmlib.decoder.generation import generate
from llmlib.decoder.model import Decoder
from llmlib.decoder.pooling import pool_kv_heads
from llmlib.decoder.premises import step_report

__all__ = ["Block", "Decoder", "DecoderConfig", "generate", "pool_kv_heads", "step_report"]
