"""Models from Hugging Face folders: config.json and *.safetensors, whole or in shards.

What is known of a model type stands in the file of its family: its settings, its configuration,
which stored tensor becomes which parameter. What is not known there, a setting or a tensor, raises
an error that names it; nothing is passed over in silence.
"""

import re
from pathlib import Path

import torch

from llmlib.decoder import Decoder, DecoderConfig
from llmlib.formats.json_files import existing_file, read_object
from llmlib.formats.safetensors import SafetensorsFiles
from llmlib.pretrained.assemble import check_sizes, empty_decoder, fill, weights_dtype
from llmlib.pretrained.bloom import BLOOM
from llmlib.pretrained.deepseek import DEEPSEEK_V2
from llmlib.pretrained.family import Family
from llmlib.pretrained.gpt2 import GPT2
from llmlib.pretrained.llama import LLAMA, MISTRAL, QWEN2, QWEN3
from llmlib.pretrained.settings import Settings, read_settings

FAMILIES: dict[str, Family] = {
    "gpt2": GPT2,
    "llama": LLAMA,
    "mistral": MISTRAL,
    "qwen2": QWEN2,
    "qwen3": QWEN3,
    "bloom": BLOOM,
    "deepseek_v2": DEEPSEEK_V2,
}
HEAD = "lm_head.weight"


def load(folder: str | Path, dtype: torch.dtype | str = torch.float32) -> Decoder:
    """The model of a Hugging Face folder, its weights read from safetensors and never unpickled.

    Args:
        folder: holds config.json and model.safetensors, or shards with their index.
        dtype: type of the weights in memory, or its name: float64, float32, float16, bfloat16.

    Returns:
        The model in evaluation mode.

    Raises:
        FileNotFoundError: the folder, its config.json or its weights are not there.
        ValueError: an unknown model_type, a setting that is not known or that the models here do
            not have, files that are damaged or cut off, tensors that are missing, left over or of
            another shape, another dtype.
    """
    dtype, folder = weights_dtype(dtype), Path(folder).expanduser()
    if folder.is_file():
        raise ValueError(f"{folder} is a file, expected the folder of a model")
    path = existing_file(folder / "config.json", "a folder with a model, and its settings there")
    settings = read_object(path.read_bytes(), path)
    kind = settings.get("model_type")
    if not isinstance(kind, str) or kind not in FAMILIES:
        raise ValueError(f"{path}: model_type is {kind!r}, expected one of {', '.join(FAMILIES)}")
    files = SafetensorsFiles(folder)
    try:
        config = configure(kind, settings)
        check_sizes(config, files)
        model = empty_decoder(config)
    except (TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise ValueError(f"{path}: {error}") from None
    family = FAMILIES[kind]
    prefix = family.prefix if any(n.startswith(family.prefix) for n in files.shapes) else ""
    rules = family.rules(config, prefix)
    if not config.tied and HEAD not in files.shapes:
        raise ValueError(
            f"{files.file(HEAD)}: tensor {HEAD!r} is missing: expected the output matrix of a "
            "language model, or tie_word_embeddings true in config.json"
        )
    copies = {HEAD: rules[0].tensor} if config.tied else {}
    patterns = [re.compile(pattern) for pattern in family.no_weights]

    def no_weight(name: str) -> bool:
        return any(pattern.fullmatch(name) for pattern in patterns)

    return fill(model, files, rules, no_weight, dtype, copies)


def configure(kind: str, settings: Settings) -> DecoderConfig:
    """The decoder that the settings of a model type describe.

    Args:
        kind: a key of FAMILIES.
        settings: the keys and values of config.json.

    Raises:
        TypeError, ValueError: see `read_settings`; sizes that do not fit together.
    """
    family = FAMILIES[kind]
    return family.configure(read_settings(settings, family.settings, kind))
