"""Real weights for the book's models: Hugging Face folders, GGUF files, the packaged models.

`huggingface` reads config.json and *.safetensors, `gguf_models` the files of llama.cpp (the format
is in `llmlib.formats.gguf`); `assemble` fills a model with named tensors and says what does not
fit.
A file a family (`gpt2`, `llama`, `deepseek`, `bloom`) and `gguf_settings` hold what is known of
each key of a configuration, as tables that `settings` reads: a key that no table knows is an error.
Weights that are stored as pickles are never read: unpickling runs whatever they contain.
"""

from llmlib.pretrained.gguf_models import load_gguf, smollm2
from llmlib.pretrained.huggingface import load

__all__ = ["load", "load_gguf", "smollm2"]
