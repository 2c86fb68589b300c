"""One decoder for GPT-2, Llama, Mistral, Qwen, BLOOM and more: the same stack, other settings.

`model` holds the configuration and the stack, `generation` the loop that feeds it its own output,
`compiled` the step that loop runs when it is asked to compile, `pooling` a checkpoint's way to
fewer key/value heads. Real weights come from
`llmlib.pretrained`.
"""

from llmlib.decoder.generation import generate
from llmlib.decoder.model import Block, Decoder, DecoderConfig
from llmlib.decoder.pooling import pool_kv_heads

__all__ = ["Block", "Decoder", "DecoderConfig", "generate", "pool_kv_heads"]
