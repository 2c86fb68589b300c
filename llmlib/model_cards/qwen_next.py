"""Qwen3-Next: three layers with a state for one with attention, and 512 small experts."""

import llmlib.architecture as arch
from llmlib.model_cards.card import ModelCard, stacked
from llmlib.model_cards.gemma import GAIN


def _qwen3_next() -> arch.ModelConfig:
    """Twelve times: three gated delta layers, then gated attention."""
    some = arch.Experts(
        512, 10, arch.FeedForward(512), n_shared=1, shared_gate=True,
        router=arch.Router(order="choose, then score"),
    )  # fmt: skip
    delta = arch.Block(arch.GatedDelta(16, 32, 128, 128), some, GAIN)
    rope = arch.Rope(10_000_000.0, share=0.25)
    attend = arch.Block(arch.Attention(16, 2, 256, rope, qk_norm=GAIN, gate=True), some, GAIN)
    stack = stacked(arch.repeat(12, arch.repeat(3, delta), attend))
    return arch.ModelConfig(2048, 151_936, 262_144, stack)


QWEN_NEXT_CARDS = [
    ModelCard(
        name="Qwen3-Next-80B-A3B",
        year=2025,
        config=_qwen3_next(),
        published_parameters=79_674_391_296,
        quoted="80B",
        source="qwen2025next",
        training_tokens=15e12,
        note=(
            "Three of four layers keep a state of fixed size instead of keys and values; what "
            "attention gives is gated. Of 512 experts ten and a shared one see a token."
        ),
        quoted_active="3B",
    ),
]
