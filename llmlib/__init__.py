"""The library of the book *Inside LLM Architectures*: each part is what a chapter explains.

A marked way of about 950 lines leads through it; whoever has read them has seen a language model
from its description to its next token, and can open any other file:

1. `decoder/reference.py`, a whole decoder on one page, without checks and fast paths;
2. `architecture/mixers.py`, `architecture/model.py`: what a model is, said as data;
3. `blocks.py`: from a description to modules; `stack.py`: what stands around them
   (`decoder/model.py` adds the two ends: ids in, logits out);
4. `sampling.py`: from logits to a token.

From there: `attention/formula.py` for the products themselves, `kv_cache/layers.py` for what a
decoder keeps, `flash_attention/blocked.py` for attention without its matrix,
`tokenization/learning.py` for where tokens come from, `accounting/parameters.py` for counting all
of it without building it.
"""
