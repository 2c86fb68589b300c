"""Published configurations of named models, each with its parameter count and its source.

A card holds what a model's paper and released configuration say, in the book's names, so that a
chapter's table computes its numbers instead of copying them. What a card does not do: build the
model or count its parameters by a formula.
"""

import difflib

from llmlib.model_cards.big_decoders import BIG_DECODER_CARDS
from llmlib.model_cards.card import ModelCard, size_as_number
from llmlib.model_cards.deepseek import DEEPSEEK_CARDS
from llmlib.model_cards.encoder_decoders import ENCODER_DECODER_CARDS
from llmlib.model_cards.encoders import ENCODER_CARDS
from llmlib.model_cards.falcon import FALCON_CARDS
from llmlib.model_cards.gemma import GEMMA_CARDS
from llmlib.model_cards.gpt import GPT_CARDS
from llmlib.model_cards.gpt_oss import GPT_OSS_CARDS
from llmlib.model_cards.kept_layer_norm import LAYER_NORM_CARDS
from llmlib.model_cards.llama import LLAMA_CARDS
from llmlib.model_cards.mistral import MISTRAL_CARDS
from llmlib.model_cards.olmo import OLMO_CARDS
from llmlib.model_cards.pythia import PYTHIA_CARDS
from llmlib.model_cards.qwen import QWEN_CARDS
from llmlib.model_cards.qwen_next import QWEN_NEXT_CARDS
from llmlib.model_cards.relatives import RELATIVE_CARDS
from llmlib.model_cards.smollm import SMOLLM_CARDS
from llmlib.model_cards.starcoder import STARCODER_CARDS

__all__ = [
    "CARDS",
    "MILESTONES",
    "ModelCard",
    "card",
    "size_as_number",
]

_ALL = [
    *GPT_CARDS,
    *ENCODER_CARDS,
    *ENCODER_DECODER_CARDS,
    *BIG_DECODER_CARDS,
    *PYTHIA_CARDS,
    *LLAMA_CARDS,
    *FALCON_CARDS,
    *STARCODER_CARDS,
    *MISTRAL_CARDS,
    *QWEN_CARDS,
    *GEMMA_CARDS,
    *SMOLLM_CARDS,
    *DEEPSEEK_CARDS,
    *LAYER_NORM_CARDS,
    *OLMO_CARDS,
    *RELATIVE_CARDS,
    *GPT_OSS_CARDS,
    *QWEN_NEXT_CARDS,
]
CARDS: dict[str, ModelCard] = {
    one.name: one for one in sorted(_ALL, key=lambda one: (one.year, one.published_parameters))
}
"""All cards by name, oldest first, in a year smallest first."""

_MILESTONES = (
    *("GPT-1", "BERT-base", "GPT-2", "T5-small", "GPT-3 175B"),
    *("LLaMA-7B", "Mistral-7B-v0.1", "Qwen2-7B"),
)
MILESTONES: dict[str, ModelCard] = {name: CARDS[name] for name in _MILESTONES}
"""One card of each line, oldest first: what a chapter's table shows where it cannot show all."""


def card(name: str) -> ModelCard:
    """The card of a model by its name in CARDS; upper and lower case do not matter.

    Raises: ValueError for an unknown name, with the nearest known ones.
    """
    lower = {known.lower(): known for known in CARDS}
    if name.lower() in lower:
        return CARDS[lower[name.lower()]]
    near = difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.4)
    names = [lower[one] for one in near] or list(CARDS)
    raise ValueError(f"no model card for {name!r}; near names: {', '.join(names)}")
