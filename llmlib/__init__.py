"""The library of the book *Inside LLM Architectures*: each module is what one chapter explains."""
