"""gpt-oss: windows and full layers in turn, sinks, and many experts with biases."""

import llmlib.architecture as arch
from llmlib.model_cards.card import ModelCard, stacked

_REACH = (("beta_fast", 32.0), ("beta_slow", 1.0), ("truncate", False))
_ROPE = arch.Rope(150_000.0, scaling=arch.Scaling("yarn", 32.0, 4096, _REACH))


def gpt_oss(n_times: int, n_experts: int) -> arch.ModelConfig:
    """A window of 128 and a layer that sees all, so many times over."""
    experts = arch.Experts(
        n_experts, 4, arch.FeedForward(2880, bias=True, clamp=7.0),
        router=arch.Router(order="choose, then score", bias=True),
    )  # fmt: skip
    full = arch.Attention(64, 8, 64, _ROPE, qkv_bias=True, out_bias=True, sinks=True)
    far = arch.Block(full, experts, arch.Norm(eps=1e-5))
    near = arch.changed(far, arch.Attention, window=128)
    return arch.ModelConfig(2880, 201_088, 131_072, stacked(arch.repeat(n_times, near, far)))


_NOTE = (
    "Layers with a window of 128 and layers that see all, in turn; each head has a sink, a learned "
    "logit that takes part in its softmax. Counted in whole numbers: the release packs the "
    "experts in four bits."
)

GPT_OSS_CARDS = [
    ModelCard(
        name="gpt-oss-20b",
        year=2025,
        config=gpt_oss(12, 32),
        published_parameters=20_914_757_184,
        quoted="20.9B",
        source="openai2025gptoss",
        note=_NOTE,
        quoted_active="3.6B",
    ),
    ModelCard(
        name="gpt-oss-120b",
        year=2025,
        config=gpt_oss(18, 128),
        published_parameters=116_829_156_672,
        quoted="116.8B",
        source="openai2025gptoss",
        note=_NOTE,
        quoted_active="5.1B",
    ),
]
