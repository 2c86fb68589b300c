"""Cards of newer lines against transformers, made from their released configurations.

The models are built on the meta device, which knows shapes and holds no numbers.
"""

import dataclasses
from typing import Any

import pytest
import torch
import transformers

import llmlib.architecture as arch
from llmlib.accounting import parameters
from llmlib.model_cards import CARDS
from llmlib.pretrained.huggingface import FAMILIES, configure
from tests.folding import for_each
from tests.parity.components import grouped
from tests.parity.published import PUBLISHED

# Classes whose configurations have another name than their models.
TEXT = {"Gemma3": "Gemma3Text"}


def config_of(name: str) -> Any:
    """transformers' configuration of a card's release."""
    kind, given = PUBLISHED[name]
    return getattr(transformers, f"{TEXT.get(kind, kind)}Config")(**given)


def reference_model(name: str) -> torch.nn.Module:
    """The transformers model of a card, with no memory behind its weights."""
    with torch.device("meta"):
        model = getattr(transformers, f"{PUBLISHED[name][0]}ForCausalLM")(config_of(name))
    assert isinstance(model, torch.nn.Module)
    return model


@for_each("name", PUBLISHED)
def test_every_component_is_that_of_transformers(name: str) -> None:
    found, one = grouped(reference_model(name)), CARDS[name]
    assert {k: n for k, n in parameters(one.config).groups().items() if n} == found
    if one.exact:
        assert sum(found.values()) == one.published_parameters


WINDOWED = [name for name in PUBLISHED if hasattr(config_of(name), "layer_types")]


@for_each("name", WINDOWED)
def test_every_layer_is_of_the_kind_that_transformers_has(name: str) -> None:
    """Windows, states and layers that see all stand where the release has them."""
    config, kinds = config_of(name), {True: "sliding_attention", False: "full_attention"}
    mine = [
        "linear_attention"
        if isinstance(block.mixer, arch.GatedDelta)
        else kinds[block.mixer.window is not None]  # type: ignore[union-attr]
        for block in arch.layers(CARDS[name].config.stack.runs)
    ]
    assert mine == list(config.layer_types)


def test_smollm3_leaves_out_positions_where_transformers_does() -> None:
    blocks = arch.layers(CARDS["SmolLM3-3B"].config.stack.runs)
    mine = [int(block.mixer.rope is not None) for block in blocks]  # type: ignore[union-attr]
    assert mine == config_of("SmolLM3-3B").no_rope_layers


@for_each("name", PUBLISHED)
def test_choices_that_no_count_shows_are_the_releases(name: str) -> None:
    """Epsilons, RoPE's base, windows, caps and factors, where the release says them."""
    given, config = PUBLISHED[name][1], CARDS[name].config
    blocks = arch.layers(config.stack.runs)
    mixers = [block.mixer for block in blocks if isinstance(block.mixer, arch.Attention)]
    epsilons = {block.norm.eps for block in blocks}
    mine: dict[str, Any] = {
        "tie_word_embeddings": {config.tied},
        "final_logit_softcapping": {config.softcap},
        "embedding_multiplier": {config.embedding_scale},
        "residual_multiplier": {block.residual_scale for block in blocks},
        "max_position_embeddings": {config.context},
        "rms_norm_eps": epsilons,
        "layer_norm_eps": epsilons,
        "norm_epsilon": epsilons,
        "sliding_window": {one.window for one in mixers} - {None},
        "attn_logit_softcapping": {one.softcap for one in mixers},
        "attention_multiplier": {one.scale for one in mixers},
        "rope_theta": {one.rope.base for one in mixers if one.rope is not None},
        "rotary_pct": {one.rope.share for one in mixers if one.rope is not None},
        "query_pre_attn_scalar": {(one.scale or one.head_dim**-0.5) ** -2 for one in mixers},
        "logit_scale": {config.output_scale},
    }
    for field in given.keys() & mine.keys():
        (found,) = mine[field]
        assert found == pytest.approx(given[field]), field


LOADED = [name for name in PUBLISHED if config_of(name).model_type in FAMILIES]


@for_each("name", LOADED)
def test_the_loader_reads_the_card_out_of_the_released_configuration(name: str) -> None:
    """Every field of the description: two people's reading of the same model."""
    given = config_of(name).to_dict()
    read = configure(given["model_type"], given)
    card = CARDS[name].config
    if name == "Command R":  # whose note says that its context is the announced one
        read = dataclasses.replace(read, context=card.context)
    assert read == card


def test_most_newer_cards_can_be_loaded() -> None:
    assert len(LOADED) >= 25
