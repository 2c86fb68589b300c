"""One decoder for GPT-2, Llama, Mistral, Qwen, BLOOM and more: the same stack, other settings.

`config` holds the choices, `model` the stack, `generation` the loop that feeds it its own output,
`compiled` the step that loop runs when it is asked to compile, `pooling` a checkpoint's way to
fewer key/value heads, `cards` the way from a published configuration to ours. Real weights come
from `llmlib.pretrained`.
"""

from llmlib.decoder.cards import decoder_config
from llmlib.decoder.config import DecoderConfig
from llmlib.decoder.generation import generate
from llmlib.decoder.model import Block, Decoder
from llmlib.decoder.pooling import pool_kv_heads

__all__ = ["Block", "Decoder", "DecoderConfig", "decoder_config", "generate", "pool_kv_heads"]
