"""One decoder for GPT-2, Llama, Mistral, Qwen and BLOOM: the same stack with other settings.

`model` holds the configuration and the stack, `generation` the loop that feeds it its own output,
`compiled` the step that loop runs when it is asked to compile. Real weights come from
`llmlib.pretrained`.
"""

from llmlib.decoder.generation import generate
from llmlib.decoder.model import Block, Decoder, DecoderConfig

__all__ = ["Block", "Decoder", "DecoderConfig", "generate"]
