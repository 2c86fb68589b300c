"""The settings of GGUF files that are known here: of the model, and of everything else.

A model's keys begin with its architecture ("llama.rope.freq_base"); the table has them without.
The defaults are llama.cpp's. What is in neither table is refused by its name.
"""

import re
from collections.abc import Mapping
from typing import Any

import llmlib.architecture as arch
from llmlib.position_encoding import rope_amplitude
from llmlib.pretrained.settings import (
    COUNT,
    POSITIVE,
    SIZE,
    TEXT,
    Only,
    Settings,
    Table,
    harmless,
    only,
    read_settings,
)

MODEL: Table = {
    "context_length": SIZE(),
    "embedding_length": SIZE(),
    "block_count": SIZE(),
    "feed_forward_length": SIZE(),
    "attention.head_count": SIZE(),
    "attention.head_count_kv": SIZE(None),  # None: as many as head_count
    "attention.key_length": SIZE(None),  # None: embedding_length / head_count
    "attention.value_length": SIZE(None),  # must be as key_length
    "attention.layer_norm_rms_epsilon": POSITIVE(),
    "attention.sliding_window": COUNT(0),  # 0: none
    "rope.dimension_count": SIZE(None),  # must be as key_length
    "rope.freq_base": POSITIVE(10_000.0),
    "rope.scaling.type": TEXT("linear"),  # where there is a factor
    "rope.scaling.factor": POSITIVE(None),
    "rope.scale_linear": POSITIVE(None),  # the factor's name until 2023
    "rope.scaling.original_context_length": SIZE(None),
    "rope.scaling.attn_factor": POSITIVE(1.0),  # times YaRN's 0.1 ln(factor) + 1
    "rope.scaling.yarn_beta_fast": POSITIVE(None),
    "rope.scaling.yarn_beta_slow": POSITIVE(None),
    "rope.scaling.yarn_ext_factor": POSITIVE(None),
    # Not known is yarn_attn_factor: the converter writes the whole factor of cosine and sine
    # there, and llama.cpp does not use it so.
    "attention.causal": Only((True,)),
    "tensor_data_layout": Only(("reference", "Meta AI original pth")),
    "logit_scale": Only((1.0,)),
    "use_parallel_residual": Only((False,)),
    **only(0, keys=("expert_count", "expert_used_count", "expert_shared_count")),
    **only(0.0, keys=("attention.clamp_kqv", "attention.max_alibi_bias")),
    **harmless("the tensors say it: the rows of the embedding", "vocab_size"),
    **harmless("tells how the weights were trained", "rope.scaling.finetuned"),
    **harmless("makes one vector of a text, behind the layers; logits stay", "pooling_type"),
}

ELSEWHERE: Mapping[str, str] = {
    r"general\.(architecture|type)": "read by this module",
    r"general\.alignment|split\.(no|count|tensors\.count)": "read with the tables of the file",
    r"general\.(file_type|quantization_version)": "the file has the type of each tensor",
    r"general\.(name|author|version|organization|finetune|basename|description|quantized_by)": (
        "tells where the file comes from"
    ),
    r"general\.(parameter_count|filename)": "tells of the file, as its name does",
    r"general\.(size_label|url|doi|uuid|repo_url|tags|languages|datasets|license(\.\w+)?)": (
        "tells where the file comes from"
    ),
    r"general\.(source|base_model|dataset)\.[\w.]+": "tells where the file comes from",
    r"general\.sampling\.\w+": "chooses tokens after the logits are there",
    r"tokenizer\..+": "the tokenizer's, see llmlib.tokenization",
    r"(quantize|imatrix|mradermacher)\..+": "tells how the numbers were quantized",
}
"""Patterns of keys that are not the model's, and why the model's loader passes over them."""


def model_settings(
    settings: Mapping[str, Any], architecture: str, of_model: Table = MODEL
) -> Settings:
    """The model's settings, without the architecture in their names.

    Raises:
        ValueError: a key that is not known, lacks, or has a value that is not supported.
    """
    start = f"{architecture}."
    for key, value in settings.items():
        known = any(re.fullmatch(pattern, key) for pattern in ELSEWHERE)
        if not known and not key.startswith(start):
            raise ValueError(
                f"{key} is {value!r:.200}, expected {start}..., general..., tokenizer... and no "
                "such key: nothing here knows what it does"
            )
        if key.startswith(start) and isinstance(value, list):
            raise ValueError(
                f"{key} is {value!r:.200}, expected one value: settings by layer are not supported"
            )
    if settings.get("general.type", "model") != "model":
        raise ValueError(f"general.type is {settings['general.type']!r}, expected 'model'")
    mine = {key: value for key, value in settings.items() if key.startswith(start)}
    table = {start + key: entry for key, entry in of_model.items()}
    found = read_settings(mine, table, architecture)
    return {key.removeprefix(start): value for key, value in found.items()}


def rope_scaling(settings: Settings) -> arch.Scaling | None:
    """The RoPE scaling of the file's settings.

    Raises:
        ValueError: a kind of scaling that is not supported, or numbers that it does not have.
    """
    kind = settings["rope.scaling.type"]
    factor = settings["rope.scaling.factor"] or settings["rope.scale_linear"]
    if kind not in ("none", "linear", "yarn"):
        raise ValueError(f"rope.scaling.type is {kind!r}, expected none, linear or yarn")
    if kind != "yarn":
        for key, neutral in (
            ("attn_factor", 1.0), ("yarn_beta_fast", None), ("yarn_beta_slow", None),
            ("yarn_ext_factor", None),
        ):  # fmt: skip
            value = settings[f"rope.scaling.{key}"]
            if value != neutral:
                raise ValueError(
                    f"rope.scaling.{key} is {value}, expected it beside rope.scaling.type yarn "
                    f"alone, not {kind}"
                )
    if kind == "none" or (kind == "linear" and factor is None):
        return None
    if factor is None:
        raise ValueError("rope.scaling.factor is missing, expected it beside rope.scaling.type")
    original = settings["rope.scaling.original_context_length"]
    if kind == "linear":
        return arch.Scaling("linear", factor, original or 0)
    return _yarn(settings, factor)


def _yarn(settings: Settings, factor: float) -> arch.Scaling:
    ext_factor = settings["rope.scaling.yarn_ext_factor"]
    if ext_factor not in (None, 1.0):
        raise ValueError(
            f"rope.scaling.yarn_ext_factor is {ext_factor}, expected 1.0: a blend of YaRN and "
            "linear scaling is not supported"
        )
    original = settings["rope.scaling.original_context_length"]
    scaling = {
        "rope_type": "yarn",
        "factor": factor,
        "original_max_position_embeddings": original or settings["context_length"],
    }
    for mine, theirs in (("beta_fast", "yarn_beta_fast"), ("beta_slow", "yarn_beta_slow")):
        if settings[f"rope.scaling.{theirs}"] is not None:
            scaling[mine] = settings[f"rope.scaling.{theirs}"]
    if settings["rope.scaling.attn_factor"] != 1.0:
        usual = rope_amplitude(scaling)
        scaling["attention_factor"] = settings["rope.scaling.attn_factor"] * usual
    return arch.Scaling.of(scaling)
