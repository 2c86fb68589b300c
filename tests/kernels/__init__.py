"""How Triton kernels are held without a GPU: cases, interpreter, planted bugs, compiling."""
