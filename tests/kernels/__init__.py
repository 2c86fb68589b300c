"""How the Triton kernels are held without a GPU: cases, the interpreter, planted bugs, compiling."""
