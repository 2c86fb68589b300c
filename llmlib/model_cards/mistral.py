"""Mistral 7B, and Mixtral: the same block with eight feed-forward blocks to choose from."""

from llmlib.model_cards.config import Experts, ModelCard, like
from llmlib.model_cards.llama import LLAMA2

MISTRAL = like(LLAMA2, n_kv_heads=8, ffn_dim=14336, context=8192, window=4096)

MISTRAL_CARDS = [
    ModelCard(
        name="Mistral-7B-v0.1",
        year=2023,
        config=MISTRAL,
        published_parameters=7_241_732_096,
        quoted="7B",
        source="jiang2023mistral",
        note="Context as in the paper's Table 1; the released config allows 32,768 positions.",
        difference="The name rounds 7.2 to one digit.",
    ),
    ModelCard(
        name="Mixtral-8x7B-v0.1",
        year=2023,
        config=like(
            MISTRAL,
            context=32_768,
            window=None,
            rope_base=1_000_000.0,
            experts=Experts(n_experts=8, n_active=2, ffn_dim=14336),
        ),
        published_parameters=46_702_792_704,
        quoted="47B",
        source="jiang2024mixtral",
        note=(
            "Mistral's block with a router and eight feed-forward blocks, two of them for each "
            "token. Attention and vocabulary are there once, so the total is 47 billion, not eight "
            "times seven."
        ),
        quoted_active="13B",
    ),
]
