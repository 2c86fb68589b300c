"""From a model card to the decoder that it describes."""

import dataclasses

from llmlib.decoder.config import DecoderConfig
from llmlib.model_cards import ModelConfig


def decoder_config(config: ModelConfig) -> DecoderConfig:
    """The decoder of a card's configuration.

    Raises:
        ValueError: what this library's decoder does not do: another family, experts, parallel
            blocks, norms without a bias, T5's or sinusoidal positions.
    """
    if not isinstance(config, ModelConfig):
        raise TypeError(f"config is a {type(config).__name__}, expected a ModelConfig: a card's "
                        ".config")  # fmt: skip
    refused = {
        "family": (config.family, "decoder"),
        "experts": (config.experts, None),
        "norms_per_block": (config.norms_per_block, 2),
        "norm_bias": (config.norm_bias, config.norm == "layer"),
        "embedding_scaled": (config.embedding_scaled, False),
        "segments": (config.segments, 0),
        "pooler": (config.pooler, False),
        "position_rows": (config.position_rows, config.context),
    }
    for name, (found, expected) in refused.items():
        if found != expected:
            raise ValueError(f"{name} is {found!r}, expected {expected!r}: no such decoder here")
    if config.position in ("relative_bias", "sinusoidal"):
        raise ValueError(f"position is {config.position!r}, expected rope, learned, alibi or none")
    names = {field.name for field in dataclasses.fields(DecoderConfig)}
    given = {name: x for name, x in vars(config).items() if name in names and x is not None}
    return DecoderConfig(**given)
