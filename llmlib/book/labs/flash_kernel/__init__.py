"""What the compiler reports of the Triton kernels, and which models need which option."""
