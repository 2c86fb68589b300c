"""What a model is, as data: no tensor, and nothing that computes. Everything else reads it.

A model is a width, a vocabulary, and stacks: runs of blocks, where a run may hold runs. A block is
a mixer, a feed-forward block and the place of its norms. Counting, cards, building, loading and
the calculators in the pages are sums and loops over that.

    near = arch.Block(arch.Attention(32, 16, 128, arch.Rope(), window=1024), ...)
    gemma3 = arch.Stack((arch.repeat(10, arch.repeat(5, near), far), arch.repeat(2, near)))

Nothing is filled in from a parent: a head's width is said, never dim / n_heads. Sizes and numbers
of times may be sympy letters; such a model is counted, not built. Use it qualified, `import
llmlib.architecture as arch`: modules that compute bear the same names.
"""

from llmlib.architecture.feed_forward import Activation, Experts, FeedForward, Router, Transform
from llmlib.architecture.mixers import Attention, GatedDelta, Latent, Mixer
from llmlib.architecture.model import (
    Block,
    ModelConfig,
    Run,
    Stack,
    changed,
    kinds,
    layers,
    repeat,
)
from llmlib.architecture.parts import (
    LAYER,
    RMS,
    Buckets,
    Learned,
    Norm,
    Rope,
    Scaling,
    Sinusoidal,
)
from llmlib.architecture.periods import ribbon, runs_of
from llmlib.architecture.said import Described, Size, is_letter

__all__ = [
    "LAYER",
    "RMS",
    "Activation",
    "Attention",
    "Block",
    "Buckets",
    "Described",
    "Experts",
    "FeedForward",
    "GatedDelta",
    "Latent",
    "Learned",
    "Mixer",
    "ModelConfig",
    "Norm",
    "Rope",
    "Router",
    "Run",
    "Scaling",
    "Sinusoidal",
    "Size",
    "Stack",
    "Transform",
    "changed",
    "is_letter",
    "kinds",
    "layers",
    "repeat",
    "ribbon",
    "runs_of",
]
