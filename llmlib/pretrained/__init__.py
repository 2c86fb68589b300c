"""Real weights for the book's models: Hugging Face folders, GGUF files, the packaged models.

`huggingface` reads config.json and *.safetensors, `gguf_models` the files of llama.cpp (the formats
are in `llmlib.formats`), `opening` either of them together with its tokenizer; `assemble` fills a
model with named tensors and says what does not fit.
A file a line of models (`gpt2`, `llama`, `gemma`, ...) holds what is known of each key of a
configuration, as tables that `settings` reads, and under which names a folder has the weights
(`names`). A key or a tensor that no table knows is an error.
Weights that are stored as pickles are never read: unpickling runs whatever they contain.
"""

from llmlib.pretrained.gguf_models import load_gguf, smollm2
from llmlib.pretrained.huggingface import load
from llmlib.pretrained.opening import load_tokenizer, minilm, open_model

__all__ = ["load", "load_gguf", "load_tokenizer", "minilm", "open_model", "smollm2"]
