"""Files as others write them: GGUF, safetensors, JSON, and those inside installed packages.

What is read here are bytes, tensors and tables; what they mean is said where they are used, in
`llmlib.tokenization` and `llmlib.pretrained`.
"""
